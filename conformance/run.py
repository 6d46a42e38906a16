"""Runs the Autobahn test suite, as a client that fuzzes, against a hub of its own.

    python conformance/run.py                        all 517 cases: ten to twenty minutes
    python conformance/run.py --quick                a spread of them: under a minute
    python conformance/run.py --cases '6.4,12.1.3'   some: a category or a group stands for all in it

``wstest`` ends with exit code 0 whatever it saw, so the verdict is made here, from its reports: each case that was
asked for has to be there, with nothing but OK or INFORMATIONAL for what the hub did and for how it closed. The hub has
to be serving at the end, to exit with code 0 when it is told to terminate, and to leave no process behind.

Exit code 0 means that all of this holds, 1 that something does not, 2 that there is no Python 2.7 for ``wstest``. The
reports and a ``summary.json`` are in ``reports/conformance``.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
REPORTS = REPOSITORY / "reports" / "conformance"
AGENT = "wshub"  # the name under which wstest files its reports

CATEGORIES = {
    "1": "framing", "2": "pings and pongs", "3": "reserved bits", "4": "opcodes", "5": "fragmentation", "6": "UTF-8",
    "7": "closing", "9": "limits and speed", "10": "auto-fragmentation", "12": "deflate: payloads",
    "13": "deflate: parameters",
}  # fmt: skip
# Each group of version 25.10.1 with the number of its cases, which count from 1. Stated here, not asked of wstest: a
# suite that has lost some must not pass.
GROUPS = """
    1.1:8 1.2:8 2:11 3:7 4.1:5 4.2:5 5:20
    6.1:3 6.2:4 6.3:2 6.4:4 6.5:5 6.6:11 6.7:4 6.8:2 6.9:4 6.10:3 6.11:5 6.12:8 6.13:5 6.14:10 6.15:1 6.16:3 6.17:5
    6.18:5 6.19:5 6.20:7 6.21:8 6.22:34 6.23:7
    7.1:6 7.3:6 7.5:1 7.7:13 7.9:9 7.13:2
    9.1:6 9.2:6 9.3:9 9.4:9 9.5:6 9.6:6 9.7:6 9.8:6 10.1:1
    12.1:18 12.2:18 12.3:18 12.4:18 12.5:18 13.1:18 13.2:18 13.3:18 13.4:18 13.5:18 13.6:18 13.7:18
