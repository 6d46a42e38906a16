"""A service without a hub, for its author's tests: fake clients, time that the test moves, no socket, no process.

===========  ==========================================================================================
`session`    `ServiceTester`: a service, its clients, its time
`client`     `FakeClient`: one client, as the test sees it
`channel`    the hub's end of the service's pipes: notes what the service sends
`drivers`    what makes a service go: handlers in place, coroutines on a loop of its own
`classic`    the same for a classic service, in a thread
`loop`       an asyncio loop whose time is moved
===========  ==========================================================================================

Authors import the two from :mod:`wshub.testing`.
"""
