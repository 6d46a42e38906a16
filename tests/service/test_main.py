"""The process: ``python -P -m wshub.service ROOT ROUTE MODULE``, with its descriptors in place as the hub starts it."""

import os
import re
import select
import signal
import subprocess
import sys
from contextlib import suppress
from textwrap import dedent
from types import SimpleNamespace

import pytest

from wshub.processes.life import State
from wshub.processes.link import ServiceLink
from wshub.service import __main__ as main_module
from wshub.service.__main__ import format_traceback, put_on_path
from wshub.service.declare import declared_subprotocols
from wshub.sockets.frames import TEXT, make_frame
from wshub.wire import CLOSE, DATA, FAILED, MAX_TRACEBACK, NEWSOCKET
from wshub.wire.batches import encode_columns

from .conftest import ServiceProcess, encode_transactions, opening

ECHO = """
    import wshub

    class Service(wshub.Service):
        def on_message(self, client, data):
            client.send(data)
"""

BASES = {
    "handlers": """
        import wshub

        class Service(wshub.Service):
            {}def on_start(self): print("start")
            {}def on_open(self, client): print("open", client.id, *client.address)
            {}def on_message(self, client, data): print("message", client.id, repr(data)); client.send(data)
            {}def on_close(self, client, code, reason): print("close", client.id, code, reason)
            {}def on_stop(self): print("stop")
    """.replace("{}", ""),
}
BASES["coroutines"] = BASES["handlers"].replace("wshub.Service", "wshub.AsyncService").replace("def", "async def")


def files_in(traceback):
    """The files that a traceback goes through, first to last."""
    return re.findall(r'^ *File "([^"]+)", line', traceback, re.MULTILINE)


# A life.


@pytest.mark.parametrize("base", BASES)
def test_a_whole_life(start_service, base):
    """READY, every hook in order, exit status 0 when the hub hangs up, and nothing on stderr."""
    service = start_service(BASES[base])
    assert service.declared == {"subprotocols": "", "restart": "transient", "hang_timeout": "0.0"}
    client = service.connect(host="192.0.2.1", port=4711)
    service.message(client, "text", b"bytes")
    assert [payload for _, _, payload in service.get_many(2)] == [b"text", b"bytes"]
    service.gone(client, 1000, "done")
    assert service.stop() == 0
    assert service.stdout.items == [
        "start",
        f"open {client} 192.0.2.1 4711",
        f"message {client} 'text'",
        f"message {client} b'bytes'",
        f"close {client} 1000 done",
        "stop",
    ]
    assert service.stderr.items == []


def test_back_to_back_with_the_hubs_own_link(start_service):
    """The hub's own core understands the process: READY, a message there and back, a close."""
    service = start_service(
        """
        import wshub

        class Service(wshub.Service):
            subprotocols = ("v2", "v1")

            def on_message(self, client, data):
                client.send(data)
                self.broadcast(data)
                client.close(4000, "done")
        """,
        is_ready=False,
    )

    class Socket:
        def __init__(self):
            self.got = []

        def wshub_send(self, frames):
            self.got += frames

        def wshub_close(self, code, reason):
            self.got.append((code, reason))

    link, socket = ServiceLink(lambda *_: None), Socket()

    def pump(count):
        link.receive(b"".join(encode_columns(service.get_many(count))))

    pump(1)
    assert link.state is State.READY
    assert link.subprotocols == ("v2", "v1")
    socket_id = link.open(socket, opening())
    link.message(DATA, socket_id, b"hello")
    service.write(b"".join(link.take_batch()))
    pump(3)
    assert socket.got == [make_frame(TEXT, b"hello"), make_frame(TEXT, b"hello"), (4000, b"done")]
    link.close(socket_id, 4000, "done")
    service.write(b"".join(link.take_batch()))
    assert service.stop() == 0


def test_hub_that_is_killed(start_service):
    """With both ends of the hub gone in the middle of a batch the process ends by itself, with status 0."""
    service = start_service(ECHO)
    client = service.connect()
    service.message(client, "x")
    assert service.get_text() == (client, "x")
    service.write(encode_transactions((DATA, client, "never finished"))[:-5])
    assert service.stop() == 0
    assert service.stderr.items == []


