"""Services that say who may connect: with real clients, real tokens, and what goes wrong meanwhile."""

import base64
import json
import re
import time
from pathlib import Path

import jwt
import pytest
from websockets.exceptions import InvalidStatus

from .harness import WAIT, HubProcess, closed_with, eventually, make_upgrade, read_response

HOW_TO = Path(__file__).parents[2] / "docs" / "howto" / "authenticate.md"
HUB_OPTIONS = ("--config", str(Path(__file__).with_name("requests.toml")))
KEY = "0123456789abcdef" * 4

DECIDES = """
    import asyncio
    import os
    import wshub

    class Service(wshub.{base}):
        subprotocols = ("chat",)

        {define} on_request(self, request):
            print("asked", request.query)
            if request.query == "refuse":
                raise wshub.Refuse(403, "Not you.", {{"X-Why": "because"}})
            if request.query == "raise":
                raise RuntimeError("as asked")
            if request.query == "forge":
                return wshub.Accept(headers={{"X": "a\\r\\nSet-Cookie: forged=1"}})
            if request.query == "die":
                os._exit(1)
            {wait}
            request.state.name = request.query
            return wshub.Accept(
                subprotocol=request.subprotocols[0] if request.subprotocols else None,
                headers={{"X-Hello": "there"}},
                cookies={{"session": "abc"}},
            )

        {define} on_open(self, client):
            print("opened", client.query)
            client.send(f"{{client.state.name}} {{client.subprotocol}} {{len(self._requests)}}")

        {define} on_close(self, client, code, reason):
            print("closed", client.query)
"""
WAIT_ASYNC = """if request.query.startswith("wait"):
                try:
                    await asyncio.sleep(600)
                finally:
                    print("ended", request.query)"""
WAIT_PLAIN = """if request.query == "wait":
                import time
                time.sleep(2.5)"""


@pytest.fixture(params=["Service", "AsyncService"])
def route(request: pytest.FixtureRequest, hub: HubProcess) -> str:
    """A service that decides as the query says."""
    return save_deciding(hub, request.param)


def save_deciding(hub: HubProcess, base: str) -> str:
    """Save the service that derives from `base`. Return its route."""
    define, wait = ("async def", WAIT_ASYNC) if base == "AsyncService" else ("def", WAIT_PLAIN)
    name = f"decides_{base}"
    hub.save(f"{name}.py", DECIDES.format(base=base, define=define, wait=wait))
    return f"/{name}"


def test_accepted(hub: HubProcess, route: str) -> None:
    """A client is let in: the hook's subprotocol, header and cookie are in the 101, its state is in on_open."""
    with hub.connect(f"{route}?Ada", subprotocols=["other", "chat"]) as client:
        assert client.response is not None
        assert client.response.headers["X-Hello"] == "there"
        assert client.response.headers["Set-Cookie"] == "session=abc; Path=/; HttpOnly; SameSite=Lax"
        assert client.subprotocol == "other"
        assert client.recv(WAIT) == "Ada other 0"
    lines = [match[1] for match in hub.search(rf"{route}#info\] (\w+) Ada$")]
    assert lines[:2] == ["asked", "opened"]


def test_refused(hub: HubProcess, route: str) -> None:
    """A client is not let in: it gets the status, the text and the headers, and the service sees no client."""
    with pytest.raises(InvalidStatus) as refused, hub.connect(f"{route}?refuse"):
        pass
    response = refused.value.response
    assert (response.status_code, response.body) == (403, b"Not you.\n")
    assert response.headers["X-Why"] == "because"
    assert not hub.search(rf"{route}#info\] opened refuse")


def test_hook_that_raises(hub: HubProcess, route: str) -> None:
    """Fault: on_request raises. Seen: 500, the traceback in the log; the same process lets the next one in."""
    hub.may_fail.add(route)
    with hub.connect(f"{route}?before") as client:
        client.recv(WAIT)
        pid = hub.pid_of(route)
        assert hub.upgrade(f"{route}?raise").status == 500
        assert hub.upgrade(f"{route}?forge").status == 500
    hub.wait_for_log(rf"\[service {route}#\w+\] RuntimeError: as asked")
    hub.wait_for_log(rf"\[service {route}#\w+\] ValueError: the value of X has a character")
    with hub.connect(f"{route}?after") as client:
        assert client.recv(WAIT) == "after None 0"
    assert hub.pid_of(route) == pid


def test_hook_that_takes_too_long(hub: HubProcess, route: str) -> None:
    """Fault: on_request takes longer than request_timeout. Seen: 504, one line in the log; the service lives on."""
    began = time.monotonic()
    assert hub.upgrade(f"{route}?wait").status == 504
    assert time.monotonic() - began < 2.4  # the setting is 1 second
    assert (
        len(
            hub.wait_for_logs(
                rf"\] refused 127.0.0.1, .*: 504, The service's on_request took too long. It asked for {route}$", 1
            )
        )
        == 1
    )
    eventually(lambda: hub.upgrade(f"{route}?refuse").status == 403, "the service answers again")
    assert not hub.search(rf"{route}#info\] opened wait")


def test_service_that_dies_while_it_is_asked(hub: HubProcess, route: str) -> None:
    """Fault: the service exits in on_request. Seen: 502; the next client starts it anew."""
    assert hub.upgrade(f"{route}?die").status == 502
    with hub.connect(f"{route}?again") as client:
        assert client.recv(WAIT) == "again None 0"


