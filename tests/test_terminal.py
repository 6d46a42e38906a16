"""What the commands print: colours, tables, escapes."""

import io

import pytest

from wshub.terminal import Style, escape, format_table, style_for


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        """It is."""
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "enabled"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colours_only_where_somebody_looks(stream, environ, enabled):
    """A pipe gets none, and neither does who has asked for none."""
    assert style_for(stream, environ).enabled is enabled


def test_style():
    """Codes before and after, or the text as it is."""
    assert Style(True)("x", "red", "bold") == "\x1b[31;1mx\x1b[0m"
    assert Style(True)("", "red") == ""
    assert Style(False)("x", "red") == "x"


def test_table():
    """Columns are as wide as their widest cell, and no line ends with blanks."""
    assert format_table(("A", "LONG"), [("four", "x"), ("1", "")]) == ["A     LONG", "four  x", "1"]


def test_escape():
    """Nothing that a terminal would obey gets through."""
    assert escape("a\x1b[2J\r\nb\tü") == "a\\x1b[2J\\r\\nb\tü"
