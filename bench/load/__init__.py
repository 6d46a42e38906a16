"""The load: clients in a process of their own, ``python -m bench.load SPEC``, which answer with figures as JSON.

`echo` and `fanout` drive picows on uvloop, which on one core is faster than any server here but picows itself; `raw`
opens and closes plain sockets. What the server's processes use is read by the load process too, at the very moments
at which it begins and ends to count. Every load ends by itself: its time, its number of connections and the time that
it waits for an answer are all bounded.
"""
