"""What a process uses, from two files of proc(5) for which the kernel need not walk through its pages."""

import os
from pathlib import Path

from wshub.monitoring.views import Usage

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def read_usage(pid: int | str) -> Usage | None:
    """Memory and processor time of a process; None if there is none of this number, or no /proc."""
    try:
        return parse_usage(Path(f"/proc/{pid}/statm").read_text(), Path(f"/proc/{pid}/stat").read_text())
    except (OSError, IndexError, ValueError):
        return None


def parse_usage(statm: str, stat: str) -> Usage:
    """The same from the two files' text. Raise `IndexError` or `ValueError` if it is anything else."""
    _, resident, shared = map(int, statm.split()[:3])
    fields = stat.rpartition(")")[2].split()  # a program's name may have any character
    return Usage((resident - shared) * PAGE, (int(fields[11]) + int(fields[12])) / TICKS)
