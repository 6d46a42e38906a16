"""What people write for a setting, in TOML or on a command line, as the type that the setting has."""

from pathlib import Path
from typing import Any, NewType

Count = NewType("Count", int)
"""A setting that is a number of something, and no size in bytes."""


def convert(wanted: Any, value: Any) -> Any:
    """`value`, as TOML or a command line has it, as the type of a setting. Raise `ValueError` with what is expected."""
    if wanted == tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) or (isinstance(each, int) and not isinstance(each, bool)) for each in values):
            raise ValueError("must be a list of strings")
        return tuple(map(str, values))
    if wanted in (Path, Path | None):
        if not isinstance(value, str):
            raise ValueError("must be the path of a folder or a file, in quotes")
        return parse_folder(value)
    if wanted == dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise ValueError('must be a table of strings, such as { "/chat" = "warn" }')
        return value
    if wanted is bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if wanted is Count:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        return value
    if wanted is int:
        return parse_size(value)
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number of seconds")
        return float(value)
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def parse_size(value: str | int) -> int:
    """A number of bytes: ``65536`` or ``"64KiB"``, ``"1MiB"``. Raise `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)):
        if text.endswith(unit) and text[:-3].strip().isdecimal():
            return int(text[:-3]) * factor
    if isinstance(value, str) and text.isdecimal():
        return int(text)
    raise ValueError(f'must be a number of bytes such as 65536 or "64KiB", not {value!r}')


def parse_folder(text: str) -> Path:
    """The path that a person has written, perhaps with a ``~``. Raise `ValueError` if there can be no such path."""
    if "\0" in text:
        raise ValueError("must be a path, which has no NUL in it")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"must be a path, and there is no home folder for {text}") from None
