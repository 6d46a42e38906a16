"""The documentation says what is so: its links lead somewhere, its snippets run, its tables are complete."""

import ast
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
from dataclasses import fields
from inspect import get_annotations
from pathlib import Path

import pytest
from documentation.blocks import CHECKOUT, PAGES

import wshub
from wshub import wire
from wshub.cli import COMMANDS
from wshub.commands.completion import find_options
from wshub.config import Settings
from wshub.door.deadlines import SWEEP
from wshub.processes.life import KILL, TABLE, Event, State
from wshub.processes.process import KILL_DELAY
from wshub.service.coroutines import AsyncService
from wshub.service.handlers import Service
from wshub.service.queues import ClassicService, ReceiveQueue, SendQueue, ShutdownFlag, WebSocketTransaction
from wshub.service.subscribable import Subscribable
from wshub.sockets.keepalive import SLOT
from wshub.tap import Options
from wshub.testing import ServiceTester, encode_batch
from wshub.wire.batches import BatchReader, decode_columns, encode_columns
from wshub.wire.payloads import decode_batch, encode_close

PACKAGE = Path(wshub.__file__).parent
REFERENCE = CHECKOUT / "docs" / "reference"
WAIT = 20.0  # seconds until a service that says nothing has failed

KIT = [
    *(Service, AsyncService, wshub.Client, wshub.Request, wshub.Accept, wshub.Refuse),
    *(ClassicService, ReceiveQueue, SendQueue, ShutdownFlag, WebSocketTransaction),
    *(Subscribable, Subscribable.SubscriptionEvent, Subscribable.Subscriber),
]
INSIDE = {"inbox", "is_known", "pump", "queue", "task", *dir(Exception)}
"""Names without an underscore that the kit has for itself, or from Python."""
SET_IN_INIT = {"sendQueue", "recvQueue", "shutdownFlag", "eventId", "data", "obj", "callback"}


def find_snippets(language):
    """The fenced blocks of a language, each named by its page and its number there."""
    snippets = []
    for page in PAGES:
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(blocks, 1):
            snippets.append(pytest.param(text, id=f"{page.relative_to(CHECKOUT)}-{number}"))
    return snippets


def find_links():
    """Every link within the checkout, with the page that has it."""
    return [
        pytest.param(page, target, id=f"{page.relative_to(CHECKOUT)}-{target}")
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if "://" not in target
    ]


def find_anchors(page):
    """What a link to a page may have after its #: the headings, as GitHub turns them into ids."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read_hex(block):
    """The bytes of a hex block, without the explanations to their right."""
    return bytes.fromhex("".join(line.split("   ")[0] for line in block.splitlines()))


def find_table(page, first_cell):
    """The rows of the table whose heading begins with `first_cell`."""
    rows = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if rows or cells[:1] == [first_cell]:
            if not cells:
                break
            rows.append(cells)
    return rows[0], rows[2:]


def find_tests(folder):
    """The docstring of every test below a folder, by the test's name."""
    return {
        node.name: ast.get_docstring(node) or ""
        for file in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def make_pipe():
    """A pipe whose descriptors have high numbers: neither of them is 3 or 4 itself."""
    low = os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in low]
    for fd in low:
        os.close(fd)
    return high


FIVE_LINES = next(each.values[0] for each in find_snippets("python") if each.id == "README.md-1")
"""The service of the README."""


class ServiceProcess:
    """A service process with the test at the other ends of its pipes."""

    def __init__(self, module):
        child_reads, self.to_child = make_pipe()
        self.from_child, child_writes = make_pipe()
        command = [sys.executable, "-P", "-m", "wshub.service", str(module.parent), f"/{module.stem}", str(module)]
        moves = [(os.POSIX_SPAWN_DUP2, child_reads, wire.FROM_HUB), (os.POSIX_SPAWN_DUP2, child_writes, wire.TO_HUB)]
        self.pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=moves)
        os.close(child_reads)
        os.close(child_writes)
        self._reader = BatchReader()

    def receive(self):
        """The transactions that it says next; none once it has closed its pipe."""
        transactions = []
        while not transactions:
            ready, _, _ = select.select([self.from_child], [], [], WAIT)
            assert ready, "the service says nothing"
            data = os.read(self.from_child, wire.PIPE_SIZE)
            if not data:
                break
            for body in self._reader.feed(data):
                transactions += [(kind, id_, bytes(payload)) for kind, id_, payload in decode_columns(body)]
        return transactions

    def send(self, *transactions):
        """Say something to it."""
        os.write(self.to_child, encode_batch(*transactions))

    def finish(self):
        """Close its input, and return its exit status."""
        os.close(self.to_child)
        self.receive()
        os.close(self.from_child)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def start(tmp_path):
    """Starts services from the text of their module."""
    processes = []

    def start_service(text):
        module = tmp_path / "snippet.py"
        module.write_text(text)
        processes.append(ServiceProcess(module))
        return processes[-1]

    yield start_service
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has finished, as it should


