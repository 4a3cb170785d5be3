"""Decoder helpers: what comes out of them, and that their misfortunes stay with one item."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from core.errors import (
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTimeout,
    DecoderUnavailable,
    StorageTimeout,
    StorageUnavailable,
)
from core.vocabulary import SamplingPlan
from detector import helper as helper_module
from detector.frames import Frame, Pause, sample
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits, MediaInfo, probe
from tests import media_factory as make

PLAN = SamplingPlan.parse("uniform:6")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1, IsolationLimits()) as pool:
        yield pool


def pool_with(**limits: float) -> DecodePool:
    return DecodePool(1, IsolationLimits(**limits))  # type: ignore[arg-type]


def decoded(pool: DecodePool, data: bytes, plan: SamplingPlan = PLAN) -> list[MediaInfo | Frame]:
    return list(pool.decode(io.BytesIO(data), plan, Limits()))


def assert_goes_on(pool: DecodePool) -> None:
    """The next item is decoded as if nothing had happened."""
    info, frame = decoded(pool, make.picture("PNG"))
    assert isinstance(info, MediaInfo)
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.image, np.asarray(make.gradient()))


def helper_pid(pool: DecodePool) -> int:
    (helper,) = pool._all
    return helper.pid


@pytest.mark.parametrize(
    "build",
    [
        lambda: make.picture("JPEG"),
        lambda: make.clip(frames=40),
        lambda: make.clip(codec="libvpx-vp9", container="webm", frames=40),
        lambda: make.animation("WEBP", [100] * 9),
    ],
    ids=["picture", "film", "webm", "animation"],
)
def test_a_helper_gives_what_decoding_in_this_process_gives(
    pool: DecodePool, build: Callable[[], bytes]
) -> None:
    data = build()
    here = probe(io.BytesIO(data), Limits())
    frames = list(sample(io.BytesIO(data), here, PLAN, Limits()))
    info, *isolated = decoded(pool, data)
    assert info == here
    assert len(isolated) == len(frames)
    for far, near in zip(isolated, frames, strict=True):
        assert isinstance(far, Frame)
        assert (far.index, far.pts_s) == (near.index, near.pts_s)
        assert np.array_equal(far.image, near.image)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_every_picture_format_is_decoded_though_nothing_can_be_opened(
    pool: DecodePool, format: str
) -> None:
    make.load_heif()
    _, frame = decoded(pool, make.picture(format))
    assert isinstance(frame, Frame)
    assert frame.image.shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("libx264", "mp4"),
        ("libx264", "matroska"),
        ("libx265", "mp4"),
        ("libsvtav1", "webm"),
        ("libvpx", "webm"),
        ("mpeg4", "avi"),
        ("mpeg2video", "mpegts"),
        ("mpeg1video", "mpeg"),
        ("wmv2", "asf"),
        ("flv1", "flv"),
    ],
)
def test_every_film_format_is_decoded_though_nothing_can_be_opened(
    pool: DecodePool, codec: str, container: str
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    film = make.clip(codec=codec, container=container, frames=20, b_frames=0, options=options)
    _, *frames = decoded(pool, film)
    assert [make.number_of(frame.image) for frame in frames] == [2, 5, 8, 12, 15, 18]


def test_a_helper_serves_many_items(pool: DecodePool) -> None:
    pids = set()
    for _ in range(5):
        assert_goes_on(pool)
        pids.add(helper_pid(pool))
    assert len(pids) == 1


def test_a_helper_is_replaced_after_its_share_of_items() -> None:
    with pool_with(items_per_helper=2) as pool:
        pids = []
        for _ in range(4):
            iterator = pool.decode(io.BytesIO(make.picture("PNG")), PLAN, Limits())
            next(iterator)
            pids.append(helper_pid(pool))
            list(iterator)
        assert pids[0] == pids[1] != pids[2] == pids[3]


def test_threads_decode_at_once_each_with_its_helper() -> None:
    together = threading.Barrier(3, timeout=60)

    def one(number: int) -> tuple[int, list[int]]:
        film = make.clip(frames=[make.numbered(number)] * 20)
        iterator = pool.decode(io.BytesIO(film), PLAN, Limits())
        next(iterator)
        together.wait()
        return number, [make.number_of(f.image) for f in iterator if isinstance(f, Frame)]

    with DecodePool(3, IsolationLimits()) as pool, ThreadPoolExecutor(3) as threads:
        results = list(threads.map(one, [5, 77, 900]))
        assert len(pool._all) == 3
    assert results == [(number, [number] * 6) for number in (5, 77, 900)]


def test_more_threads_than_helpers_take_turns() -> None:
    with DecodePool(1, IsolationLimits()) as pool, ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(assert_goes_on, pool) for _ in range(8)]:
            future.result()
        assert len(pool._all) == 1


def test_a_file_is_opened_for_the_item_and_closed_after_it(pool: DecodePool) -> None:
    opened: list[io.BytesIO] = []

    def open_file() -> io.BytesIO:
        opened.append(io.BytesIO(make.picture("PNG")))
        return opened[-1]

    assert len(list(pool.decode(open_file, PLAN, Limits()))) == 2
    assert [file.closed for file in opened] == [True]


def test_only_the_ranges_that_the_frames_need_are_read(pool: DecodePool) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (256, 320, 3), np.uint8) for _ in range(60)]
    film = make.clip(frames=pictures, gop=5, options={"crf": "8"})
    file = Counting(film)
    _, *frames = pool.decode(file, SamplingPlan.parse("uniform:2"), Limits())
    assert [frame.index for frame in frames if isinstance(frame, Frame)] == [15, 45]
    assert len(film) > 4 << 20
    assert file.taken < len(film) / 2


@pytest.mark.parametrize(("enough_after", "frames"), [(1, 2), (2, 4), (9, 8)])
def test_an_adaptive_plan_goes_on_until_it_is_enough(
    enough_after: int, frames: int, pool: DecodePool
) -> None:
    film = make.clip(frames=80)
    indices: set[int] = set()
    pauses = 0
    for part in pool.decode(io.BytesIO(film), SamplingPlan.parse("adaptive:2-8"), Limits()):
        if isinstance(part, Pause):
            pauses += 1
            part.enough = pauses == enough_after
        elif isinstance(part, Frame):
            assert make.number_of(part.image) == part.index
            assert part.index not in indices
            indices.add(part.index)
    assert len(indices) == frames
    # The helper was left in good order.
    assert len(list(pool.decode(io.BytesIO(make.picture("PNG")), PLAN, Limits()))) == 2


def test_a_file_that_gives_less_than_it_is_asked_for_is_read_to_its_end(pool: DecodePool) -> None:
    class Sparing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1000)

    picture = make.save(make.gradient(500, 400), "BMP")
    _, frame = pool.decode(Sparing(picture), PLAN, Limits())
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.image, np.asarray(make.gradient(500, 400)))


class Counting(io.BytesIO):
    """A file that knows how much was read from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


