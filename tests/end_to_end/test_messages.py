"""Messages, close codes and handshakes, between real clients and real services."""

import asyncio
import json
import os
import re
import threading

import pytest
from websockets.exceptions import ConnectionClosed

from .harness import WAIT, HubProcess, RudeClient, closed_with, make_upgrade, read_response

MiB = 1 << 20


@pytest.mark.parametrize(
    "message",
    ["hello", "", b"", bytes(range(256)), "žluťoučký 🐎", "x" * 125, "x" * 126, b"x" * 65535, b"x" * 65536],
    ids=["text", "empty text", "empty binary", "binary", "unicode", "125", "126", "65535", "65536"],
)
def test_echo(hub: HubProcess, message: str | bytes) -> None:
    """A message comes back as it was sent, text as text and binary as binary."""
    with hub.connect("/echo") as client:
        client.send(message)
        assert client.recv(WAIT) == message


@pytest.mark.parametrize("message", ["x" * MiB, os.urandom(MiB)], ids=["text", "binary"])
def test_echo_of_one_mebibyte(hub: HubProcess, message: str | bytes) -> None:
    """A message of just the greatest size comes back."""
    with hub.connect("/echo") as client:
        client.send(message)
        assert client.recv(WAIT) == message


def test_fragments_are_one_message(hub: HubProcess) -> None:
    """A message in fragments, one of them empty, arrives whole, and a ping between them is answered."""
    with hub.connect("/echo") as client:
        client.send(["one, ", "", "two, ", "three"])
        assert client.recv(WAIT) == "one, two, three"
    with hub.rude_client("/echo") as rude:
        rude.send_frame(rude.TEXT, "ž".encode()[:1], fin=False)
        rude.send_frame(rude.PING, b"between")
        rude.send_frame(0, "ž".encode()[1:])
        assert rude.read_frame() == (0x80 | rude.PONG, b"between")
        assert rude.read_frame() == (0x80 | rude.TEXT, "ž".encode())


def test_ping_is_answered_and_pong_is_not(hub: HubProcess) -> None:
    """A ping comes back as a pong with the same payload; a pong that nobody asked for is ignored."""
    with hub.rude_client("/echo") as rude:
        rude.send_frame(rude.PONG, b"unasked")
        rude.send_frame(rude.PING, b"x" * 125)
        assert rude.read_frame() == (0x80 | rude.PONG, b"x" * 125)
        rude.send_frame(rude.PING)
        assert rude.read_frame() == (0x80 | rude.PONG, b"")


CLOSES = """
    import wshub

    class Service(wshub.Service):
        def on_open(self, client):
            client.send("open")

        def on_message(self, client, data):
            code, _, reason = data.partition(" ")
            client.close(int(code), reason)

        def on_close(self, client, code, reason):
            print("closed", client.query, code, ascii(reason))
"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "away"), (3000, "ž" * 61), (4999, "bye")],
    ids=["1000", "1001", "3000", "4999"],
)
def test_close_by_the_client(hub: HubProcess, code: int, reason: str) -> None:
    """The client's code and reason arrive in on_close."""
    hub.save("closes.py", CLOSES)
    with hub.connect(f"/closes?by-client-{code}") as client:
        client.close(code, reason)
    hub.wait_for_log(rf"\[service /closes#info\] closed by-client-{code} {code} {re.escape(ascii(reason))}$")


def test_close_by_the_client_is_echoed(hub: HubProcess) -> None:
    """The client is told its own code, as RFC 6455, section 5.5.1, has it; a browser shows it as the event's code."""
    with hub.rude_client("/echo") as rude:
        rude.send_frame(rude.CLOSE, (4321).to_bytes(2, "big"))
        assert rude.read_close()[0] == 4321
        rude.read_end()


def test_close_by_the_service_ends_in_order(hub: HubProcess) -> None:
    """After the closing handshake the TCP connection is closed and not reset."""
    hub.save("closes.py", CLOSES)
    with hub.rude_client("/closes?in-order") as rude:
        rude.send_frame(rude.TEXT, b"4000 x")
        assert rude.read_frame() == (0x80 | rude.TEXT, b"open")
        assert rude.read_close() == (4000, "x")
        rude.send_frame(rude.CLOSE, (4000).to_bytes(2, "big"))
        rude.read_end()


