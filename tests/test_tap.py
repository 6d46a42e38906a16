"""The command line's options, without a process."""

import time
from pathlib import Path

import pytest
from twisted.logger import ILogObserver

import wshub
from wshub.config import Settings
from wshub.tap import LoggedHub, Options, follow_monotonic_clock
from wshub.testing import FakeReactor


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: it has services, pages and some files of settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("services", "mine", "pages"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "good.toml").write_text(
        'port = [1234, "unix:x"]\nhtml = "pages"\ncompression = true\nstop_timeout = 9\n'
    )
    (tmp_path / "bad.toml").write_text("port = [\n")
    (tmp_path / "latin.toml").write_bytes(b"host = '\xff'\n")
    (tmp_path / "unknown.toml").write_text("prot = 1\n")
    (tmp_path / "type.toml").write_text("compression = 'yes'\n")
    (tmp_path / "value.toml").write_text("stop_timeout = -1\n")
    (tmp_path / "folder.toml").write_text("document_root = 'missing'\n")
    (tmp_path / "table.toml").write_text("[port]\nx = 1\n")
    return tmp_path


def parse(*arguments: str) -> Settings:
    """The settings that a command line makes."""
    options = Options()
    options.parseOptions(list(arguments))
    return options.settings


def test_defaults(folder: Path) -> None:
    """Without options it is port 12345 everywhere, and the folder ./services."""
    settings = parse()
    assert settings.endpoints == ["tcp:12345"]
    assert settings.document_root == folder / "services"
    assert settings.html is None
    assert settings.compression is False
    assert settings.max_message_size == 1 << 20
    assert settings.origins == ()


def test_options(folder: Path) -> None:
    """Each option is a setting, long and short; paths become absolute, because a daemon moves elsewhere."""
    settings = parse(
        *["--port", "80", "-p", "unix:/run/x", "-o", "::1", "-d", "mine", "--html", "pages", "--compression"],
        *["--max-message-size", "4MiB", "--origin", "https://a", "--origin", "*", "--service-user", "nobody"],
        *["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "::1", "--admin", "unix:a", "--log-format", "json"],
    )
    assert settings.service_user == "nobody"
    assert (settings.admin, settings.log_format) == ("unix:a", "json")
    assert settings.endpoints == ["tcp:80:interface=\\:\\:1", "unix:/run/x"]
    assert settings.document_root == folder / "mine"
    assert settings.html == folder / "pages"
    assert settings.compression is True
    assert settings.max_message_size == 4 << 20
    assert settings.origins == ("https://a", "*")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert parse("--host=127.0.0.1", "--document-root=mine").document_root == folder / "mine"


def test_file_and_what_overrides_it(folder: Path) -> None:
    """The file's settings hold where the command line has none, wherever among the options the file is named."""
    settings = parse("-c", "good.toml")
    assert settings.endpoints == ["tcp:1234", "unix:x"]
    assert (settings.html, settings.compression, settings.stop_timeout) == (folder / "pages", True, 9.0)
    for arguments in (["-p", "99", "-c", "good.toml"], ["--config", "good.toml", "-p", "99"]):
        settings = parse(*arguments)
        assert settings.endpoints == ["tcp:99"]
        assert settings.compression is True


MISTAKES = {
    "port 0": ["--port", "0"],
    "port too high": ["--port", "65536"],
    "port name": ["--port", "http"],
    "port empty": ["--port", ""],
    "endpoint": ["--port", "tcp:x"],
    "endpoint kind": ["--port", "carrier-pigeon:1"],
    "endpoint argument": ["--port", "tcp:80:colour=blue"],
    "socket of systemd's by name": ["--port", "systemd:domain=INET:name=ws"],
    "socket of systemd's by index": ["--port", "systemd:domain=INET:index=0"],
    "socket of no kind": ["--port", "systemd:domain=CARRIER:index=0"],
    "missing folder": ["-d", "missing"],
    "file as folder": ["-d", "file"],
    "missing html": ["--html", "missing"],
    "unknown option": ["--bogus"],
    "missing value": ["--port"],
    "value too many": ["--compression=yes"],
    "argument": ["services"],
    "size": ["--max-message-size", "big"],
    "size 0": ["--max-message-size", "0"],
    "size too large": ["--max-message-size", "4GiB"],
    "origin": ["--origin", "example.org"],
    "proxy": ["--trusted-proxy", "proxy.example.org"],
    "admin": ["--admin", "carrier-pigeon:1"],
    "admin for others": ["--admin", "tcp:9187"],
    "admin's arguments": ["--admin", "unix:a:colour=blue"],
    "log format": ["--log-format", "xml"],
    "missing config": ["-c", "missing.toml"],
    "folder as config": ["-c", "services"],
    "bad config": ["-c", "bad.toml"],
    "latin config": ["-c", "latin.toml"],
    "unknown setting": ["-c", "unknown.toml"],
    "wrong type": ["-c", "type.toml"],
    "wrong value": ["-c", "value.toml"],
    "config's folder": ["-c", "folder.toml"],
    "table": ["-c", "table.toml"],
}


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(arguments: list[str]) -> None:
    """Each mistake ends it with one line that says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("twistd wshub: ")
    assert "\n" not in caught.value.code


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and nothing else."""
    with pytest.raises(SystemExit) as caught:
        parse("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"wshub {wshub.__version__}\n"


def test_help_names_every_option() -> None:
    """The help has every option with a description and the default."""
    text = str(Options())
    for option in ("--port=", "--host=", "--document-root=", "--html=", "--config=", "--compression", "--origin="):
        assert option in text
    assert text.count("[default: ") >= 5


class Application:
    """Twisted's application, as far as a service looks at it."""

    def __init__(self) -> None:
        self.components: dict[object, object] = {}
        self.services: list[object] = []

    def setComponent(self, interface: object, component: object) -> None:
        """Keep a component."""
        self.components[interface] = component

    def __conform__(self, _interface: object) -> "Application":
        return self

    def addService(self, service: object) -> None:
        """Keep a service."""
        self.services.append(service)


@pytest.mark.parametrize(("twistd", "is_ours"), [({"nodaemon": 1}, True), ({"nodaemon": 1, "syslog": 1}, False)])
def test_it_brings_the_log(twistd: dict[str, object], is_ours: bool) -> None:
    """When the hub becomes part of twistd's application, that gets the observer; not if the log is somebody else's."""
    options = Options()
    options.parseOptions([])
    options.parent = twistd
    application = Application()
    hub = LoggedHub(FakeReactor(), options)
    hub.setServiceParent(application)
    assert application.services == [hub]
    assert (ILogObserver in application.components) is is_ours


def test_time_is_not_the_wall_clocks() -> None:
    """The reactor's time is the monotonic clock's, and what is scheduled goes by it."""
    reactor = FakeReactor()
    follow_monotonic_clock(reactor)
    before = time.monotonic()
    assert before <= reactor.seconds() <= time.monotonic()
    assert before + 5 <= reactor.callLater(5, print).getTime() <= time.monotonic() + 5
