"""The settings: from where they come, what they may be, and what is said of those that may not."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from wshub import config
from wshub.config import Settings, examples_folder, make_settings, with_absolute_paths
from wshub.conversion import parse_size
from wshub.errors import ConfigError
from wshub.wire import MAX_MESSAGE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def from_toml(folder):
    """Settings from a TOML text, in a file in a folder of its own that is not the current one."""

    def make(text, **options):
        file = folder / "etc" / "wshub.toml"
        (folder / "etc" / "sites").mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return make_settings(options, file)

    return make


def test_defaults(folder):
    """Without any setting: port 12345, the packaged examples, no deflate, 1 MiB, the hub's own pages."""
    settings = make_settings({})
    assert settings == Settings(
        port=("12345",),
        host="",
        document_root=examples_folder(),
        html=None,
        compression=False,
        max_message_size=1 << 20,
        origins=(),
        handshake_timeout=5.0,
        start_timeout=30.0,
        stop_timeout=5.0,
    )
    assert settings.endpoints == ["tcp:12345"]


def test_services_here_come_before_the_examples(folder):
    """A folder called services in the current one is served unless another is named."""
    (folder / "services").mkdir()
    assert make_settings({}).document_root == Path("services")


def test_examples(folder, monkeypatch):
    """The examples are inside the package once it is installed, and beside it in a checkout."""
    monkeypatch.setattr(config, "__file__", str(folder / "wshub" / "config.py"))
    assert examples_folder() == folder / "services"
    (folder / "wshub" / "examples").mkdir(parents=True)
    assert examples_folder() == folder / "wshub" / "examples"


EXAMPLES = {
    'port = "8080"': ("port", ("8080",)),
    "port = 8080": ("port", ("8080",)),
    'port = [8080, "unix:/tmp/a", "1"]': ("port", ("8080", "unix:/tmp/a", "1")),
    'host = "::1"': ("host", "::1"),
    "compression = true": ("compression", True),
    "max_message_size = 5": ("max_message_size", 5),
    'max_message_size = "64KiB"': ("max_message_size", 65536),
    'origins = "*"': ("origins", ("*",)),
    'origins = ["https://a", "https://b"]': ("origins", ("https://a", "https://b")),
    'origins = ["https://*.example.org", "http://localhost:*"]': (
        "origins",
        ("https://*.example.org", "http://localhost:*"),
    ),
    "require_origin = true": ("require_origin", True),
    'trusted_proxies = ["10.0.0.0/8", "::1", "unix"]': ("trusted_proxies", ("10.0.0.0/8", "::1", "unix")),
    'proxy_headers = "forwarded"': ("proxy_headers", "forwarded"),
    "proxy_protocol = false": ("proxy_protocol", False),
    "max_connections = 1": ("max_connections", 1),
    "max_connections_per_address = 5": ("max_connections_per_address", 5),
    "unlimited_addresses = []": ("unlimited_addresses", ()),
    "max_clients_per_service = 7": ("max_clients_per_service", 7),
    'max_header_size = "64KiB"': ("max_header_size", 65536),
    "max_request_line = 1000": ("max_request_line", 1000),
    "max_headers = 20": ("max_headers", 20),
    'max_frame_size = "64KiB"': ("max_frame_size", 65536),
    "max_fragments = 100": ("max_fragments", 100),
    "max_message_rate = 50": ("max_message_rate", 50),
    "max_ping_rate = 5": ("max_ping_rate", 5),
    'max_backlog = "256KiB"': ("max_backlog", 262144),
    "ping_interval = 0": ("ping_interval", 0.0),
    "ping_timeout = 5": ("ping_timeout", 5.0),
    "handshake_timeout = 2": ("handshake_timeout", 2.0),
    "close_timeout = 3": ("close_timeout", 3.0),
    "start_timeout = 0.5": ("start_timeout", 0.5),
    "request_timeout = 20": ("request_timeout", 20.0),
    "stop_timeout = 3600": ("stop_timeout", 3600.0),
    "drain_timeout = 0": ("drain_timeout", 0.0),
    "restart_intensity = 3": ("restart_intensity", 3),
    "restart_period = 10": ("restart_period", 10.0),
    "hang_timeout = 0": ("hang_timeout", 0.0),
    "idle_timeout = 600": ("idle_timeout", 600.0),
    'eager = "/echo"': ("eager", ("/echo",)),
    'service_user = "nobody"': ("service_user", "nobody"),
    'service_environment = ["DATABASE", "MODE=test"]': ("service_environment", ("DATABASE", "MODE=test")),
    "service_umask = 0o027": ("service_umask", 0o027),
    'service_memory = "256MiB"': ("service_memory", 256 << 20),
    "service_processes = 100": ("service_processes", 100),
    "service_descriptors = 256": ("service_descriptors", 256),
    'admin = "unix:/run/wshub/admin"': ("admin", "unix:/run/wshub/admin"),
    'admin_token = "Zm9vYmFyZm9vYmFy"': ("admin_token", "Zm9vYmFyZm9vYmFy"),
    'log_format = "json"': ("log_format", "json"),
    'log_levels = { "/chat" = "warn" }': ("log_levels", {"/chat": "warn"}),
    "access_log = false": ("access_log", False),
}


