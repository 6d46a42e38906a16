"""Memory: what a server's processes hold for connections that say nothing, and what one more service costs."""

import time
from statistics import median
from typing import Any

from bench.load.raw import check_idle, connect, open_idle
from bench.process import memory, tree_memory, tree_of

SETTLE = 1.0  # seconds after which a server has done what it does for a new connection


def run_idle(spec: dict[str, Any]) -> dict[str, Any]:
    """KiB for each connection, in all processes together. `spec`: urls, connections, pid of the server.

    The first ten connections do not count: with them, whatever is made once has been made. What the kernel holds for a
    socket is not in any process and not in these figures.
    """
    kept = open_idle(spec["urls"], 10)
    time.sleep(SETTLE)
    before = tree_memory(spec["pid"])
    kept += open_idle(spec["urls"], spec["connections"])
    time.sleep(SETTLE)
    after = tree_memory(spec["pid"])
    check_idle(kept)
    each = {name: (after[name] - before[name]) / spec["connections"] for name in after}
    each["private"] = each["hub_private"] + each["service_private"]
    each["rss"] = each["hub_rss"] + each["service_rss"]
    return each


def run_service(spec: dict[str, Any]) -> dict[str, Any]:
    """The cost of a fresh service, for each of `urls` in turn: ms from the request to its 101, and private MiB.

    `spec`: urls, pid of the server, and `is_process` where the server is the service; what counts then is the time from
    its start, measured by whoever started it, and its own memory.
    """
    kept = []
    milliseconds = []
    for url in spec["urls"]:
        begun = time.perf_counter()
        kept.append(connect(url))
        milliseconds.append((time.perf_counter() - begun) * 1e3)
    time.sleep(SETTLE)
    pids = [spec["pid"]] if spec["is_process"] else tree_of(spec["pid"])[1:]
    private, resident = zip(*(memory(pid) for pid in pids), strict=True)
    return {
        "first_ms": median(milliseconds) + spec["started_ms"],
        "slowest_ms": max(milliseconds) + spec["started_ms"],
        "private_mib": median(private) / 1024,
        "rss_mib": median(resident) / 1024,
    }
