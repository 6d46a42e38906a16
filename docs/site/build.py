"""Builds the documentation as a site, in build/site: ``make docs``.

The pages are the Markdown files of the checkout, as a forge shows them: nothing in them is there for the site's sake.
Here they are laid out anew. README.md becomes the first page and has the navigation, which finds new pages by itself;
links that lead out of docs/ get a page for the file that they lead to; the pages of the API are made from docstrings.
Then Sphinx does its work, and a warning is an error. Exit status 0, or 1 with what is wrong on stderr.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
SOURCE = CHECKOUT / "build" / "site-source"
SITE = CHECKOUT / "build" / "site"

MOVED = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "docker/README.md": "project/docker.md",
    "conformance/README.md": "project/conformance.md",
    "docs/README.md": "contents.md",
    "docs/tutorial/README.md": "tutorial/index.md",
}
"""Pages that have another place in the site; every other page of docs/ keeps its place below docs/."""

NAVIGATION = {
    "Learn": ["tutorial/index", "tutorial/*"],
    "How to": ["howto/write-a-service", "howto/test-a-service", "howto/*"],
    "Coming from": ["coming-from/*"],
    "Reference": ["reference/cli", "reference/options", "reference/kit", "api/wshub", "api/*", "reference/*"],
    "Explanation": ["explanation/*"],
    "Project": ["project/changelog", "project/*", "contents"],
}
"""What is on the left: captions, and pages in their order. A pattern stands for all those that have not been named."""

LANGUAGES = {".conf": "nginx", ".service": "ini", ".toml": "toml", ".yaml": "yaml", ".py": "python", ".sh": "sh"}

LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)

API = {
    "wshub": (
        "wshub: services",
        "What a service is made of. Every name is imported from `wshub`, on first use.",
        [
            *("wshub.Service", "wshub.AsyncService", "wshub.Client", "wshub.Sent"),
            *("wshub.Request", "wshub.Accept", "wshub.Refuse"),
            *("wshub.service.timers.Timer", "wshub.Subscribable"),
        ],
    ),
    "classic": (
        "Services and WebSockets: the classic modules",
        "What services in the original's style import.",
        [
            *("Services.Service", "WebSockets.WebSocketTransaction"),
            *("wshub.service.queues.ReceiveQueue", "wshub.service.queues.SendQueue"),
            *("wshub.service.queues.ShutdownFlag", "wshub.service.queues.ShutDown"),
        ],
    ),
    "testing": (
        "wshub.testing: tests of services",
        "See [How to test a service](../howto/test-a-service.md).",
        ["wshub.testing.ServiceTester", "wshub.testing.FakeClient"],
    ),
}
"""By page: its title, what it begins with, and its classes."""


def main() -> int:
    """Build, and check that no page asks another host for anything."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    lay_out()
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", HERE]
    if done := subprocess.run([*command, SOURCE, SITE], check=False).returncode:
        return done
    foreign = list(find_foreign(SITE))
    for page, url in foreign:
        print(f"{page} loads {url}: everything has to be in the site itself", file=sys.stderr)
    print(f"{SITE.relative_to(CHECKOUT)}/index.html")
    return 1 if foreign else 0


def lay_out() -> None:
    """Write every page of the site below SOURCE."""
    shutil.copytree(CHECKOUT / "docs" / "images", SOURCE / "images")
    pages = [Path(name) for name in MOVED]
    pages += [path.relative_to(CHECKOUT) for path in sorted((CHECKOUT / "docs").rglob("*.md"))]
    files: set[Path] = set()
    for page in dict.fromkeys(pages):
        text = (CHECKOUT / page).read_text()
        write(place(page), move_links(page, text, files) + (navigation() if page == Path("README.md") else ""))
    for file in sorted(files):
        write(place(file), show(file))
    for name, (title, begin, classes) in API.items():
        write(Path("api", f"{name}.md"), describe(title, begin, classes))


def place(path: Path) -> Path:
    """Where a file of the checkout is in the site, relative to its top."""
    if str(path) in MOVED:
        return Path(MOVED[str(path)])
    if path.parts[0] == "docs":
        return path.relative_to("docs")
    return Path("files", f"{path}.md")


def move_links(page: Path, text: str, files: set[Path]) -> str:
    """The page with its links as they have to be in the site; add to `files` what needs a page of its own."""

    def move(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = Path(os.path.normpath(page.parent / target))
        if path.suffix != ".md" and path.parts[0] != "docs":
            files.add(path)
            files.update(each.relative_to(CHECKOUT) for each in (CHECKOUT / path).glob("*") if each.is_file())
        return f"{match[1]}{os.path.relpath(place(path), place(page).parent)}{match[3]}"

    pieces, end = [], 0
    for fence in FENCED.finditer(text):  # code has brackets too
        pieces += [LINK.sub(move, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, LINK.sub(move, text[end:])])


def navigation() -> str:
    """The tables of contents at the end of the first page, which show on the left only."""
    trees = (
        "\n".join(["", "```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *pages, "```", ""])
        for caption, pages in NAVIGATION.items()
    )
    return "".join(trees)


def show(path: Path) -> str:
    """The page for a file that is no page, or for a folder."""
    file = CHECKOUT / path
    if file.is_dir():
        names = sorted(each.name for each in file.iterdir() if each.is_file())
        lines = [f"- [{name}]({path.name}/{name}.md)" for name in names]
    else:
        text = file.read_text()
        fence = "````" if "```" in text else "```"
        language = LANGUAGES.get(path.suffix, "dockerfile" if path.name == "Dockerfile" else "text")
        lines = [f"{fence}{language}", text.rstrip(), fence]
    return "\n".join(["---", "orphan: true", "---", "", f"# {path}", "", *lines, ""])


def describe(title: str, begin: str, classes: list[str]) -> str:
    """A page of the API: what Sphinx is to take from docstrings."""
    lines = [f"# {title}", "", begin, ""]
    for name in classes:
        lines += [f"## {name.rpartition('.')[2]}", "", "```{eval-rst}", f".. autoclass:: {name}", "```", ""]
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Write a page of the source, and the folders that it is in."""
    (SOURCE / path).parent.mkdir(parents=True, exist_ok=True)
    (SOURCE / path).write_text(text)


class Assets(HTMLParser):
    """What a page loads by itself: not what its reader may click."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        given = {name: value or "" for name, value in attrs}
        loads = tag == "link" and not set(given.get("rel", "").split()) & {"canonical", "next", "prev", "index"}
        self.urls += [given[name] for name in ("src", "data", "srcset", "poster") if name in given]
        self.urls += [given["href"]] if loads and "href" in given else []


def find_foreign(site: Path) -> Iterator[tuple[str, str]]:
    """Page and URL of everything that a page or a style sheet takes from elsewhere."""
    for file in sorted(site.rglob("*.html")):
        assets = Assets()
        assets.feed(file.read_text())
        yield from ((str(file.relative_to(site)), url) for url in assets.urls if re.match(r"(https?:)?//", url))
    for file in sorted(site.rglob("*.css")):
        for url in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", file.read_text()):
            yield str(file.relative_to(site)), url


if __name__ == "__main__":
    sys.exit(main())
