"""``python -m bench.load SPEC``: run one load; print its figures, or ``{"error": why}``, as one line of JSON."""

import asyncio
import gc
import json
import os
import sys
from typing import Any

import uvloop

from bench.load import connects, echo, fanout, memory

ON_A_LOOP = {"echo": echo.run, "fanout": fanout.run}
BLOCKING = {
    "connects": connects.run_connects,
    "storm": connects.run_storm,
    "idle": memory.run_idle,
    "service": memory.run_service,
}


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """Run the load that `spec` asks for."""
    if spec["cpus"]:
        os.sched_setaffinity(0, spec["cpus"])
    gc.disable()  # the latencies are numbers in one array: there is nothing to collect, and no pause to account for
    if spec["kind"] in BLOCKING:
        return BLOCKING[spec["kind"]](spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ON_A_LOOP[spec["kind"]](spec))


try:
    figures = main(json.loads(sys.argv[1]))
except Exception as problem:  # whatever it is, the other systems are still to be measured
    figures = {"error": f"{problem}" or type(problem).__name__}
print(json.dumps(figures), flush=True)
os._exit(0)  # a thousand sockets close faster than a thousand transports