"""
ALL = [
    f"{group}.{number}"
    for group, count in (word.split(":") for word in GROUPS.split())
    for number in range(1, int(count) + 1)
]
# All but the larger messages of 9, with a few deflate cases: small, but for each kind of payload and of parameters.
QUICK = "1,2,3,4,5,6,7,9.[12].[12],9.[34].[67],9.[56].6,10,12.[1-5].1,12.[12].4,12.1.11,13.[1-7].3,13.5.11"

FULL_MINUTES, QUICK_MINUTES = 25.0, 5.0  # how long wstest may take
START_SECONDS, STOP_SECONDS = 20, 30  # how long the hub may take

GOOD = ("OK", "INFORMATIONAL")
BEHAVIOURS = (*GOOD, "NON-STRICT", "UNIMPLEMENTED", "FAILED")
CLOSINGS = (*GOOD, "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "FAILED")
Results = dict[str, dict[str, Any]]  # by case: its behavior, behaviorClose, remoteCloseCode, duration and reportfile


def select(patterns: str) -> list[str]:
    """The cases that any of these names, separated by commas, stands for."""
    chosen: set[str] = set()
    for pattern in map(str.strip, patterns.split(",")):
        found = [case for case in ALL if fnmatchcase(case, pattern) or fnmatchcase(case, f"{pattern}.*")]
        if not found:
            raise SystemExit(f"The test suite has no case {pattern!r}.")
        chosen.update(found)
    return [case for case in ALL if case in chosen]


def find_wstest() -> Path:
    if named := os.environ.get("WSTEST"):
        if not os.access(named, os.X_OK):
            raise SystemExit(f"WSTEST={named} is not an executable.")
        return Path(named).absolute()
    found = subprocess.run([sys.executable, HERE / "install_wstest.py"], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise SystemExit(found.returncode)  # it has said why
    return Path(found.stdout.strip())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def handshake(port: int) -> str:
    """The first line of the answer to an upgrade to the echo service: empty while nobody listens."""
    request = (
        f"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as connection:
            connection.sendall(request.encode())
            return connection.recv(4096).decode("latin-1").partition("\r\n")[0]
    except OSError:
        return ""


@contextlib.contextmanager
def running_hub(port: int, complaints: list[str]) -> Iterator[None]:
    """A hub that serves the repository's services on this port, watched from its start to its last process."""
    command: list[str | Path] = [
        Path(sys.executable).parent / "twistd", "-n", "--pidfile=",
        "wshub", "--port", f"tcp:{port}:interface=127.0.0.1", "-d", REPOSITORY / "services",
        "--compression", "--max-message-size", "32MiB",
    ]  # fmt: skip
    # Orphans among the hub's processes become ours instead of init's: so none of them gets out of sight.
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    with open(REPORTS / "hub.log", "wb") as log:
        hub = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (answer := handshake(port)) and hub.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if " 101 " not in answer:
            raise SystemExit(f"The hub does not serve /echo: {answer or 'no answer'}; see {REPORTS / 'hub.log'}")
        yield
        if " 101 " not in (answer := handshake(port)):
            complaints.append(f"the hub no longer serves /echo at the end: {answer or 'no answer'}")
        if hub.poll() is None:
            hub.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                hub.wait(STOP_SECONDS)
        if hub.returncode != 0:
            code = hub.returncode
            complaints.append("the hub ignores SIGTERM" if code is None else f"the hub's exit code is {code}, not 0")
        if b"Traceback" in (REPORTS / "hub.log").read_bytes():
            complaints.append("a traceback in the hub's log")
    finally:
        hub.kill()
        hub.wait()
        complaints += [f"left over: {process}" for process in orphans(time.monotonic() + 2)]


def orphans(deadline: float) -> list[str]:
    """The processes that the hub has left to us and that are not gone by the deadline: these are killed."""
    try:
        while time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                time.sleep(0.05)
    except ChildProcessError:
        return []  # the usual case: nobody is left
    left = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid_and_name, _, fields = stat.read_text().rpartition(")")
            if int(fields.split()[1]) == os.getpid():
                left.append(f"{pid_and_name})")
                os.kill(int(stat.parent.name), signal.SIGKILL)
    return left


