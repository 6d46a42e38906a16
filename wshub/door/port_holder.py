"""Who has a TCP port, as far as /proc tells (proc(5)): for the hub that finds its own taken."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h, as /proc/net/tcp has it


def find_holder(port: int, proc: Path = Path("/proc")) -> tuple[int, str] | None:
    """Process id and name of one that listens at `port`, at whatever address.

    None where that cannot be known: the process is another user's, or in another namespace, or there is no /proc.
    """
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _find_inodes(port, proc / "net" / table)}
    if not sockets:
        return None
    for process in sorted(proc.glob("[0-9]*"), key=lambda each: int(each.name)):
        if not sockets.isdisjoint(_read_descriptors(process)):
            try:
                return int(process.name), (process / "comm").read_text(errors="backslashreplace").rstrip("\n")
            except OSError:
                continue  # it has gone
    return None


def _find_inodes(port: int, table: Path) -> Iterator[str]:
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN and re.fullmatch(f"[0-9A-F]+:{port:04X}", fields[1]):
            yield fields[9]


def _read_descriptors(process: Path) -> list[str]:
    """What the descriptors of a process are; as far as that can be known."""
    targets = []
    try:
        with os.scandir(process / "fd") as entries:
            for entry in entries:
                try:
                    targets.append(os.readlink(entry.path))
                except OSError:
                    continue  # closed meanwhile
    except OSError:
        pass  # another user's, or gone
    return targets
