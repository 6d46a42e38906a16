"""A real browser, driven by the DevTools protocol: no more of it than these tests need."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from .harness import WAIT, eventually, processes_in

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)

KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "ArrowDown": (40, ""), "ArrowUp": (38, "")}
"""Keys with their numbers, and what they type."""


def find_chromium() -> str | None:
    """Where Chromium is on this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """A DevTools connection to one page, in a window of its own, or to the browser as a whole."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self.errors: list[str] = []
        """What went wrong in the page: exceptions, and what the console has as errors."""
        self.requests: list[str] = []
        """The URLs of everything that it has asked for, WebSockets included."""

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol and wait for its result."""
        self._last_id += 1
        self._connection.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(WAIT))
            if message.get("id") == self._last_id:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url')}")
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event["method"] == "Network.webSocketCreated":
            self.requests.append(parameters["url"])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of its promise."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, f"{expression}: {result}"
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        became_true = self.evaluate(
            f"""new Promise((resolve) => {{
              const end = Date.now() + {WAIT * 900};
              const look = () => {{
                const value = Boolean({expression});
                if (value || Date.now() > end) resolve(value); else setTimeout(look, 10);
              }};
              look();
            }})"""
        )
        assert became_true, f"never true: {expression}; the page has {self.evaluate('document.body.innerText')!r}"

    def click(self, selector: str) -> None:
        """Click an element, once it is there and can be clicked."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"{found} && !{found}.disabled && {found}.offsetParent")
        self.evaluate(f"{found}.click()")

    def type(self, selector: str, text: str) -> None:
        """Type into a field, once it is there and can be typed into, in place of what it has."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"{found} && !{found}.disabled && {found}.offsetParent")
        self.evaluate(f"{found}.focus(), {found}.select()")
        self.call("Input.insertText", text=text)

    def press_enter(self) -> None:
        """Press the Enter key."""
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press one of `KEYS`, by its name in the DOM."""
        number, text = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number, **more)

    def go_to(self, url: str) -> None:
        """Open a URL and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        """Make the window so large, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, file: Path) -> None:
        """Save what the window shows."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


class Browser:
    """Chromium without a display, with a profile of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        program = find_chromium()
        assert program
        self.folder = folder
        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._address = ""
        self._lines: list[str] = []
        self._is_listening = threading.Event()
        self._follower = threading.Thread(target=self._follow)
        self._follower.start()
        if not self._is_listening.wait(3 * WAIT) or not self._address:
            self.close()
            raise AssertionError("Chromium does not start:\n" + "".join(self._lines))

    def _follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line.decode(errors="replace"))
            if match := re.match(r"DevTools listening on (ws://\S+)", self._lines[-1]):
                self._address = match[1]
                self._is_listening.set()
        self._is_listening.set()

    @contextmanager
    def page(self, url: str, width: int = 1200, height: int = 800) -> Iterator[Page]:
        """A new page in a window of its own, which shows `url`."""
        with connect(self._address, proxy=None, compression=None, max_size=None) as connection:
            window = Page(connection).call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        host = re.match(r"ws://([^/]+)/", self._address)
        assert host
        page_url = f"ws://{host[1]}/devtools/page/{window}"
        # Its events are only read while a test waits for something, and pongs come after them.
        with connect(page_url, proxy=None, compression=None, max_size=None, ping_interval=None) as connection:
            page = Page(connection)
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            page.resize(width, height)
            page.go_to(url)
            yield page
            page.evaluate("0")  # whatever it still has to say is here now
            assert not page.errors
            page.call("Page.close")

    def close(self) -> None:
        """End it, with everything that it has started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(WAIT)
        for pid in processes_in(self.folder):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        eventually(lambda: not processes_in(self.folder), "the browser gone")
        self._follower.join(WAIT)
        assert self.process.stderr is not None
        self.process.stderr.close()
