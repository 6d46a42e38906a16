"""What a tree of processes has used: processor time and memory, from the kernel.

Processor time is each process's own clock (``clock_getcpuclockid(3)``): user and system, all threads, those that have
ended too, in nanoseconds, where ``/proc/PID/stat`` counts ticks of 10 ms. Children that have ended and were waited for
are added from ``stat``, where alone they are found. Work that the kernel does for a socket while a process is on the
processor counts as that process's, which on loopback means that a sender pays for most of the delivery.
"""

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2  # <linux/posix-timers.h>: the clock id of a process is ~pid << 3 | this


def children_of(pid: int) -> list[int]:
    """The processes that `pid` has started and that are still there."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        return []  # it has just ended


def tree_of(root: int) -> list[int]:
    """`root` and all that descends from it, `root` first."""
    found = [root]
    for pid in found:  # grows while it is walked
        found += children_of(pid)
    return found


def cpu_seconds(root: int) -> tuple[float, float]:
    """Processor seconds of `root` itself, and of all that descends or descended from it."""
    own = process_cpu(root)
    rest = ended_children_cpu(root)
    for pid in tree_of(root)[1:]:
        rest += process_cpu(pid) + ended_children_cpu(pid)
    return own, rest


def process_cpu(pid: int) -> float:
    """Processor seconds of one process; 0 if it is no more."""
    try:
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def ended_children_cpu(pid: int) -> float:
    """Processor seconds of the children that `pid` has waited for, in ticks."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[13]) + int(after_name[14])) / TICKS  # cutime and cstime, fields 16 and 17 of proc(5)


def machine_cpu_seconds() -> float:
    """Processor seconds of everything on this machine, and what its host took from it."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / TICKS


def memory(pid: int) -> tuple[float, float]:
    """KiB that only this process has, and KiB resident.

    The first are its private dirty pages. Private clean ones are left out: they are pages of files, the interpreter's
    for the most part, and count as private or as shared by whether anybody on the machine has the same file open.
    """
    private = resident = 0.0
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    for line in lines:
        name, _, value = line.partition(":")
        if name == "Private_Dirty":
            private = float(value.split()[0])
        elif name == "Rss":
            resident = float(value.split()[0])
    return private, resident


def tree_memory(root: int) -> dict[str, float]:
    """Private and resident KiB of `root`, and of its descendants together."""
    private, resident = memory(root)
    rest = [memory(pid) for pid in tree_of(root)[1:]]
    return {
        "hub_private": private,
        "hub_rss": resident,
        "service_private": sum(each[0] for each in rest),
        "service_rss": sum(each[1] for each in rest),
    }