@pytest.mark.parametrize(("text", "setting"), EXAMPLES.items(), ids=str)
def test_values_in_toml(from_toml, text, setting):
    """Each kind of setting is read from TOML as its own type; the others stay what they are."""
    name, value = setting
    settings = from_toml(text)
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)
    assert replace(settings, **{name: getattr(Settings(), name)}) == Settings()


def test_every_setting_but_the_paths_has_an_example():
    """A new setting needs an example above."""
    paths = {"document_root", "html", "tls_cert", "tls_key"}
    assert {name for name, _ in EXAMPLES.values()} | paths == {each.name for each in fields(Settings)}


def test_certificate(folder, from_toml):
    """The certificate and its key are files at the folder of the file; port numbers then have TLS, endpoints not."""
    settings = from_toml('tls_cert = "a.pem"\ntls_key = "b.pem"\nport = [443, "unix:x", "ssl:1:privateKey=c"]')
    assert (settings.tls_cert, settings.tls_key) == (folder / "etc" / "a.pem", folder / "etc" / "b.pem")
    assert [settings.has_tls(port) for port in settings.port] == [True, False, True]
    assert not Settings().has_tls("443")


def test_links_to_a_certificate_are_not_followed(folder):
    """The link is what is read again and again: it may lead elsewhere by then."""
    (folder / "live").symlink_to("archive")
    settings = with_absolute_paths(Settings(tls_cert=Path("live"), tls_key=Path("live")))
    assert settings.tls_cert == settings.tls_key == folder / "live"


def test_paths_in_a_file_start_at_its_folder(folder, from_toml, monkeypatch):
    """A relative path starts at the file's own folder, an absolute one does not, and ~ is the home."""
    monkeypatch.setenv("HOME", str(folder))
    assert from_toml('document_root = "sites"').document_root == folder / "etc" / "sites"
    assert from_toml(f'html = "{folder}"').html == folder
    assert from_toml('html = "~/etc"').html == folder / "etc"


def test_options_come_before_the_file(from_toml):
    """An option of the command line replaces the file's; the file's others stay."""
    settings = from_toml('port = 1\nhost = "127.0.0.1"', port=("2",))
    assert settings.port == ("2",)
    assert settings.host == "127.0.0.1"


def test_absolute_paths(folder):
    """Both folders become absolute; what else there is stays, and html may be None."""
    (folder / "a").mkdir()
    settings = Settings(document_root=Path("a"), html=Path("."), compression=True)
    assert with_absolute_paths(settings) == replace(settings, document_root=folder / "a", html=folder)
    assert with_absolute_paths(Settings(document_root=Path("a"))).html is None