class Failing(io.BytesIO):
    """A file whose storage fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__(make.picture("PNG"))
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self._error


def test_what_the_storage_raises_comes_out_unchanged(pool: DecodePool) -> None:
    error = StorageTimeout("the storage did not answer")
    with pytest.raises(StorageTimeout) as raised:
        list(pool.decode(Failing(error), PLAN, Limits()))
    assert raised.value is error
    assert_goes_on(pool)


def test_a_disk_that_fails_is_a_storage_error(pool: DecodePool) -> None:
    with pytest.raises(StorageUnavailable):
        list(pool.decode(Failing(OSError(5, "Input/output error")), PLAN, Limits()))
    assert_goes_on(pool)


def test_an_iterator_that_is_left_takes_no_helper_with_it(pool: DecodePool) -> None:
    iterator = pool.decode(io.BytesIO(make.clip(frames=40)), PLAN, Limits())
    next(iterator)
    next(iterator)
    iterator.close()
    assert_goes_on(pool)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_helper_that_dies_in_the_middle_fails_its_item_alone(
    pool: DecodePool, number: signal.Signals
) -> None:
    iterator = pool.decode(io.BytesIO(make.clip(frames=40)), PLAN, Limits())
    next(iterator)
    os.kill(helper_pid(pool), number)
    with pytest.raises(DecoderCrashed, match=number.name):
        list(iterator)
    assert_goes_on(pool)


def test_a_helper_that_died_while_idle_is_replaced_unnoticed(pool: DecodePool) -> None:
    assert_goes_on(pool)
    (idle,) = pool._all
    os.kill(idle.pid, signal.SIGKILL)
    idle._process.wait()
    assert_goes_on(pool)


def test_a_helper_that_hangs_is_stopped() -> None:
    with pool_with(wall_s=2.0) as pool:
        iterator = pool.decode(io.BytesIO(make.clip(frames=40)), PLAN, Limits())
        next(iterator)
        hanging = helper_pid(pool)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(DecoderTimeout, match="longer than 2 s"):
            list(iterator)
        assert not Path(f"/proc/{hanging}").exists()
        assert_goes_on(pool)


def test_bytes_that_come_too_slowly_end_the_item() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            time.sleep(0.6)
            return super().read(size)

    with pool_with(wall_s=0.5) as pool, pytest.raises(DecoderTimeout):
        list(pool.decode(Slow(make.picture("PNG")), PLAN, Limits()))


def test_a_file_that_burns_processor_time_is_stopped() -> None:
    with pool_with(cpu_s=1.0) as pool:
        with pytest.raises(DecoderTimeout, match="processor time"):
            decoded(pool, make.gif_that_takes_long())
        assert_goes_on(pool)


def test_a_file_that_takes_too_much_memory_fails_alone() -> None:
    with pool_with(memory_bytes=500 << 20) as pool:
        with pytest.raises(DecoderOutOfMemory):
            decoded(pool, make.large_white_png(9_990))
        assert_goes_on(pool)


def test_a_helper_is_told_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", "postgresql://user:do-not-tell@host/db")
    with pool_with() as pool:
        assert_goes_on(pool)
        environment = Path(f"/proc/{helper_pid(pool)}/environ").read_bytes()
    assert b"PYTHONPATH" in environment
    assert b"do-not-tell" not in environment


def test_a_locked_helper_can_open_neither_files_nor_sockets() -> None:
    script = """
