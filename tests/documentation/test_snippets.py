"""Every fenced block of the documentation is run, or compared with what is put out, or listed with the reason."""

import configparser
import difflib
import json
import re
import shutil
import subprocess
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from urllib.request import urlopen

import pytest

from wshub.config import read_file

from .blocks import CHECKOUT, Block, find_blocks
from .exercises import EXERCISES
from .terminal import Terminal

BLOCKS = find_blocks()
BY_NAME = {block.name: block for block in BLOCKS}
TUTORIAL = "docs/tutorial/"
NUMBER = re.compile(r"\d[\d.:T+-]*")

NOT_RUN = {
    "README.md#in-a-container": "needs Docker; docker/build-with-buildah.sh --test runs the image",
    "docker/README.md#wshub-in-a-container": "needs Docker; docker/build-with-buildah.sh --test runs the image",
    "docker/README.md#wshub-in-a-container:2": "needs Docker",
    "docker/README.md#without-docker": "needs buildah and Docker",
    "docker/README.md#with-prometheus-and-grafana": "needs Docker",
    "docs/coming-from/channels.md#the-same-program": "needs Django Channels; it is parsed",
    "docs/coming-from/channels.md#the-same-program:2": "needs Django Channels; it is parsed",
    "docs/coming-from/classic.md#the-same-program": "needs Python 2.7; what differs from the next block is counted",
    "docs/explanation/architecture.md#the-shape": "a diagram",
    "docs/howto/harden.md#under-systemd": "needs systemd and root; tests/test_deploy.py checks the unit",
    "docs/howto/harden.md#in-a-container": "needs Docker",
    "docs/howto/monitor.md#prometheus-and-grafana": "needs Prometheus; docker/monitoring has the same",
    "docs/howto/monitor.md#prometheus-and-grafana:2": "needs Docker",
    "docs/howto/monitor.md#the-console": "serves; tests/end_to_end/test_console.py does what it says",
    "docs/howto/monitor.md#the-console:2": "a line of the log; tests/end_to_end/test_console.py reads it",
    "docs/howto/monitor.md#the-console:3": "needs another machine; tests/end_to_end/test_console.py has such a tunnel",
    "docs/reference/options.md#tls": "needs root; tests/end_to_end/test_tls.py serves with such files",
    "docs/reference/cli.md#the-command-wshub": "a synopsis; tests/commands have the command lines",
    "docs/reference/options.md#command-line": "a synopsis; tests/test_tap.py has the command lines",
    "docs/reference/wire-protocol.md#batches": "a diagram",
    "docs/reference/wire-protocol.md#batches:2": "a diagram",
    "docs/tutorial/6-server.md#the-hub-under-systemd": "needs systemd and root; tests/test_deploy.py checks the unit",
    "docs/tutorial/6-server.md#nginx-and-tls": "needs root; tests/end_to_end/test_nginx.py runs nginx with that file",
    "docs/tutorial/6-server.md#or-a-container": "needs Docker",
    "docs/tutorial/6-server.md#a-new-version-of-the-chat": "needs systemd and root",
}
"""Blocks that nobody runs here, and why."""

ELSEWHERE = {
    "docs/howto/authenticate.md#tokens-jwt": "tests/service/test_authenticate.py",
    "docs/howto/authenticate.md#passwords-basic": "tests/service/test_authenticate.py",
    "docs/howto/authenticate.md#passwords-basic:2": "tests/service/test_authenticate.py",
    "docs/howto/harden.md#who-may-connect:2": "tests/end_to_end/test_nginx.py",
    "docs/howto/redis.md#the-service": "tests/end_to_end/test_redis.py",
    "docs/howto/redis.md#the-service:2": "tests/end_to_end/test_redis.py",
    "docs/howto/redis.md#from-a-web-application": "tests/end_to_end/test_redis.py",
    "docs/howto/redis.md#from-a-web-application:2": "tests/end_to_end/test_redis.py",
    "docs/howto/redis.md#when-redis-goes-away": "tests/end_to_end/test_redis.py",
    "docs/howto/test-a-service.md#a-service-and-its-test": "tests/test_docs.py",
    "docs/howto/test-a-service.md#a-service-and-its-test:2": "tests/test_docs.py",
    "docs/reference/wire-protocol.md#an-example": "tests/test_docs.py",
    "docs/reference/wire-protocol.md#an-example:2": "tests/test_docs.py",
}
"""Blocks that another test reads from the page and runs."""