@pytest.mark.parametrize(
    ("port", "host", "endpoints"),
    [
        (("1", "65535"), "", ["tcp:1", "tcp:65535"]),
        (("80",), "127.0.0.1", ["tcp:80:interface=127.0.0.1"]),
        (("80",), "::1", [r"tcp:80:interface=\:\:1"]),
        (("80",), r"a\b", [r"tcp:80:interface=a\\b"]),
        (("unix:/run/wshub", "80"), "::", ["unix:/run/wshub", r"tcp:80:interface=\:\:"]),
    ],
)
def test_endpoints(port, host, endpoints):
    """A number is TCP at the host, whose colons are escaped; a description stays as it is."""
    assert Settings(port=port, host=host).endpoints == endpoints


MISTAKES = {
    "drain_timeout = -1": "drain_timeout must be 0 .at once. to",
    "prot = 1": "there is no setting 'prot'; did you mean port.$",
    "max-message-size = 1": "there is no setting 'max-message-size'; did you mean max_message_size.$",
    "[hub]": "there is no setting 'hub'; there are port, host, ",
    "endpoints = 1": "there is no setting 'endpoints'",
    "port = 0": "port 0 is not a port",
    'port = "65536"': "port 65536 is not a port",
    "port = true": "port must be a list of strings",
    "port = 1.5": "port must be a list of strings",
    "port = [[1]]": "port must be a list of strings",
    "origins = [true]": "origins must be a list of strings",
    "host = 1": "host must be a string",
    "compression = 1": "compression must be true or false",
    'compression = "true"': "compression must be true or false",
    "document_root = 1": "document_root must be the path",
    'document_root = "nowhere"': "document_root: there is no folder",
    'document_root = "wshub.toml"': "document_root: .* cannot be read: Not a directory",
    "html = false": "html must be the path",
    'html = "nowhere"': "html: there is no folder",
    'html = "~no-such-user-here/x"': "html",
    'document_root = "a\\u0000b"': "document_root",
    "max_frame_size = -1": "max_frame_size must be at least 0",
    "max_fragments = 0": "max_fragments must be at least 1",
    "max_message_rate = -1": "max_message_rate must be at least 0",
    "max_backlog = 0": "max_backlog must be at least 1",
    "ping_interval = -1": "ping_interval must be 0 to 3600 seconds",
    "ping_timeout = 0": "ping_timeout must be more than 0",
    "max_message_size = 0": "max_message_size must be 1 to",
    "max_message_size = -1": "max_message_size must be 1 to",
    f"max_message_size = {MAX_MESSAGE + 1}": "max_message_size must be 1 to",
    "max_message_size = true": "max_message_size must be a number of bytes",
    "max_message_size = 1.5": "max_message_size must be a number of bytes",
    'max_message_size = "big"': "max_message_size must be a number of bytes",
    'max_message_size = "1GiB"': "max_message_size must be 1 to",
    'origins = "example.org"': "origins has 'example.org', which is no origin: write",
    'origins = ["https://example.org/"]': "origins has 'https://example.org/', which is no origin",
    'trusted_proxies = "localhost"': "trusted_proxies has 'localhost', which is no address and no network",
    'unlimited_addresses = ["10.0.0.1/8"]': "unlimited_addresses has '10.0.0.1/8', which is no address",
    'admin = "tcp:9187"': "admin: others than this machine may reach tcp:9187: set admin_token",
    'admin = "systemd:domain=INET:index=1"': "set admin_token, or listen at a unix: endpoint",
    'admin = "70000"': "admin: 70000 is not a port",
    'admin_token = "short"': "admin_token must be 16 characters or more",
    'admin_token = "sixteen characters and a space"': "admin_token must be 16 characters or more: letters",
    'log_format = "xml"': 'log_format must be "text" or "json"',
    'log_levels = "warn"': "log_levels must be a table of strings",
    'log_levels = { "/chat" = "loud" }': "log_levels: /chat has 'loud'; there are debug, info, warn",
    'log_levels = { "chat" = "warn" }': "log_levels: no service can have the path 'chat'",
    'access_log = "off"': "access_log must be true or false",
    'proxy_headers = "x-real-ip"': 'proxy_headers must be "x-forwarded" or "forwarded"',
    "proxy_protocol = true": "proxy_protocol needs trusted_proxies",
    'proxy_protocol = true\ntrusted_proxies = "::1"\nport = "ssl:443"': "proxy_protocol does not go with an ssl: port",
    'proxy_protocol = true\ntrusted_proxies = "::1"\ntls_cert = "a"\ntls_key = "b"': "not go with tls_cert",
    'tls_cert = "a"': "tls_cert needs tls_key: name the other file too",
    'tls_key = "a"': "tls_key needs tls_cert: name the other file too",
    'tls_cert = "a"\ntls_key = "b"\nport = "unix:x"': "tls_cert is for port numbers, and port has none",
    "tls_cert = 1": "tls_cert must be the path",
    "max_connections = 0": "max_connections must be at least 1",
    'max_connections = "1KiB"': "max_connections must be a whole number",
    "max_connections = 1.5": "max_connections must be a whole number",
    "max_connections = true": "max_connections must be a whole number",
    "max_connections_per_address = -1": "max_connections_per_address must be at least 1",
    "max_clients_per_service = 0": "max_clients_per_service must be at least 1",
    "max_headers = 0": "max_headers must be at least 1",
    "max_header_size = 10": "max_header_size must be 256 bytes to 1MiB",
    'max_header_size = "2MiB"': "max_header_size must be 256 bytes to 1MiB",
    "max_request_line = 10": "max_request_line must be 64 bytes to max_header_size",
    "max_header_size = 4096": "max_request_line must be 64 bytes to max_header_size, 4096",
    "handshake_timeout = 0": "handshake_timeout must be more than 0",
    "start_timeout = 3601": "start_timeout must be more than 0 and at most 3600",
    "stop_timeout = nan": "stop_timeout must be more than 0",
    "stop_timeout = inf": "stop_timeout must be more than 0",
    "stop_timeout = true": "stop_timeout must be a number of seconds",
    'stop_timeout = "5"': "stop_timeout must be a number of seconds",
    "restart_intensity = 0": "restart_intensity must be 1 to 1000",
    "restart_intensity = 2.5": "restart_intensity must be a whole number",
    "restart_period = 0": "restart_period must be more than 0",
    "hang_timeout = -1": "hang_timeout must be 0",
    "idle_timeout = nan": "idle_timeout must be 0",
    'eager = "/missing"': "eager: there is no service '/missing' in",
    'eager = "../echo"': "eager: there is no service",
    'service_environment = "=x"': "service_environment: '=x' is neither",
    "service_umask = 0o1000": "service_umask must be 0 to 0o777",
    'service_umask = "077"': "service_umask must be a whole number",
    "service_memory = 5": "service_memory must be 0",
    "service_processes = -1": "service_processes must be 0",
    "service_descriptors = 5": "service_descriptors must be 0",
    "port =": "is not valid TOML",
    "port = 1\nport = 2": "is not valid TOML",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=repr)
