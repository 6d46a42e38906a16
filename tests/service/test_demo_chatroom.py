"""The chat room by its protocol: the real module in a process of its own, and JSON there and back."""

import json
import random
from itertools import count

import pytest

from wshub.wire import DATA

from .conftest import CHECKOUT, ServiceProcess

QUERY = {"type": "query", "query": "name"}


def event(kind, **details):
    """An event as it travels."""
    return {"type": "event", "event": {"type": kind, **details}}


def update(room, people):
    """The event that tells how many are in a room now."""
    return event("update", data=[room, people])


def listing(*rooms):
    """The event that tells of all rooms."""
    return event("listing", chatrooms=[list(room) for room in rooms])


class Chat:
    """The service, its clients, and one more client that only shows when the service has dealt with everything."""

    def __init__(self):
        root = CHECKOUT / "services"
        self.process = ServiceProcess(root, "/demo_chatroom", root / "demo_chatroom.py")
        self.process.get_ready()
        self._numbers = count()
        self._heard = {}
        self._present = set()
        self._probe = self.process.connect()
        self.say(self._probe, type="name", name="probe")
        self.heard(self._probe)

    def connect(self, name=None, room=None):
        """A client connects, and may say its name and join a room. What it hears meanwhile is forgotten by all."""
        client = self.process.connect()
        self._present.add(client)
        if name is not None:
            self.say(client, type="name", name=name)
        if room is not None:
            self.say(client, type="create", chatroom=room)
            self.say(client, type="join", chatroom=room)
        if name is not None:
            self.forget()
        return client

    def say(self, client, **message):
        """A client sends a message."""
        self.process.message(client, json.dumps(message))

    def send(self, client, data):
        """A client sends whatever."""
        self.process.message(client, data)

    def disconnect(self, client):
        """A client goes."""
        self._present.discard(client)
        self.process.gone(client)

    def disconnect_all(self):
        """Everybody goes, and what they have heard is forgotten; the rooms stay."""
        for client in sorted(self._present):
            self.disconnect(client)
        self.forget()

    def heard(self, client):
        """What a client has heard since this was last asked, once the service has dealt with everything."""
        fence = f"fence {next(self._numbers)}"
        self.say(self._probe, type="join", chatroom=fence)
        notice = {"type": "notice", "notice": f"Chatroom {fence} not found."}
        while True:
            kind, its, payload = self.process.get()
            assert kind == DATA
            message = json.loads(payload)
            if (its, message) == (self._probe, notice):
                return self._heard.pop(client, [])
            self._heard.setdefault(its, []).append(message)

    def forget(self):
        """Whatever has been said until now is not of interest."""
        self.heard(None)
        self._heard.clear()

    def listing(self):
        """The rooms, by a new client's listing."""
        client = self.process.connect()
        _, message = self.heard(client)
        self.disconnect(client)
        return dict(message["event"]["chatrooms"])


@pytest.fixture
def chat():
    """A chat room, which must end well and without a word on stderr, whatever the test has done to it."""
    chat = Chat()
    try:
        yield chat
        assert chat.process.stop() == 0
        assert chat.process.stderr.items == []
    finally:
        chat.process.close()


@pytest.fixture(scope="module")
def started():
    """The processes behind `shared_chat`: one, unless a test has ended it."""
    chats = []
    yield chats
    try:
        assert [chat.process.stop() for chat in chats] == [0] * len(chats)
        assert [chat.process.errors for chat in chats] == [""] * len(chats)
    finally:
        for chat in chats:
            chat.process.close()


@pytest.fixture
def shared_chat(started):
    """A chat room without anybody in it, but with the rooms of the tests before, for tests that come in dozens."""
    if not started or started[-1].process.transactions.is_over:
        started.append(Chat())
    chat = started[-1]
    yield chat
    if not chat.process.transactions.is_over:
        chat.disconnect_all()


# Connecting and the name.


def test_on_connect(chat):
    """First the query of the name, then the listing, and nothing else."""
    client = chat.connect()
    assert chat.heard(client) == [QUERY, listing(("lobby", 0))]


def test_listing_counts_people(chat):
    """The listing has pairs of a room and the number of people in it; a client without a room is in none."""
    chat.connect("Ann", "lobby")
    chat.connect("Bob", "lobby")
    chat.connect("Cem", "den")
    chat.connect("Dee")
    client = chat.connect()
    assert chat.heard(client) == [QUERY, listing(("lobby", 2), ("den", 1))]


