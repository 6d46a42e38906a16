"""The console: the page of the admin interface for people, as files that have no secrets, and what it may do.

It asks for data with a token that it has from its user, and connects to services as any page would.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

PAGES = Path(__file__).parents[1] / "pages"
FOLDER = "/console/"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer of the admin interface."""


@cache
def list_assets() -> dict[str, tuple[str, str]]:
    """Content type and text of all that it consists of, by path: ``/console/`` is its page. They are read once."""
    files = [*(PAGES / "console").iterdir(), PAGES / "base.css"]
    assets = {f"{FOLDER}{file.name}": (TYPES[file.suffix], file.read_text()) for file in files if file.suffix in TYPES}
    assets["/favicon.ico"] = assets[f"{FOLDER}icon.svg"]  # which browsers ask for, whatever the page says
    return {FOLDER: assets.pop(f"{FOLDER}index.html"), **assets}


def make_policy(public: Iterable[str]) -> str:
    """The console's Content-Security-Policy: its own files, its own data, and the WebSockets of this hub."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            " ".join(("connect-src 'self'", *public)),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )
