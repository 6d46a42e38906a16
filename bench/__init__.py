"""The bench: wshub beside its peers, each line of the table in one run and in turns. ``python -m bench --help``.

=============  ========================================================================================
`lines`        what is measured, and which lines a run has
`systems`      wshub and its peers: how each is started; `servers/` and `services/` are what they run
`server`       starting and stopping one of them
`load/`        the clients, in a process of their own
`process`      what a tree of processes has used of processor and memory
`turn`, `run`  one server under one load; all of them, round by round
`stats`        medians, spreads, and ratios round by round
`targets`      what is to be reached, and whether it was
`report`       the tables; `results`: the JSON; `plots` and `docs`: what the documentation shows
=============  ========================================================================================

How to read the figures. Processor time for each message is what the server's processes use, all of them, user and
system, and is the steadiest figure; throughput and latency depend on what else the machine does, which is shown too, as
`others`. `server` and `load` are the processor seconds a second that the server and the load generator took: where the
load is near 1.00, the load was the limit, and the throughput is the load generator's; the processor time is not touched
by that. Every server is started afresh for each turn. Ratios are taken round by round, and their median is shown. The
load generator has a core of its own, save for a single message on its way; `turn.placement` says why.
"""