def test_name_is_accepted_in_silence(chat):
    """A name is remembered; nobody is told."""
    client, other = chat.connect(), chat.connect()
    chat.forget()
    chat.say(client, type="name", name="Ann")
    assert chat.heard(client) == []
    assert chat.heard(other) == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "create", "chatroom": "den"},
        {"type": "join", "chatroom": "lobby"},
        {"type": "join", "chatroom": "nowhere"},
        {"type": "message", "message": "hello"},
        {"type": "no such type"},
        {"type": "name"},
        {"type": "name", "name": None},
        {"type": "name", "name": 5},
        {"type": "name", "name": ["Ann"]},
    ],
    ids=json.dumps,
)
def test_before_the_name(shared_chat, message):
    """Anything but a name is answered with the query again, and has no effect at all."""
    chat = shared_chat
    client, other = chat.connect(), chat.connect("Bob", "lobby")
    chat.forget()
    rooms = chat.listing()
    chat.say(client, **message)
    chat.say(client, **message)
    assert chat.heard(client) == [QUERY, QUERY]
    assert chat.heard(other) == []
    assert chat.listing() == rooms
    chat.say(client, type="name", name="Ann")
    chat.say(client, type="join", chatroom="lobby")
    assert chat.heard(other) == [event("newuser", name="Ann"), update("lobby", 2)]


def test_new_name(chat):
    """A second name replaces the first, also within a room, and under it one leaves."""
    client, other = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    chat.say(client, type="name", name="Anne")
    chat.say(client, type="message", message="me again")
    assert chat.heard(other) == [event("message", name="Anne", message="me again")]
    chat.disconnect(client)
    assert chat.heard(other) == [event("logoff", name="Anne"), update("lobby", 1)]


def test_same_name_twice(chat):
    """Names need not be different; one who leaves does not take the other along."""
    first, second = chat.connect("Ann", "lobby"), chat.connect("Ann", "lobby")
    chat.disconnect(first)
    assert chat.heard(second) == [event("logoff", name="Ann"), update("lobby", 1)]
    chat.say(second, type="message", message="still here")
    assert chat.heard(second) == [event("message", name="Ann", message="still here")]


# Rooms.


def test_create(chat):
    """Every client is told of a new room: its creator, those in rooms, and those without a name."""
    creator, other, nameless = chat.connect("Ann"), chat.connect("Bob", "lobby"), chat.connect()
    chat.forget()
    chat.say(creator, type="create", chatroom="den")
    for client in (creator, other, nameless):
        assert chat.heard(client) == [event("newchatroom", name="den")]
    assert chat.listing() == {"lobby": 1, "den": 0}


def test_create_what_exists(chat):
    """Nothing happens, whoever is in the room stays in it."""
    client, other = chat.connect("Ann", "den"), chat.connect("Bob")
    chat.say(other, type="create", chatroom="den")
    chat.say(other, type="create", chatroom="lobby")
    assert chat.heard(other) == []
    assert chat.heard(client) == []
    assert chat.listing() == {"lobby": 0, "den": 1}


@pytest.mark.parametrize("name", ["", " ", "__proto__", "grüß €", "<b>", "a" * 10_000, "\ud800", "constructor", "\0"])
def test_any_name_of_a_room(shared_chat, name):
    """A room may be called anything that JSON can say, and travels as it is."""
    chat = shared_chat
    client = chat.connect("Ann")
    assert name not in chat.listing()
    chat.say(client, type="create", chatroom=name)
    chat.say(client, type="join", chatroom=name)
    heard = chat.heard(client)
    assert heard[0] == event("newchatroom", name=name)
    assert {"type": "join", "chatroom": name} in heard
    assert update(name, 1) in heard


def test_join(chat):
    """Who joins gets `join`; those already there get `newuser`; everybody, wherever, gets the new number."""
    client, inside, outside = chat.connect("Ann"), chat.connect("Bob", "lobby"), chat.connect("Cem", "den")
    chat.say(client, type="join", chatroom="lobby")
    assert sorted(chat.heard(client), key=str) == sorted(
        [update("lobby", 2), {"type": "join", "chatroom": "lobby"}], key=str
    )
    assert chat.heard(inside) == [event("newuser", name="Ann"), update("lobby", 2)]
    assert chat.heard(outside) == [update("lobby", 2)]