import errno, socket
from detector import decode_child as child
child._load_everything()
child._lock(1 << 30)
for attempt in (lambda: open("/etc/passwd"), lambda: open("/tmp/x", "w"), socket.socket):
    try:
        attempt()
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["EMFILE"] * 3


def test_helpers_go_with_their_pool() -> None:
    with DecodePool(1, IsolationLimits()) as pool:
        assert_goes_on(pool)
        pid = helper_pid(pool)
    assert not Path(f"/proc/{pid}").exists()


def test_an_item_cut_short_by_the_end_of_the_pool_is_not_blamed_on_its_file() -> None:
    with DecodePool(1, IsolationLimits()) as pool:
        iterator = pool.decode(io.BytesIO(make.clip(frames=40)), PLAN, Limits())
        next(iterator)
    with pytest.raises(DecoderUnavailable):
        list(iterator)


def test_where_no_helper_can_start_the_item_is_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(helper_module, "_command", lambda *_: ["/nonexistent/python"])
    with pool_with() as pool, pytest.raises(DecoderUnavailable):
        decoded(pool, make.picture("PNG"))


def test_a_helper_that_cannot_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no FFmpeg')"]
    monkeypatch.setattr(helper_module, "_command", lambda *_: command)
    with pool_with() as pool, pytest.raises(DecoderUnavailable, match="no FFmpeg"):
        decoded(pool, make.picture("PNG"))