def test_slow_reader_gets_everything_before_the_close(hub: HubProcess) -> None:
    """What a service sent before it closed is not lost to a client that takes a while to read it."""
    hub.save(
        "sends_much.py",
        """
        import wshub

        class Service(wshub.Service):
            slow_clients = "pause"

            def on_open(self, client):
                for _ in range(16):
                    client.send(bytes(1 << 20))
                client.close(4000, "that was all")
        """,
    )
    with hub.rude_client("/sends_much") as rude:
        threading.Event().wait(1.5)
        for _ in range(16):
            assert rude.read_frame() == (0x80 | rude.BINARY, bytes(MiB))
        assert rude.read_close() == (4000, "that was all")


def test_close_without_a_code_and_without_a_frame(hub: HubProcess) -> None:
    """on_close is told 1005 if the close frame had no code, and 1006 if there was no close frame."""
    hub.save("closes.py", CLOSES)
    with hub.rude_client("/closes?no-code") as rude:
        assert rude.read_frame() == (0x80 | rude.TEXT, b"open")
        rude.send_frame(rude.CLOSE)
        assert rude.read_frame()[0] == 0x80 | rude.CLOSE
        rude.read_end()
    with hub.rude_client("/closes?no-frame"):
        pass
    hub.wait_for_log(r"closed no-code 1005 ''$")
    hub.wait_for_log(r"closed no-frame 1006 ''$")


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, "x"), (1013, "try again later"), (1008, "no 🐎")])
def test_close_by_the_service(hub: HubProcess, code: int, reason: str) -> None:
    """The service's code and reason arrive at the client, and on_close is called once."""
    hub.save("closes.py", CLOSES)
    with hub.connect(f"/closes?by-service-{code}") as client:
        client.send(f"{code} {reason}")
        assert closed_with(client) == (code, reason)
    hub.wait_for_log(rf"closed by-service-{code} {code} ")
    assert len(hub.search(rf"closed by-service-{code} ")) == 1


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(["b", "a"], "a"), (["b"], "b"), (["c", "b"], "b"), (["c"], None), (None, None)],
)
def test_subprotocol(hub: HubProcess, offered: list[str] | None, agreed: str | None) -> None:
    """The first of the service's subprotocols that the client offers is agreed upon, if there is one."""
    hub.save(
        "speaks.py",
        """
        import wshub

        class Service(wshub.Service):
            subprotocols = ("a", "b")

            def on_open(self, client):
                client.send(str(client.subprotocol))
        """,
    )
    with hub.connect("/speaks", subprotocols=offered) as client:
        assert client.subprotocol == agreed
        assert client.recv(WAIT) == str(agreed)


def test_what_the_service_sees_of_a_client(hub: HubProcess) -> None:
    """Path, query, headers, cookies and address are what the client sent and has."""
    hub.save(
        "sees/Me.py",
        """
        import json
        import wshub

        class Service(wshub.AsyncService):
            async def on_open(self, client):
                client.send(json.dumps([client.path, client.query, client.headers, client.cookies, client.address]))
        """,
    )
    headers = {"Cookie": 'a=1; b="two words"', "X-Thing": "one", "Authorization": "Bearer x"}
    with hub.connect("/%73ees/Me?q=%20x&q=2", additional_headers=headers) as client:
        path, query, seen, cookies, address = json.loads(client.recv(WAIT))
        assert (path, query) == ("/%73ees/Me", "q=%20x&q=2")
        assert seen["x-thing"] == "one"
        assert seen["authorization"] == "Bearer x"
        assert seen["host"] == f"{hub.host}:{hub.port}"
        assert cookies == {"a": "1", "b": "two words"}
        assert tuple(address) == client.socket.getsockname()[:2]


