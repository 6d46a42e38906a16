"""The pages that people see, in a real browser. Their pictures are kept where ``WSHUB_SCREENSHOTS`` says."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .browser import Browser, Page, find_chromium
from .harness import HubProcess

pytestmark = pytest.mark.skipif(
    find_chromium() is None and os.environ.get("CI") != "true",
    reason="no Chromium here: install the package chromium (Debian's name for it)",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all pages of the module."""
    assert find_chromium(), "CI must have a Chromium: install the package chromium"
    browser = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """The folder of the pictures."""
    return Path(os.environ.get("WSHUB_SCREENSHOTS") or tmp_path)


def messages_in(page: Page) -> list[list[str]]:
    """The messages that a page of the chat room shows: who, and what."""
    found = page.evaluate(
        "[...document.querySelectorAll('#log [data-kind=message]')]"
        ".map((e) => [e.dataset.name, e.querySelector('.body').textContent])"
    )
    assert isinstance(found, list)
    return found


def enter(page: Page, name: str) -> None:
    """Give a name and go in."""
    page.wait_for("document.querySelector('#status').dataset.state === 'online'")
    page.type("#name", name)
    page.click("#enter")


def say(page: Page, text: str) -> None:
    """Write a message, send it with the Enter key, and wait until it is in the log."""
    page.type("#message", text)
    page.press_enter()
    wait_for_message(page, text)


def wait_for_message(page: Page, text: str) -> None:
    """Wait until a message is in the log."""
    page.wait_for(
        "[...document.querySelectorAll('#log [data-kind=message] .body')]"
        f".some((e) => e.textContent === {json.dumps(text)})"
    )


def test_two_people_chat(hub: HubProcess, browser: Browser, screenshots: Path) -> None:
    """Two pages of the chat room meet in a new room and talk; what one writes the other sees, as text."""
    url = f"http://{hub.host}:{hub.port}/demo_chatroom"
    with browser.page(url) as ada, browser.page(url) as bob:
        enter(ada, "Ada")
        ada.wait_for("document.querySelector('#rooms [data-room=lobby]')")
        assert ada.evaluate("document.querySelector('#message').disabled") is True
        ada.type("#new-room", "Analytical Engine")
        ada.click("#create")
        ada.wait_for("!document.querySelector('#message').disabled")

        enter(bob, "Bob")
        bob.click("#rooms [data-room='Analytical Engine']")
        bob.wait_for("!document.querySelector('#message').disabled")
        for page in (ada, bob):
            page.wait_for("/\\b2 people/.test(document.querySelector('#room-note').textContent)")
        ada.wait_for("document.querySelector('#log').textContent.includes('Bob joined')")

        conversation = [
            (bob, "Bob", "Is the engine ready to weave algebraical patterns?"),
            (ada, "Ada", "Just as the Jacquard loom weaves flowers and leaves. 🌿"),
            (bob, "Bob", "<b>Bold</b> claim & <img src=x onerror=document.title='script'>"),
            (ada, "Ada", "It does whatever we know how to order it to perform."),
        ]
        for page, _, text in conversation:
            say(page, text)
            wait_for_message(ada if page is bob else bob, text)
        expected = [[name, text] for _, name, text in conversation]
        assert messages_in(ada) == messages_in(bob) == expected
        assert ada.evaluate("document.querySelectorAll('#log img, #log b').length") == 0
        assert ada.evaluate("document.title") != "script"
        ada.screenshot(screenshots / "chat.png")
        bob.resize(390, 844)
        bob.screenshot(screenshots / "chat-narrow.png")
        assert bob.evaluate("document.documentElement.scrollWidth <= innerWidth")

        bob.click("#rooms [data-room=lobby]")
        ada.wait_for("document.querySelector('#log').textContent.includes('Bob left')")


