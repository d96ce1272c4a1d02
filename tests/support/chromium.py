"""A headless Chromium to test pages in, spoken to by its DevTools protocol over a pipe. Linux."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
TIMEOUT_S = 60
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9, " ": 32, "+": 187, "0": 48}


def find() -> str | None:
    """The program, None where there is none."""
    if sys.platform != "linux":
        return None
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. requests: the addresses that it asked for; errors: what its scripts threw."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._send_end = os.pipe()
        self._receive_end, answers = os.pipe()

        def ends() -> None:  # Chromium reads descriptor 3 and writes 4
            first, second = os.dup(commands), os.dup(answers)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}"], preexec_fn=ends, pass_fds=(3, 4), stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        os.set_blocking(self._receive_end, False)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._number, self._buffer, self._session = 0, b"", ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol -> its result. Raises RuntimeError, TimeoutError."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send_end, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            elif answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"])[:2000])

    def _next(self) -> Any:
        end = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            try:
                data = os.read(self._receive_end, 1 << 20)
                if not data:
                    raise RuntimeError("Chromium has ended")
                self._buffer += data
            except BlockingIOError:
                time.sleep(0.005)
            if time.monotonic() > end:
                raise TimeoutError("Chromium does not answer")
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path, width: int, height: int, *, dark: bool = False, touch: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression. Raises RuntimeError if it throws."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, which is scrolled into view."""
        box = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box}.getBoundingClientRect())")
        return x, y

    def drag(self, start: tuple[float, float], by: tuple[float, float]) -> None:
        for kind, share in (("mousePressed", 0), ("mouseMoved", 0.5), ("mouseMoved", 1), ("mouseReleased", 1)):
            x, y = (s + share * d for s, d in zip(start, by, strict=True))
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def click(self, selector: str) -> None:
        self.drag(self.place(selector), (0, 0))

    def touch(self, *steps: list[tuple[float, float]]) -> None:
        """Fingers put down at the first places, moved to the others, lifted."""
        for kind, points in zip(["touchStart"] + ["touchMove"] * (len(steps) - 1), steps, strict=True):
            places = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=places)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key], **more)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._send_end)
        os.close(self._receive_end)