def test_join_reaches_clients_without_a_name(chat):
    """The number of people is told to every client, one without a name too."""
    client, nameless = chat.connect("Ann"), chat.connect()
    chat.forget()
    chat.say(client, type="join", chatroom="lobby")
    assert chat.heard(nameless) == [update("lobby", 1)]


def test_join_another_room(chat):
    """Those in the old room get `logoff`, those in the new one `newuser`, everybody both numbers; none is its own."""
    mover = chat.connect("Ann", "lobby")
    left, found = chat.connect("Bob", "lobby"), chat.connect("Cem", "den")
    chat.say(mover, type="join", chatroom="den")
    assert chat.heard(left) == [event("logoff", name="Ann"), update("lobby", 1), update("den", 2)]
    assert chat.heard(found) == [update("lobby", 1), event("newuser", name="Ann"), update("den", 2)]
    heard = chat.heard(mover)
    assert {"type": "join", "chatroom": "den"} in heard
    assert [message for message in heard if message["type"] == "event"] == [update("lobby", 1), update("den", 2)]
    assert chat.listing() == {"lobby": 1, "den": 2}


def test_join_the_same_room_again(chat):
    """One is in it once afterwards: counted once, and a message comes once."""
    client, other = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    chat.say(client, type="join", chatroom="lobby")
    assert {"type": "join", "chatroom": "lobby"} in chat.heard(client)
    chat.forget()
    assert chat.listing() == {"lobby": 2}
    chat.say(other, type="message", message="hello")
    assert chat.heard(client) == [event("message", name="Bob", message="hello")]
    assert chat.heard(other) == [event("message", name="Bob", message="hello")]


@pytest.mark.parametrize("room", ["nowhere", "Lobby", "lobby ", "<i>", "grüß", "\udfff"])
def test_join_what_does_not_exist(shared_chat, room):
    """A notice with the name of the room; one stays where one is, and nobody else is told."""
    chat = shared_chat
    client, other = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    chat.say(client, type="join", chatroom=room)
    assert chat.heard(client) == [{"type": "notice", "notice": f"Chatroom {room} not found."}]
    assert chat.heard(other) == []
    chat.say(client, type="message", message="still here")
    assert chat.heard(other) == [event("message", name="Ann", message="still here")]


# Messages.


def test_message(chat):
    """Everyone in the room gets it, the sender too, and nobody elsewhere."""
    sender, inside = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    outside, nowhere, nameless = chat.connect("Cem", "den"), chat.connect("Dee"), chat.connect()
    chat.forget()
    chat.say(sender, type="message", message="hello")
    for client in (sender, inside):
        assert chat.heard(client) == [event("message", name="Ann", message="hello")]
    for client in (outside, nowhere, nameless):
        assert chat.heard(client) == []


@pytest.mark.parametrize(
    "text", ["", "grüß €", "<script>", "a\nb\0c", '{"type":"name"}', "\ud83d\ude00", "x" * 100_000]
)
def test_any_message(shared_chat, text):
    """A message arrives as it was."""
    chat = shared_chat
    client = chat.connect("Ann", "lobby")
    chat.say(client, type="message", message=text)
    ((_, said),) = [message.values() for message in chat.heard(client)]
    assert said["message"].encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_message_outside_all_rooms(chat):
    """It goes nowhere."""
    client, other = chat.connect("Ann"), chat.connect("Bob", "lobby")
    chat.say(client, type="message", message="anybody?")
    assert chat.heard(client) == []
    assert chat.heard(other) == []


def test_messages_keep_their_order(chat):
    """What is said in a row arrives in a row."""
    client, other = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    chat.process.message(client, *(json.dumps({"type": "message", "message": str(n)}) for n in range(200)))
    assert [said["event"]["message"] for said in chat.heard(other)] == [str(n) for n in range(200)]


def test_message_after_moving(chat):
    """One hears the room in which one is, and not the one in which one was."""
    mover, left = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    chat.say(mover, type="create", chatroom="den")
    chat.say(mover, type="join", chatroom="den")
    chat.forget()
    chat.say(left, type="message", message="gone?")
    assert chat.heard(mover) == []
    chat.say(mover, type="message", message="in here")
    assert chat.heard(mover) == [event("message", name="Ann", message="in here")]
    assert chat.heard(left) == [event("message", name="Bob", message="gone?")]