IN_TERMINALS = {
    "docs/coming-from/websocketd.md#the-same-program",
    "docs/howto/harden.md#behind-nginx",
    "docs/howto/monitor.md#the-admin-interface",
    "docs/howto/monitor.md#the-log",
    "docs/howto/monitor.md#the-log:2",
    "docs/howto/monitor.md#what-a-service-logs:2",
    "docs/howto/write-a-service.md#errors",
    "docs/reference/cli.md#call",
    "docs/reference/options.md#command-line:2",
    "docs/reference/options.md#pages",
}
"""Commands, and what programs write, of the tests below that name them; besides the README and the tutorial."""


def choose(*languages: str) -> list[object]:
    """The blocks of these languages that have to be run here, as parameters."""
    return [
        pytest.param(block, id=block.name)
        for block in BLOCKS
        if block.language in languages and block.name not in {*NOT_RUN, *ELSEWHERE, *IN_TERMINALS}
    ]


def is_test(block: Block) -> bool:
    """Whether a Python block is a test for pytest."""
    return "\ndef test_" in block.text


def is_service(block: Block) -> bool:
    """Whether a Python block is a service."""
    return "class Service(" in block.text


@pytest.fixture
def terminal(tmp_path):
    """A terminal in an empty home."""
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def matches(text: str, output: str) -> bool:
    """Whether every line is in the output, in this order; numbers, times and ports may be others."""
    text = text.replace("localhost", "127.0.0.1").strip()
    lines = (NUMBER.pattern.join(map(re.escape, NUMBER.split(line.strip()))) for line in text.splitlines())
    return re.search(".*".join(lines), output, re.DOTALL) is not None


def test_lists_have_no_other_blocks():
    """What is listed is there, once, and no language is without a test."""
    listed = [*NOT_RUN, *ELSEWHERE, *EXERCISES]
    assert [name for name in listed if name not in BY_NAME] == []
    assert len(listed) == len(set(listed))
    for name, file in ELSEWHERE.items():
        assert Path(name.partition("#")[0]).name in (CHECKOUT / file).read_text(), f"{file} does not read {name}"


def test_every_block_has_a_test():
    """A block that no test here knows is a mistake: give it a test, or a reason."""
    tested = {each.id for each in choose("python", "toml", "ini", "html")} | IN_TERMINALS
    tested |= {block.name for block in BLOCKS if block.page.startswith((TUTORIAL, "README.md"))}
    assert [block.name for block in BLOCKS if block.name not in {*tested, *NOT_RUN, *ELSEWHERE}] == []


@pytest.mark.parametrize("block", [each for each in choose("python") if is_service(each.values[0])])
def test_services(block, tmp_path, monkeypatch):
    """A service does what its page says of it."""
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "snippet.py"
    module.write_text(block.text)
    assert block.name in EXERCISES, "a service has to be exercised: see exercises.py"
    EXERCISES[block.name](module)


@pytest.mark.parametrize("block", [each for each in choose("python") if not is_service(each.values[0])])
def test_other_python(block, tmp_path, monkeypatch):
    """Other Python runs to its end; a test of a service, with the services of its page, passes."""
    monkeypatch.chdir(tmp_path)
    if not is_test(block):
        monkeypatch.syspath_prepend(str(CHECKOUT / "wshub" / "service" / "classic"))
        exec(compile(block.text, block.name, "exec"), vars(types.ModuleType("snippet")))


