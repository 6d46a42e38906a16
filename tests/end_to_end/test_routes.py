"""The URL space over HTTP: what answers where, and what is refused how."""

import asyncio
import json
from pathlib import Path

import pytest

from .harness import WAIT, HubProcess, Response, make_upgrade


def test_two_forms_of_address(hub: HubProcess) -> None:
    """/foo/bar and /foo/bar/ are two services, and / is a third once it is there."""
    for path in ("/foo/bar", "/foo/bar/"):
        with hub.connect(path) as client:
            assert str(client.recv(WAIT)).startswith(f"This is {path}")
    assert hub.upgrade("/").status == 404
    file = hub.save("ws_service.py", "import wshub\nclass Service(wshub.Service): pass\n")
    with hub.connect("/"):
        pass
    file.unlink()


def test_missing_service(hub: HubProcess) -> None:
    """Where there is no file, an upgrade and a GET get 404."""
    assert hub.upgrade("/missing").status == 404
    assert hub.get("/missing").status == 404
    assert hub.upgrade("/echo/").status == 404
    assert hub.upgrade("/foo").status == 404


BROKEN = {
    "no class": "x = 1",
    "syntax": "class Service(:",
    "raises": "raise RuntimeError('secret words')",
    "exits": "import sys; sys.exit(3)",
    "constructor": "import wshub\nclass Service(wshub.Service):\n    def __init__(self): raise RuntimeError('secret')",
    "on_start": "import wshub\nclass Service(wshub.Service):\n    def on_start(self): raise RuntimeError('secret')",
    "async": "import wshub\nclass Service(wshub.AsyncService):\n    async def on_start(self): raise OSError('secret')",
    "no base": "class Service: pass",
    "classic": "import Services\nclass Service(Services.Service):\n    def __init__(self, s, r): 1 / 0",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN.keys())
def test_service_that_does_not_start(hub: HubProcess, source: str) -> None:
    """It is answered with 500 and no detail, its traceback is in the log, and a changed file is a new attempt."""
    name = f"broken{list(BROKEN.values()).index(source)}"
    hub.may_fail.add(f"/{name}")
    hub.save(f"{name}.py", source)
    for _ in range(3):
        response = hub.upgrade(f"/{name}")
        assert response.status == 500
        assert b"secret" not in response.body
        assert b"Traceback" not in response.body
    hub.wait_for_log(rf"/{name}: does not start until its file changes: it does not start$")
    hub.wait_for_log(rf"\[wshub#error\] /{name}: .*(Error|SystemExit)")
    assert len(hub.search(rf"\] /{name}: started")) == 1
    assert hub.list_services()[f"/{name}"]["state"] == "failed"
    hub.save(f"{name}.py", (hub.services / "echo.py").read_text())
    with hub.connect(f"/{name}") as client:
        client.send("mended")
        assert client.recv(WAIT) == "mended"


def test_service_that_dies_while_it_starts(hub: HubProcess) -> None:
    """A process that ends without a word is answered with 500 as well, and the log says how it ended."""
    hub.save("gone.py", "import os; os._exit(7)")
    assert hub.upgrade("/gone").status == 500
    assert "exit status 7" in hub.wait_for_log(r"/gone: does not start .*")[0]


