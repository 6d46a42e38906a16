"""Where the admin interface listens, and who needs a token there."""

import pytest

from wshub.monitoring.admin_endpoint import AdminEndpoint, parse_admin

TOKEN = "Zm9vYmFyZm9vYmFy"


@pytest.mark.parametrize(
    ("admin", "description", "needs_token"),
    [
        ("9187", "tcp:9187:interface=127.0.0.1", True),
        ("unix:/run/admin", "unix:/run/admin:mode=600", False),
        ("unix:/run/admin:mode=660", "unix:/run/admin:mode=660", False),
        ("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1", True),
        ("tcp:9:interface=localhost", "tcp:9:interface=localhost", True),
        (r"tcp6:9:interface=\:\:1", r"tcp6:9:interface=\:\:1", True),
    ],
)
def test_of_this_machine(admin: str, description: str, needs_token: bool) -> None:
    """A Unix socket is for the hub's user; at a port of this machine a token is needed, which the hub can make up."""
    assert parse_admin(admin, "") == AdminEndpoint(description, needs_token)
    assert parse_admin(admin, TOKEN) == AdminEndpoint(description, True)


@pytest.mark.parametrize(
    "admin",
    [
        "tcp:9187",
        "tcp6:9187",
        "tcp:9187:interface=10.0.0.1",
        r"tcp:9187:interface=\:\:",
        "tcp:9187:interface=127.0.0.1.example.org",
        "ssl:9187:interface=127.0.0.1",
        "systemd:domain=INET:index=0",
        "fd:3",
    ],
)
def test_for_others(admin: str) -> None:
    """Wherever others may come from, or nobody knows, a token has to be among the settings."""
    assert parse_admin(admin, TOKEN) == AdminEndpoint(admin, True)
    with pytest.raises(ValueError, match="set admin_token"):
        parse_admin(admin, "")


def test_nowhere() -> None:
    """There is no interface unless somebody wants one."""
    assert parse_admin("", "") is None
    assert parse_admin("", TOKEN) is None


@pytest.mark.parametrize("token", ["short", "x" * 15, "with a space in it", "line\nbreak and more", "ünïcödé-ünïcödé-"])
def test_tokens(token: str) -> None:
    """A token is long, and what RFC 6750 lets a header have."""
    with pytest.raises(ValueError, match="admin_token must be 16 characters or more"):
        parse_admin("9187", token)


@pytest.mark.parametrize("port", ["0", "65536"])
def test_no_ports(port: str) -> None:
    """A number is a port."""
    with pytest.raises(ValueError, match="is not a port"):
        parse_admin(port, "")