@pytest.mark.parametrize("name", [name for name in NOT_RUN if BY_NAME[name].language == "python"])
def test_python_of_others_is_valid(name):
    """Python for what is not installed here compiles."""
    compile(BY_NAME[name].text, name, "exec")


@pytest.mark.parametrize("block", choose("toml"))
def test_settings(block, tmp_path):
    """A block of settings is one that the hub reads."""
    file = tmp_path / "wshub.toml"
    file.write_text(block.text)
    assert read_file(file)


@pytest.mark.parametrize("block", choose("ini"))
def test_units(block):
    """A unit has sections and values."""
    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser.read_string(block.text)
    assert all(parser[section] for section in parser.sections())


class Scripts(HTMLParser):
    """The scripts of a page, and what is open at its end."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data


@pytest.mark.parametrize("block", choose("html"))
def test_pages(block, tmp_path):
    """What a page opens it closes, and its script is valid; tests/end_to_end/test_tutorial.py uses it in a browser."""
    page = Scripts(block.text)
    assert page.open == []
    assert page.scripts
    if node := shutil.which("node"):
        file = tmp_path / "script.mjs"
        file.write_text(page.scripts[0])
        subprocess.run([node, "--check", file], check=True, timeout=20)


def test_the_tutorial(terminal):
    """Every step of the tutorial, one after the other: files are saved, commands run, and they say what it says."""
    for block in (block for block in BLOCKS if block.page.startswith(TUTORIAL)):
        if block.name in NOT_RUN:
            continue
        if block.file:
            terminal.save(block.file, block.text)
        elif block.language == "sh" and "< /dev/null" in block.text:
            refused, entered = block.text.splitlines()
            terminal.run(f"! {refused}")
            assert "400" in terminal.errors
            assert "Say who you are: ?name=Ada" in terminal.errors
            terminal.run(entered)
            assert "Ada is here." in terminal.output
        elif block.language == "sh":
            terminal.run(block.text)
        elif "AttributeError" in block.text:
            whole = (terminal.folder / "services/chat.py").read_text()
            terminal.save("services/chat.py", whole.replace("{client.state.name}: ", "{client.state.nmae}: "))
            terminal.run('! echo hello | wshub call "/chat?name=Ada"')
            assert "1011" in terminal.errors
            assert matches(block.text, terminal.log), terminal.log
            terminal.save("services/chat.py", whole.replace("):\n", ")\n"))  # and "one that Python finds at once"
            assert "expected ':'" in terminal.log
            assert "not reloaded, the old process stays" in terminal.log
            terminal.save("services/chat.py", whole)
        elif block.language == "text":
            assert matches(block.text, terminal.output + terminal.log), terminal.output + terminal.log
    assert "hello from the terminal" in terminal.output
    with urlopen(f"http://127.0.0.1:{terminal.port}/chat", timeout=10) as response:
        assert response.read().decode() == BY_NAME["docs/tutorial/4-names-and-rooms.md#the-page-asks-for-a-name"].text
    terminal.stop_hub()


def test_the_readme(terminal):
    """The commands of the README, one after the other, with what they are said to answer."""
    for block in (block for block in BLOCKS if block.page == "README.md" and block.name not in NOT_RUN):
        if block.file:
            terminal.save(block.file, block.text)
            terminal.run("echo polly | wshub call /parrot")
            assert terminal.output.endswith("polly\n")
        elif block.language == "sh":
            terminal.run(block.text)
        else:
            assert terminal.output.endswith(block.text)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("docs/reference/cli.md#call", "hello\n"),
        ("docs/reference/options.md#command-line:2", ""),
        ("docs/howto/harden.md#behind-nginx", ""),
    ],
)
def test_commands(name, says, terminal):
    """Commands of other pages, with a hub that serves the examples."""
    terminal.run("mkdir -p pages && wshub new hello > /dev/null" if "options" in name else "true")
    if "cli" in name:
        terminal.run("wshub serve")
    terminal.run(BY_NAME[name].text)
    assert says in terminal.output


def test_the_admin_interface(terminal):
    """The first commands of how to see what a hub does."""
    terminal.run(BY_NAME["docs/howto/monitor.md#the-admin-interface"].text)
    assert {each["path"] for each in json.loads(terminal.output)["services"]} >= {"/echo"}


def test_the_list_of_services_is_as_documented(terminal):
    """The JSON of the reference has the fields that the hub's own has."""
    terminal.run("wshub serve")
    with urlopen(f"http://127.0.0.1:{terminal.port}/_wshub/services.json", timeout=10) as response:
        real = json.load(response)
    documented = json.loads(BY_NAME["docs/reference/options.md#pages"].text)
    assert documented.keys() == real.keys()
    assert documented["version"] == real["version"]
    assert all(each.keys() == real["services"][0].keys() for each in documented["services"])


