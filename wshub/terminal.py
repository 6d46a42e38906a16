"""What the commands print: colours where somebody looks, tables, and text of others that cannot harm a terminal."""

from collections.abc import Mapping, Sequence
from typing import TextIO

CLEAR_LINE = "\r\x1b[K"  # ECMA-48: carriage return, then erase in line

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}  # ECMA-48, SGR


class Style:
    """Colours for one stream, or none."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, text: str, *names: str) -> str:
        """`text` in the named styles: ``bold``, ``dim``, ``red``, ``green``, ``yellow``, ``cyan``."""
        if not self.enabled or not text:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def style_for(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """Colours if `stream` is a terminal that has them, and nobody has asked for none (no-color.org)."""
    return Style(stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")


def format_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, heading first; columns are as wide as what is in them."""
    table = [heading, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heading))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def escape(text: str) -> str:
    """`text` on one line and without control characters, which could rewrite a terminal or forge a line of the log."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)
