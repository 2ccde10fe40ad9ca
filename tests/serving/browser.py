"""Chromium, controlled by the DevTools protocol over pipes, which needs no library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
# Reads commands from file descriptor 3 and writes answers to 4, whatever numbers the pipes have here.
SHELL = 'exec "$0" "$@" 3<&{read} 4>&{write}'


class NavigationError(AssertionError):
    """The page was left while an expression was evaluated."""


class Page:
    """An open page; `errors` are uncaught exceptions and messages of errors so far, `requests` all addresses."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd, self._number, self._buffer = read_fd, write_fd, 0, b""
        self.errors, self.requests = list[str](), list[str]()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to an address."""
        self._call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, or what its promise gives."""
        result = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until an expression of JavaScript is true, 30 s at most."""
        deadline = time.monotonic() + 30
        while not self._is_true(condition):
            assert time.monotonic() < deadline, self.evaluate("document.body.innerText")
            time.sleep(0.02)

    def _is_true(self, condition: str) -> bool:
        try:
            # what it names may not be there yet
            return bool(
                self.evaluate(f"(() => {{ try {{ return Boolean({condition}) }} catch {{ return false }} }})()")
            )
        except NavigationError:
            return False

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key, such as Tab, Enter or space; modifiers: 8 is Shift."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40, "ArrowUp": 38}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        event = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": codes.get(key, 0)}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type_text(self, text: str) -> None:
        """Type a text into the element that has the focus."""
        self._call("Input.insertText", text=text)

    def drag(self, selector: str, start: float, end: float) -> None:
        """Press the pointer on an element, drag it to the right and release it; from and to fractions of its width."""
        box = self.evaluate(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        for kind, fraction in (
            ("mouseMoved", start),
            ("mousePressed", start),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            x, y = box["left"] + fraction * box["width"], box["top"] + box["height"] / 2
            held = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseMoved" or fraction == end else {}
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def emulate(self, *, dark: bool, width: int = 1280, height: int = 720) -> None:
        """Set the color scheme of the system, and the size of the window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self) -> bytes:
        """A picture of the window, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))
            elif answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            elif answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(answer["params"]["entry"]["text"])
        if "navigated" in answer.get("error", {}).get("message", ""):
            raise NavigationError(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read_fd, 1 << 16)
            assert data, "Chromium ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """An empty page in a browser of its own, with its profile in a folder; skips the test if there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: `scripts/install-system-packages` installs it")
    (commands, write_fd), (read_fd, answers) = os.pipe(), os.pipe()
    shell = SHELL.format(read=commands, write=answers)
    process = subprocess.Popen(
        ["bash", "-c", shell, program, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
        pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands)
    os.close(answers)
    try:
        yield Page(read_fd, write_fd)
    finally:
        process.kill()
        process.wait()
        os.close(read_fd)
        os.close(write_fd)