HUB = """
import fcntl, os, sys

child_reads, we_write = os.pipe()
we_read, child_writes = os.pipe()
high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (child_reads, child_writes)]
pid = os.posix_spawn(
    sys.executable,
    [sys.executable, "-P", "-m", "wshub.service", sys.argv[1], "/test", sys.argv[1] + "/test.py"],
    os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)],
)
os.close(child_writes)
os.read(we_read, 100)
os.write(1, b"%d\\n" % pid)
sys.stdin.read()
"""


@pytest.mark.parametrize("work", ["while True: pass", "pass"], ids=["busy", "idle"])
def test_nobody_outlives_a_hub_that_is_killed(service_root, work):
    """With the hub gone its service ends, also one that never looks at its pipe again, and what it has started too."""
    source = f"""
        import os, subprocess
        import wshub

        class Service(wshub.Service):
            def on_start(self):
                self.sleeper = subprocess.Popen(["sleep", "30"])
                self.call_later(0, self.work)

            def work(self):
                os.write(1, b"at work\\n")
                {work}
    """
    (service_root / "test.py").write_text(dedent(source))
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HUB, str(service_root)], stdin=pipe, stdout=pipe) as hub:
        (pid,) = (int(line) for line in (hub.stdout.readline(), hub.stdout.readline()) if line != b"at work\n")
        try:
            hub.kill()
            poll = select.poll()
            poll.register(hub.stdout, 0)  # its end: nobody is left who has inherited it
            assert poll.poll(3000), "somebody still runs"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def test_descriptors_of_the_process(start_service):
    """The process has its five descriptors and whatever Python itself opens for a moment, nothing of the test's."""
    service = start_service(ECHO)
    links = {int(fd): os.readlink(f"/proc/{service.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{service.pid}/fd")}
    assert {0, 1, 2, 3, 4} <= set(links)
    assert [link for fd, link in links.items() if fd > 4 and "eventfd" not in link and "eventpoll" not in link] == []


def test_session_of_its_own(start_service):
    """The process leads a session: a Ctrl-C at the hub's terminal is not for it."""
    service = start_service(ECHO)
    assert os.getsid(service.pid) == service.pid
    assert os.getpgid(service.pid) == service.pid


def test_stdlib_only_and_no_more_than_needed(start_service):
    """A service with handlers loads neither asyncio nor threading nor traceback, and nothing that is installed."""
    service = start_service(
        """
        import sys
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                client.send(" ".join(sys.modules))
        """
    )
    service.connect()
    modules = set(service.get_text()[1].split())
    assert not modules & {
        "asyncio",
        "threading",
        "traceback",
        "socket",
        "logging",
        "twisted",
        "autobahn",
        "wshub.processes.link",
    }
    assert "wshub.service.handlers" in modules


# What the author sees of the world.


def test_working_directory_and_arguments(start_service, service_root):
    """The working directory is the folder of the services, also for a service in a folder below it."""
    service = start_service(
        """
        import os
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                client.send(os.getcwd())
                client.send(open("data.txt").read())
                client.send(__file__)
                client.send(__name__)
        """,
        route="/foo/bar",
        is_ready=False,
    )
    (service_root / "data.txt").write_text("beside the services")
    service.get_ready()
    service.connect()
    cwd, data, file, name = (service.get_text()[1] for _ in range(4))
    assert os.path.samefile(cwd, service_root)
    assert data == "beside the services"
    assert os.path.samefile(file, service_root / "foo" / "bar.py")
    assert name not in ("__main__", "bar", "")


