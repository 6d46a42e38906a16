"""The services that come with the hub."""

import json
import re
from typing import Any

from websockets.sync.client import ClientConnection

from .harness import WAIT, HubProcess, eventually


def test_clock(hub: HubProcess) -> None:
    """The clock tells the time at once, and again and again."""
    with hub.connect("/clock") as client:
        for _ in range(2):
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(client.recv(WAIT)))


class Chatter:
    """A client of the chat room that speaks its messages by hand."""

    def __init__(self, client: ClientConnection, name: str | None = None) -> None:
        self.client = client
        assert self.receive() == {"type": "query", "query": "name"}
        self.listing = self.receive_event("listing")["chatrooms"]
        if name:
            self.send(type="name", name=name)

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.client.send(json.dumps(message))

    def receive(self) -> Any:
        """The next message."""
        return json.loads(self.client.recv(WAIT))

    def receive_event(self, kind: str) -> Any:
        """The next event of this kind, without its type; others are passed over."""
        while True:
            message = self.receive()
            if message["type"] == "event" and message["event"].pop("type") == kind:
                return message["event"]

    def receive_type(self, kind: str) -> Any:
        """The next message of this type; events are passed over."""
        while (message := self.receive())["type"] != kind:
            assert message["type"] == "event"
        return message


def test_chat_room(hub: HubProcess) -> None:
    """Two chatters meet in a new room, talk, and part; a third one outside sees the numbers change."""
    with (
        hub.connect("/demo_chatroom") as first,
        hub.connect("/demo_chatroom") as second,
        hub.connect("/demo_chatroom") as third,
    ):
        ada, bob, eve = Chatter(first, "Ada"), Chatter(second, "Bob"), Chatter(third)
        assert ["lobby", 0] in ada.listing
        eve.send(type="join", chatroom="lobby")
        assert eve.receive() == {"type": "query", "query": "name"}

        ada.send(type="join", chatroom="den")
        assert ada.receive_type("notice")["notice"] == "Chatroom den not found."
        ada.send(type="create", chatroom="den")
        for each in (ada, bob, eve):
            assert each.receive_event("newchatroom") == {"name": "den"}
        ada.send(type="join", chatroom="den")
        assert ada.receive_type("join")["chatroom"] == "den"
        assert eve.receive_event("update") == {"data": ["den", 1]}

        bob.send(type="join", chatroom="den")
        assert bob.receive_type("join")["chatroom"] == "den"
        assert ada.receive_event("newuser") == {"name": "Bob"}
        bob.send(type="message", message="hello 🐎")
        for each in (ada, bob):
            assert each.receive_event("message") == {"name": "Bob", "message": "hello 🐎"}

        for nonsense in (
            "{",
            "[]",
            "1",
            '{"type": 5}',
            '{"type":"join"}',
            '{"type":"message","message":1}',
            "[" * 100_000,
        ):
            first.send(nonsense)
        first.send(b"\xff")
        ada.send(type="message", message="still here")
        assert bob.receive_event("message") == {"name": "Ada", "message": "still here"}

        second.close()
        assert ada.receive_event("logoff") == {"name": "Bob"}
        assert ada.receive_event("update") == {"data": ["den", 1]}
    eventually(lambda: hub.count_clients() == 0, "all gone")