# Leaving.


def test_disconnect(chat):
    """Those in the room get `logoff`, everybody the new number, and the one who went nothing any more."""
    client, inside = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    outside, nameless = chat.connect("Cem", "den"), chat.connect()
    chat.forget()
    chat.disconnect(client)
    assert chat.heard(inside) == [event("logoff", name="Ann"), update("lobby", 1)]
    assert chat.heard(outside) == [update("lobby", 1)]
    assert chat.heard(nameless) == [update("lobby", 1)]
    chat.say(inside, type="message", message="hello?")
    chat.say(inside, type="create", chatroom="empty")
    assert chat.heard(client) == []
    assert chat.listing() == {"lobby": 1, "den": 1, "empty": 0}


@pytest.mark.parametrize("name", [None, "Ann"])
def test_disconnect_outside_all_rooms(chat, name):
    """Nobody hears of one who was in no room, with a name or without."""
    client, other = chat.connect(name), chat.connect("Bob", "lobby")
    chat.disconnect(client)
    assert chat.heard(other) == []
    assert chat.listing() == {"lobby": 1}


def test_last_one_leaves(chat):
    """An empty room stays, with nobody in it, and can be joined again."""
    chat.disconnect(chat.connect("Ann", "den"))
    assert chat.listing() == {"lobby": 0, "den": 0}
    client = chat.connect("Bob")
    chat.say(client, type="join", chatroom="den")
    assert {"type": "join", "chatroom": "den"} in chat.heard(client)


def test_connecting_again(chat):
    """A new connection knows nothing of the old one: it is asked for its name."""
    chat.disconnect(chat.connect("Ann", "lobby"))
    client = chat.connect()
    assert chat.heard(client) == [QUERY, listing(("lobby", 0))]
    chat.say(client, type="message", message="hello")
    assert chat.heard(client) == [QUERY]


# Nonsense.


NOT_JSON_OBJECTS = {
    "empty": "",
    "space": " ",
    "cut off": '{"type":',
    "text": "hello",
    "trailing": '{"type":"message","message":"x"} x',
    "quotes": "{'type':'message'}",
    "array": "[]",
    "array of name": '["type"]',
    "null": "null",
    "number": "5",
    "huge number": "9" * 10_000,
    "infinite": "1e999",
    "NaN": "NaN",
    "string": '"type"',
    "deep arrays": "[" * 200_000,
    "deep objects": '{"type":' * 100_000,
    "deep and whole": "[" * 50_000 + "]" * 50_000,
    "NUL": "\0",
    "BOM": '\ufeff{"type":"message","message":"x"}',
    "bytes": b"\xff\xfe\x00\x80",
    "cut off UTF-8": b'{"type":"\xc3',
}


@pytest.mark.parametrize("name", NOT_JSON_OBJECTS)
def test_what_is_no_json_object(shared_chat, name):
    """It is ignored, before the name and after it, and everything goes on."""
    chat = shared_chat
    client, nameless = chat.connect("Ann", "lobby"), chat.connect()
    chat.forget()
    chat.send(client, NOT_JSON_OBJECTS[name])
    chat.send(nameless, NOT_JSON_OBJECTS[name])
    assert chat.heard(client) == []
    assert chat.heard(nameless) in ([], [QUERY])
    chat.say(client, type="message", message="still here")
    assert chat.heard(client) == [event("message", name="Ann", message="still here")]


NONSENSE = [
    {},
    {"message": "x"},
    {"type": None},
    {"type": 5},
    {"type": ["message"]},
    {"type": {"type": "message"}},
    {"type": "no such type"},
    {"type": "Message", "message": "x"},
    {"type": "event", "event": {"type": "message", "name": "Bob", "message": "x"}},
    {"type": "query", "query": "name"},
    {"type": "name"},
    {"type": "name", "name": None},
    {"type": "name", "name": {"a": "b"}},
    {"type": "create"},
    {"type": "create", "chatroom": None},
    {"type": "create", "chatroom": 5},
    {"type": "create", "chatroom": ["den"]},
    {"type": "create", "chatroom": {}},
    {"type": "join"},
    {"type": "join", "chatroom": ["lobby"]},
    {"type": "join", "chatroom": {"lobby": 1}},
    {"type": "message"},
    {"type": "message", "message": None},
    {"type": "message", "message": ["x"]},
]