def test_service_saved_while_the_hub_runs(hub: HubProcess) -> None:
    """A new file of five lines answers at once, and is listed."""
    assert hub.upgrade("/hello").status == 404
    hub.save(
        "hello.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                client.send("Hello, " + data)
        """,
    )
    with hub.connect("/hello") as client:
        client.send("you")
        assert client.recv(WAIT) == "Hello, you"
        assert hub.list_services()["/hello"] == {"path": "/hello", "state": "running", "clients": 1, "page": False}


def test_running_service_answers_without_its_file(hub: HubProcess) -> None:
    """First the running tree, then the folder: a service whose file has gone goes on."""
    file = hub.save("fleeting.py", (hub.services / "echo.py").read_text())
    with hub.connect("/fleeting"):
        file.unlink()
        with hub.connect("/fleeting") as second:
            second.send("still here")
            assert second.recv(WAIT) == "still here"


def test_started_once_for_a_hundred(hub: HubProcess) -> None:
    """A hundred clients that connect at the same moment share one process, started once."""
    hub.save(
        "shared.py",
        """
        import os
        import wshub

        class Service(wshub.Service):
            def on_start(self):
                print("on_start ran")

            def on_open(self, client):
                client.send(str(os.getpid()))
        """,
    )

    async def connect() -> object:
        async with hub.connect_async("/shared") as client:
            return await client.recv()

    async def everybody() -> list[object]:
        return await asyncio.wait_for(asyncio.gather(*(connect() for _ in range(100))), WAIT)

    assert set(asyncio.run(everybody())) == {str(hub.pid_of("/shared"))}
    assert len(hub.search("on_start ran")) == 1
    assert len(hub.search(r"\] /shared: started")) == 1


# Pages.


def test_welcome_page_and_its_parts(hub: HubProcess) -> None:
    """/ is the built-in page; its script, its style and the list of services are there, with the right types."""
    page = hub.get("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"/_wshub/welcome.js" in page.body
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert hub.get("/_wshub/welcome.js").headers["content-type"].partition("/")[2].startswith("javascript")
    assert hub.get("/_wshub/welcome.css").headers["content-type"].startswith("text/css")
    assert hub.get("/_wshub/other").status == 404
    listing = hub.get("/_wshub/services.json")
    assert listing.headers["content-type"] == "application/json"
    services = {each["path"]: each for each in json.loads(listing.body)["services"]}
    assert {"/clock", "/demo_chatroom", "/echo", "/foo/bar", "/foo/bar/"} <= services.keys()
    assert services["/demo_chatroom"]["page"] is True
    assert services["/clock"] == {"path": "/clock", "state": "idle", "clients": 0, "page": False}


def test_page_beside_a_module(hub: HubProcess) -> None:
    """A GET of a service with a page gets the page, and starts nothing."""
    response = hub.get("/demo_chatroom")
    assert response.status == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.body == (hub.services / "demo_chatroom.html").read_bytes()
    assert response.headers["x-content-type-options"] == "nosniff"
    assert hub.list_services()["/demo_chatroom"]["state"] == "idle"
    head = hub.get("/demo_chatroom", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(response.body))


def test_get_of_a_service(hub: HubProcess) -> None:
    """A GET of a service without a page gets 426, says what is there, and starts nothing."""
    response = hub.get("/clock")
    assert response.status == 426
    assert response.headers["upgrade"] == "websocket"
    assert b"WebSocket" in response.body
    assert hub.list_services()["/clock"]["state"] == "idle"
    assert hub.get("/clock", "HEAD").status == 426


def test_source_is_not_served(hub: HubProcess) -> None:
    """No page shows a service's code."""
    for path in ("/echo.py", "/demo_chatroom.html", "/demo_chatroom.py", "/foo/bar/ws_service.py"):
        assert hub.get(path).status == 404


def test_folder_of_static_pages(start_hub: object, tmp_path: Path) -> None:
    """With --html, its files come first, services stay what they are, and / is its index or nothing."""
    html = tmp_path / "public"
    (html / "sub").mkdir(parents=True)
    (html / "sub" / "index.html").write_text("sub index")
    (html / "about.html").write_text("about")
    (html / "data.json").write_text("{}")
    (html / ".hidden").write_text("hidden")
    (html / "out.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "secret.txt").write_text("secret")
    hub: HubProcess = start_hub("--html", "public")  # type: ignore[operator]
    assert hub.get("/").status == 404
    (html / "index.html").write_text("mine")
    assert hub.get("/").body == b"mine"
    assert hub.get("/about").body == b"about"
    assert hub.get("/about.html").body == b"about"
    assert hub.get("/sub/").body == b"sub index"
    assert hub.get("/data.json").headers["content-type"].startswith("application/json")
    for path in (
        "/.hidden",
        "/out.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/sub//index.html",
        "/sub/..%2findex.html",
    ):
        response = hub.get(path)
        assert response.status == 404, path
        assert b"secret" not in response.body
    assert hub.get("/echo").status == 426
    with hub.connect("/echo") as client:
        client.send("beside pages")
        assert client.recv(WAIT) == "beside pages"


# Refusals.


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "CONNECT"])
def test_other_methods(hub: HubProcess, method: str) -> None:
    """What is not GET or HEAD gets 405, for pages and for services."""
    for path in ("/", "/echo"):
        response = hub.get(path, method, "Content-Length: 0\r\n")
        assert response.status == 405
        assert "GET" in response.headers["allow"]
    assert hub.request(make_upgrade("/echo", method=method)).status == 405


