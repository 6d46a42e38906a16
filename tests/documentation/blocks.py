"""The fenced blocks of the documentation."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CHANGELOG.md", "docker/README.md", "conformance/README.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
SAVED = re.compile(r"(?:Save this as|[Tt]his is) `([\w./-]+\.(?:py|html))`")


@dataclass(frozen=True)
class Block:
    """One fenced block: its name, its language, its text, and where its page says that it is saved.

    The name is that of its page and its section, as in a link, with its number there if it is not the first.
    """

    name: str
    language: str
    text: str
    file: str | None

    def __str__(self) -> str:
        return self.name

    @property
    def page(self) -> str:
        """The page that it is on, relative to the checkout."""
        return self.name.partition("#")[0]


def find_blocks() -> list[Block]:
    """Every fenced block of every page, in their order."""
    blocks = []
    for page in PAGES:
        text = page.read_text()
        counts: Counter[str] = Counter()
        for fence in FENCE.finditer(text):
            headings = HEADING.findall(FENCE.sub("", text[: fence.start()]))
            section = f"{page.relative_to(CHECKOUT)}#{find_anchor(headings[-1])}"
            counts[section] += 1
            name = section if counts[section] == 1 else f"{section}:{counts[section]}"
            paragraph = text[: fence.start()].rstrip().rpartition("\n\n")[2].replace("\n", " ")
            saved = SAVED.search(paragraph)
            blocks.append(Block(name, fence[2], fence[3], saved and saved[1]))
    return blocks


def find_anchor(heading: str) -> str:
    """What a link to a heading has after its #, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
