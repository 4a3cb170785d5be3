"""What a reviewer waits for: the next item after a key, and where the model looked.

    python -m benchmarks.desk ../shared/data/dev [--items 60] [--write]

The whole service as `deepsweep up` runs it, media on an S3 server, and people at the real pages in
a browser without a window. Where the model looked is asked for by one person, face by face: first
of a worker with nothing else to do, then of the same one in the middle of a bulk scan. After that
another person decides what waits: from the key to the next item's picture, or its film at the frame
that is shown first, with the boxes over it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import marked
from benchmarks.pictures import commented
from tests.drill.storage import BUCKET, serving
from tests.integration.s3_fixtures import ENVIRONMENT

DOCUMENT = Path("docs/review.md")
#: A person looks at a face for so long before he decides; the next items are loaded meanwhile.
LOOK_S = 0.7
#: How many explanations are asked for, idle and busy each.
EXPLAINED = 20
#: Pictures of the bulk scan: more than are judged before the last question is answered.
BULK = 5000
#: A bulk scan is in its middle once so many are judged.
UNDER_WAY = 16
#: What anything may take, seconds.
LIMIT_S = 300
_PAGES = ("chromium", "chromium-browser", "google-chrome")
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
_THERE = """(before) => {
    if (!document.querySelector("#empty").hidden) return "";
    const name = document.querySelector("#name").textContent;
    const medium = document.querySelector("#view :is(img, video, .missing)");
    if (!name || name === before || !medium) return null;
    if (medium.tagName === "IMG" && !(medium.complete && medium.naturalWidth)) return null;
    if (medium.tagName === "VIDEO" && (medium.readyState < 2 || medium.seeking)) return null;
    return medium.tagName === "P" || document.querySelector("#boxes g, .people") ? name : null;
}"""
_LOOKED = "() => document.querySelector('#heat img')?.naturalWidth > 0 || null"


@dataclass(frozen=True, kw_only=True)
class Waits:
    """What was waited for, seconds."""

    decisions: Sequence[float]
    #: The first one asked of a worker, which loads the network that explains.
    first: Sequence[float]
    idle: Sequence[float]
    busy: Sequence[float]
    #: Items that the bulk scan judged a second meanwhile.
    rate: float

    def lines(self, load: float) -> list[str]:
        """A table for the document."""
        looked = "where the model looked"
        rows = {
            "a decision by key, until the next item is there": self.decisions,
            f"{looked}, worker idle": self.idle,
            f"{looked}, worker in a bulk scan ({self.rate:.1f} items/s)": self.busy,
            f"{looked}, the first of a worker's life": self.first,
        }
        table = [
            f"| a reviewer waits for (load {load:.1f}) | n | median | 95% | longest |",
            "|---|---|---|---|---|",
        ]
        return table + [_row(name, waits) for name, waits in rows.items() if waits]


def _row(name: str, waits: Sequence[float]) -> str:
    ranked = sorted(waits)
    late = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
    figures = (statistics.median(ranked), late, ranked[-1])
    return f"| {name} | {len(waits)} | " + " | ".join(f"{each:.2f} s" for each in figures) + " |"


# --- the service --------------------------------------------------------------------------------


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
            enough = judged is not None and _judged(now) >= judged
            return now["state"] == "finished" or (now["state"] == "running" and enough)

        _wait(over)

    def cancel(self) -> None:
        self.client.post(f"{self.path}/cancel").raise_for_status()


def _judged(scan: Mapping[str, Any]) -> int:
    return int(scan["counts"]["by_status"]["done"])


def _rate(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Items judged a second between two looks at a scan."""
    begun, ended = (datetime.fromisoformat(each["as_of"]) for each in (before, after))
    return (_judged(after) - _judged(before)) / max(1.0, (ended - begun).total_seconds())


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


class Objects(Mapping[str, bytes]):
    """The bucket: some media for the desk, and for a bulk scan all pictures, again and again.

    Every copy has a comment of its own, so that its bytes are those of no other: it is judged.
    """

    def __init__(self, media: Path, items: int) -> None:
        kinds = ("images", "videos") if (media / "videos").is_dir() else (".",)
        chosen: list[Path] = []
        for kind in kinds:
            found = sorted(path for path in (media / kind).rglob("*") if path.is_file())
            share = min(len(found), items // len(kinds))
            chosen += [found[number * len(found) // share] for number in range(share)]
        self._desk = {f"desk/{n:04}-{path.name}": path for n, path in enumerate(chosen)}
        self._pictures = sorted(path for path in (media / kinds[0]).rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self._desk) + BULK

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(self._desk, (f"bulk/{n:06}.jpg" for n in range(BULK)))

    def __getitem__(self, key: str) -> bytes:
        if key in self._desk:
            return self._desk[key].read_bytes()
        number = int(key.removeprefix("bulk/").removesuffix(".jpg"))
        picture = self._pictures[number % len(self._pictures)]
        return commented(picture.read_bytes(), key.encode())


# --- the reviewer -------------------------------------------------------------------------------


def signed_in(browser: Browser, base: str, key: str) -> Page:
    """At the desk, with an item."""
    page = browser.new_context(base_url=base).new_page()
    page.set_default_timeout(LIMIT_S * 1000)
    page.goto("/review/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/review")
    page.goto("/review/item")
    _until(page, _THERE)
    return page


def _until(page: Page, asked: str, before: str = "") -> object:
    """What the function says once it says anything but null."""
    return page.evaluate(_UNTIL % asked, [before, LIMIT_S])


def decide(page: Page) -> Iterator[float]:
    """Judge all that waits; seconds of each decision but the last, which nothing follows."""
    while name := page.locator("#name").inner_text():
        time.sleep(LOOK_S)
        started = time.perf_counter()
        page.keyboard.press("Shift+R")
        if not _until(page, _THERE, name):
            return
        yield time.perf_counter() - started


def explained(page: Page, count: int) -> Iterator[float]:
    """Ask where the model looked, item by item, skipping each; seconds until it is seen."""
    for _ in range(count):
        name = page.locator("#name").inner_text()
        started = time.perf_counter()
        page.keyboard.press("x")
        _until(page, _LOOKED)
        yield time.perf_counter() - started
        page.keyboard.press("s")
        if not _until(page, _THERE, name):
            return


def explanations(page: Page, client: httpx.Client) -> Mapping[str, Any]:
    """Where the model looked, of one worker at leisure and in a bulk scan: fields of Waits."""
    first, idle = list(explained(page, 1)), list(explained(page, EXPLAINED))
    # Nothing of it is for the desk; what waits there stays what it was.
    scan = Scan.start(client, "bulk", uncertain_probability=0)
    scan.wait(judged=UNDER_WAY)
    before = scan.look()
    busy = list(explained(page, EXPLAINED))
    after = scan.look()
    if after["state"] == "finished":
        raise SystemExit(f"the scan of {BULK} pictures was over before the last question")
    scan.cancel()
    return {"first": first, "idle": idle, "busy": busy, "rate": _rate(before, after)}


def measure(media: Path, items: int) -> Waits:
    """All of it."""
    binary = next(filter(None, map(shutil.which, _PAGES)), None)
    if binary is None:
        raise SystemExit(f"there is no {' or '.join(_PAGES)} on this machine")
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # The server reads of it what it would read of a dict.
        objects = cast("dict[str, bytes]", Objects(media, items))
        stored = stack.enter_context(serving(objects))
        run = stack.enter_context(service(data, stored.endpoint_url))
        ops = run.key("ops", "--scope", "admin", "--source", "s3://", "--per-minute", "100000")
        headers = {"Authorization": f"Bearer {ops}"}
        client = stack.enter_context(
            httpx.Client(base_url=run.base, headers=headers, timeout=LIMIT_S)
        )
        # All of them are for the desk, and so the faces of all are kept.
        Scan.start(client, "desk", audit_probability=1).wait()
        playwright = stack.enter_context(sync_playwright())
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=binary, args=options)
        ada, bea = (run.key(name, "--scope", "review") for name in ("Ada", "Bea"))
        page = signed_in(browser, run.base, ada)
        found = explanations(page, client)
        page.context.close()
        return Waits(decisions=list(decide(signed_in(browser, run.base, bea))), **found)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk", description=__doc__)
    parser.add_argument("media", type=Path)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--write", action="store_true", help=f"Put the table into {DOCUMENT}.")
    given = parser.parse_args()
    # Asked to end, it ends the service that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lines = measure(given.media, given.items).lines(os.getloadavg()[0])
    print("\n".join(lines))
    if given.write:
        marked.replace(DOCUMENT, "desk", lines)


if __name__ == "__main__":
    main()
