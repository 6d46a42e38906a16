"""What of the hub's a service process gets."""

import os
import pwd

import pytest

from wshub.config import Settings
from wshub.errors import ConfigError
from wshub.processes.confinement import User, find_user, make_arguments, make_confinement, make_environment

NOBODY = User("nobody", 65534, 65534, (65534, 100), "/nonexistent")

ENVIRON = {
    "PATH": "/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "PYTHONPATH": "/lib",
    "WSHUB_MODE": "test",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "DATABASE_URL": "postgres://secret",
    "HTTPS_PROXY": "http://user:secret@proxy",
    "SSH_AUTH_SOCK": "/run/agent",
    "PATHS": "no prefix without a star",
}


def test_environment_by_allow_list():
    """A service gets what programs and its interpreter need, and nothing that is merely there."""
    assert make_environment(ENVIRON) == {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "PYTHONPATH": "/lib",
        "WSHUB_MODE": "test",
    }


def test_more_environment():
    """Names, also with a star, are taken from the hub's own; what has a value is set."""
    more = make_environment(ENVIRON, ("DATABASE_URL", "AWS_*", "MODE=a=b", "HOME=/srv", "MISSING", "EMPTY="))
    added = {"DATABASE_URL": "postgres://secret", "AWS_SECRET_ACCESS_KEY": "secret", "MODE": "a=b", "EMPTY": ""}
    assert more == make_environment(ENVIRON) | added | {"HOME": "/srv"}
    assert make_environment(ENVIRON, ("*",)) == ENVIRON


def test_environment_of_another_user():
    """Somebody else's home is theirs."""
    environment = make_environment(ENVIRON, (), NOBODY)
    assert {name: environment[name] for name in ("HOME", "USER", "LOGNAME")} == {
        "HOME": "/nonexistent",
        "USER": "nobody",
        "LOGNAME": "nobody",
    }
    assert make_environment(ENVIRON, ("HOME=/srv",), NOBODY)["HOME"] == "/srv"


def test_arguments():
    """Limits that are not set are left out."""
    assert make_arguments(Settings()) == ("hang_timeout=15.0", "umask=63")
    settings = Settings(service_memory=1 << 28, service_processes=10, service_descriptors=64)  # type: ignore[arg-type]
    assert make_arguments(settings, NOBODY) == (
        *("hang_timeout=15.0", "umask=63", "memory=268435456", "processes=10", "descriptors=64"),
        *("uid=65534", "gid=65534", "groups=65534,100"),
    )


def test_user(monkeypatch):
    """A user is looked up by name, with all of its groups."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = find_user("nobody")
    entry = pwd.getpwnam("nobody")
    assert (user.uid, user.gid, user.home) == (entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert entry.pw_gid in user.groups
    assert f"uid={user.uid}" in make_confinement(Settings(service_user="nobody"), {}).arguments


@pytest.mark.parametrize(
    ("uid", "name", "mistake"),
    [(0, "no-such-user", "there is no user 'no-such-user'"), (1000, "nobody", "only a hub that is started as root")],
)
def test_no_such_user(monkeypatch, uid, name, mistake):
    """A user that is not there, or that this process cannot become, is a mistake in the settings."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(ConfigError, match=mistake):
        make_confinement(Settings(service_user=name), {})
