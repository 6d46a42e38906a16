"""The hub as its users have it: a real ``twistd wshub`` process, and clients that are not Autobahn."""
