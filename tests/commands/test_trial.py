"""One start of a service process, without a hub: what can go wrong, and that nothing is left."""

import os
import re
import time
from pathlib import Path
from textwrap import dedent

import pytest

from wshub.commands.trial import describe_status, last_line, try_service
from wshub.processes.confinement import Confinement, make_environment

CONFINEMENT = Confinement(make_environment(os.environ), ())


@pytest.fixture
def attempt(tmp_path):
    """Tries a service with a given source."""

    def attempt(source, start_timeout=20.0, stop_timeout=20.0):
        module = tmp_path / "it.py"
        module.write_text(dedent(source))
        return try_service(tmp_path, "/it", module, CONFINEMENT, start_timeout, stop_timeout)

    return attempt


FINE = """
    import os, wshub
    class Service(wshub.Service):
        def on_start(self):
            open("pid", "w").write(str(os.getpid()))
"""
CASES = {
    "import": ("1/0", "ZeroDivisionError: division by zero"),
    "no class": ("x = 1", "TypeError: .*has no class Service"),
    "syntax": ("class Service(:", "SyntaxError: invalid syntax"),
    "start": (
        "import wshub\nclass Service(wshub.Service):\n    def on_start(self): raise OSError('no database')",
        "OSError: no database",
    ),
    "declares": ("import wshub\nclass Service(wshub.Service):\n    restart = 'always'", "ValueError: restart must be"),
    "exits": ("import os; os._exit(3)", "exited with status 3 before it was ready"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "exited by signal SIGKILL before it was ready"),
    "run": (
        "import Services\nclass Service(Services.Service):\n    def run(self): print('hi'); raise ValueError('oh')",
        "exited with status 1 when it was asked to finish",
    ),
    "nonsense": ("import os; os.write(4, b'nonsense'); import time; time.sleep(60)", "sent a batch of"),
}


def test_a_service_that_is_well(attempt, tmp_path):
    """It gets ready, finishes, and is gone."""
    before = len(os.listdir("/proc/self/fd"))
    outcome = attempt(FINE)
    assert outcome.problem == ""
    assert 0 < outcome.seconds < 20
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text()}")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong(attempt, name):
    """One sentence says what is wrong, and no descriptor is left."""
    source, problem = CASES[name]
    before = len(os.listdir("/proc/self/fd"))
    outcome = attempt(source)
    assert re.match(problem, outcome.problem), outcome
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["exits", "killed", "run", "import"])
def test_without_pidfds(attempt, monkeypatch, name):
    """A Python that has none finds out all the same how the process ended."""
    monkeypatch.delattr(os, "pidfd_open")
    test_what_is_wrong(attempt, name)


def test_well_without_pidfds(attempt, monkeypatch, tmp_path):
    """And that it ended well."""
    monkeypatch.delattr(os, "pidfd_open")
    test_a_service_that_is_well(attempt, tmp_path)


def test_traceback_and_output(attempt):
    """The traceback begins in the author's code; what was printed is there too."""
    outcome = attempt("print('begins')\n1/0")
    assert outcome.traceback.startswith('Traceback (most recent call last):\n  File "')
    assert "it.py" in outcome.traceback.splitlines()[1]
    assert outcome.output == "begins\n"


def test_deadlines(attempt):
    """A service that does not get ready, or does not finish, is killed in the end, with what it has started."""
    sleeps = "import subprocess, time, wshub\n"
    outcome = attempt(sleeps + "p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)", 0.5)
    assert outcome.problem == "is not ready after 0.5 seconds"
    stat, deadline = Path(f"/proc/{int(outcome.output)}/stat"), time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":  # the signal has been sent; it dies when it runs next
        assert time.monotonic() < deadline, "it lives"
    outcome = attempt(sleeps + "class Service(wshub.Service):\n    def on_stop(self): time.sleep(60)", stop_timeout=0.2)
    assert outcome.problem == "does not finish within 0.2 seconds of being asked to"


def test_what_is_large(attempt):
    """A service that prints more than a pipe holds is read, and the end of it kept."""
    outcome = attempt("print('x' * 1000000)\nprint('the end')\n1/0")
    assert len(outcome.output) == 65536
    assert outcome.output.endswith("the end\n")


def test_words():
    """Ends of processes and tracebacks in words."""
    assert describe_status(0) == "with status 0"
    assert describe_status(-11) == "by signal SIGSEGV"
    assert describe_status(-63) == "by signal 63"
    assert last_line("Traceback:\n  File\nValueError: x\n  note") == "ValueError: x"
    assert last_line("") == "failed without a traceback"
