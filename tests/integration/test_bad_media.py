"""Bad input through the decoder helpers: a code for each file, and the next one is decoded."""

from __future__ import annotations

import csv
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import errors
from core.vocabulary import SamplingPlan
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits, MediaInfo
from tests import media_factory as make

PLAN = SamplingPlan.parse("uniform:4")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1, IsolationLimits(wall_s=60)) as pool:
        yield pool


def outcome(pool: DecodePool, data: bytes, plan: SamplingPlan = PLAN) -> str | int:
    """How many frames came out, or the code of the error; anything else is a failure."""
    try:
        info, *frames = pool.decode(io.BytesIO(data), plan, Limits())
    except errors.DeepsweepError as error:
        return error.code
    assert isinstance(info, MediaInfo)
    assert frames
    return len(frames)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("face.jpg", make.picture("JPEG"))
    return file.getvalue()


def film_with(change: Callable[[bytearray, int], None], box: bytes) -> bytes:
    """An MP4 in which something about one of its boxes is changed."""
    film = bytearray(make.clip(frames=20))
    change(film, film.index(box))
    return bytes(film)


def points_beyond(film: bytearray, at: int) -> None:
    """Chunk offsets that lie behind the end of the file."""
    count = int.from_bytes(film[at + 8 : at + 12], "big")
    for entry in range(count):
        start = at + 12 + 4 * entry
        film[start : start + 4] = (0x7FFFFFFF).to_bytes(4, "big")


def claims_many(film: bytearray, at: int) -> None:
    """A table that says it has four thousand million entries."""
    film[at + 8 : at + 12] = b"\xff\xff\xff\xff"


def renamed(film: bytearray, at: int) -> None:
    film[at : at + 4] = b"skip"


BAD: dict[str, tuple[Callable[[], bytes], set[str | int]]] = {
    "nothing": (bytes, {"empty_file"}),
    "one byte": (lambda: b"\xff", {"unsupported_media"}),
    "an archive named .jpg": (archive, {"unsupported_media"}),
    "a text named .jpg": (lambda: b"not a picture\n" * 50, {"unsupported_media"}),
    "a playlist": (lambda: b"#EXTM3U\nfile:///etc/passwd\n", {"hostile_media"}),
    "a script that joins files": (
        lambda: b"ffconcat version 1.0\nfile 'http://169.254.169.254/'\n",
        {"hostile_media"},
    ),
    "a drawing": (
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        {"unsupported_media"},
    ),
    "a huge PNG": (lambda: make.png_header(50_000, 50_000), {"too_many_pixels"}),
    "a GIF bomb": (make.gif_bomb, {"too_many_pixels"}),
    "a PNG of a header alone": (lambda: make.png_header(64, 64)[:40], {"truncated", "undecodable"}),
    "a JPEG cut short": (lambda: make.save(make.gradient(900, 900), "JPEG")[:9000], {"truncated"}),
    "a PNG cut short": (lambda: make.save(make.gradient(900, 900), "PNG")[:900], {"truncated"}),
    "a JPEG marker alone": (lambda: b"\xff\xd8\xff", {"undecodable", "truncated"}),
    "a film cut before its index": (lambda: make.clip()[:-600], {"truncated"}),
    "a film without frames": (make.frameless, {"no_frames"}),
    "sound alone": (make.sound, {"no_frames"}),
    "an index that points nowhere": (
        lambda: film_with(points_beyond, b"stco"),
        {"truncated", "undecodable"},
    ),
    "an index that claims too much": (
        lambda: film_with(claims_many, b"stsz"),
        {"undecodable", "no_frames", "truncated", "decoder_out_of_memory", 4},
    ),
    "an index without its sizes": (
        lambda: film_with(renamed, b"stsz"),
        {"undecodable", "no_frames", "truncated"},
    ),
    "a film of an unknown codec": (
        lambda: film_with(lambda f, at: f.__setitem__(slice(at, at + 4), b"zzzz"), b"avc1\0\0"),
        {"undecodable", "unsupported_media"},
    ),
    "a box of zero length for ever": (
        lambda: b"\0\0\0\x14ftypisom\0\0\0\0isom" + b"\0\0\0\x08free" * 5000,
        {"truncated", "undecodable"},
    ),
    "Matroska's mark alone": (lambda: b"\x1a\x45\xdf\xa3", {"undecodable", "no_frames"}),
    "RIFF of nothing": (lambda: b"RIFF\0\0\0\0AVI ", {"undecodable", "no_frames"}),
    "a TIFF that loops": (
        lambda: b"II*\0" + struct.pack("<IHI", 8, 0, 8),
        {"undecodable", "truncated"},
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_media_end_with_a_code(pool: DecodePool, what: str) -> None:
    build, expected = BAD[what]
    assert outcome(pool, build()) in expected
    assert outcome(pool, make.picture("PNG")) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda: make.picture("JPEG"),
        lambda: make.picture("PNG"),
        lambda: make.picture("TIFF"),
        lambda: make.picture("AVIF"),
        lambda: make.animation("WEBP", [100] * 4),
        lambda: make.animation("GIF", [100] * 4),
        lambda: make.clip(frames=12),
        lambda: make.clip(frames=12, container="matroska"),
        lambda: make.clip(frames=12, codec="mpeg4", container="avi", b_frames=0),
        lambda: make.clip(frames=12, codec="mpeg2video", container="mpegts"),
    ],
    ids=["jpeg", "png", "tiff", "avif", "webp", "gif", "mp4", "mkv", "avi", "ts"],
)
def test_damaged_bytes_give_frames_or_a_code(pool: DecodePool, build: Callable[[], bytes]) -> None:
    whole = build()
    for damaged in make.damaged(whole, count=40):
        outcome(pool, damaged)
    assert outcome(pool, whole) in {1, 4}


