"""A real browser without a window, driven by its DevTools protocol: one page, what it asks for and complains of."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0", "--force-color-profile=srgb", "--disable-lcd-text",
)  # fmt: skip


class Page:
    """One page of the browser, 1920 × 1080."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._session = ""
        self.complaints: list[str] = []  #: errors of the console, of the network and of scripts
        self.asked: list[str] = []  #: addresses of all requests

    async def open(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        await self.resize(1920, 1080)

    async def listen(self) -> None:
        """Take what the browser says until it ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                future = self._answers.pop(told["id"])
                if "error" in told:
                    future.set_exception(AssertionError(told["error"]["message"]))
                elif not future.done():
                    future.set_result(told["result"])
            else:
                self._note(told["method"], told["params"])

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        body = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(body | ({"sessionId": self._session} if self._session else {}))
        return await asyncio.wait_for(self._answers[number], 30)

    async def go(self, url: str) -> None:
        self.complaints.clear()
        self.asked.clear()
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def resize(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def prefer(self, *, scheme: str = "dark", language: str = "en") -> None:
        """What the reader has set up in the browser."""
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

    async def script(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, expression: str, seconds: float = 20) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await self.script(expression):
            assert asyncio.get_running_loop().time() < deadline, (
                expression,
                await self.script("document.body.innerText"),
            )
            await asyncio.sleep(0.1)

    async def picture(self, path: Path) -> None:
        told = await self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        path.write_bytes(base64.b64decode(told["data"]))


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A page of a new browser with an empty profile."""
    assert CHROMIUM is not None
    profile = Path(tempfile.mkdtemp(prefix="callkpi-browser-"))
    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        port, path = await _address(profile, process)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0, heartbeat=None) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            try:
                await page.open()
                yield page
            finally:
                listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        shutil.rmtree(profile, ignore_errors=True)


async def _address(profile: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Where the browser listens: it writes it into its profile."""
    told = profile / "DevToolsActivePort"
    for _ in range(600):
        assert process.poll() is None, "the browser ended at once"
        lines = told.read_text().splitlines() if told.exists() else []
        if len(lines) >= 2:
            return int(lines[0]), lines[1]
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")
