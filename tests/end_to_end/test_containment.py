"""What a service can do to the hub, to its machine and to the others, and what the machine can do to the hub."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect, unix_connect

from .harness import (
    EXAMPLES,
    TWISTD,
    WAIT,
    HubProcess,
    closed_with,
    eventually,
    find_free_port,
    processes_in,
    zombies_of,
)

StartHub = Callable[..., HubProcess]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or mount")

TELLS = """
    import os
    import wshub

    DESCRIPTORS = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd))

    class Service(wshub.Service):
        def on_message(self, client, data):
            client.send(repr(eval(data)))
"""

IDS = "(os.getresuid(), os.getresgid(), sorted(os.getgroups()))"


def ask(hub: HubProcess, path: str, question: str) -> object:
    """What an expression comes to in a service of `TELLS`."""
    with hub.connect(path) as client:
        client.send(question)
        return eval(client.recv(WAIT))


def is_served(hub: HubProcess) -> bool:
    """Whether another service's client gets its answer, within a second."""
    began = time.monotonic()
    with hub.connect("/echo") as client:
        client.send("well?")
        return client.recv(WAIT) == "well?" and time.monotonic() - began < 1


# What a service gets.


def test_environment_of_a_service(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: secrets in the hub's environment. Seen: a service has none of them but the one that it was named."""
    (tmp_path / "wshub.toml").write_text('service_environment = ["DATABASE_URL", "MODE=test"]\n')
    secrets = {"AWS_SECRET_ACCESS_KEY": "secret", "GITHUB_TOKEN": "secret", "DATABASE_URL": "named"}
    hub = start_hub("-c", "wshub.toml", environment={**secrets, "LC_TIME": "C"})
    hub.save("tells.py", TELLS)
    environment = ask(hub, "/tells", "dict(os.environ)")
    assert isinstance(environment, dict)
    assert not {"AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"} & set(environment)
    assert environment["DATABASE_URL"] == "named"
    assert environment["MODE"] == "test"
    assert environment["LC_TIME"] == "C"
    assert environment["PATH"] == os.environ["PATH"]
    assert ask(hub, "/tells", "os.umask(0o077)") == 0o077
    assert ask(hub, "/tells", "os.getcwd()") == str(hub.services)


def test_descriptors_after_many_starts(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a service dies again and again, for as many times as WSHUB_TEST_STARTS says. Seen: the last one has
    descriptors 0 to 4 as the first one had, and the hub has as many as before.
    """
    starts = int(os.environ.get("WSHUB_TEST_STARTS", "30"))
    (tmp_path / "wshub.toml").write_text("restart_intensity = 1000\nrestart_period = 0.001\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save("tells.py", TELLS)
    assert ask(hub, "/tells", "DESCRIPTORS") == [0, 1, 2, 3, 4]
    before = hub.count_descriptors()
    for number in range(1, starts):
        os.kill(hub.pid_of("/tells"), signal.SIGKILL)
        hub.wait_for_logs("/tells: died", number)
        assert ask(hub, "/tells", "DESCRIPTORS") == [0, 1, 2, 3, 4]
    assert len(hub.search("/tells: started")) == starts
    eventually(lambda: hub.count_descriptors() <= before, f"{before} descriptors")


# What a service takes.


def test_memory_hog(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a service asks for ever more memory. Seen: at its limit it gets no more, its client is told, and whatever
    becomes of it, the hub serves others and has not grown.
    """
    (tmp_path / "wshub.toml").write_text('service_memory = "128MiB"\n')
    hub = start_hub("-c", "wshub.toml")
    hub.may_fail.add("/hog")
    hub.save(
        "hog.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                self.hoard = []
                while True:
                    self.hoard.append(b"x" * (1 << 20))
        """,
    )
    assert is_served(hub)
    before = resident(hub.process.pid)
    with hub.connect("/hog") as client:
        client.send("go")
        assert closed_with(client)[0] == 1011
        assert is_served(hub)
        assert resident(hub.process.pid) - before < 8 << 20
    hub.wait_for_log("MemoryError|/hog: died")


def resident(pid: int) -> int:
    """A process's resident memory, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@root_only
def test_fork_bomb(open_folder: Path) -> None:
    """Fault: a service, and all that it starts, forks for ever. Seen: it gets no further than its limit, the hub serves
    others, and when the service dies all of them die.
    """
    (open_folder / "wshub.toml").write_text('service_processes = 60\nservice_user = "nobody"\n')
    with running_hub(open_folder, "-c", "wshub.toml") as hub:
        hub.save(
            "bomb.py",
            """
            import os
            import wshub

            class Service(wshub.Service):
                def on_message(self, client, data):
                    if os.fork():
                        client.send("lit")
                        return
                    while True:
                        try:
                            os.fork()
                        except OSError:
                            pass
            """,
        )
        assert is_served(hub)
        with hub.connect("/bomb") as client:
            client.send("go")
            assert client.recv(WAIT) == "lit"
            eventually(lambda: processes_of("nobody") >= 50, "it burns")
            assert is_served(hub)
            assert processes_of("nobody") <= 60
            os.kill(hub.pid_of("/bomb"), signal.SIGKILL)
            assert closed_with(client)[0] == 1011
        eventually(lambda: processes_of("nobody") <= 1, "only /echo is left")
        assert is_served(hub)


def processes_of(user: str) -> int:
    """How many processes a user has that have not exited."""
    count, uid = 0, pwd.getpwnam(user).pw_uid
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and entry.stat().st_uid == uid:
                count += (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return count


# Who a service is.


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can enter, as those of pytest are not; skip where nobody else can run this Python."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        if os.geteuid() == 0:
            command = [sys.executable, "-c", "import wshub.tap"]
            gid = pwd.getpwnam("nobody").pw_gid
            try:
                subprocess.run(command, cwd="/", user="nobody", group=gid, extra_groups=[], check=True)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("this Python, or this checkout, is for root alone")
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_hub(folder: Path, *options: str, **settings: object) -> Iterator[HubProcess]:
    """A hub in a folder of its own."""
    hub = HubProcess(folder, *options, **settings)  # type: ignore[arg-type]
    try:
        yield hub
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()


@root_only
def test_services_as_another_user(open_folder: Path) -> None:
    """Fault: a service of a hub that runs as root is taken over. Seen: it is nobody, in all three senses and for good,
    with that user's groups alone, and its home; the hub, which is root, can still kill it; the kernel rather would.
    """
    with running_hub(open_folder, "--service-user", "nobody") as hub:
        hub.save("tells.py", TELLS)
        nobody = pwd.getpwnam("nobody")
        assert ask(hub, "/tells", IDS) == (
            (nobody.pw_uid,) * 3,
            (nobody.pw_gid,) * 3,
            sorted(os.getgrouplist("nobody", nobody.pw_gid)),
        )
        assert ask(hub, "/tells", "os.environ['HOME']") == nobody.pw_dir
        with hub.connect("/tells") as client:
            client.send("os.setuid(0)")
            assert closed_with(client)[0] == 1011
        hub.may_fail.add("/tells")
        hub.wait_for_log("PermissionError")
        status = Path(f"/proc/{hub.pid_of('/tells')}/status").read_text()
        assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}" in status
        assert Path(f"/proc/{hub.pid_of('/tells')}/oom_score_adj").read_text() == "500\n"
        assert not hub.search("run as root")


@root_only
def test_hub_that_gives_root_up(open_folder: Path) -> None:
    """Fault: twistd --uid leaves groups of root's behind. Seen: neither the hub nor a service has any of them."""
    nobody = pwd.getpwnam("nobody")
    shutil.copytree(EXAMPLES, open_folder / "services")
    own = sorted(os.getgrouplist("nobody", nobody.pw_gid))
    with (
        extra_groups([0, 1, 2]),
        running_hub(open_folder, twistd=("--uid", "nobody", "--gid", str(nobody.pw_gid))) as hub,
    ):
        hub.save("tells.py", TELLS)
        status = Path(f"/proc/{hub.process.pid}/status").read_text()
        (groups,) = [line.split()[1:] for line in status.splitlines() if line.startswith("Groups:")]
        assert sorted(map(int, groups)) == own
        assert ask(hub, "/tells", IDS) == ((nobody.pw_uid,) * 3, (nobody.pw_gid,) * 3, own)
        assert not hub.search("run as root")


@contextmanager
def extra_groups(groups: list[int]) -> Iterator[None]:
    """Be in some more groups, as root in a terminal is."""
    before = os.getgroups()
    os.setgroups([*before, *groups])
    try:
        yield
    finally:
        os.setgroups(before)


@root_only
def test_user_that_is_asked_for_twice(open_folder: Path) -> None:
    """Fault: --service-user together with twistd --uid. Seen: services do not start, and the log says what to do."""
    with running_hub(open_folder, "--service-user", "nobody", twistd=("--uid", "nobody")) as hub:
        hub.may_fail.add("/echo")
        with pytest.raises(InvalidStatus):
            hub.connect("/echo")
        hub.wait_for_log("leave out either --service-user or twistd's --uid")


@root_only
def test_services_as_root(start_hub: StartHub) -> None:
    """Fault: a hub is started as root, and nothing said about services. Seen: one plain warning in the log."""
    hub = start_hub()
    assert len(hub.search(r"#warn\] services run as root: give --service-user NAME")) == 1


# What happens to the hub.


def find_faketime() -> str | None:
    """The library that gives a process another clock."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))
    return str(found[0]) if found else None


@pytest.mark.skipif(find_faketime() is None, reason="no libfaketime here (Debian: apt install faketime)")
@pytest.mark.parametrize("jump", ["+1h", "-1h"])
def test_clock_that_is_set(start_hub: StartHub, tmp_path: Path, jump: str) -> None:
    """Fault: the machine's clock is set by an hour, forward or back. Seen: no client is closed, no service killed; and
    timeouts last as long as ever.
    """
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    (tmp_path / "wshub.toml").write_text("handshake_timeout = 2\nhang_timeout = 2\nclose_timeout = 1\n")
    library = find_faketime()
    assert library is not None
    hub = start_hub(
        *("-c", "wshub.toml"),
        environment={
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    hub.save("tells.py", TELLS)
    with hub.connect("/tells") as client, hub.connect("/clock"):
        client.send("1")
        assert client.recv(WAIT) == "1"
        with hub.open_socket() as late:
            began = time.monotonic()
            hour = hub.get("/_wshub/services.json").headers["date"].split()[4][:2]  # so the hub has accepted both
            clock.write_text(f"{jump}\n")
            eventually(lambda: hub.get("/_wshub/services.json").headers["date"].split()[4][:2] != hour, "the clock set")
            with suppress(ConnectionResetError):
                assert late.recv(1) == b""
            assert 1.9 < time.monotonic() - began < 4
        with hub.rude_client("/tells") as rude:
            rude.send_frame(rude.TEXT, b"client.close(4000)")
            assert rude.read_close()[0] == 4000
            began = time.monotonic()
            with suppress(ConnectionError):
                rude.read_end()
            assert time.monotonic() - began < 3
        time.sleep(2.5)  # longer than a service may be silent
        client.send("2")
        assert client.recv(WAIT) == "2"
        assert hub.count_clients() == 2
    assert not hub.search("died")


@root_only
def test_full_disk_under_the_log(tmp_path: Path) -> None:
    """Fault: the file system that has the log is full. Seen: serving goes on, services start and die as ever, the hub
    does not spin, stops in order; and once there is room the log goes on.
    """
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", small], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    shutil.copytree(EXAMPLES, tmp_path / "services")
    (tmp_path / "services" / "prints.py").write_text(
        "import os, wshub\nclass Service(wshub.Service):\n    def on_message(self, client, data):\n"
        "        for _ in range(100): print('x' * 1000)\n        client.send(str(os.getpid()))\n"
    )
    for number in range(10):
        shutil.copy(EXAMPLES / "echo.py", tmp_path / "services" / f"echo{number}.py")
    port = find_free_port()
    log = small / "log"
    command = [TWISTD, "-n", "--pidfile=", f"--logfile={log}", "wshub", "--port", f"tcp:{port}:interface=127.0.0.1"]
    with subprocess.Popen(command, cwd=tmp_path) as hub:
        try:
            eventually(lambda: log.exists() and b"listening" in log.read_bytes(), "it listens")
            url = f"ws://127.0.0.1:{port}"
            with connect(f"{url}/prints", compression=None, proxy=None) as client:
                for _ in range(10):
                    client.send("go")
                    pid = int(client.recv(WAIT))
                assert os.statvfs(small).f_bfree == 0
                os.kill(pid, signal.SIGKILL)
                assert closed_with(client)[0] == 1011
            for path in ("/echo", "/prints"):
                with connect(f"{url}{path}", compression=None, proxy=None) as client:
                    client.send("go")
                    assert client.recv(WAIT)
            for number in range(10):  # what was printed before may still come, and fill it again
                log.write_bytes(b"")
                with connect(f"{url}/echo{number}", compression=None, proxy=None), suppress(AssertionError):
                    line = b"/echo%d: running" % number
                    assert eventually(lambda line=line: line in log.read_bytes(), "the log goes on", timeout=1)
                    break
            else:
                pytest.fail("the log does not go on")
            hub.send_signal(signal.SIGTERM)
            assert hub.wait(WAIT) == 0
            assert not processes_in(tmp_path)
        finally:
            hub.kill()
            subprocess.run(["umount", "--lazy", small], check=True)


@root_only
def test_orphans_of_a_hub_that_is_process_1(tmp_path: Path) -> None:
    """Fault: in a container without an init, a service leaves processes behind that exit later. Seen: none of them
    stays a zombie, and the hub still knows how its services end.
    """
    shutil.copytree(EXAMPLES, tmp_path / "services")
    (tmp_path / "services" / "leaves.py").write_text(LEAVES)
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", TWISTD, "-n", "--pidfile="]
    command += ["--logfile=log", "wshub", "--port", "unix:socket"]
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("no process namespace to be had here")
    log = tmp_path / "log"
    with subprocess.Popen(command, cwd=tmp_path) as outside:
        try:
            eventually(lambda: log.exists() and b"listening" in log.read_bytes(), "it listens")
            hub = int(Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text())
            with unix_connect(f"{tmp_path}/socket", "ws://localhost/leaves", compression=None) as client:
                client.send("go")
                assert client.recv(WAIT) == "left"
                eventually(lambda: zombies_of(hub), "the orphan a zombie")
                eventually(lambda: not zombies_of(hub), "it collected")
                client.send("exit")
                assert closed_with(client)[0] == 1011
            eventually(lambda: b"/leaves: died: it ended with exit status 3" in log.read_bytes(), "its exit status")
            os.kill(hub, signal.SIGTERM)
            assert outside.wait(WAIT) == 0
        finally:
            outside.kill()


LEAVES = """
import os, time, wshub

class Service(wshub.Service):
    def on_message(self, client, data):
        if data == "exit":
            os._exit(3)
        if (child := os.fork()) == 0:
            if os.fork() == 0:
                time.sleep(0.5)
            os._exit(0)
        os.waitpid(child, 0)
        client.send("left")
"""