def test_stdin_is_what_it_is(start_service):
    """A service may read its stdin: it is not the pipe of the hub."""
    service = start_service(
        """
        import sys
        import wshub

        read = sys.stdin.read()

        class Service(wshub.Service):
            def on_open(self, client):
                client.send(read)
        """,
        stdin=b"from outside",
    )
    client = service.connect()
    assert service.get_text() == (client, "from outside")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_print_line_by_line(start_service, stream):
    """What is printed arrives at once, a line at a time, while the service goes on."""
    service = start_service(
        f"""
        import sys
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                print(data, file=sys.{stream})
        """
    )
    client, lines = service.connect(), getattr(service, stream)
    for text in ("first", "grüß", "third"):
        service.message(client, text)
        assert lines.get() == text


def test_print_of_anything(start_service):
    """No text is an error to print: what has no UTF-8 form is escaped."""
    service = start_service(
        """
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                print("lone \\ud800 surrogate")
                client.send("still here")
        """
    )
    client = service.connect()
    assert service.get_text() == (client, "still here")
    assert service.stdout.get() == "lone \\ud800 surrogate"
    assert service.stop() == 0


@pytest.mark.parametrize(
    "start",
    ["subprocess.run([sys.executable, '-c', LIST], close_fds=False)", "os.system(f'{sys.executable} -c \"{LIST}\"')"],
    ids=["subprocess", "os.system"],
)
def test_programs_inherit_no_pipe_of_the_hub(start_service, start):
    """A program that the service starts has stdin, stdout and stderr, and nothing of the hub's."""
    service = start_service(
        f"""
        import os, subprocess, sys
        import wshub

        LIST = "import os; print([fd for fd in range(3, 64) if os.path.exists(f'/proc/self/fd/{{fd}}')])"

        class Service(wshub.Service):
            def on_open(self, client):
                {start}
                client.send("done")
        """
    )
    service.connect()
    assert service.stdout.get() == "[]"
    assert service.get_text()[1] == "done"


def test_program_that_stays_keeps_no_pipe_open(start_service):
    """The hub sees the end of the pipe when the service exits, though a program that it started still runs."""
    service = start_service(
        """
        import subprocess
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                nothing = subprocess.DEVNULL
                sleeper = subprocess.Popen(
                    ["sleep", "30"], close_fds=False, stdin=nothing, stdout=nothing, stderr=nothing
                )
                client.send(str(sleeper.pid))
        """
    )
    service.connect()
    pid = int(service.get_text()[1])
    try:
        assert service.stop() == 0
        assert service.transactions.is_over
    finally:
        os.kill(pid, signal.SIGKILL)


def test_modules_beside_a_service(start_service, service_root):
    """A service can import what lies in the root, and what lies in its own folder by the folder's name."""
    (service_root / "shared_part.py").write_text("NAME = 'shared'")
    (service_root / "foo").mkdir()
    (service_root / "foo" / "part.py").write_text("NAME = 'part'")
    service = start_service(
        """
        import shared_part
        from foo import part
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                client.send(shared_part.NAME + part.NAME)
        """,
        route="/foo/bar",
    )
    client = service.connect()
    assert service.get_text() == (client, "sharedpart")


@pytest.mark.parametrize("name", ["json", "asyncio", "random", "string", "queue", "traceback"])
def test_service_with_a_name_of_the_standard_library(start_service, service_root, name):
    """Services called like modules of the standard library break no `import` of another one."""
    (service_root / f"{name}.py").write_text("raise ImportError('the wrong module')")
    service = start_service(
        f"""
        import {name}
        import wshub

        class Service(wshub.AsyncService):
            async def on_message(self, client, data):
                client.send({name}.__file__)
                1 / 0
        """
    )
    client = service.connect()
    service.message(client, "x")
    assert not service.get_text()[1].startswith(str(service_root))
    assert service.get_close()[:2] == (client, 1011)
    assert "ZeroDivisionError" in service.wait_for_error("ZeroDivisionError")


@pytest.mark.parametrize("name", ["json", "wshub", "service", "Services"])
def test_service_is_called_like_what_it_imports(start_service, name):
    """A service with such a name works itself."""
    service = start_service("import json" + ECHO.replace("\n    ", "\n"), route=f"/{name}")
    client = service.connect()
    service.message(client, "x")
    assert service.get_text() == (client, "x")


def test_classes_of_the_module_can_be_pickled(start_service):
    """The module is one of `sys.modules`, which dataclasses and pickle rely on."""
    service = start_service(
        """
        import pickle
        from dataclasses import dataclass
        import wshub

        @dataclass
        class Point:
            x: "int"

        class Service(wshub.Service):
            def on_open(self, client):
                client.send(str(pickle.loads(pickle.dumps(Point(1))) == Point(1)))
        """,
        route="/foo/bar",
    )
    client = service.connect()
    assert service.get_text() == (client, "True")


@pytest.mark.parametrize("route", ["/", "/foo/"])
def test_service_of_a_folder(start_service, service_root, route):
    """The route of a folder's service ends in a slash; its module is ws_service.py."""
    folder = service_root / route.strip("/")
    folder.mkdir(exist_ok=True)
    module = folder / "ws_service.py"
    module.write_text("import wshub\nclass Service(wshub.Service):\n    def on_open(self, c): c.send(__file__)\n")
    service = ServiceProcess(service_root, route, module)
    try:
        assert service.get_ready()["subprotocols"] == ""
        client = service.connect()
        assert service.get_text() == (client, str(module))
        assert service.stop() == 0
    finally:
        service.close()


def test_service_from_elsewhere(start_service, service_root):
    """A class Service that the module only imports will do."""
    (service_root / "real.py").write_text("import wshub\nclass Service(wshub.Service): subprotocols = ['a']\n")
    assert start_service("from real import Service").declared["subprotocols"] == "a"


# What the class declares.


@pytest.mark.parametrize(
    ("names", "declared"),
    [
        ((), ""),
        (("chat",), "chat"),
        (["b", "a"], "b,a"),
        (("v1.example!#$%&*+-.^_`|~", "x"), "v1.example!#$%&*+-.^_`|~,x"),
    ],
)
def test_declared_subprotocols(names, declared):
    """The names, in the order of preference."""
    assert declared_subprotocols(SimpleNamespace(subprotocols=names)) == declared


@pytest.mark.parametrize(
    "names", ["chat", ("a b",), ("a,b",), ("",), (1,), (b"a",), ("é",), ("a\n",), ("a;b",), ("\x7f",), b"chat", 5, None]
)
def test_wrong_subprotocols(names):
    """What is no sequence of names is a TypeError that says what it should be and what it is."""
    with pytest.raises(TypeError, match=r"^subprotocols must be ") as caught:
        declared_subprotocols(SimpleNamespace(subprotocols=names))
    assert repr(names) in str(caught.value)


@pytest.mark.parametrize("base", ["wshub.Service", "wshub.AsyncService", "Services.Service"])
def test_subprotocols_of_a_class(start_service, base):
    """READY names the subprotocols of the class, in the order of preference."""
    service = start_service(
        f"import wshub, Services\nclass Service({base}):\n    subprotocols = ('b', 'a')\n    run = print"
    )
    assert service.declared["subprotocols"] == "b,a"


@pytest.mark.parametrize("base", ["wshub.Service", "wshub.AsyncService", "Services.Service"])
def test_wrong_subprotocols_of_a_class(start_service, base):
    """FAILED with a text that says what subprotocols must be, whatever the class is derived from."""
    source = f"import wshub, Services\nclass Service({base}):\n    subprotocols = 'chat'\n"
    service = start_service(source, is_ready=False)
    last = service.get_failed().strip().splitlines()[-1]
    assert last.startswith("TypeError: subprotocols must be a tuple of names")
    assert last.endswith("'chat'")
    assert service.exit_status() == 1


def test_subprotocols_of_an_instance(start_service):
    """They may also be set by the constructor."""
    service = start_service(
        """
        import wshub

        class Service(wshub.AsyncService):
            def __init__(self):
                self.subprotocols = ("late",)
        """
    )
    assert service.declared["subprotocols"] == "late"


