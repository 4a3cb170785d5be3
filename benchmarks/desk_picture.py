"""The picture of the reviewer's page in docs/review.md, taken of the real page.

    python -m benchmarks.desk_picture

A clip that `deepsweep demo` makes of two public-domain portraits goes through the whole service, by
the model that ships; a reviewer opens it in a browser without a window and asks where it looked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.desk_service import DESK, LOOKED, desk, until
from cli import demo

PICTURE = Path("docs/images/review-item.jpg")
#: Of the material: two people, one of them faked.
CLIP = "clips/one-of-two-fake.mp4"
_WINDOW = {"width": 1280, "height": 860}
_QUALITY = 82
#: Every thumbnail of the strip has its pixels.
_STRIP = """() => [...document.querySelectorAll("#strip canvas")].every(
    (c) => c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data[3] > 0) || null"""


def show(page: Page) -> None:
    """Choose the person who was faked, and wait until everything is drawn."""
    page.locator("#people li").last.click()
    page.keyboard.press("x")
    until(page, LOOKED)
    until(page, _STRIP)
    # Notices that come and go are not for a picture.
    expect(page.locator("#notice")).to_be_empty()


def main() -> None:
    """Take it."""
    with tempfile.TemporaryDirectory() as folder:
        demo.prepare(Path(folder))
        clip = (Path(folder) / "media" / CLIP).read_bytes()
    name = f"{DESK}/{Path(CLIP).name}"
    with desk({name: clip}) as here:
        page = here.reviewer("Mira", viewport=_WINDOW, color_scheme="dark")
        show(page)
        page.screenshot(path=PICTURE, type="jpeg", quality=_QUALITY)
    print(f"{PICTURE}: {PICTURE.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
