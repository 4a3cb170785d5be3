"""What a reviewer waits for: the next item after a key, and where the model looked.

    python -m benchmarks.desk ../shared/data/dev [--items 60] [--write]

The whole service as `deepsweep up` runs it, a scan of real media, and people at the real pages in a
browser without a window. A decision lasts from the key to the next item's picture, or its film at
the frame that is shown first, with the boxes over it. Then the model's view is asked for: once with
nothing else to do, once while the worker is scanning.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import marked

DOCUMENT = Path("docs/review.md")
#: A person looks at a face for so long before he decides; the next items are loaded meanwhile.
LOOK_S = 0.7
#: How many explanations are asked for, idle and busy.
EXPLAINED = 8
#: A key, and what stands for a decision under `--items`.
LIMIT_MS, GOAL_S = 120_000, 2.0
_PAGES = ("chromium", "chromium-browser", "google-chrome")
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


@dataclass(frozen=True, kw_only=True)
class Waits:
    """What was waited for, seconds."""

    decisions: Sequence[float]
    idle: Sequence[float]
    busy: Sequence[float]

    def lines(self, load: float) -> list[str]:
        """A table for the document."""
        rows = {
            "a decision by key, until the next item is there": self.decisions,
            "where the model looked, with nothing else to do": self.idle,
            "where the model looked, while a scan runs": self.busy,
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


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """`deepsweep up` on an empty data folder: its address, and the environment for commands."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"DEEPSWEEP_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "deepsweep", "up", "--port", str(port)]
    with (folder / "up.log").open("wb") as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{port}"
        _wait_for(f"{base}/healthz", running)
        yield base, environment
    finally:
        running.terminate()
        running.wait()


def _wait_for(url: str, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and running.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"{url} does not answer")


def _deepsweep(environment: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "deepsweep", *arguments]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def some_media(media: Path, folder: Path, count: int) -> Path:
    """So many pictures and films, evenly spread over their kinds, in a folder of their own."""
    kinds = ("images", "videos") if (media / "videos").is_dir() else (".",)
    folder.mkdir()
    for kind in kinds:
        found = sorted(path for path in (media / kind).rglob("*") if path.is_file())
        share = min(len(found), count // len(kinds))
        for number in range(share):
            path = found[number * len(found) // share]
            shutil.copy(path, folder / f"{number:04}-{path.name}")
    return folder


# --- the reviewer -------------------------------------------------------------------------------


def signed_in(browser: Browser, base: str, key: str) -> Page:
    """At the desk, with an item."""
    page = browser.new_context(base_url=base).new_page()
    page.set_default_timeout(LIMIT_MS)
    page.goto("/review/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/review")
    page.goto("/review/item")
    page.wait_for_function(_THERE, arg="")
    return page


def decide(page: Page) -> Iterator[float]:
    """Judge all that waits; seconds of each decision but the last, which nothing follows."""
    while name := page.locator("#name").inner_text():
        time.sleep(LOOK_S)
        started = time.perf_counter()
        page.keyboard.press("Shift+R")
        if not page.wait_for_function(_THERE, arg=name).json_value():
            return
        yield time.perf_counter() - started


def explained(page: Page, count: int) -> Iterator[float]:
    """Ask where the model looked, item by item, skipping each; seconds until it is seen."""
    for _ in range(count):
        name = page.locator("#name").inner_text()
        started = time.perf_counter()
        page.keyboard.press("x")
        page.wait_for_function("document.querySelector('#heat img')?.naturalWidth > 0")
        yield time.perf_counter() - started
        page.keyboard.press("s")
        if not page.wait_for_function(_THERE, arg=name).json_value():
            return


def measure(media: Path, items: int) -> Waits:
    """All of it."""
    binary = next(filter(None, map(shutil.which, _PAGES)), None)
    if binary is None:
        raise SystemExit(f"there is no {' or '.join(_PAGES)} on this machine")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = some_media(media, Path(name) / "media", items)
        data = Path(name) / "data"
        data.mkdir()
        with service(data) as (base, environment):
            _deepsweep(environment, "scan", str(folder), "--audit-probability", "1")
            keys = [
                re.search(r"dsk_[\w-]+", _deepsweep(environment, "keys", "create", who, *_SCOPE))
                for who in ("Ada", "Bea", "Cleo")
            ]
            options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser = playwright.chromium.launch(executable_path=binary, args=options)
            idle_page, busy_page, page = (
                signed_in(browser, base, key[0]) for key in keys if key is not None
            )
            idle = list(explained(idle_page, EXPLAINED))
            idle_page.context.close()
            again = [sys.executable, "-m", "deepsweep", "scan", str(folder), "--fresh"]
            with subprocess.Popen(again, env=environment, stdout=subprocess.DEVNULL) as scan:
                busy = list(explained(busy_page, EXPLAINED))
                scan.terminate()
            busy_page.context.close()
            return Waits(decisions=list(decide(page)), idle=idle, busy=busy)


_SCOPE = ("--scope", "review")


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
