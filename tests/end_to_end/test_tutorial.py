"""The pages of the tutorial, as they are there, in a real browser."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .browser import Browser, Page, find_chromium
from .harness import HubProcess

pytestmark = pytest.mark.skipif(
    find_chromium() is None and os.environ.get("CI") != "true",
    reason="no Chromium here: install the package chromium (Debian's name for it)",
)
StartHub = Callable[..., HubProcess]
TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
LOG = "document.querySelector('#log').textContent"


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser of this test's own."""
    assert find_chromium(), "CI must have a Chromium: install the package chromium"
    browser = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield browser
    finally:
        browser.close()


def save(step: str, folder: Path) -> None:
    """Save the service and the page of a step, or of the step before where this one has none."""
    for language, name in (("python", "chat.py"), ("html", "chat.html")):
        for page in sorted(TUTORIAL.glob("[0-9]*.md")):
            found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
            if found and page.name <= f"{step}~" and f"`services/{name}`" in page.read_text():
                (folder / name).write_text(found[0])


def say(page: Page, text: str) -> None:
    """Write a text and send it with the Enter key."""
    page.type("#text", text)
    page.press_enter()


def enter(page: Page, name: str, room: str) -> None:
    """Fill in the form and wait until the room says who is here."""
    page.type("[name=room]", room)
    page.type("[name=name]", name)
    page.press_enter()
    page.wait_for(f"{LOG} === '{name} is here.\\n'")


def test_the_first_page_of_the_tutorial(tmp_path: Path, start_hub: StartHub, browser: Browser) -> None:
    """What one window says the other shows, as text and not as HTML."""
    services = tmp_path / "services"
    services.mkdir()
    save("3", services)
    hub = start_hub()
    url = f"http://{hub.host}:{hub.port}/chat"
    with browser.page(url) as one, browser.page(url) as other:
        for page in (one, other):
            page.wait_for(f"{LOG} === '(connected)\\n'")
        say(one, "hello <b>everybody</b>")
        other.wait_for(f"{LOG} === '(connected)\\nhello <b>everybody</b>\\n'")


def test_the_last_page_of_the_tutorial(tmp_path: Path, start_hub: StartHub, browser: Browser) -> None:
    """Who enters a room hears what is said there and sees who goes, and nothing from other rooms."""
    services = tmp_path / "services"
    services.mkdir()
    save("4", services)
    hub = start_hub()
    url = f"http://{hub.host}:{hub.port}/chat"
    with browser.page(url) as ada, browser.page(url) as eve:
        enter(ada, "Ada", "lobby")
        enter(eve, "Eve", "attic")
        with browser.page(url) as bob:
            enter(bob, "Bob", "lobby")
            say(ada, "hello")
            bob.wait_for(f"{LOG} === 'Bob is here.\\nAda: hello\\n'")
        ada.wait_for(f"{LOG}.endsWith('Bob has gone.\\n')")
        assert eve.evaluate(LOG) == "Eve is here.\n"