@pytest.mark.parametrize("message", NONSENSE, ids=json.dumps)
def test_messages_without_sense(shared_chat, message):
    """Unknown types and parts that are missing or of a wrong type are ignored, and everything goes on."""
    chat = shared_chat
    client, other = chat.connect("Ann", "lobby"), chat.connect("Bob", "lobby")
    rooms = chat.listing()
    chat.say(client, **message)
    assert chat.heard(client) == []
    assert chat.heard(other) == []
    assert chat.listing() == rooms
    chat.say(client, type="message", message="still here")
    assert chat.heard(other) == [event("message", name="Ann", message="still here")]


def test_deep_nesting_within_a_message(chat):
    """A known message with something deep beside it is understood or ignored, never fatal."""
    client = chat.connect("Ann", "lobby")
    for depth in (100, 900, 990, 1000, 5000, 100_000):
        chat.send(client, '{"type":"message","message":"x","more":' + "[" * depth + "]" * depth + "}")
    assert set(map(str, chat.heard(client))) <= {str(event("message", name="Ann", message="x"))}
    chat.say(client, type="message", message="still here")
    assert chat.heard(client) == [event("message", name="Ann", message="still here")]


def test_name_that_has_no_utf8_form(chat):
    """JSON can say a lone surrogate: it travels on as it came."""
    client, other = chat.connect("\ud800", "lobby"), chat.connect("Bob", "lobby")
    chat.say(client, type="message", message="\udfff")
    assert chat.heard(other) == [event("message", name="\ud800", message="\udfff")]
    chat.disconnect(client)
    assert chat.heard(other) == [event("logoff", name="\ud800"), update("lobby", 1)]


# All together.


def test_any_coming_and_going(chat):
    """Whatever people do, the numbers in the updates and in the listing are those of the people who are there."""
    dice = random.Random(2012)
    rooms, people = {"lobby"}, {}
    watcher = chat.connect("watcher")
    known = {"lobby": 0}
    for step in range(300):
        action = dice.choice(["connect", "join", "join", "join", "create", "message", "disconnect"])
        if action == "connect" or not people:
            client = chat.connect()
            chat.say(client, type="name", name=f"person {client}")
            people[client] = None
            continue
        client = dice.choice(sorted(people))
        if action == "join":
            room = dice.choice([*sorted(rooms), "nowhere"])
            chat.say(client, type="join", chatroom=room)
            people[client] = room if room in rooms else people[client]
        elif action == "create":
            rooms.add(f"room {dice.randrange(5)}" if step % 2 else "lobby")
            for room in sorted(rooms):
                chat.say(client, type="create", chatroom=room)
        elif action == "message":
            chat.say(client, type="message", message=str(step))
        else:
            chat.disconnect(client)
            del people[client]
    for said in chat.heard(watcher):
        assert said["event"]["type"] in ("newchatroom", "update"), said
        if said["event"]["type"] == "update":
            name, number = said["event"]["data"]
            known[name] = number
        else:
            known[said["event"]["name"]] = 0
    expected = {room: sum(its == room for its in people.values()) for room in rooms}
    assert known == expected
    assert chat.listing() == expected


def test_page_of_the_original_is_served_by_this_protocol(chat):
    """A whole conversation, message by message, as a page of the original has it."""
    ann, bob = chat.connect(), chat.connect()
    assert chat.heard(ann) == [QUERY, listing(("lobby", 0))]
    chat.say(ann, type="join", chatroom="lobby")
    assert chat.heard(ann) == [QUERY]
    chat.say(ann, type="name", name="Ann")
    chat.say(ann, type="join", chatroom="lobby")
    assert chat.heard(ann) == [update("lobby", 1), {"type": "join", "chatroom": "lobby"}]
    chat.forget()
    chat.say(bob, type="name", name="Bob")
    chat.say(bob, type="create", chatroom="den")
    chat.say(bob, type="join", chatroom="lobby")
    assert chat.heard(ann) == [event("newchatroom", name="den"), event("newuser", name="Bob"), update("lobby", 2)]
    chat.say(ann, type="message", message="hi")
    chat.say(bob, type="join", chatroom="den")
    chat.disconnect(bob)
    assert chat.heard(ann) == [
        event("message", name="Ann", message="hi"),
        event("logoff", name="Bob"),
        update("lobby", 1),
        update("den", 1),
        update("den", 0),
    ]
