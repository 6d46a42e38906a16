"""Installs the Autobahn test suite and prints the path of its executable, ``wstest``.

    python conformance/install_wstest.py [folder]

The folder is ``.wstest`` in the repository unless another is named. The suite is a Python 2 program: it needs a
CPython 2.7, the one that the environment variable PY2 names, else ``python2.7`` on the PATH, else the newest 2.7 that
pyenv has. Exit code 2 says that there is none, 1 that the installation failed. Once the suite is installed, a call does
nothing but print the path, until the pins in ``wstest-requirements.txt`` change.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = HERE / "wstest-requirements.txt"
VIRTUALENV = "virtualenv==20.21.1"  # later ones cannot make an environment for Python 2
IS_CPYTHON_27 = (
    "import platform, ssl, sys, zlib;"
    "sys.exit(platform.python_implementation() != 'CPython' or sys.version_info[:2] != (2, 7))"
)
NO_PYTHON_2 = """\
The Autobahn test suite needs a CPython 2.7 with ssl and zlib, and neither PY2 nor python2.7 nor pyenv names one; to run
it from its Docker image instead, start the hub with

    twistd -n --pidfile= wshub --port tcp:9001:interface=127.0.0.1 -d services --compression --max-message-size 32MiB

and, from the top of the repository, beside it

    docker run --rm --network host -v "$PWD/conformance:/config:ro" -v "$PWD/reports:/reports" \\
        crossbario/autobahn-testsuite:25.10.1 wstest -m fuzzingclient -s /config/fuzzingclient.json

then open reports/conformance/index.html."""


def pythons() -> Iterator[str]:
    """What may be a Python 2.7, best first."""
    if named := os.environ.get("PY2"):
        yield named
        return  # asked for by name: no other will do
    yield "python2.7"
    if pyenv := shutil.which("pyenv"):
        listed = subprocess.run([pyenv, "versions", "--bare"], stdout=subprocess.PIPE, text=True, check=False)
        patches = (int(patch) for patch in re.findall(r"^2\.7\.(\d+)$", listed.stdout, re.MULTILINE))
        for patch in sorted(patches, reverse=True):
            prefix = subprocess.run([pyenv, "prefix", f"2.7.{patch}"], stdout=subprocess.PIPE, text=True, check=False)
            yield f"{prefix.stdout.strip()}/bin/python2.7"


def is_cpython_27(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", IS_CPYTHON_27], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install(folder: Path, python: str) -> None:
    """Makes ``folder`` a Python 2.7 environment with the suite in it."""

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=sys.stderr)

    with tempfile.TemporaryDirectory() as bootstrap:
        run(sys.executable, "-m", "venv", bootstrap)
        run(f"{bootstrap}/bin/pip", "install", "-q", VIRTUALENV)
        run(f"{bootstrap}/bin/virtualenv", "-q", "-p", python, folder)
    run(folder / "bin/pip", "install", "-q", "--no-deps", "-r", PINS)


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent / ".wstest").absolute()
    installed = folder / PINS.name  # a copy of the pins, made last: this is installed, and complete
    if not (installed.is_file() and installed.read_bytes() == PINS.read_bytes()):
        python = next(filter(is_cpython_27, pythons()), None)
        if python is None:
            print(NO_PYTHON_2, file=sys.stderr)
            return 2
        print(f"Installing the Autobahn test suite in {folder}: half a minute, once.", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            install(folder, python)
        except subprocess.CalledProcessError as error:
            print(f"The installation of the Autobahn test suite failed: {error}", file=sys.stderr)
            return 1
        shutil.copyfile(PINS, installed)
    print(folder / "bin/wstest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