def test_chat_comes_back_after_a_crash(hub: HubProcess, browser: Browser) -> None:
    """When the service dies the page says so, comes back by itself, and goes on."""
    with browser.page(f"http://{hub.host}:{hub.port}/demo_chatroom") as page:
        enter(page, "Ada")
        page.click("#rooms [data-room=lobby]")
        page.wait_for("!document.querySelector('#message').disabled")
        page.evaluate(
            "window.states = [], window.line = document.querySelector('#status'),"
            "new MutationObserver(() => states.push(line.dataset.state)).observe(line, {attributes: true}), 0"
        )
        os.kill(hub.pid_of("/demo_chatroom"), 9)
        page.wait_for("states.includes('offline') && document.querySelector('#status').dataset.state === 'online'")
        page.wait_for("document.querySelector('#log').textContent.includes('You are back')")
        say(page, "as if nothing had been")


def test_welcome_page(hub: HubProcess, browser: Browser, screenshots: Path) -> None:
    """The welcome page lists the services, shows the chat room, and its console talks to the echo service."""
    with browser.page(f"http://{hub.host}:{hub.port}/", height=1100) as page:
        paths = "[...document.querySelectorAll('#services li')].map((e) => e.dataset.path)"
        page.wait_for(f"{paths}.includes('/echo')")
        assert {"/clock", "/demo_chatroom", "/echo", "/foo/bar", "/foo/bar/"} <= set(page.evaluate(paths))
        assert page.evaluate("document.querySelector('#page-frame').src").endswith("/demo_chatroom")
        page.wait_for(
            "document.querySelector('#page-frame').contentDocument?.querySelector('#status')"
            "?.dataset.state === 'online'"
        )

        page.type("#path", "/echo")
        page.click("#connect")
        page.wait_for("document.querySelector('#console-state').dataset.state === 'running'")
        frames = "[...document.querySelectorAll('#frames .frame[data-way=%s] .body')].map((e) => e.textContent)"
        for number, text in enumerate(("Hello, hub!", "<i>as text</i> 🐎"), 1):
            page.type("#text", text)
            page.click("#send")
            page.wait_for(f"{frames % 'in'}.length === {number}")
        assert page.evaluate(frames % "out") == page.evaluate(frames % "in") == ["Hello, hub!", "<i>as text</i> 🐎"]
        page.wait_for("document.querySelector('#services li[data-path=\"/echo\"] .state').dataset.state === 'running'")
        page.screenshot(screenshots / "welcome.png")
        page.resize(390, 844)
        page.screenshot(screenshots / "welcome-narrow.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.resize(1200, 800)

        hub.save("brand_new.py", (hub.services / "echo.py").read_text())
        page.wait_for(f"{paths}.includes('/brand_new')")
        page.click("#connect")
        page.wait_for("document.querySelector('#console-state').dataset.state === 'idle'")


def test_page_of_another_origin_may_not_connect(hub: HubProcess, browser: Browser) -> None:
    """A page from elsewhere cannot open a WebSocket, and one of the hub can."""
    attempt = f"""new Promise((resolve) => {{
      const socket = new WebSocket("ws://{hub.host}:{hub.port}/echo");
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    }})"""
    with browser.page(f"http://{hub.host}:{hub.port}/demo_chatroom") as page:
        assert page.evaluate(attempt) == "open"
    with browser.page("about:blank") as page:
        assert page.evaluate(attempt) == "refused"
        page.errors.clear()  # the console has just that


def test_cookie_of_an_accepted_request(hub: HubProcess, browser: Browser) -> None:
    """A cookie that on_request sets with the 101 comes back with the page's next connection; no script can read it."""
    hub.save(
        "sets_cookie.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_request(self, request):
                request.state.found = request.cookies.get("session", "none")
                return wshub.Accept(cookies={"session": "abc"})

            def on_open(self, client):
                client.send(client.state.found)
        """,
    )
    hear = f"""new Promise((resolve) => {{
      new WebSocket("ws://{hub.host}:{hub.port}/sets_cookie").onmessage = (event) => resolve(event.data);
    }})"""
    with browser.page(f"http://{hub.host}:{hub.port}/demo_chatroom") as page:
        assert [page.evaluate(hear), page.evaluate(hear)] == ["none", "abc"]
        assert "session" not in page.evaluate("document.cookie")
