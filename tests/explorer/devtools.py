"""A headless Chromium, spoken to by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: seconds that anything may take
PATIENCE = 60.0


class Browser:
    """One tab.

    Attributes:
        complaints: errors, warnings and uncaught exceptions of the pages so far.
    """

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command; what happens meanwhile is noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        found = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(found["exceptionDetails"]))
            case "Log.entryAdded" if found["entry"]["level"] in ("error", "warning"):
                self.complaints.append(found["entry"]["text"])
            case "Runtime.consoleAPICalled" if found["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(found["args"]))

    def open(self, address: str, width: int = 1400, *, dark: bool = False) -> None:
        """Load a page, at a width in pixels, as in a bright or a dark room."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, patience: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + patience
        while not self.run(condition):
            assert time.monotonic() < until, condition
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


KEYS = {"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40}


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a profile in ``folder``, which ends with the block."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "about:blank"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        port = _port(folder / "DevToolsActivePort", process)
        with _tab(port) as browser:
            yield browser
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + PATIENCE
    while not file.is_file() or not file.read_text().strip():
        assert process.poll() is None, "chromium has ended"
        assert time.monotonic() < until, "chromium does not answer"
        time.sleep(0.05)
    return int(file.read_text().split()[0])


@contextmanager
def _tab(port: int) -> Iterator[Browser]:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/json") as response:
        tabs = json.load(response)
    browser = Browser(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
    try:
        yield browser
    finally:
        browser._socket.close()
