"""Levels: read from lines of output, and checked when they are set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.monitoring.levels import LEVELS, check_levels, rank, read_level


@pytest.mark.parametrize(
    ("line", "level", "rest"),
    [
        (b"<0>a", "critical", b"a"),
        (b"<2>a", "critical", b"a"),
        (b"<3>a", "error", b"a"),
        (b"<4>a", "warn", b"a"),
        (b"<5>a", "info", b"a"),
        (b"<6>a", "info", b"a"),
        (b"<7>", "debug", b""),
        (b"<8>a", "info", b"<8>a"),
        (b"<33>a", "info", b"<33>a"),
        (b"<b>a", "info", b"<b>a"),
        (b" <3>a", "info", b" <3>a"),
        (b"<3", "info", b"<3"),
        (b"<>", "info", b"<>"),
        (b"", "info", b""),
    ],
)
def test_read_level(line: bytes, level: str, rest: bytes) -> None:
    """A number from 0 to 7 in angle brackets at the beginning of a line is its level; everything else is its text."""
    assert read_level(line) == (level, rest)


@given(st.binary())
def test_every_line_has_a_level(line: bytes) -> None:
    """Whatever a service writes has a level, and loses at most its three bytes."""
    level, rest = read_level(line)
    assert level in LEVELS
    assert rest in (line, line[3:])


def test_rank() -> None:
    """Levels are in order, and what is no level is below them all."""
    assert sorted(("error", "debug", "-", "critical", "warn", "info"), key=rank) == ["-", *LEVELS]


@pytest.mark.parametrize("path", ["/", "/chat", "/foo/", "/foo/bar"])
def test_paths_of_services(path: str) -> None:
    """A level is for a path as URLs have it."""
    check_levels({path: "warn"})


@pytest.mark.parametrize("path", ["", "chat", "/a b", "/_x", "//", "/a?b", "/%63hat", "/a/../b"])
def test_no_paths_of_services(path: str) -> None:
    """What could never be the path of a service is a mistake, and said to be."""
    with pytest.raises(ValueError, match="no service can have the path"):
        check_levels({path: "warn"})
