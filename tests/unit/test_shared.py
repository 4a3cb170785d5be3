"""Memory that a worker and its helper both see: who may write where, and when it is free again."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest

from detector import shared
from detector.shared import SharedFrames

PAGE = mmap.PAGESIZE

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="this system has no files in memory"
)


@pytest.fixture
def frames() -> SharedFrames:
    made = SharedFrames.create(4 * PAGE)
    assert made is not None
    return made


def test_what_the_helper_writes_is_what_the_worker_sees(frames: SharedFrames) -> None:
    begin = frames.grant(24)
    assert begin is not None
    shared.written(os.dup(frames.fd), frames.size)[begin : begin + 24] = np.arange(24)
    assert frames.frame(begin, 2, 4).tobytes() == bytes(range(24))


def test_a_place_is_granted_again_once_nothing_looks_at_it(frames: SharedFrames) -> None:
    first, second = (frames.frame(frames.grant(3 * PAGE // 2) or 0, PAGE // 2, 1) for _ in "ab")
    part = first[1:]
    assert frames.grant(1) is None
    del first
    assert frames.grant(1) is None
    del part
    assert frames.grant(2 * PAGE) == 0
    assert second.shape == (PAGE // 2, 1, 3)


def test_places_do_not_overlap(frames: SharedFrames) -> None:
    assert [frames.grant(size) for size in (1, PAGE + 1, 1, 1)] == [0, PAGE, 3 * PAGE, None]


def test_frames_outlive_the_file(frames: SharedFrames) -> None:
    frame = frames.frame(frames.grant(3) or 0, 1, 1)
    frames.close()
    frame[:] = 7
    assert frame.tolist() == [[[7, 7, 7]]]


def test_a_helper_cannot_take_memory_away_from_under_the_worker(frames: SharedFrames) -> None:
    for size in (PAGE, 5 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(frames.fd, size)


def test_where_a_system_has_no_such_files_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert SharedFrames.create() is None
