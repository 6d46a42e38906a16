"""A terminal in which the shell blocks of a page are run, one after the other."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from end_to_end.harness import LOOPBACK, eventually, processes_in

from .blocks import CHECKOUT

SCRIPTS = Path(sys.executable).parent
WAIT = 20.0  # seconds


class Terminal:
    """Runs what a reader of the documentation would: in a home of its own, with one hub in a second terminal.

    Only three things are not as a reader has them. `pip` installs nothing and a virtual environment is this one, for
    the sake of time. The hub listens at 127.0.0.1, at a port that is free; so URLs in commands have that port.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home
        self.output = ""
        """All that commands have written to stdout so far."""
        self.errors = ""
        """And to stderr."""
        self.port = 0
        """Where the hub of the second terminal listens."""
        self.hub: subprocess.Popen[bytes] | None = None
        self._hub_command: list[str] = []
        self._log = home / "hub.log"
        self._make_shims(home / "shims")

    def _make_shims(self, folder: Path) -> None:
        shims = {
            "pip": "#!/bin/sh\n",
            "python3": f'#!/bin/sh\n[ "$2" != venv ] && exec {sys.executable} "$@"\nmkdir -p "$3/bin"\n'
            f'ln -sf {folder}/pip {SCRIPTS}/wshub {SCRIPTS}/twistd "$3/bin/"\n: > "$3/bin/activate"\n',
            "make": f'#!/bin/sh\nexec {shutil.which("make")} --dry-run --directory {CHECKOUT} "$@" > /dev/null\n',
        }
        folder.mkdir()
        for name, text in shims.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "WSHUB_"))},
            "HOME": str(self.home),
            "NO_COLOR": "1",
            "PATH": f"{folder}:{SCRIPTS}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def save(self, name: str, text: str) -> None:
        """Save a file. If it is a service that runs, `wshub dev` reloads it; any other hub is started again."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        is_service = self.hub is not None and name.startswith("services/") and name.endswith(".py")
        runs = is_service and self._state_of(f"/{file.stem}") == "running"
        said = len(self.log)
        file.write_text(text)
        if is_service and self._hub_command[:2] != ["wshub", "dev"]:
            self.stop_hub()
            self._start_hub(self._hub_command)
        elif runs:
            self.wait_for_log("reloaded", said)  # or "not reloaded", and why

    def _state_of(self, path: str) -> str | None:
        """The state of a service, as the hub's list has it; None if it has no such service."""
        with urlopen(f"http://127.0.0.1:{self.port}/_wshub/services.json", timeout=WAIT) as response:
            return {each["path"]: str(each["state"]) for each in json.load(response)["services"]}.get(path)

    def run(self, text: str) -> None:
        """Run the lines of a shell block; those that stay in the terminal are run in the second one."""
        lines: list[str] = []
        for line in text.splitlines():
            command = line.partition("  #")[0].strip()
            if re.match(r"wshub (serve|dev)|twistd -n ", command):
                self._run_in_bash(lines)
                lines = []
                self.stop_hub()
                self._start_hub(command.split())
            else:
                lines.append(self._with_port(line))
        self._run_in_bash(lines)

    def _with_port(self, line: str) -> str:
        line = re.sub(r'(wshub call "?)/', rf"\g<1>127.0.0.1:{self.port}/", line)
        line = line.replace("/run/wshub", str(self.home))
        if line.startswith("twistd wshub"):
            self.stop_hub()
            line = self._with_own_port(line.partition("  #")[0])
        return line

    def _with_own_port(self, command: str) -> str:
        """The command with the port that is free, at 127.0.0.1 only."""
        command = re.sub(r" (--port|--host|-p) \S+", "", command)
        return f"{command.rstrip()} --port {LOOPBACK}"

    def _run_in_bash(self, lines: list[str]) -> None:
        if not lines:
            return
        where = self.home / "where"
        script = "\n".join(["set -e", *lines, f"pwd > {where}"])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )
        self.output += done.stdout
        self.errors += done.stderr
        assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        self.folder = Path(where.read_text().strip())

    def _start_hub(self, command: list[str]) -> None:
        self._hub_command = command
        line = self._with_own_port(self._with_port(" ".join(command)))
        self._log.write_bytes(b"")
        with self._log.open("ab") as stream:
            self.hub = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        self.wait_for_log("http://127.0.0.1:")
        match = re.search(r"(?:listening:|serving .* at) http://127\.0\.0\.1:(\d+)/", self.log)
        assert match, self.log
        self.port = int(match[1])

    def wait_for_log(self, text: str, after: int = 0) -> None:
        """Wait until the hub has logged `text`, past the first `after` characters."""
        deadline = time.monotonic() + WAIT
        while text not in self.log[after:]:
            assert self.hub is None or self.hub.poll() is None, self.log
            assert time.monotonic() < deadline, f"the hub does not say {text!r}:\n{self.log}"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """What the hub of the second terminal has logged."""
        return self._log.read_text() if self._log.exists() else ""

    def stop_hub(self) -> None:
        """Press Ctrl-C in the second terminal. The hub has to stop in order."""
        if self.hub:
            hub, self.hub = self.hub, None
            hub.send_signal(signal.SIGINT)
            assert hub.wait(WAIT) == 0, self.log

    def close(self) -> None:
        """Close both, and see that nothing is left."""
        if self.hub:
            self.hub.kill()
            self.hub.wait()
        eventually(lambda: not processes_in(self.home), "every process has ended")
