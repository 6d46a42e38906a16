"""What the figures were taken on."""

import os
import platform
import sys
import time
from pathlib import Path

from bench.systems import versions


def describe() -> dict[str, object]:
    """The machine and the versions, for the JSON and the documentation."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(field("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)),
        "kernel": platform.release().split("-")[0],
        "python": sys.version.split()[0],
        "versions": versions(),
        "load_average": os.getloadavg()[0],
    }


def in_words(described: dict[str, object]) -> str:
    """The same on two lines."""
    versions = described["versions"]
    assert isinstance(versions, dict)
    return (
        f"{described['date']}; {described['cores']} cores of {described['processor']}, {described['memory_gib']} GiB, "
        f"Linux {described['kernel']}, Python {described['python']}, load average {described['load_average']:.1f}\n"
        + ", ".join(f"{name} {value}" for name, value in versions.items())
    )


def field(file: str, name: str) -> str:
    """The first value called `name` in a file of ``name: value``."""
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"