@pytest.mark.parametrize("version", ["8", "12", "14", "", "13, 8", "x"])
def test_wrong_version(hub: HubProcess, version: str) -> None:
    """A version that is not 13 gets 426 and is told the right one."""
    response = hub.upgrade("/echo", sec_websocket_version=version)
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://{host}", 101),
        ("https://{host}", 101),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://{host}.evil.example", 403),
        ("http://{host}@evil.example", 403),
        ("http://[", 403),
        ("file://", 403),
        (None, 101),
    ],
)
def test_origin(hub: HubProcess, origin: str | None, status: int) -> None:
    """Pages of the hub itself may connect, and programs that are no browsers; pages from elsewhere may not."""
    host = f"{hub.host}:{hub.port}"
    assert hub.upgrade("/echo", origin=origin and origin.format(host=host)).status == status


@pytest.mark.parametrize("byte", ["\x00", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x7f", "\x85", "\r", "\n", "\x1b"])
def test_smuggling_bytes(hub: HubProcess, byte: str) -> None:
    """A byte that some parser takes for a line's end is refused in a header, be it an upgrade or not."""
    smuggled = f"X: a{byte}Upgrade: websocket\r\n"
    assert hub.upgrade("/echo", smuggled).status == 400
    assert hub.upgrade("/echo", smuggled, upgrade=None).status == 400
    assert hub.get(f"/echo{byte}").status == 400


@pytest.mark.parametrize(
    "lines",
    [
        "X : a\r\n",
        " folded: a\r\n",
        "X: a\r\n folded\r\n",
        ": a\r\n",
        "X\r\n",
        "Host: twice\r\n",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Sec-WebSocket-Protocol: a, a\r\n",
    ],
)
def test_malformed_upgrade(hub: HubProcess, lines: str) -> None:
    """A handshake that breaks HTTP or RFC 6455, section 4.2.1, gets 400."""
    assert hub.upgrade("/echo", lines).status == 400


@pytest.mark.parametrize(
    "replaced",
    [
        {"host": None},
        {"sec_websocket_key": None},
        {"sec_websocket_key": "short"},
        {"sec_websocket_version": None},
        {"connection": None},
        {"connection": "close"},
    ],
)
def test_incomplete_upgrade(hub: HubProcess, replaced: dict[str, str | None]) -> None:
    """A handshake without one of the required headers gets 400."""
    assert hub.upgrade("/echo", **replaced).status == 400


def test_strange_targets(hub: HubProcess) -> None:
    """An absolute target means its path, as RFC 9112, section 3.2.2, has it; one that has no path is refused."""
    assert hub.upgrade(f"http://{hub.host}:{hub.port}/echo").status == 101
    for target in ("*", "echo", "/echo#fragment"):
        assert hub.upgrade(target).status == 400, target
    for target in ("http://evil.example/", "*", "echo"):
        response = hub.get(target)
        assert response.status in (200, 400, 404, 405), target
        assert "location" not in response.headers


def test_too_many_bytes(hub: HubProcess) -> None:
    """An endless head gets 431, so do 129 headers; a request line of 9 KiB gets 414."""
    assert hub.upgrade("/echo", f"X: {'x' * 16384}\r\n").status == 431
    assert hub.upgrade("/echo", "".join(f"X-{i}: x\r\n" for i in range(129))).status == 431
    assert hub.get(f"/{'x' * 9216}").status == 414
    assert hub.upgrade(f"/{'x' * 9216}").status == 414


def test_refusal_reaches_a_client_that_goes_on_sending(hub: HubProcess) -> None:
    """A client that sends far more than is read still gets to see why it was refused."""
    for head, status in ((b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000, 431), (b"GET /" + b"x" * 1_000_000, 414)):
        with hub.open_socket() as connection:
            try:
                connection.sendall(head)
            except ConnectionError:
                pass  # it was told to stop; what it was told must be there all the same
            assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)


NO_NAMES = [
    "/../echo",
    "/%2e%2e/secret",
    "/..%2fsecret",
    "/foo%2fbar",
    "/foo%5cbar",
    "/%252e%252e/secret",
    "/foo/../echo",
    "/./echo",
    "//echo",
    "/foo//bar",
    "/echo%00",
    "/%00",
    "/%ff",
    "/%c0%ae%c0%ae/secret",
    "/" + "x" * 5000,
    "/.git",
    "/.hidden",
    "/__init__",
    "/_private",
    "/foo/bar/ws_service",
    "/ws_service",
    "/echo.py",
    "/echo%20",
    "/echo%0a",
    "/" + "a/" * 100,
    "/out",
    "/outside/secret",
    "/dangling",
    "/loop/loop/echo",
    "/folder",
    "/%EF%BC%85cho",
]


@pytest.mark.parametrize("path", NO_NAMES, ids=range(len(NO_NAMES)))
def test_names_that_no_service_has(hub: HubProcess, path: str) -> None:
    """Whatever is no plain name, or leads out of the folder, gets 404, as an upgrade and as a GET."""
    prepare_traps(hub)
    for response in (hub.upgrade(path), hub.get(path)):
        assert isinstance(response, Response)
        assert response.status == 404
        assert "location" not in response.headers
        assert len(response.body) < 200
    assert not hub.search("secret was loaded")


def prepare_traps(hub: HubProcess) -> None:
    """What lies outside the folder, and ways that lead there."""
    if (hub.services / "out.py").is_symlink():
        return
    secret = hub.folder / "secret.py"
    secret.write_text("print('secret was loaded')\nimport wshub\nclass Service(wshub.Service): pass\n")
    for name in (".hidden.py", "_private.py", "__init__.py", "echo.py.py"):
        (hub.services / name).write_text(secret.read_text())
    (hub.services / "out.py").symlink_to(secret)
    (hub.services / "outside").symlink_to(hub.folder)
    (hub.services / "dangling.py").symlink_to("nowhere.py")
    (hub.services / "loop").symlink_to("loop")
    (hub.services / "folder.py").mkdir()


def test_symlink_inside_the_folder(hub: HubProcess) -> None:
    """A link to a module inside the folder is a service of its own."""
    link = hub.services / "linked.py"
    link.symlink_to("echo.py")
    with hub.connect("/linked") as client:
        client.send("by link")
        assert client.recv(WAIT) == "by link"
    link.unlink()


def test_unicode_name(hub: HubProcess) -> None:
    """A name in any script is a name."""
    hub.save("žluť.py", (hub.services / "echo.py").read_text())
    with hub.connect("/%C5%BElu%C5%A5") as client:
        client.send("ano")
        assert client.recv(WAIT) == "ano"


def test_log_stays_one_line_whatever_is_asked(hub: HubProcess) -> None:
    """Control characters in a path or a header make no line of the log and reach no terminal."""
    before = len(hub.lines)
    hub.upgrade("/a%0d%0aforged%1b[31m", "X: \x1b[31m\r\n")
    hub.get("/a%0d%0aforged%1b[31m")
    with hub.rude_client("/echo") as rude:
        rude.send_frame(rude.CLOSE, (4000).to_bytes(2, "big") + b"a\r\nforged\x1b[31m")
        rude.read_close()
    assert not [line for line in hub.lines[before:] if line.startswith("forged") or "\x1b" in line or "\r" in line]