def test_others_connect_while_a_coroutine_decides(hub: HubProcess) -> None:
    """Fault: on_request of one client hangs. Seen: others connect meanwhile."""
    route = save_deciding(hub, "AsyncService")
    with hub.open_socket() as waiting:
        waiting.sendall(make_upgrade(f"{route}?wait1"))
        hub.wait_for_log(r"asked wait1")
        with hub.connect(f"{route}?other") as client:
            assert client.recv(WAIT) == "other None 1"
        assert read_response(waiting).status == 504


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_goes_while_it_is_asked_about(hub: HubProcess, how: str) -> None:
    """Fault: 50 clients go before on_request has answered. Seen: each coroutine ends at once; nothing is left."""
    route = save_deciding(hub, "AsyncService")
    clients = [hub.open_socket() for _ in range(50)]
    for number, client in enumerate(clients):
        client.sendall(make_upgrade(f"{route}?wait_{how}_{number}"))
    hub.wait_for_logs(rf"asked wait_{how}_", 50, timeout=0.9)
    for client in clients:
        if how == "reset":
            client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 seconds: close sends RST
        client.close()
    hub.wait_for_logs(rf"ended wait_{how}_", 50)
    assert not hub.search(rf"was refused: on_request.*wait_{how}")
    with hub.connect(f"{route}?last") as client:
        assert client.recv(WAIT) == "last None 0"


def test_service_that_forges_a_response(hub: HubProcess) -> None:
    """Fault: a service writes CR LF in a header past the kit. Seen: it is killed, its client gets 502."""
    hub.save(
        "forges.py",
        r"""
        import wshub
        from wshub.wire import ACCEPT

        class Service(wshub.Service):
            def on_request(self, request):
                self._channel.post(ACCEPT, request.id, b"\nX: a\r\nSet-Cookie: forged=1")
        """,
    )
    response = hub.upgrade("/forges")
    assert response.status == 502
    assert "set-cookie" not in response.headers
    hub.wait_for_log(r"/forges#error\] killed: it sent an answer to a request in which the value of X")


def test_hub_that_stops_while_a_service_is_asked(start_hub) -> None:  # type: ignore[no-untyped-def]
    """Fault: the hub stops while on_request hangs. Seen: 503 for the client, a quick and orderly end."""
    hub = start_hub()
    route = save_deciding(hub, "AsyncService")
    with hub.open_socket() as client:
        client.sendall(make_upgrade(f"{route}?wait"))
        hub.wait_for_log(r"asked wait")
        began = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - began < 4
        assert read_response(client).status == 503
    assert hub.search(r"ended wait")


# The how-to.


def save_how_to(hub: HubProcess, name: str, text: str) -> None:
    """Save the how-to's snippet that has `text` in it as a service."""
    snippets = re.findall(r"^```python\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    (source,) = (each for each in snippets if text in each)
    hub.save(name, source)


def test_tokens(hub: HubProcess) -> None:
    """A valid token lets in, from each place for it; another does not; the connection ends when the token does."""
    save_how_to(hub, "tokens.py", "jwt.decode")
    (hub.services / "jwt.key").write_text(KEY)

    def make_token(seconds: float = 60, key: str = KEY) -> str:
        return jwt.encode({"sub": "Ada", "aud": "chat", "exp": int(time.time() + seconds)}, key, "HS256")

    places = (
        {"additional_headers": {"Authorization": f"Bearer {make_token()}"}},
        {"additional_headers": {"Cookie": f"token={make_token()}"}},
        {"subprotocols": ["chat", f"bearer.{make_token()}"]},
    )
    for options in places:
        with hub.connect("/tokens", **options) as client:
            assert client.recv(WAIT) == "Welcome, Ada."
            assert client.subprotocol == ("chat" if "subprotocols" in options else None)
    for token in ("", "nonsense", make_token(-10), make_token(key="x" * 64)):
        response = hub.upgrade("/tokens", f"Authorization: Bearer {token}\r\n")
        assert (response.status, response.body) == (401, b"A valid token is needed.\n")
        assert response.headers["www-authenticate"] == 'Bearer realm="chat", error="invalid_token"'
    assert hub.upgrade(f"/tokens?token={make_token()}").status == 401
    with hub.connect("/tokens", additional_headers={"Cookie": f"token={make_token(2)}"}) as client:
        assert closed_with(client) == (1008, "The token has expired.")


def test_passwords(hub: HubProcess) -> None:
    """The right password lets in, a wrong one gets a challenge; `websockets` sends what is in the URL."""
    save_how_to(hub, "passwords.py", "def parse_basic")
    snippets = re.findall(r"^```python\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(next(each for each in snippets if "def make_user" in each), names)
    make_user = names["make_user"]
    assert callable(make_user)
    (hub.services / "users.json").write_text(json.dumps({"Ada": make_user("secret")}))

    def header(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    with hub.connect("/passwords", additional_headers={"Authorization": header("Ada:secret")}) as client:
        assert client.recv(WAIT) == "Welcome, Ada."
    for text in ("Ada:wrong", "Bob:secret", ":"):
        response = hub.upgrade("/passwords", f"Authorization: {header(text)}\r\n")
        assert response.status == 401
        assert response.headers["www-authenticate"] == 'Basic realm="chat", charset="UTF-8"'
    assert hub.upgrade("/passwords").status == 401