@pytest.mark.data
def test_odd_media_give_frames_or_a_code(pool: DecodePool, media_root: Path) -> None:
    root = media_root / "robustness"
    with (root / "files.csv").open() as table:
        paths = [row["path"] for row in csv.DictReader(table)]
    outcomes = {path: outcome(pool, (root / path).read_bytes()) for path in paths}
    assert len(outcomes) >= 170
    assert {path: outcomes[path] for path in KNOWN} == KNOWN
    assert outcome(pool, make.picture("PNG")) == 1


#: What is to come of the odd media whose oddness has one right answer.
KNOWN: dict[str, str | int] = {
    "moviepy/result.webm": "empty_file",
    "nsfwjs/cat.svg": "unsupported_media",
    "Pillow/decompression_bomb.gif": "too_many_pixels",
    "Pillow/truncated_jpeg.jpg": "truncated",
    "Pillow/broken.png": "undecodable",
    "Pillow/no_cursors.cur": "unsupported_media",
    "Pillow/hopper_16bit_plain.pgm": "unsupported_media",
    "Pillow/hopper.psd": "unsupported_media",
    "Pillow/sugarshack.mpo": 1,
    "Pillow/iss634.apng": 4,
    "Pillow/iss634.webp": 4,
    "Pillow/pil_sample_cmyk.jpg": 1,
    "pillow_heif/bird_burst.heic": 1,
    "pillow_heif/corrupted.hif": "undecodable",
    "decord/corrupted.mp4": 4,
    "decord/unordered.mov": 4,
    "decord/video_90.mov": 3,
    "torchcodec/h264_10bits.mp4": 4,
    "jsonize-ffmpeg-task/iphone_rotated.mov": 4,
}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["train", "dev"])
def test_every_labelled_medium_is_decoded(pool: DecodePool, media_root: Path, folder: str) -> None:
    with (media_root / folder / "labels.csv").open() as table:
        paths = [row["path"] for row in csv.DictReader(table)]
    failed = {
        path: result
        for path in paths
        if isinstance(result := outcome(pool, (media_root / folder / path).read_bytes()), str)
    }
    assert paths
    assert failed == {}
