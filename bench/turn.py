"""One turn: one fresh server, one load on it, one set of figures."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.line import Line
from bench.server import BenchError, Server
from bench.stats import Figures
from bench.systems import SERVICES, Command, System, wshub_command

PLACES = ("auto", "split", "together", "free")
LOAD_TIMEOUT = 240.0  # seconds; ten thousand handshakes with the slowest server take 20


@dataclass(frozen=True)
class Placement:
    """The processors that the server's processes may run on, and the load's; empty for any."""

    server: tuple[int, ...] = ()
    load: tuple[int, ...] = ()


def placement(how: str, line: Line) -> Placement:
    """Where a line runs.

    =============  =========================================================================================
    ``split``      the load has the last processor and the server the others. With two of them, a hub and its
                   service together have what a server of one process has: one core
    ``together``   everything is on the last processor: nobody waits for another one to wake up, which on a
                   virtual machine takes longer than the message does
    ``free``       the kernel decides, and not always in the same way
    ``auto``       ``together`` for a single message on its way, where nothing can be done side by side, else ``split``
    =============  =========================================================================================
    """
    processors = sorted(os.sched_getaffinity(0))
    if how == "auto":
        is_alone = line.kind == "echo" and line.load["connections"] * line.load["inflight"] == 1
        how = "together" if is_alone else "split"
    if how == "free" or len(processors) < 2:
        return Placement()
    last = (processors[-1],)
    return Placement(last if how == "together" else tuple(processors[:-1]), last)


def take_turn(line: Line, system: System, how: str, twistd: Path, warmup: float) -> Figures:
    """Start `system`, put the load of `line` on it, stop it. Raise `BenchError`."""
    places = placement(how, line)
    size = line.load.get("size", 64)
    services = line.load.get("services", 0)
    ours = system.name.startswith("wshub")
    command = system.command
    if services and ours:
        command = with_copies(twistd, services)
    with Server(system.name, lambda port, folder: command(port, size, folder), places.server) as server:
        base = f"ws://127.0.0.1:{server.port}"
        spec: dict[str, Any] = {
            **line.load,
            "kind": line.kind,
            "pid": server.pid,
            "cpus": places.load,
            "seconds": line.seconds,
            "warmup": warmup,
            "urls": [base + system.path],
        }
        if line.kind == "fanout":
            spec["urls"] = [base + "/fanout"]
            spec["publish_url"] = base + (system.publish_path or "/fanout")
        elif line.kind in ("connects", "storm", "idle"):
            spec["urls"] = [base + (system.path if ours else "/fanout" if system.name == "nchan" else "/echo")]
        elif services and ours:
            every = [f"{base}/copy{i}" for i in range(services)]
            spec["urls"] = every if line.kind == "service" or line.load["is_spread"] else every[:1]
            if line.kind == "echo":
                spec |= {"idle": services, "idle_urls": every}  # one each, so that all of them run
        if line.kind == "service":
            spec |= {"is_process": not ours, "started_ms": 0 if ours else server.seconds_to_listen * 1e3}
        return run_load(spec, server)


def with_copies(twistd: Path, number: int) -> Command:
    """The hub with `number` services, all of them echo."""

    def command(port: int, size: int, folder: Path) -> list[str | Path]:
        services = folder / "services"
        services.mkdir()
        for i in range(number):
            shutil.copy(SERVICES / "echo.py", services / f"copy{i}.py")
        return wshub_command(twistd, services)(port, size, folder)

    return command


def run_load(spec: dict[str, Any], server: Server) -> Figures:
    """Run the load in its own process; return what it says."""
    command = [sys.executable, "-m", "bench.load", json.dumps(spec)]
    root = Path(__file__).parent.parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=LOAD_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{server.name}: no result within {LOAD_TIMEOUT:.0f} seconds") from None
    try:
        figures: Figures = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise BenchError(f"{server.name}: the load failed and said: {last[0]}") from None
    if "error" in figures:
        raise BenchError(f"{server.name}: {figures['error']}; the server's last words: {server.last_words()}")
    return figures
