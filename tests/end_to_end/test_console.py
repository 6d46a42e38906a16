"""The console in a real browser, at a real hub. Its pictures are kept where ``WSHUB_SCREENSHOTS`` says."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .browser import Browser, Page, find_chromium
from .harness import WAIT, HubProcess, find_free_port

pytestmark = pytest.mark.skipif(
    find_chromium() is None and os.environ.get("CI") != "true",
    reason="no Chromium here: install the package chromium (Debian's name for it)",
)

StartHub = Callable[..., HubProcess]
PHONE = 360  # CSS pixels
LOUD = """
    import sys
    import wshub

    class Service(wshub.Service):
        def on_message(self, client, data):
            print("heard", data)
            print("<3>in stderr", file=sys.stderr)
            if data == "raise":
                raise ValueError("on purpose")
            client.send(data)
"""


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


class Console:
    """The console of a hub, in a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait_for_rows(self, *paths: str) -> None:
        """Wait until the table has these services or folders, and shows them."""
        shown = "[...document.querySelectorAll('#rows tr')].filter((e) => e.offsetParent).map((e) => e.dataset.path)"
        self.page.wait_for(f"{json.dumps(paths)}.every((path) => {shown}.includes(path))")

    def wait_for_row(self, path: str, *texts: str) -> None:
        """Wait until the row of a service has these texts in it."""
        row = f"document.querySelector('#rows tr[data-path={json.dumps(path)}]')?.innerText"
        self.page.wait_for(f"{json.dumps(texts)}.every((text) => {row}?.includes(text))")

    def open_service(self, path: str) -> None:
        """Click a service, and wait for its view."""
        self.page.click(f"#rows tr[data-path={json.dumps(path)}] a")
        self.page.wait_for(f"document.querySelector('#detail-title').textContent === {json.dumps(path)}")
        self.page.wait_for("document.querySelector('#detail').offsetParent")

    def wait_for_text(self, selector: str, *texts: str) -> None:
        """Wait until an element has these texts in it."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.page.wait_for(f"{json.dumps(texts)}.every((text) => {found}.innerText.includes(text))")

    def connect(self) -> None:
        """Connect to the service whose view it is."""
        self.page.click("#connect")
        self.page.wait_for("document.querySelector('#connection-state').dataset.state === 'running'")

    def send(self, text: str) -> None:
        """Send a message."""
        self.page.type("#message", text)
        self.page.click("#send")

    def check_width(self) -> None:
        """Assert that nothing is wider than the window, nor than what it is in."""
        boxes = "[document.documentElement, ...document.querySelectorAll('.lines, .card, form')]"
        assert self.page.evaluate(f"{boxes}.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.outerHTML)") == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def find_url(hub: HubProcess) -> str:
    """Where the console is, with the token, as the log has it."""
    return hub.wait_for_log(r"console: (http://\S+)")[1]


@contextmanager
def open_console(browser: Browser, url: str, width: int = 1280, height: int = 800) -> Iterator[Console]:
    """The console, at the URL that the log has; afterwards it must have asked nobody but the hub."""
    with browser.page("about:blank", width, height) as page:
        page.call("Page.navigate", url=url)
        page.wait_for("document.querySelector('#rows tr')")
        yield Console(page)
        hosts = {urlsplit(each).hostname for each in page.requests if not each.startswith("about:")}
        assert hosts == {"127.0.0.1"}
        assert not [each for each in page.requests if "token=" in each.partition("#")[0]]


def start_with_admin(start_hub: StartHub, *options: str) -> HubProcess:
    """A hub with an admin interface at a port of its own."""
    return start_hub("--admin", f"tcp:{find_free_port()}:interface=127.0.0.1", *options)


def test_the_tree_shows_what_happens(start_hub: StartHub, browser: Browser, screenshots: Path) -> None:
    """All services are there as a tree; state, clients and messages follow what happens, without loading it anew."""
    hub = start_with_admin(start_hub)
    hub.save("trade/eu/quotes.py", (hub.services / "echo.py").read_text())
    with open_console(browser, find_url(hub)) as console:
        page = console.page
        console.wait_for_rows("/clock", "/echo", "/foo/", "/foo/bar", "/foo/bar/", "/trade/", "/trade/eu/quotes")
        assert page.evaluate("location.href").endswith("/")  # the token is not in the address, nor in the history
        console.wait_for_row("/echo", "idle")
        with hub.connect("/echo") as client:
            console.wait_for_row("/echo", "running", "1", "MiB")
            page.wait_for("document.querySelector('#announcements').textContent.includes('/echo is ')")
            for _ in range(40):
                client.send("hello")
                client.recv(WAIT)
            page.wait_for(
                "document.querySelector('#rows tr[data-path=\"/echo\"] .spark polyline').getAttribute('points')"
            )
            page.screenshot(screenshots / "console.png")
        page.click("#rows tr[data-path='/trade/'] button")
        page.wait_for("!document.querySelector('#rows tr[data-path=\"/trade/eu/quotes\"]').offsetParent")
        page.type("#filter", "quot")
        console.wait_for_rows("/trade/", "/trade/eu/", "/trade/eu/quotes")  # though its folder is closed
        assert page.evaluate("document.querySelector('#rows tr[data-path=\"/echo\"]').offsetParent") is None
        page.type("#filter", "no such thing")
        console.wait_for_text("#nothing", "No service has “no such thing”")
        page.evaluate("location.reload()")
        console.wait_for_rows("/echo")  # the tab has the token
        assert page.evaluate("document.querySelector('#entry').offsetParent") is None


def test_a_new_service_appears_and_a_removed_one_goes(start_hub: StartHub, browser: Browser) -> None:
    """The table follows the folder."""
    hub = start_with_admin(start_hub)
    with open_console(browser, find_url(hub)) as console:
        console.wait_for_rows("/echo")
        file = hub.save("later/brand_new.py", (hub.services / "echo.py").read_text())
        console.wait_for_rows("/later/", "/later/brand_new")
        file.unlink()
        console.page.wait_for("!document.querySelector('#rows tr[data-path^=\"/later/\"]')")


def test_what_a_service_prints_and_raises(start_hub: StartHub, browser: Browser) -> None:
    """Fault: a hook raises. Seen: its traceback, whole, and its last line; what it printed arrives too, as text."""
    hub = start_with_admin(start_hub)
    hub.may_fail.add("/loud")
    hub.save("loud.py", LOUD)
    with open_console(browser, find_url(hub)) as console:
        console.wait_for_rows("/loud")
        console.open_service("/loud")
        with hub.connect("/loud") as client:
            client.send("<img src=x onerror=document.title='script'>")
            console.wait_for_text("#output", "heard <img src=x", "err", "in stderr")
            client.send("raise")
            console.wait_for_text("#detail-error", "ValueError: on purpose")
            console.wait_for_text("#events", "started, process ", "ValueError: on purpose")
        console.wait_for_text("#closings", "127.0.0.1", "1011")
        traceback = console.page.evaluate("document.querySelector('#events pre').textContent")
        assert traceback.startswith("Traceback (most recent call last):\n")
        assert 'raise ValueError("on purpose")' in traceback
        assert console.page.evaluate("document.querySelectorAll('#output img').length") == 0
        assert (
            console.page.evaluate("document.querySelector('#output [data-level=error] .body').textContent")
            == "in stderr"
        )


def test_a_killed_service_is_seen_in_the_console(start_hub: StartHub, browser: Browser) -> None:
    """Fault: a service is killed, and then its file has a mistake. Seen: its death, and the state failed in red."""
    hub = start_with_admin(start_hub)
    hub.may_fail.add("/loud")
    hub.save("loud.py", LOUD)
    with open_console(browser, find_url(hub)) as console:
        console.wait_for_rows("/loud")
        with hub.connect("/loud"):
            console.open_service("/loud")
            console.wait_for_text("#detail-state", "running")
            os.kill(hub.pid_of("/loud"), 9)
            console.wait_for_text("#events", "died: it ended by signal SIGKILL")
        hub.save("loud.py", "import wshub\nunknown_name\n")
        hub.upgrade("/loud")
        console.wait_for_text("#events", "does not start until its file changes", "NameError")
        console.page.click("#back")
        console.wait_for_row("/loud", "failed")
        console.wait_for_text("#summary", "1 in trouble")


def test_a_connection_from_the_console(start_hub: StartHub, browser: Browser, screenshots: Path) -> None:
    """Text and bytes go to the service and come back; the connection closes with the code and reason that are given."""
    hub = start_with_admin(start_hub)
    frames = (
        "[...document.querySelectorAll('#frames [data-way=in]')].map((e) => e.innerText.split(/\\s{1,}/).join(' '))"
    )
    with open_console(browser, find_url(hub), height=1100) as console:
        page = console.page
        console.wait_for_rows("/echo")
        console.open_service("/echo")
        assert page.evaluate("document.querySelector('#connection-hint').offsetParent") is None
        console.connect()
        console.send("<i>Grüße</i>")
        page.wait_for(f"{frames}.length === 1")
        page.click("input[value=binary]")
        console.send("00 ff:10")
        page.wait_for(f"{frames}.length === 2")
        console.send("0")
        console.wait_for_text("#frames", "Not sent: write the bytes as pairs of hex digits")
        text, binary = page.evaluate(frames)
        assert "text 14 B <i>Grüße</i>" in text
        assert "binary 3 B 00 ff 10" in binary
        page.screenshot(screenshots / "console-detail.png")
        page.type("#close-code", "1001")
        page.click("#close")
        console.wait_for_text("#frames", "a page may close with code 1000, or one from 3000 to 4999")
        page.type("#close-code", "4321")
        page.type("#close-reason", "seen enough")
        page.click("#close")
        console.wait_for_text("#frames", "Closed with 4321: seen enough")
        console.wait_for_text("#closings", "4321", "seen enough")
        assert {each for each in page.requests if each.startswith("ws")} == {hub.url("/echo")}


def test_without_the_right_token(start_hub: StartHub, browser: Browser, screenshots: Path) -> None:
    """Fault: somebody opens the console without the token, or with another. Seen: a form that says where to find it,
    not a figure, and nothing asked of the hub again; with the token it goes on."""
    hub = start_with_admin(start_hub)
    url, _, token = find_url(hub).partition("#token=")
    with browser.page(url, 1000, 600) as page:
        page.wait_for("document.querySelector('#entry').offsetParent")
        assert "admin_token" in page.evaluate("document.querySelector('#entry').innerText")
        page.screenshot(screenshots / "console-token.png")
        assert not hub.search("no token")
        page.type("#token", "not a token")
        page.press("Enter")
        page.wait_for("document.querySelector('#entry-error').textContent.includes('That is no token')")
        page.type("#token", "another-token-than-the-hubs")
        page.press("Enter")
        page.wait_for("document.querySelector('#entry-error').textContent.includes('does not take this token')")
        assert page.evaluate("document.querySelector('#rows tr')") is None
        hub.wait_for_log("wrong token")
        page.errors.clear()  # the browser has the 401 as one
        page.type("#token", token)
        page.press("Enter")
        Console(page).wait_for_rows("/echo")
        assert page.evaluate("sessionStorage.length + localStorage.length + document.cookie.length") == 1


def test_the_hub_goes_and_comes_back(tmp_path: Path, browser: Browser, screenshots: Path) -> None:
    """Fault: the hub is stopped, and started again. Seen: since when it does not answer; then the console goes on."""
    ports = find_free_port(), find_free_port()
    (tmp_path / "wshub.toml").write_text(f'admin = "{ports[0]}"\nadmin_token = "change-me-to-something-long"\n')

    def start() -> HubProcess:
        return HubProcess(tmp_path, "-c", "wshub.toml", port=f"tcp:{ports[1]}:interface=127.0.0.1")

    hub = start()
    try:
        with open_console(browser, f"{find_url(hub)}#token=change-me-to-something-long") as console:
            page = console.page
            console.wait_for_rows("/echo")
            with hub.connect("/echo"):
                console.wait_for_row("/echo", "running")
            hub.check_end()
            page.wait_for(
                "/^No answer from the hub since \\d\\d:\\d\\d:\\d\\d; trying again\\.$/"
                ".test(document.querySelector('#trouble').textContent)"
            )
            page.screenshot(screenshots / "console-trouble.png")
            hub = start()
            page.wait_for("document.querySelector('#trouble').textContent === ''")
            console.wait_for_row("/echo", "idle")
            page.errors.clear()  # those of the connections that were refused
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()


def test_it_fits_a_phone(start_hub: StartHub, browser: Browser, screenshots: Path) -> None:
    """At 360 pixels nothing is wider than the window: a long path, a long line of output and a long reason included."""
    hub = start_with_admin(start_hub)
    name = "a_service_with_a_name_that_is_rather_long_and_has_no_blank_in_it"
    hub.save(f"{name}.py", LOUD)
    with open_console(browser, find_url(hub), PHONE, 800) as console:
        console.wait_for_rows(f"/{name}")
        console.check_width()
        console.page.screenshot(screenshots / "console-phone.png")
        console.open_service(f"/{name}")
        console.connect()
        console.send("x" * 500)
        console.wait_for_text("#frames", "x" * 500)
        console.wait_for_text("#output", "x" * 500)
        console.page.type("#close-reason", "r" * 120)
        console.page.click("#close")
        console.wait_for_text("#closings", "r" * 120)
        console.check_width()
        console.page.resize(PHONE, 2600)
        console.page.screenshot(screenshots / "console-phone-detail.png")


def test_by_keyboard_alone(start_hub: StartHub, browser: Browser) -> None:
    """Tab goes to the filter, to folders and services; arrows from service to service; Enter opens; Tab goes on."""
    hub = start_with_admin(start_hub)
    focused = "document.activeElement.id || document.activeElement.getAttribute('aria-label')"
    with open_console(browser, find_url(hub)) as console:
        page = console.page
        console.wait_for_rows("/foo/bar/")

        def tab_to(wanted: str) -> list[str]:
            walked: list[str] = []
            while wanted not in walked:
                assert len(walked) < 40, walked
                page.press("Tab")
                walked.append(page.evaluate(focused))
                assert page.evaluate("document.activeElement.matches(':focus-visible')")
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return walked

        assert tab_to("/foo/bar/") == [
            "filter", "/clock", "/demo_chatroom", "/echo", "Folder /foo/", "/foo/bar", "/foo/bar/"
        ]  # fmt: skip
        page.press("ArrowUp")
        page.press("ArrowUp")
        assert page.evaluate(focused) == "/echo"
        page.press("ArrowDown")
        assert page.evaluate(focused) == "/foo/bar"
        page.press("ArrowUp")
        page.press("Enter")
        page.wait_for("document.activeElement.id === 'detail-title'")
        walked = tab_to("message")
        assert walked[:3] == ["output", "url", "connect"]
        console.connect()
        page.type("#message", "by the Enter key")
        page.press("Enter")
        console.wait_for_text("#frames", "in", "by the Enter key")
        tab_to("close")
        page.press("Enter")
        console.wait_for_text("#frames", "Closed with 1000")
        page.evaluate("history.back()")
        page.wait_for("document.activeElement.getAttribute('aria-label') === '/echo'")


def test_a_tab_that_nobody_sees_asks_nothing(start_hub: StartHub, browser: Browser) -> None:
    """Hidden, the page sets no timer to ask again; seen again, it asks at once."""
    hub = start_with_admin(start_hub)
    with open_console(browser, find_url(hub)) as console:
        page = console.page
        page.evaluate(
            """window.waits = [], window.turn = (hidden) => {
              Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
              document.dispatchEvent(new Event("visibilitychange"));
            }, window.setTimeout = new Proxy(setTimeout, {apply(wanted, self, [call, ms]) {
              waits.push(ms);
              return wanted(call, ms);
            }}), 0"""
        )
        page.evaluate("turn(true), waits.length = 0")
        for _ in range(10):  # longer than what was under way when it was hidden
            page.evaluate("fetch('/healthz').then((response) => response.text())")
        assert page.evaluate("waits") == []
        up_for = page.evaluate("document.querySelector('#hub-facts dd').textContent")
        assert page.evaluate("turn(false), waits") == [0]
        page.wait_for(f"document.querySelector('#hub-facts dd').textContent !== {json.dumps(up_for)}")


def test_charts_have_words(start_hub: StartHub, browser: Browser) -> None:
    """What a chart shows can be heard; tables, headings and fields have names in the accessibility tree."""
    hub = start_with_admin(start_hub)
    with open_console(browser, find_url(hub)) as console, hub.connect("/echo"):
        page = console.page
        console.wait_for_row("/echo", "running")

        def names(role: str) -> list[str]:
            nodes = page.call("Accessibility.getFullAXTree")["nodes"]
            return [each["name"]["value"] for each in nodes if each.get("role", {}).get("value") == role]

        assert "Services" in names("table")
        assert {"/echo", "/foo/bar/"} <= set(names("link"))
        assert "Filter" in names("searchbox")
        assert {"Service", "State", "Clients", "Memory"} <= set(names("columnheader"))
        console.open_service("/echo")
        page.wait_for("document.querySelector('#charts svg').getAttribute('aria-label')")
        assert [
            each for each in names("image") if each.startswith("Clients in the last five minutes: now 1, at most 1")
        ]
        assert len([each for each in names("image") if "in the last five minutes: " in each]) == 4
        assert {"Address", "Message to send", "Close code", "Reason"} <= set(names("textbox"))
        assert "" not in names("button") + names("link") + names("textbox")


def test_five_hundred_services(start_hub: StartHub, browser: Browser, screenshots: Path) -> None:
    """A filter finds one of five hundred; a refresh in which nothing happens writes no cell and moves no row."""
    hub = start_with_admin(start_hub)
    source = (hub.services / "echo.py").read_text()
    for number in range(500):
        hub.save(f"group_{number % 10}/service_{number:03}.py", source)
    with open_console(browser, find_url(hub)) as console:
        page = console.page
        console.wait_for_text("#summary", f"{500 + 5} services")
        console.wait_for_row("/clock", "\t0\t0\t0\t–")  # from the second look on there are rates
        page.screenshot(screenshots / "console-many.png")
        page.evaluate(
            "window.changes = 0, new MutationObserver((all) => { changes += all.length; })"
            ".observe(document.querySelector('#rows'), {childList: true, characterData: true, attributes: true,"
            " subtree: true}), 0"
        )
        up_for = page.evaluate("document.querySelector('#hub-facts dd').textContent")
        page.wait_for(f"document.querySelector('#hub-facts dd').textContent !== {json.dumps(up_for)}")
        assert page.evaluate("changes") == 0
        page.type("#filter", "service_321")
        console.wait_for_rows("/group_1/", "/group_1/service_321")
        page.wait_for("[...document.querySelectorAll('#rows tr')].filter((e) => e.offsetParent).length === 2")
        console.open_service("/group_1/service_321")
        console.connect()
        console.send("Are you there?")
        console.wait_for_text("#frames", "in", "Are you there?")


def test_through_a_tunnel_it_says_what_to_set(start_hub: StartHub, browser: Browser) -> None:
    """Fault: the console is reached at a Unix socket through a tunnel, so the hub does not know its origin. Seen: the
    data, and before the attempt to connect which origin to allow."""
    hub = start_hub("--admin", "unix:admin")
    with forward_to(hub.folder / "admin") as port, browser.page(f"http://127.0.0.1:{port}/") as page:
        console = Console(page)
        console.wait_for_rows("/echo")  # without a token
        console.open_service("/echo")
        console.wait_for_text("#connection-hint", f'set origins = ["http://127.0.0.1:{port}"]')
        page.click("#connect")
        console.wait_for_text("#frames", "Not connected. A browser does not tell a page why")
        page.errors.clear()  # the 403


@contextmanager
def forward_to(path: Path) -> Iterator[int]:
    """A port of the loopback interface that leads to a Unix socket, as ssh's -L makes one."""
    server = socket.create_server(("127.0.0.1", 0))

    def carry(client: socket.socket) -> None:
        """One request and its response, which the hub ends."""
        with client, socket.socket(socket.AF_UNIX) as hub, suppress(OSError):
            hub.connect(str(path))
            hub.sendall(client.recv(65536))
            while data := hub.recv(65536):
                client.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(server.accept()[0],)).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(WAIT)