def test_mistakes(from_toml, text, message):
    """Each mistake is a ConfigError of one line that names the setting."""
    with pytest.raises(ConfigError, match=message) as caught:
        from_toml(text)
    assert "\n" not in str(caught.value)


def test_toml_that_is_not_utf_8(from_toml):
    """TOML is UTF-8."""
    with pytest.raises(ConfigError, match="is not valid TOML"):
        from_toml(b'host = "\xff"')


@pytest.mark.parametrize(("name", "reason"), [("missing.toml", "No such file"), (".", "Is a directory")])
def test_file_that_cannot_be_read(folder, name, reason):
    """A file that cannot be read is a mistake too."""
    with pytest.raises(ConfigError, match=f"cannot be read: {reason}"):
        make_settings({}, folder / name)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        ("65536", 65536),
        ("64KiB", 64 << 10),
        ("4 MiB", 4 << 20),
        (" 1GiB ", 1 << 30),
    ],
)
def test_sizes(value, size):
    """A size is a number of bytes, or of a unit that says how many."""
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "KiB", "1KB", "1kib", "-1", "1.5MiB", "1MiBKiB", "0x10", "ten", True, 1.0, None])
def test_no_sizes(value):
    """Anything else is none, decimal units and fractions included."""
    with pytest.raises(ValueError, match="must be a number of bytes"):
        parse_size(value)
