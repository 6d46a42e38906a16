"""Echo in the style of the original WebSocketServer."""

import Services
from WebSockets import WebSocketTransaction


class Service(Services.Service):
    def run(self):
        while not self.shutdownFlag.is_set():
            transaction = self.recvQueue.get()
            if transaction.transactionType == WebSocketTransaction.DATA:
                self.sendQueue.put(transaction)