def test_compression_is_off_by_default(hub: HubProcess) -> None:
    """A client that offers permessage-deflate gets none, and a frame that claims it is a violation."""
    with hub.connect("/echo", compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        client.send("plain")
        assert client.recv(WAIT) == "plain"
    with hub.rude_client("/echo") as rude:
        rude.send_frame(rude.TEXT, b"\xca\x48\x04\x00", rsv=4)
        assert rude.read_close()[0] == 1002


@pytest.mark.parametrize(
    ("bytes_sent", "code"),
    [
        (b"\x81\x85" + bytes(4) + b"he\xc3\x28o", 1007),  # text that is not UTF-8
        (b"\x81\x02hi", 1002),  # not masked
        (b"\xf1\x82" + bytes(4) + b"hi", 1002),  # reserved bits
        (b"\x83\x80" + bytes(4), 1002),  # a reserved opcode
        (b"\x80\x80" + bytes(4), 1002),  # the rest of nothing
        (b"\x09\x80" + bytes(4), 1002),  # a ping in fragments
        (b"\x88\x82" + bytes(4) + (1005).to_bytes(2, "big"), 1002),  # a close code that none may send
    ],
    ids=["not UTF-8", "unmasked", "reserved bits", "opcode", "continuation", "ping fragment", "close code"],
)
def test_violations_are_told(hub: HubProcess, bytes_sent: bytes, code: int) -> None:
    """Whoever breaks the protocol gets a close frame with the code that says how, and then the end."""
    with hub.rude_client("/echo") as rude:
        rude.connection.sendall(bytes_sent)
        assert rude.read_close()[0] == code
        rude.finish(code)


@pytest.mark.parametrize("fragments", [1, 2, 1025], ids=["whole", "two", "many"])
def test_too_large_a_message(hub: HubProcess, fragments: int) -> None:
    """One byte more than the greatest message is answered with 1009, however it comes."""
    message = b"x" * (MiB + 1)
    size = -(-len(message) // fragments)
    with hub.connect("/echo") as client:
        try:
            client.send([message[i : i + size] for i in range(0, len(message), size)])
        except ConnectionClosed:
            pass  # it was told to stop
        assert closed_with(client)[0] == 1009


def test_nothing_is_lost_or_reordered(hub: HubProcess) -> None:
    """Twenty clients that send two hundred messages at once each get theirs back, complete and in order."""

    async def converse(number: int) -> None:
        async with hub.connect_async("/echo") as client:
            messages = [f"{number} {i} " + "x" * (i * 7 % 300) for i in range(200)]
            receiving = asyncio.create_task(receive(client, len(messages)))
            for message in messages:
                await client.send(message)
            assert await receiving == messages

    async def receive(client: object, count: int) -> list[object]:
        return [await client.recv() for _ in range(count)]  # type: ignore[attr-defined]

    async def everybody() -> None:
        await asyncio.wait_for(asyncio.gather(*map(converse, range(20))), WAIT)

    asyncio.run(everybody())


def test_broadcast_to_a_hundred(hub: HubProcess) -> None:
    """A broadcast reaches all of a hundred clients but the one that is left out, in each client's order."""
    hub.save(
        "tells_all.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                self.broadcast(data, exclude=[client])
                client.send("sent " + data)
        """,
    )

    async def everybody() -> None:
        clients = await asyncio.gather(*(hub.connect_async("/tells_all") for _ in range(100)))
        await clients[0].send("one")
        await clients[0].send("two")
        received = await asyncio.gather(*(receive_two(client) for client in clients))
        assert received == [["sent one", "sent two"], *[["one", "two"]] * 99]
        await asyncio.gather(*(client.close() for client in clients))

    async def receive_two(client: object) -> list[object]:
        return [await client.recv() for _ in range(2)]  # type: ignore[attr-defined]

    asyncio.run(asyncio.wait_for(everybody(), WAIT))


def test_message_right_behind_the_handshake(hub: HubProcess) -> None:
    """A client that does not wait for the 101 loses nothing, though its service must start first."""
    hub.save("late.py", "import time\ntime.sleep(0.2)\n" + (hub.services / "echo.py").read_text())
    with hub.open_socket() as connection:
        frame = b"\x81\x82" + bytes(4) + b"hi"
        connection.sendall(make_upgrade("/late") + frame + frame)
        response = read_response(connection)
        assert response.status == 101
        rude = RudeClient(connection, response.body)
        assert [rude.read_frame() for _ in range(2)] == [(0x81, b"hi")] * 2
