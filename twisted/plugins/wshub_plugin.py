"""Makes ``twistd wshub`` known. Everything else is in :mod:`wshub.tap`, imported only when it is asked for."""

from twisted.application.service import ServiceMaker

wshub = ServiceMaker("wshub", "wshub.tap", "A hub of WebSocket services from a folder of Python files.", "wshub")