def fuzz(wstest: Path, port: int, cases: list[str], minutes: float, complaints: list[str]) -> Results:
    """Lets wstest run the cases, and returns what it reports: nothing if it is not through in time."""
    spec = json.loads((HERE / "fuzzingclient.json").read_text())
    spec["outdir"] = str(REPORTS)
    spec["servers"] = [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}/echo"}]
    spec["cases"] = ["*"] if cases == ALL else cases  # with "*" a case that is new to us shows
    (REPORTS / "spec.json").write_text(json.dumps(spec))
    process = subprocess.Popen(
        [wstest, "-m", "fuzzingclient", "-s", REPORTS / "spec.json"],
        cwd=REPORTS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    watchdog = threading.Timer(minutes * 60, process.kill)
    watchdog.start()
    try:
        done = follow(process, len(cases))
        process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    if process.returncode:
        complaints.append(
            f"wstest's exit code is {process.returncode} after {done} of {len(cases)} cases; it may take {minutes:g} "
            "minutes (--timeout), and writes its reports when it is through"
        )
    index = REPORTS / "index.json"
    results: Results = json.loads(index.read_text()).get(AGENT, {}) if index.exists() else {}
    return results


def follow(process: subprocess.Popen[str], total: int) -> int:
    """Shows how far wstest is, from what it prints, until it ends: in one line on a terminal, else every 25 cases.

    Returns the number of cases that it has begun.
    """
    assert process.stdout is not None
    done, started, live = 0, time.monotonic(), sys.stdout.isatty()
    with process.stdout as lines, open(REPORTS / "wstest.log", "w") as log:
        for line in lines:
            log.write(line)
            if not line.startswith("Running test case ID "):
                continue
            done += 1
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            if live or done % 25 == 0 or done == total:
                text = f"{done:4} of {total}, {minutes}:{seconds:02}, case {line.split()[4]}"
                print(f"\r{text}\033[K" if live else text, end="" if live else "\n", flush=True)
    if live:
        print()
    return done


def table(cases: list[str], results: Results) -> str:
    """How many cases of each category had which outcome."""
    wide = "{:24}{:>6} |{:>5}{:>6}{:>12}{:>9}{:>8}{:>9} |{:>5}{:>6}{:>12}{:>9}{:>11}{:>8}".format
    lines = [
        "{:24}{:>6} | {:48} | {}".format("", "", "what the hub did", "how it closed"),
        wide("category", "cases", "ok", "info", "non-strict", "unimpl.", "failed", "missing",
             "ok", "info", "wrong code", "unclean", "by client", "failed"),
    ]  # fmt: skip
    for number, name in (*CATEGORIES.items(), ("", "all")):
        asked = [case for case in cases if number in ("", case.partition(".")[0])]
        if not asked:
            continue
        seen = [results[case] for case in asked if case in results]
        did, closed = (Counter(result[key] for result in seen) for key in ("behavior", "behaviorClose"))
        counts = [*map(did.__getitem__, BEHAVIOURS), len(asked) - len(seen), *map(closed.__getitem__, CLOSINGS)]
        lines.append(wide(f"{number:>2} {name}", len(asked), *counts))
    return "\n".join(lines)


def verdict(cases: list[str], results: Results) -> list[str]:
    """What is wrong with these results, a line each."""
    wrong = []
    if missing := [case for case in cases if case not in results]:
        some = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        wrong.append(f"no result for {len(missing)} cases: {some}")
    if unknown := [case for case in results if case not in cases]:
        wrong.append(f"results for cases that were not asked for: {', '.join(unknown)}")
    for case in (case for case in cases if case in results):
        result = results[case]
        if not {result["behavior"], result["behaviorClose"]} <= set(GOOD):
            report = (REPORTS / result["reportfile"]).with_suffix(".html").relative_to(REPOSITORY)
            wrong.append(
                f"{case}: {result['behavior']}, close {result['behaviorClose']} with code {result['remoteCloseCode']}, "
                f"{result['duration']} ms: {report}"
            )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the Autobahn test suite against a hub of its own.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="a spread of the cases, in under a minute")
    which.add_argument("--cases", metavar="A,B", help="these cases, groups or categories: '6.4,12.1.3,9.[12].*'")
    parser.add_argument("--timeout", metavar="MINUTES", type=float, help="how long it may take: 25, quick 5")
    arguments = parser.parse_args()
    minutes = arguments.timeout or (QUICK_MINUTES if arguments.quick else FULL_MINUTES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the hub and wstest are ended as well
    cases = select(QUICK if arguments.quick else arguments.cases or "*")
    wstest = find_wstest()
    shutil.rmtree(REPORTS, ignore_errors=True)  # an old report is never taken for a new one
    REPORTS.mkdir(parents=True)

    complaints: list[str] = []
    started, port = time.monotonic(), free_port()
    with running_hub(port, complaints):
        results = fuzz(wstest, port, cases, minutes, complaints)
    took = round(time.monotonic() - started, 1)

    print(table(cases, results))
    wrong = verdict(cases, results) + complaints
    summary = {
        "passed": not wrong,
        "wrong": wrong,
        "cases": len(cases),
        "missing": [case for case in cases if case not in results],
        "seconds": took,
        "behaviour": Counter(result["behavior"] for result in results.values()),
        "close": Counter(result["behaviorClose"] for result in results.values()),
    }
    (REPORTS / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{len(cases)} cases in {took} s, {len(wrong)} complaints; reports: {REPORTS / 'index.html'}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