@pytest.mark.parametrize("base", ["wshub.Service", "wshub.AsyncService"])
def test_subprotocol_reaches_the_client(start_service, base):
    """What the hub agreed upon is the client's `subprotocol`, with everything else of the handshake."""
    is_async = "async " if "Async" in base else ""
    service = start_service(
        f"""
        import wshub

        class Service({base}):
            subprotocols = ("chat",)

            {is_async}def on_open(self, client):
                client.send(repr((client.address, client.path, client.query, client.headers, client.subprotocol)))
        """
    )
    service.connect(host="::1", port=9, path="/te%20st", query="a=1", headers="host: h\nx: y: z", subprotocol="chat")
    expected = (("::1", 9), "/te%20st", "a=1", {"host": "h", "x": "y: z"}, "chat")
    assert service.get_text()[1] == repr(expected)


# What does not start.


FAILURES = {
    "syntax error": ("import wshub\nclass Service(wshub.Service)\n    pass\n", "SyntaxError"),
    "indentation": ("def f():\npass\n", "IndentationError"),
    "not UTF-8": (b"name = 'caf\xe9'\n", "SyntaxError"),
    "NUL": (b"import wshub\0\n", "SyntaxError|ValueError"),
    "import fails": ("import there_is_no_such_module\n", "ModuleNotFoundError: .*there_is_no_such_module"),
    "raises": ("1 / 0\n", "ZeroDivisionError"),
    "exits": ("import sys\nsys.exit('no way')\n", "SystemExit: no way"),
    "exits with 0": ("import sys\nsys.exit()\n", "SystemExit"),
    "interrupted": ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    "broken pipe at import": ("raise BrokenPipeError('of my own')\n", "BrokenPipeError: of my own"),
    "constructor": (
        "import wshub\nclass Service(wshub.Service):\n    def __init__(self):\n        self.x = nothing\n",
        "NameError: .*nothing",
    ),
    "constructor with arguments": (
        "import wshub\nclass Service(wshub.Service):\n    def __init__(self, a, b):\n        pass\n",
        "TypeError: .*a.*b",
    ),
    "classic constructor": (
        "import Services\nclass Service(Services.Service):\n    def __init__(self, a, b):\n        raise OSError(1)\n",
        "OSError: 1",
    ),
    "on_start": (
        "import wshub\nclass Service(wshub.Service):\n    def on_start(self):\n        raise KeyError('db')\n",
        "KeyError: 'db'",
    ),
    "on_start exits": (
        "import wshub\nclass Service(wshub.Service):\n    def on_start(self):\n        raise SystemExit(0)\n",
        "SystemExit: 0",
    ),
    "on_start with a broken pipe": (
        "import wshub\nclass Service(wshub.Service):\n    def on_start(self):\n        raise BrokenPipeError('mine')\n",
        "BrokenPipeError: mine",
    ),
    "on_start of coroutines": (
        "import wshub\nclass Service(wshub.AsyncService):\n    async def on_start(self):\n        raise KeyError(1)\n",
        "KeyError: 1",
    ),
}
WITHOUT_A_FRAME = {"constructor with arguments", "not UTF-8", "NUL"}
"""Failures in which no code of the author's runs, nor is shown."""