def test_the_log_is_as_documented(terminal):
    """The lines of the log in both formats, and what a service logs, are as the how-to has them."""
    chat = "import wshub\n\nprint('whatever it printed')\n\nService = wshub.Service\n"
    orders = BY_NAME["docs/howto/monitor.md#what-a-service-logs"]
    terminal.save("services/chat.py", chat)
    terminal.save("services/orders.py", orders.text)
    for form, name in (("text", "docs/howto/monitor.md#the-log"), ("json", "docs/howto/monitor.md#the-log:2")):
        terminal.run(f"wshub serve --log-format {form}")
        terminal.run("wshub call /chat < /dev/null -w 0.1\necho '12 eggs' | wshub call /orders -w 0.1")
        terminal.wait_for_log("/chat: 127.0.0.1, port ")
        if form == "text":
            assert matches(BY_NAME[name].text.replace("192.0.2.7", "127.0.0.1"), terminal.log)
            terminal.wait_for_log("eggs")
            assert matches(BY_NAME["docs/howto/monitor.md#what-a-service-logs:2"].text, terminal.log)
        else:
            (line,) = (
                json.loads(each) for each in terminal.log.splitlines() if "closed after" in each and "/chat" in each
            )
            assert line.keys() == json.loads(BY_NAME[name].text).keys()


def test_the_test_with_a_real_hub(terminal):
    """The test of the how-to passes with its relay; the other two ways to write that are exercised without a hub."""
    page = "docs/howto/write-a-service.md"
    terminal.save("tests/test_relay.py", BY_NAME[f"{page}#test-with-a-real-hub"].text)
    terminal.save("services/relay.py", BY_NAME[f"{page}#handlers"].text)
    terminal.run("pytest -q -p no:cacheprovider")
    assert "1 passed" in terminal.output


def test_what_a_service_prints_is_logged(terminal):
    """What a service prints is a line of the log, as the how-to has it."""
    terminal.save("services/hello.py", "import wshub\n\nprint('whatever was printed')\n\nService = wshub.Service\n")
    terminal.run("wshub serve\nwshub call /hello < /dev/null -w 0.1")
    assert BY_NAME["docs/howto/write-a-service.md#errors"].text.strip() in terminal.log


def test_the_program_for_websocketd(tmp_path):
    """The program that websocketd would start reads lines and writes lines."""
    text = BY_NAME["docs/coming-from/websocketd.md#the-same-program"].text
    done = subprocess.run(
        [sys.executable, "-c", text], input="Ada\n", capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "Who are you?\nHello, Ada.\n"


def test_classic_changes_are_those_of_python_3():
    """Between the classic service as it was and as it is, three lines differ."""
    name = "docs/coming-from/classic.md#the-same-program"
    before, after = (BY_NAME[each].text.splitlines() for each in (name, f"{name}:2"))
    changed = [line for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert len(changed) == 3
    assert "Three lines have changed" in (CHECKOUT / "docs/coming-from/classic.md").read_text()
