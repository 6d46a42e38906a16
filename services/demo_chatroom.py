"""A chat room, in the style of the original WebSocketServer: a loop over two queues, and subscriptions.

Everybody in a room subscribes to it; every chatter subscribes to the list of rooms; each room's list subscribes to the
room, silently, to tell everybody how many are in it. The messages are JSON.
"""

import json

import Services
import WebSockets

DATA = WebSockets.WebSocketTransaction.DATA
CLOSE = WebSockets.WebSocketTransaction.CLOSE
NEWSOCKET = WebSockets.WebSocketTransaction.NEWSOCKET

Event = Services.Subscribable.SubscriptionEvent


class Room(Services.Subscribable):
    """Whoever is subscribed is in the room."""

    def __init__(self, name):
        self.name = name

    def subscribe(self, chatter, callback):
        self.sendEvent(Event("newuser", {"name": chatter.name}))
        subscription = super().subscribe(chatter, callback)
        self.sendEvent(Event("count", self.getNumSubscribers()))
        return subscription

    def unsubscribe(self, subscription):
        chatter = super().unsubscribe(subscription)
        self.sendEvent(Event("logoff", {"name": chatter.name}))
        self.sendEvent(Event("count", self.getNumSubscribers()))
        return chatter


class Rooms(Services.Subscribable):
    """All the rooms there are. Its subscribers are told of new rooms and of how many people each one has."""

    def __init__(self):
        self.rooms = {}

    def create(self, name):
        if name not in self.rooms:
            room = self.rooms[name] = Room(name)
            room.subscribeSilent(self, lambda event: self.on_room_event(room, event))
            self.sendEvent(Event("newchatroom", {"name": name}))

    def on_room_event(self, room, event):
        if event.eventId == "count":
            self.sendEvent(Event("update", {"data": [room.name, event.data]}))

    def listing(self):
        return [[name, room.getNumSubscribers()] for name, room in self.rooms.items()]


class Chatter:
    """One client: at first without a name, then outside all rooms, then in one."""

    def __init__(self, socket_id, send_queue, rooms):
        self.socket_id = socket_id
        self.send_queue = send_queue
        self.rooms = rooms
        self.name = None
        self.room = None
        self.room_subscription = None
        self.send({"type": "query", "query": "name"})
        self.send_event(Event("listing", {"chatrooms": rooms.listing()}))
        self.rooms_subscription = rooms.subscribe(self, self.send_event)

    def send(self, message):
        self.send_queue.put(WebSockets.WebSocketTransaction(DATA, self.socket_id, json.dumps(message)))

    def send_event(self, event):
        if event.eventId != "count":
            self.send({"type": "event", "event": {"type": event.eventId, **event.data}})

    def receive(self, text):
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if kind == "name" and isinstance(message.get("name"), str):
            self.name = message["name"]
        elif self.name is None:
            self.send({"type": "query", "query": "name"})
        elif kind == "create" and isinstance(message.get("chatroom"), str):
            self.rooms.create(message["chatroom"])
        elif kind == "join" and isinstance(message.get("chatroom"), str):
            self.join(message["chatroom"])
        elif kind == "message" and isinstance(message.get("message"), str) and self.room:
            self.room.sendEvent(Event("message", {"name": self.name, "message": message["message"]}))

    def join(self, name):
        if name not in self.rooms.rooms:
            self.send({"type": "notice", "notice": f"Chatroom {name} not found."})
            return
        self.leave()
        self.room = self.rooms.rooms[name]
        self.room_subscription = self.room.subscribe(self, self.send_event)
        self.send({"type": "join", "chatroom": name})

    def leave(self):
        if self.room:
            room, self.room = self.room, None
            room.unsubscribe(self.room_subscription)

    def gone(self):
        self.rooms.unsubscribe(self.rooms_subscription)
        self.leave()


class Service(Services.Service):
    def __init__(self, sendQueue, recvQueue):
        super().__init__(sendQueue, recvQueue)
        self.rooms = Rooms()
        self.rooms.create("lobby")
        self.chatters = {}

    def run(self):
        while not self.shutdownFlag.is_set():
            transaction = self.recvQueue.get()
            socket_id = transaction.socketId
            if transaction.transactionType == NEWSOCKET:
                self.chatters[socket_id] = Chatter(socket_id, self.sendQueue, self.rooms)
            elif transaction.transactionType == DATA:
                self.chatters[socket_id].receive(transaction.data)
            elif transaction.transactionType == CLOSE:
                self.chatters.pop(socket_id).gone()
