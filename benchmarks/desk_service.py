"""The whole service with something to judge, and people at its pages, for benchmarks and pictures.

`deepsweep up` on an empty data folder, an S3 server, a scan all of which is for the desk, and a
browser without a window.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
from playwright.sync_api import Browser, Page, sync_playwright

from tests.drill.storage import BUCKET, serving
from tests.integration import chromium
from tests.integration.s3_fixtures import ENVIRONMENT

#: What anything may take, seconds.
LIMIT_S = 300
#: Objects whose names begin so are those that wait at the desk.
DESK = "desk"
#: Asks at every frame until there is an answer. (The page's policy has no use for `eval`, by which
#: `wait_for_function` asks.)
_UNTIL = """async ([before, limit]) => {
    const asked = (%s), begun = performance.now();
    for (;;) {
        const found = asked(before);
        if (found !== null) return found;
        if (performance.now() - begun > 1000 * limit) throw new Error("not seen in time");
        await new Promise(requestAnimationFrame);
    }
}"""
#: The name of the item that is there to be judged; "" where none is left, null while one loads.
THERE = """(before) => {
    if (!document.querySelector("#empty").hidden) return "";
    const name = document.querySelector("#name").textContent;
    const medium = document.querySelector("#view :is(img, video, .missing)");
    if (!name || name === before || !medium) return null;
    if (medium.tagName === "IMG" && !(medium.complete && medium.naturalWidth)) return null;
    if (medium.tagName === "VIDEO" && (medium.readyState < 2 || medium.seeking)) return null;
    return medium.tagName === "P" || document.querySelector("#boxes g, .people") ? name : null;
}"""
#: Where the model looked, once it is seen.
LOOKED = "() => document.querySelector('#heat img')?.naturalWidth > 0 || null"


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The service, with what waits to be judged."""

    service: Service
    #: With a key that may do everything.
    client: httpx.Client
    browser: Browser

    def reviewer(self, name: str, **options: Any) -> Page:
        """A new person at the desk, with an item; `options` of his browser."""
        return signed_in(
            self.browser, self.service.base, self.service.key(name, "--scope", "review"), **options
        )


@contextmanager
def desk(objects: dict[str, bytes]) -> Iterator[Desk]:
    """The desk, with everything below `desk/` of a bucket scanned, for as long as the block lasts.

    Raises SystemExit where there is no browser or the service does not start.
    """
    binary = chromium.find()
    if binary is None:
        raise SystemExit(f"there is no {' or '.join(chromium.NAMES)} on this machine")
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stored = stack.enter_context(serving(objects))
        run = stack.enter_context(service(data, stored.endpoint_url))
        ops = run.key("ops", "--scope", "admin", "--source", "s3://", "--per-minute", "100000")
        headers = {"Authorization": f"Bearer {ops}"}
        client = stack.enter_context(
            httpx.Client(base_url=run.base, headers=headers, timeout=LIMIT_S)
        )
        # All of them are for the desk, and so the faces of all are kept.
        Scan.start(client, DESK, audit_probability=1).wait()
        playwright = stack.enter_context(sync_playwright())
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=binary, args=options)
        yield Desk(service=run, client=client, browser=browser)


@dataclass(frozen=True, kw_only=True)
class Service:
    """`deepsweep up` on an empty data folder, as its callers see it."""

    base: str
    environment: Mapping[str, str]

    def key(self, name: str, *options: str) -> str:
        """A new key."""
        command = [sys.executable, "-m", "deepsweep", "keys", "create", name, *options]
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan, by the API."""

    client: httpx.Client
    path: str

    @classmethod
    def start(cls, client: httpx.Client, folder: str, **wanted: object) -> Scan:
        """Of everything below a folder of the bucket."""
        asked = client.post("/v1/scans", json={"prefixes": [f"s3://{BUCKET}/{folder}/"], **wanted})
        asked.raise_for_status()
        return cls(client=client, path=f"/v1/scans/{asked.json()['id']}")

    def look(self) -> dict[str, Any]:
        """As it is now."""
        return cast("dict[str, Any]", self.client.get(self.path).raise_for_status().json())

    def wait(self, *, judged: int | None = None) -> None:
        """Until all is listed and so many items are judged; None for all of them."""

        def over() -> bool:
            now = self.look()
            enough = judged is not None and _done(now) >= judged
            return now["state"] == "finished" or (now["state"] == "running" and enough)

        _wait(over)

    def cancel(self) -> None:
        self.client.post(f"{self.path}/cancel").raise_for_status()


def _done(scan: Mapping[str, Any]) -> int:
    return int(scan["counts"]["by_status"]["done"])


def rate(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Items judged a second between two looks at a scan."""
    begun, ended = (datetime.fromisoformat(each["as_of"]) for each in (before, after))
    return (_done(after) - _done(before)) / max(1.0, (ended - begun).total_seconds())


@contextmanager
def service(folder: Path, endpoint_url: str) -> Iterator[Service]:
    """The service, for as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {"DEEPSWEEP_DATA_DIR": str(folder), "DEEPSWEEP_S3_ENDPOINT_URL": endpoint_url}
    environment = os.environ | ENVIRONMENT | own
    command = [sys.executable, "-m", "deepsweep", "up", "--port", str(port)]
    with (folder / "up.log").open("wb") as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{port}"
        _wait(lambda: _answers(f"{base}/readyz", running))
        yield Service(base=base, environment=environment)
    finally:
        running.terminate()
        running.wait()


def _answers(url: str, running: subprocess.Popen[bytes]) -> bool:
    if running.poll() is not None:
        raise SystemExit("the service ended before it answered")
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _wait(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not over():
        if time.monotonic() > deadline:
            raise SystemExit(f"the service took longer than {LIMIT_S} s")
        time.sleep(0.5)


# --- people -------------------------------------------------------------------------------------


def signed_in(browser: Browser, base: str, key: str, **options: Any) -> Page:
    """At the desk, with an item."""
    page = browser.new_context(base_url=base, **options).new_page()
    page.set_default_timeout(LIMIT_S * 1000)
    page.goto("/review/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/review")
    page.goto("/review/item")
    until(page, THERE)
    return page


def until(page: Page, asked: str, before: str = "") -> object:
    """What the function says once it says anything but null."""
    return page.evaluate(_UNTIL % asked, [before, LIMIT_S])