@pytest.mark.parametrize(("page", "target"), find_links())
def test_links_lead_somewhere(page, target):
    """A relative link names a file that is there, and a heading in it."""
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    assert file.exists()
    assert not anchor or anchor in find_anchors(file)


@pytest.mark.parametrize("text", find_snippets("python"))
def test_python_compiles(text):
    """A Python snippet is valid Python."""
    compile(text, "snippet", "exec")


@pytest.mark.parametrize("text", [each for each in find_snippets("python") if "class Service(" in each.values[0]])
def test_services_start(text, start):
    """A complete service starts, gets ready, and finishes when its input is closed."""
    process = start(text)
    assert [kind for kind, *_ in process.receive()] == [wire.READY]
    assert process.finish() == 0


def test_the_five_lines_echo(start):
    """The service of the README sends back what it gets."""
    process = start(FIVE_LINES)
    process.receive()
    process.send((wire.NEWSOCKET, 1, ("127.0.0.1", 1, "/", "", "host: x", None)), (wire.DATA, 1, "hello"))
    assert process.receive() == [(wire.DATA, 1, b"hello")]
    assert process.finish() == 0


def test_the_welcome_page_has_the_same_five_lines():
    """The README and the built-in page show one service."""
    assert FIVE_LINES.strip() in (PACKAGE / "pages" / "welcome.html").read_text()


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_every_setting_is_documented(name):
    """Each setting has a row in the reference and a line in its example."""
    _, rows = find_table(REFERENCE / "options.md", "setting")
    assert f"`{name}`" in [cells[0] for cells in rows]
    assert re.search(rf"^{name} = ", (REFERENCE / "options.md").read_text(), re.MULTILINE)


def test_no_other_setting_is_documented():
    """The reference has the settings' order, and their defaults where they are numbers."""
    _, rows = find_table(REFERENCE / "options.md", "setting")
    assert [cells[0].strip("`") for cells in rows] == [field.name for field in fields(Settings)]
    for field, cells in zip(fields(Settings), rows, strict=True):
        if isinstance(field.default, float):
            assert cells[2] == f"`{field.default}`"


