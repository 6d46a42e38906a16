"""What a service's class declares: as READY brings it, and as the class has it."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from wshub.errors import WireError
from wshub.processes.declared import MAX_FILES, MAX_SUBPROTOCOLS, Declared, parse_declared
from wshub.service.declare import declare, imported_files
from wshub.wire import SLOW_CLIENTS
from wshub.wire.payloads import decode_ready, encode_ready


def test_nothing_declared():
    """A READY without a word means the defaults, and no heartbeats."""
    assert parse_declared({}) == Declared((), "transient", 0.0, None)


def test_there_and_back():
    """What a class has is what the hub gets to know."""
    service = SimpleNamespace(subprotocols=("a", "b"), restart="permanent", hang_timeout=60, idle_timeout=0.5)
    lines = decode_ready(encode_ready(declare(service, 15.0)))
    assert parse_declared(lines) == Declared(("a", "b"), "permanent", 60.0, 0.5)


def test_what_the_class_leaves_to_the_hub():
    """Without a word of the class it is the hub's time that heartbeats are for; idleness is the hub's own affair."""
    lines = decode_ready(encode_ready(declare(SimpleNamespace(hang_timeout=None), 15.0)))
    assert parse_declared(lines) == Declared((), "transient", 15.0, None)


def test_never():
    """0 is a declaration too."""
    lines = declare(SimpleNamespace(hang_timeout=0, idle_timeout=0), 15.0)
    assert parse_declared(lines) == Declared((), "transient", 0.0, 0.0)


def test_methods_of_these_names():
    """An older service may have a method called `restart`: that is no declaration."""
    service = SimpleNamespace(restart=print, hang_timeout=print, idle_timeout=print)
    assert parse_declared(declare(service, 1.0)) == Declared((), "transient", 1.0, None)


@pytest.mark.parametrize(
    "attributes",
    [
        {"restart": "always"},
        {"restart": None},
        {"hang_timeout": -1},
        {"hang_timeout": "15"},
        {"hang_timeout": True},
        {"idle_timeout": float("inf")},
        {"idle_timeout": float("nan")},
    ],
)
def test_what_cannot_be_declared(attributes):
    """The author is told which attribute is wrong."""
    with pytest.raises(ValueError, match=next(iter(attributes))):
        declare(SimpleNamespace(**attributes), 15.0)


@pytest.mark.parametrize(
    "lines",
    [{"restart": "always"}, {"hang_timeout": "soon"}, {"hang_timeout": "-1"}, {"idle_timeout": "nan"}],
)
def test_ready_that_says_nonsense(lines):
    """A process that declares what no class can is no service of ours."""
    with pytest.raises(WireError, match=next(iter(lines))):
        parse_declared(lines)


@pytest.mark.parametrize("policy", SLOW_CLIENTS)
def test_slow_clients(policy):
    """What becomes of slow clients crosses as the class has it; `close` need not be said."""
    lines = declare(SimpleNamespace(slow_clients=policy), 15.0)
    assert ("slow_clients" in lines) == (policy != "close")
    assert parse_declared(decode_ready(encode_ready(lines))).slow_clients == policy


def test_a_method_called_slow_clients():
    """It is no declaration."""
    assert parse_declared(declare(SimpleNamespace(slow_clients=print), 15.0)).slow_clients == "close"


@pytest.mark.parametrize("policy", ["drop", None, ["close"], "Close"])
def test_slow_clients_that_cannot_be(policy):
    """Neither side takes another word."""
    with pytest.raises(ValueError, match="slow_clients must be one of close, drop-oldest, drop-newest, pause"):
        declare(SimpleNamespace(slow_clients=policy), 15.0)
    with pytest.raises(WireError, match="slow_clients"):
        parse_declared({"slow_clients": str(policy)})


@pytest.mark.parametrize("lifetime", ["hasty", None, "Eager"])
def test_lifetime_that_cannot_be(lifetime):
    """The author is told, though the hub has read it from the source before."""
    with pytest.raises(ValueError, match="lifetime must be one of lazy, eager, not"):
        declare(SimpleNamespace(lifetime=lifetime), 15.0)


def test_lifetime_is_not_said():
    """The hub knows it."""
    assert "lifetime" not in declare(SimpleNamespace(lifetime="eager"), 15.0)


@pytest.mark.parametrize("resumes", [True, False])
def test_resumes(resumes):
    """Whether a service takes over clients gets from its class to the hub."""
    lines = declare(SimpleNamespace(resumes=resumes), 15.0)
    assert ("resumes" in lines) == resumes
    assert parse_declared(decode_ready(encode_ready(lines))).resumes == resumes


def test_resumes_that_cannot_be():
    """Anything but a truth value is a mistake that its author gets to see; a method of that name is none."""
    with pytest.raises(ValueError, match="resumes must be True or False, not 'yes'"):
        declare(SimpleNamespace(resumes="yes"), 15.0)
    assert not parse_declared(declare(SimpleNamespace(resumes=print), 15.0)).resumes


def test_files(tmp_path, monkeypatch):
    """What was imported from the folder gets to the hub by name, without the service's own module, and bounded."""
    for name in ("own.py", "other.py", "new\nline.py"):
        module = ModuleType(name)
        module.__file__ = str(tmp_path / name)
        monkeypatch.setitem(sys.modules, f"files_of_{name}", module)
    files = imported_files(str(tmp_path), str(tmp_path / "own.py"))
    assert files == "other.py"
    assert parse_declared(decode_ready(encode_ready({"files": files}))).files == ("other.py",)
    assert len(parse_declared({"files": "\t".join(map(str, range(5000)))}).files) == MAX_FILES


def test_subprotocols_without_end():
    """For each client all of them are looked through: so many are not the hub's to bear."""
    most = ",".join(map(str, range(MAX_SUBPROTOCOLS)))
    assert len(parse_declared({"subprotocols": most}).subprotocols) == MAX_SUBPROTOCOLS
    with pytest.raises(WireError, match="1001 subprotocols"):
        parse_declared({"subprotocols": most + ",x"})
