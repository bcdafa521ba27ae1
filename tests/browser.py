"""A headless Chromium that looks at pages: what it says of errors, how wide they are, and what a click does.

It is spoken to through pipes in its own protocol, one JSON message a null byte, so that no driver is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a headless Chromium; ``errors`` are what its console complains of since the last visit."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        (theirs, self._send), (self._receive, mine) = os.pipe(), os.pipe()
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]
        command = [
            CHROMIUM,
            *flags,
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        # the protocol wants the file numbers 3 and 4
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{mine}', "bash", *command]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(shell, pass_fds=(theirs, mine), **quiet)  # type: ignore[call-overload]
        os.close(theirs)
        os.close(mine)
        self._left, self._number, self._session = b"", 0, ""
        self._loaded = False
        self.errors: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with suppress(OSError):
            self._ask("Browser.close")
        self._process.wait(20)
        os.close(self._send)
        os.close(self._receive)

    def visit(self, page: Path, width: int, height: int = 900, fragment: str = "") -> None:
        """Load a file in a window of that size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **metrics)
        self.errors, self._loaded = [], False
        self._ask("Page.navigate", url=page.resolve().as_uri() + fragment)
        while not self._loaded:
            self._read()

    def tell(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, file: Path, whole: bool = False) -> None:
        """Save what the window shows, or the whole page."""
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(b64decode(found["data"]))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        """The next message; events are taken notice of."""
        while b"\0" not in self._left:
            more = os.read(self._receive, 1 << 20)
            if not more:
                raise OSError("the browser has ended")
            self._left += more
        line, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.errors.append(str(parameters["entry"]["text"]))
        elif method == "Network.requestWillBeSent" and parameters["request"]["url"].startswith("http"):
            self.errors.append(f"loads {parameters['request']['url']}")
        return message
