"""The text of a request's headers, as it crosses the pipe, taken apart."""

from __future__ import annotations

from contextlib import suppress


def parse_headers(text: str) -> dict[str, str]:
    """Headers by name, from lines ``name: value``."""
    return dict(line.split(": ", 1) for line in text.split("\n"))


def parse_cookies(headers: dict[str, str]) -> dict[str, str]:
    """The cookies in a request's headers, by name. Malformed ones are left out."""
    from http.cookies import CookieError, SimpleCookie  # noqa: PLC0415 - few services want it, all would pay

    cookies = SimpleCookie()
    for cookie in headers.get("cookie", "").split(";"):
        with suppress(CookieError):
            cookies.load(cookie)
    return {name: morsel.value for name, morsel in cookies.items()}
