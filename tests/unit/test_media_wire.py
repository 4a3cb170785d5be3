"""What worker and helper say to each other, and in which order."""

from __future__ import annotations

import io

import pytest

from core.errors import HostileMedia
from core.vocabulary import MediaKind, SamplingPlan
from detector import decode_child, helper, wire
from detector.media import MediaInfo
from detector.wire import Kind
from tests import media_factory as make

INFO = MediaInfo(
    kind=MediaKind.VIDEO, format="mp4", width=640, height=480, duration_s=1.5, frame_count=None
)


@pytest.mark.parametrize("plan", ["uniform:16", "every:2", "random:5:7", "keyframes:8"])
def test_a_task_comes_through(plan: str) -> None:
    task = wire.Task(plan=SamplingPlan.parse(plan), max_pixels=10**6, size=7, cpu_s=1.5)
    assert wire.Task.from_json(task.to_json()) == task


def test_a_header_comes_through() -> None:
    assert wire.info_from_json(wire.info_to_json(INFO)) == INFO


def test_an_error_comes_through_as_its_type() -> None:
    error = wire.failure_from_json(wire.failure_to_json("hostile_media", "It points elsewhere."))
    assert type(error) is HostileMedia
    assert str(error) == "It points elsewhere."


def test_a_frame_names_its_size_before_anything_is_allocated_for_it() -> None:
    head = wire.FrameHead(index=3, pts_s=0.12, height=2, width=4)
    read = wire.FrameHead.from_bytes(head.to_bytes(), pixel_bytes=24, max_pixels=8)
    assert read == head
    with pytest.raises(wire.ProtocolError):
        wire.FrameHead.from_bytes(head.to_bytes(), pixel_bytes=24, max_pixels=7)


class Recorder:
    """A pipe without shared memory that serves one item's bytes and writes down what is said."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._wanted = (0, 0)
        self.said: list[str] = []

    def send(self, kind: Kind, *parts: bytes | memoryview) -> None:
        if kind is Kind.READ:
            self._wanted = wire.READ.unpack(parts[0])
        else:
            self.said.append(kind.name)

    def room(self, size: int) -> None:
        return None

    def receive(self, kind: Kind) -> bytes:
        offset, size = self._wanted
        if kind is Kind.DATA:
            return self._data[offset : offset + size]
        self.said.append(f"waits for {kind.name}")
        return b""


def test_ranges_come_over_the_pipe_as_they_are() -> None:
    ranges = [(0, 10), (20, 30)]
    assert wire.ranges_from_bytes(wire.ranges_to_bytes(ranges), size=30) == ranges


@pytest.mark.parametrize("ranges", [[(0, 31)], [(5, 4)], [(10, 20), (0, 5)], [(0, 10), (9, 12)]])
def test_ranges_that_make_no_sense_are_a_breach(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(wire.ProtocolError):
        wire.ranges_from_bytes(wire.ranges_to_bytes(ranges), size=30)


def test_the_helper_decodes_no_further_frame_before_it_has_leave() -> None:
    film = make.clip(frames=10)
    pipe = Recorder(film)
    plan = SamplingPlan.parse("uniform:2")
    task = wire.Task(plan=plan, max_pixels=10**6, size=len(film), cpu_s=9)
    decode_child._serve(task, pipe)  # type: ignore[arg-type]
    each_frame = ["FRAME", "waits for NEXT"]
    assert pipe.said == ["INFO", "EXPECT", *each_frame, *each_frame, "DONE"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (MemoryError(), "decoder_out_of_memory"),
        (RuntimeError("odd"), "undecodable"),
        (OSError(24, "Too many open files"), "decoder_unavailable"),
        (ImportError("not loaded"), "decoder_unavailable"),
    ],
)
def test_whatever_a_decoder_raises_becomes_a_code(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    def fail(*_: object) -> None:
        raise fault

    sent: list[bytes] = []
    pipe = Recorder(b"")
    monkeypatch.setattr(decode_child, "_decode", fail)
    monkeypatch.setattr(
        pipe, "send", lambda kind, *parts: sent.extend((kind.name.encode(), *parts))
    )
    task = wire.Task(plan=SamplingPlan.parse("uniform:2"), max_pixels=1, size=0, cpu_s=1)
    decode_child._serve(task, pipe)  # type: ignore[arg-type]
    assert sent[0] == b"FAILED"
    assert wire.failure_from_json(sent[1]).code == code


def test_the_item_is_read_in_blocks_and_each_of_them_once() -> None:
    data = bytes(range(256)) * 4096
    pipe = Recorder(data)
    asked: list[tuple[int, int]] = []
    send = pipe.send

    def spy(kind: Kind, *parts: bytes | memoryview) -> None:
        asked.append(wire.READ.unpack(parts[0]))
        send(kind, *parts)

    pipe.send = spy  # type: ignore[method-assign]
    remote = decode_child._Remote(pipe, len(data))  # type: ignore[arg-type]
    file = io.BufferedReader(remote, 64 << 10)
    for _ in range(2):
        file.seek(300_000)
        assert file.read(1000) == data[300_000:301_000]
        file.seek(-10, io.SEEK_END)
        assert file.read() == data[-10:]
        file.seek(0)
        assert file.read(5) == data[:5]
    assert sorted(asked) == [(block << 18, 1 << 18) for block in (0, 1, 3)]


def test_the_consumers_own_time_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(helper.time, "monotonic", lambda: now[0])
    watch = helper._Stopwatch(5.0)
    now[0] += 2
    with watch.paused():
        now[0] += 1000
    assert watch.left_s() == 3.0
    now[0] += 3
    assert watch.left_s() == 0.0
