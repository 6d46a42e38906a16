"""The service kit: what runs in a service process. Standard library only, so that a process costs a few megabytes.

===============  ======================================================================================
`__main__`       the process: finds the class in the module, says READY or FAILED, serves until the end
`confine`        who the process is and how much it may have, before the author's code runs
`watcher`        the thread that says that the process lives, and ends it when the hub is gone
`declare`        what the class says of itself, for READY
`fresh`          imports what is there now, past a cache that goes by the second
`channel`        its end of the two pipes: transactions in, transactions out, in batches
`client`         one connected client
`request`        one that wants to connect, and the answers to it
`opening`        its headers and cookies
`base`           what all services written with hooks have: clients, broadcast, what goes wrong in a hook
`handlers`       `wshub.Service`: hooks are plain methods
`coroutines`     `wshub.AsyncService`: hooks are coroutines, on asyncio
`timers`         ``call_later`` and ``call_every`` without asyncio
`queues`         classic services, in the style of the original WebSocketServer: their two queues, on the pipes
`subscribable`   the original WebSocketServer's event system
`classic/`       the modules that classic services import: ``Services``, ``WebSockets``
===============  ======================================================================================
"""