def test_options_are_those_of_the_command():
    """The reference has every option of the command with its letter, and no other."""
    _, rows = find_table(REFERENCE / "options.md", "option")
    options = Options()
    assert {cells[0].strip("`-") for cells in rows} == {name.rstrip("=") for name in options.longOpt}
    assert {cells[1].strip("`-") for cells in rows} - {""} == set(options.shortOpt) - {":"}


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_the_commands_are_documented(command):
    """The reference of the commands has a section for each, with every option that is its own."""
    text = (REFERENCE / "cli.md").read_text()
    section = re.search(rf"^## {command}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    options = [] if command == "serve" else find_options()[command]
    for flag in (flag for each in options for flag in each.flags if flag not in ("-h", "--help")):
        shared = flag in ("-d", "-c", "--document-root", "--config", "--header") and command in ("check", "bench")
        assert shared or re.search(rf"(?<![\w-]){flag}(?![\w-])", section), flag


def test_the_how_to_test_a_service_works(tmp_path):
    """The service and the test of the how-to are saved as they are there, and the test passes."""
    text = (CHECKOUT / "docs" / "howto" / "test-a-service.md").read_text()
    service, test = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for name, source in (("services/counter.py", service), ("tests/test_counter.py", test)):
        assert f"`{name}`" in text
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert f"{test.count('def test_')} passed" in done.stdout, done.stdout


def test_every_name_of_the_tester_is_documented():
    """Each public attribute and method that a test of a service can use is in the how-to."""
    text = (CHECKOUT / "docs" / "howto" / "test-a-service.md").read_text()
    with ServiceTester(type("It", (Service,), {})) as tester:
        client = tester.connect()
        names = {name for each in (tester, client) for name in (*dir(type(each)), *vars(each)) if name[0] != "_"}
    assert {name for name in names if not re.search(rf"\.{name}(?!\w)", text)} <= {"stop"}


def test_every_name_of_the_kit_is_documented():
    """Each public class, attribute and method of the kit appears in its reference, as code."""
    code = " ".join(re.findall(r"`([^`\n]+)`", (REFERENCE / "kit.md").read_text()))
    names = set(wshub.__all__) | SET_IN_INIT
    for cls in KIT:
        for each in cls.__mro__[:-1]:
            names |= {*vars(each), *get_annotations(each)}
    public = {name for name in names if not name.startswith("_") or name == "__version__"} - INSIDE
    assert {name for name in public if not re.search(rf"(?<!\w){name}(?!\w)", code)} == set()


def test_wire_kinds_are_documented():
    """The reference of the wire protocol has every kind with its number, and the limits."""
    text = (REFERENCE / "wire-protocol.md").read_text()
    for name in (
        "NEWSOCKET",
        "DATA",
        "CLOSE",
        "BINARY",
        "MULTICAST",
        "MULTICAST_BINARY",
        "READY",
        "FAILED",
        "SYNC",
        "REQUEST",
        "ACCEPT",
        "REFUSE",
    ):
        assert f"| `{name}` | {getattr(wire, name)} |" in text
    assert f"size <= {wire.MAX_BATCH}" in text
    assert f"| {wire.MAX_COUNT} |" in text


def test_hex_to_the_hub():
    """The first example of the wire protocol is what a service writes, and what the hub understands."""
    data = read_hex(find_snippets("hex")[0].values[0])
    transactions = [(wire.DATA, 1, "hé".encode()), (wire.CLOSE, 1, encode_close(1000, "bye"))]
    assert b"".join(encode_columns(transactions)) == data
    (body,) = BatchReader().feed(data)
    assert [(kind, id_, bytes(payload)) for kind, id_, payload in decode_columns(body)] == transactions
    assert re.search(rf"\b{len(data)}\sbytes", (REFERENCE / "wire-protocol.md").read_text())


def test_hex_from_the_hub():
    """The second example is what the hub writes, and what a service understands."""
    data = read_hex(find_snippets("hex")[1].values[0])
    assert encode_batch((wire.DATA, 1, "hé")) == data
    (body,) = BatchReader().feed(data)
    assert decode_batch(body) == [(wire.DATA, 1, "hé")]


def test_the_life_of_a_service_is_the_links():
    """The table of the architecture is the one that the link goes by."""
    heading, rows = find_table(CHECKOUT / "docs" / "explanation" / "architecture.md", "event")
    assert [cells[0] for cells in rows] == [event.name for event in Event]
    for event, *cells in ((cells[0], *cells[2:]) for cells in rows):
        for state, cell in zip(heading[2:], cells, strict=True):
            before = State[state]
            after, kill = TABLE.get((before, Event[event]), (before, not KILL))
            says = cell.removesuffix(" †") or state
            assert (State[says], cell.endswith("†")) == (after, kill), f"{event} in {state}"


def test_reliability_names_tests_that_are_there():
    """Each test that a table of faults names exists."""
    named = set(re.findall(r"`(test_\w+)`", (CHECKOUT / "docs/explanation/reliability.md").read_text()))
    assert named - set(find_tests(CHECKOUT / "tests")) == set()


def test_reliability_names_every_fault():
    """Each end-to-end test of a fault is in a table of faults."""
    text = (CHECKOUT / "docs/explanation/reliability.md").read_text()
    tests = find_tests(CHECKOUT / "tests" / "end_to_end")
    faults = {name for name, docstring in tests.items() if docstring.startswith("Fault:")}
    assert faults
    assert {name for name in faults if f"`{name}`" not in text} == set()


def test_reliability_names_settings_that_are_there():
    """What a table of bounds or faults has as a setting is one."""
    names, column = {field.name for field in fields(Settings)}, None
    for line in (CHECKOUT / "docs/explanation/reliability.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if "setting" in cells:
            column = cells.index("setting")
        elif not cells:
            column = None
        elif column is not None:
            assert set(re.findall(r"`(\w+)`", cells[column])) <= names, line


def test_reliability_has_the_times_of_now():
    """The sums in the table of times are those of the defaults."""
    settings = Settings()
    _, rows = find_table(CHECKOUT / "docs/explanation/reliability.md", "fault")
    times = {name: float(cells[1].split()[0]) for cells in rows for name in re.findall(r"`(\w+)`", cells[2])[:1]}
    assert times.pop("handshake_timeout") == settings.handshake_timeout + SWEEP
    assert times.pop("ping_interval") >= settings.ping_interval + settings.ping_timeout + 3 * SLOT
    assert times.pop("restart_intensity") == settings.restart_intensity
    assert times.pop("stop_timeout") == 2 * settings.stop_timeout + KILL_DELAY  # the last row that has it
    assert len(times) == 4
    for name, seconds in times.items():
        assert seconds == getattr(settings, name), name


def test_the_architecture_has_every_module():
    """Each module of the package is in the table of what they do, once."""
    page = CHECKOUT / "docs" / "explanation" / "architecture.md"
    parts = ("", "door", "monitoring", "processes", "sockets", "wire")
    files = (file for part in parts for file in (PACKAGE / part).glob("*.py"))
    modules = {file.stem for file in files} - {"__init__"} | {
        "service",
        "tester",
        "commands",
        "styles",
        "trial",
        "wire",
    }
    _, rows = find_table(page, "module")
    listed = [name for cells in rows for name in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(listed) == sorted(modules)
