"""Pages in a real browser: chromium without a window, driven through its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager

import pytest

from helpers.processes import wait_for

PROGRAM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs chromium")


class Browser:
    """One page of a browser; each method is one command that has been answered."""

    def __init__(self, address):
        from tornado.ioloop import IOLoop
        from tornado.websocket import websocket_connect

        self.loop = IOLoop(make_current=False)
        self.socket = self.loop.run_sync(lambda: websocket_connect(address, max_message_size=2**28))
        self.number, self.told = 0, []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        self.number += 1
        command = json.dumps({"id": self.number, "method": method, "params": parameters})
        self.loop.run_sync(lambda: self.socket.write_message(command))
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.told.append(answer)

    def _read(self):
        return self.loop.run_sync(self.socket.read_message)

    def open(self, path, width, height=900, scheme="light"):
        """Load a page in a window of this size (CSS pixels)."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url=path.as_uri())
        while not any(told["method"] == "Page.loadEventFired" for told in self.told):
            self.told.append(json.loads(self._read()))
        self.told = [told for told in self.told if told["method"] != "Page.loadEventFired"]

    def value(self, expression):
        """What an expression of JavaScript gives."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self, path, height, top=0, scale=1):
        """A screenshot of the page from ``top`` (CSS pixels) on, as a PNG of this scale."""
        width = self.value("innerWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": scale}
        shot = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        """Exceptions and errors that the page has logged."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [told for told in self.told if told["method"] in kinds]

    def close(self):
        self.socket.close()
        self.loop.close()


@contextmanager
def browser(folder):
    """A browser with its profile in a folder."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [PROGRAM, *words, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        port = folder / "profile" / "DevToolsActivePort"
        wait_for(lambda: port.exists() and port.read_text().count("\n") >= 1)
        number = port.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{number}/json") as answer:
            pages = json.load(answer)
        page = next(page for page in pages if page["type"] == "page")
        opened = Browser(page["webSocketDebuggerUrl"])
        try:
            yield opened
        finally:
            opened.close()
    finally:
        process.kill()
        process.wait()
