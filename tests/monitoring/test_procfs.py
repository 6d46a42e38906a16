"""What a process uses, as /proc has it."""

import os
import subprocess
import sys

import pytest

from wshub.monitoring.procfs import PAGE, TICKS, parse_usage, read_usage
from wshub.monitoring.views import Usage

STAT = "4711 (a) S (b) S 1 4711 4711 0 -1 4194560 1 2 3 4 {utime} {stime} 0 0 20 0 1 0 100 1000 250"


def test_parse() -> None:
    """Resident without shared, user time with system time; a program's name may hold brackets and spaces."""
    text = STAT.format(utime=3 * TICKS, stime=TICKS // 2)
    assert parse_usage("1000 250 50 1 0 200 0\n", text) == Usage(200 * PAGE, 3.5)


def test_this_process() -> None:
    """What is read of a process that runs is about right."""
    usage = read_usage(os.getpid())
    assert usage is not None
    assert 1 << 20 < usage.memory < 8 << 30
    assert usage.cpu == pytest.approx(sum(os.times()[:2]), abs=0.5)
    assert read_usage("self") is not None


def test_a_process_that_has_gone() -> None:
    """There is nothing to say of it."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert read_usage(process.pid) is None