@pytest.mark.parametrize("name", FAILURES)
def test_failed(start_service, service_root, name):
    """FAILED with the traceback, which begins at the author's code, and exit status 1; nobody is told of READY."""
    source, error = FAILURES[name]
    (service_root / "test.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    service = start_service(is_ready=False)
    text = service.get_failed()
    assert re.search(f"^({error})", text, re.MULTILINE), text
    assert service.exit_status() == 1
    assert service.transactions.rest() == []
    if name not in WITHOUT_A_FRAME:
        assert files_in(text)[:1] == [str(service_root / "test.py")], text


CLASSLESS = {
    "empty": "",
    "other name": "import wshub\nclass service(wshub.Service): pass\n",
    "None": "Service = None\n",
}


@pytest.mark.parametrize("name", CLASSLESS)
def test_no_class_service(start_service, service_root, name):
    """FAILED says which file has no class Service."""
    service = start_service(CLASSLESS[name], is_ready=False)
    last = service.get_failed().strip().splitlines()[-1]
    assert last == f"TypeError: {service_root / 'test.py'} has no class Service"
    assert service.exit_status() == 1


UNFIT = {
    "of object": "class Service: pass\n",
    "of another": "import threading\nclass Service(threading.Thread): pass\n",
    "a function": "def Service(): pass\n",
    "an instance": "import wshub\nService = wshub.Service()\n",
    "a module": "import wshub.service as Service\n",
    "with queues known": "import Services\nclass Service: pass\n",
}


@pytest.mark.parametrize("name", UNFIT)
def test_not_derived(start_service, name):
    """FAILED says what a class Service must be derived from."""
    service = start_service(UNFIT[name], is_ready=False)
    last = service.get_failed().strip().splitlines()[-1]
    assert re.fullmatch(r"TypeError: .*test\.py.*wshub\.Service.*wshub\.AsyncService.*Services\.Service.*", last)
    assert service.exit_status() == 1


def test_module_that_is_gone(start_service, service_root):
    """A file that has been removed meanwhile is FAILED too."""
    service = start_service(is_ready=False)
    assert "FileNotFoundError" in service.get_failed()
    assert service.exit_status() == 1


def test_traceback_goes_through_all_of_the_authors_code(start_service, service_root):
    """Not only the last frame: the module, its helper and the cause are all there, and nothing of ours before them."""
    (service_root / "part.py").write_text("def work():\n    try:\n        1 / 0\n    except Exception as e:\n")
    with (service_root / "part.py").open("a") as file:
        file.write("        raise OSError('outer') from e\n")
    service = start_service("import part\nimport wshub\npart.work()\n", is_ready=False)
    text = service.get_failed()
    assert [os.path.basename(file) for file in files_in(text)] == ["part.py", "test.py", "part.py"]
    assert text.startswith("Traceback (most recent call last):\n")
    assert "ZeroDivisionError" in text
    assert text.rstrip().endswith("OSError: outer")


def test_traceback_that_is_very_long(start_service):
    """Its end is sent, within the limit, and the process does not fail over it."""
    service = start_service("raise ValueError('x' * 100_000 + 'é' * 100_000 + ' the end')", is_ready=False)
    _, _, payload = service.get()
    assert len(payload) <= MAX_TRACEBACK
    assert payload.decode(errors="replace").rstrip().endswith("the end")
    assert service.exit_status() == 1


def test_traceback_with_a_lone_surrogate(start_service):
    """What has no UTF-8 form is escaped."""
    service = start_service("raise ValueError('\\ud800')", is_ready=False)
    assert "\\ud800" in service.get_failed()


def test_format_traceback_of_code_in_a_folder_of_a_similar_name(monkeypatch, tmp_path):
    """Only frames in the kit's own folder are left out, not those in one whose name merely begins like it."""
    kit = tmp_path / "service"
    monkeypatch.setattr(main_module, "__file__", str(kit / "__main__.py"))
    code = compile(
        "def g():\n    raise KeyError(1)\ndef f():\n    g()\n", str(tmp_path / "services" / "own.py"), "exec"
    )
    names = {}
    exec(code, names)
    caller = compile("def call(f):\n    f()\n", str(kit / "__main__.py"), "exec")
    exec(caller, names)
    try:
        names["call"](names["f"])
    except KeyError as error:
        error.__traceback__ = error.__traceback__.tb_next
        try:
            raise error.with_traceback(error.__traceback__)
        except KeyError:
            text = format_traceback().decode()
    assert [os.path.basename(file) for file in files_in(text) if file.endswith("own.py")] == ["own.py", "own.py"]


# What goes wrong later.


@pytest.mark.parametrize("base", ["wshub.Service", "wshub.AsyncService"])
@pytest.mark.parametrize("hook", ["on_open(self, client)", "on_message(self, client, data)"])
def test_hook_that_raises(start_service, base, hook):
    """Traceback on stderr, the client closed with 1011, the others served, exit status 0 at the end."""
    is_async = "async " if "Async" in base else ""
    service = start_service(
        f"""
        import wshub

        class Service({base}):
            {is_async}def {hook}:
                if client.id == 1:
                    raise LookupError("is broken")
                client.send("fine")
        """
    )
    client, other = service.connect(), service.connect()
    service.message(client, "x")
    service.message(other, "x")
    got = service.get_many(2)
    assert sorted((kind, its) for kind, its, _ in got) == [(DATA, other), (CLOSE, client)]
    service.wait_for_error("LookupError: is broken")
    assert service.stop() == 0
    assert service.errors.count("Traceback (most recent call last)") == 1
    assert "test.py" in service.errors


@pytest.mark.parametrize("base", ["wshub.Service", "wshub.AsyncService"])
def test_exit_in_a_hook(start_service, base):
    """`sys.exit(3)` in a hook ends the process with that status; it is no FAILED."""
    is_async = "async " if "Async" in base else ""
    service = start_service(
        f"""
        import sys
        import wshub

        class Service({base}):
            {is_async}def on_message(self, client, data):
                sys.exit(3)
        """
    )
    service.message(service.connect(), "x")
    assert service.exit_status() == 3
    assert FAILED not in [kind for kind, _, _ in service.transactions.items]


def test_broken_pipe_of_the_authors_own(start_service):
    """A BrokenPipeError of some other pipe is a hook's exception like any other."""
    service = start_service(
        """
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                raise BrokenPipeError("of my own")
        """
    )
    client = service.connect()
    service.message(client, "x")
    assert service.get_close()[:2] == (client, 1011)
    service.wait_for_error("of my own")
    assert service.stop() == 0


def test_wrong_arguments():
    """Without its three arguments the program says so and is not taken for a service."""
    with pytest.raises(TypeError, match="module_file"):
        main_module.main("root", "route")


def test_put_on_path(monkeypatch):
    """The root comes after the standard library and before what is installed; the classic modules are last."""
    monkeypatch.setattr(sys, "path", ["/stdlib", "/stdlib/lib-dynload", "/venv/site-packages", "/other/dist-packages"])
    put_on_path("/root")
    *rest, classic = sys.path
    assert rest == ["/stdlib", "/stdlib/lib-dynload", "/root", "/venv/site-packages", "/other/dist-packages"]
    assert sorted(name for name in os.listdir(classic) if name.endswith(".py")) == ["Services.py", "WebSockets.py"]


def test_put_on_path_with_nothing_installed(monkeypatch):
    """Without site-packages the root is last but the classic modules."""
    monkeypatch.setattr(sys, "path", ["/stdlib"])
    put_on_path("/root")
    assert sys.path[:2] == ["/stdlib", "/root"]


def test_two_clients_in_one_batch(start_service):
    """A whole life of two clients may come in one batch, before the service has even seen the first."""
    service = start_service(ECHO)
    service.post(
        (NEWSOCKET, 1, opening()), (DATA, 1, "a"), (NEWSOCKET, 2, opening()), (CLOSE, 1, (1000, "")), (DATA, 2, "b")
    )
    assert [service.get_text() for _ in range(2)] == [(1, "a"), (2, "b")]
    assert service.stop() == 0


@pytest.mark.parametrize("replaced", ["", "os.open(os.devnull, os.O_RDONLY)"])
def test_module_that_closes_its_pipe(start_service, replaced):
    """A module that closes descriptor 3, and may have another file there by now, does not start; it is told why."""
    process = start_service(
        f"import os\nimport wshub\nos.close(3)\n{replaced}\nService = wshub.Service\n", is_ready=False
    )
    assert "the module has closed descriptor 3, a pipe to the hub: leave 3 and 4 alone" in process.get_failed()
    assert process.exit_status() == 1


def test_file_of_the_module_that_is_open_at_the_end(start_service, tmp_path):
    """What a module has written to its file, and Python still has, is in the file when the process has finished."""
    service = start_service(
        f"""
        import wshub

        log = open({str(tmp_path / "log")!r}, "w")

        class Service(wshub.Service):
            def on_message(self, client, data):
                log.write(data)
        """
    )
    service.message(service.connect(), "the last words")
    assert service.stop() == 0
    assert (tmp_path / "log").read_text() == "the last words"
