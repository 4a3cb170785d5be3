"""A helper that a file has taken over says what it likes: the worker believes none of it."""

from __future__ import annotations

import io
import sys

import pytest

from core.errors import DecoderCrashed, DecoderTimeout, NoFrames, TooManyPixels, Undecodable
from core.vocabulary import DEFAULT_PLAN
from detector import helper as helper_module
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits

#: What every false helper does first: it gets ready, and takes its task.
PREFACE = """
import json, os, pickle, struct, sys, time
def send(kind, body=b"", length=None):
    sys.stdout.buffer.write(struct.pack("<BQ", kind, len(body) if length is None else length))
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
def receive():
    kind, length = struct.unpack("<BQ", sys.stdin.buffer.read(9))
    return sys.stdin.buffer.read(length)
READY, READ, INFO, FRAME, DONE, FAILED = 1, 3, 5, 6, 8, 9
info = dict(kind="image", format="png", width=4, height=4, duration_s=None, frame_count=1)
def say(**changes):
    send(INFO, json.dumps({**info, **changes}).encode())
def frame(index=0, pts=0.0, height=4, width=4, pixels=None):
    size = height * width * 3 if pixels is None else pixels
    send(FRAME, struct.pack("<QdII", index, pts, height, width) + bytes(size))
send(READY)
receive()
"""

LIES = {
    "an unknown message": "send(99)",
    "a message of its own that is the worker's": "send(2, b'{}')",
    "a pickle for a header": "send(INFO, pickle.dumps(info))",
    "a header without fields": "send(INFO, b'{}')",
    "a header that is a list": "send(INFO, b'[]')",
    "a header of a terabyte": "send(INFO, b'', length=1 << 40)",
    "a width that is text": "say(width='4')",
    "a negative height": "say(height=-1)",
    "a duration that is no number": "say(duration_s=float('nan'))",
    "a format that is a path": "say(format='../../etc')",
    "two headers": "say(); say()",
    "a frame before the header": "frame()",
    "a frame larger than the limit": "say(); frame(height=100_000, width=100_000, pixels=0)",
    "a frame of nothing": "say(); frame(height=0)",
    "a frame whose length lies": "say(); frame(pixels=47)",
    "a frame too short for its head": "say(); send(FRAME, b'abc')",
    "a frame at no time": "say(); frame(pts=float('inf'))",
    "too many frames": "say(); [(frame(), receive()) for _ in range(600)]",
    "a read beyond the end": "send(READ, struct.pack('<QI', 0, 1000))",
    "room before the header": "send(13, struct.pack('<Q', 48))",
    "room for a terabyte": "say(); send(13, struct.pack('<Q', 1 << 40))",
    "room for nothing": "say(); send(13, struct.pack('<Q', 0))",
    "room twice": "say(); [(send(13, struct.pack('<Q', 48)), receive()) for _ in range(2)]",
    "a frame larger than its room": "say(); send(13, struct.pack('<Q', 47)); receive(); "
    "frame(pixels=0)",
    "pixels sent although they had room": "say(); send(13, struct.pack('<Q', 48)); receive(); "
    "frame()",
    "a frame without pixels or room": "say(); frame(pixels=0)",
    "a read of four gigabytes": "send(READ, struct.pack('<QI', 0, 0xffffffff))",
    "a read of another length": "send(READ, b'abc')",
    "half a message": "sys.stdout.buffer.write(b'\\x05\\x10'); sys.stdout.flush(); sys.exit()",
    "an end that comes at once": "sys.exit(3)",
}


def decode_with(monkeypatch: pytest.MonkeyPatch, script: str, wall_s: float = 30.0) -> list[object]:
    command = [sys.executable, "-c", PREFACE + script + "\ntime.sleep(60)"]
    monkeypatch.setattr(helper_module, "_command", lambda *_: command)
    with DecodePool(1, IsolationLimits(wall_s=wall_s)) as pool:
        return list(pool.decode(io.BytesIO(b"twelve bytes"), DEFAULT_PLAN, Limits()))


def test_a_helper_that_keeps_to_the_words_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = decode_with(monkeypatch, "say(); frame(); receive(); send(DONE)")
    assert len(parts) == 2


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_fails_the_item(monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    with pytest.raises(DecoderCrashed):
        decode_with(monkeypatch, LIES[lie])


@pytest.mark.parametrize(
    "script",
    [
        "pass",
        "say(); frame(); receive()",
        "os.close(1)",
        "[send(READ, struct.pack('<QI', 0, 1)) for _ in iter(int, 1)]",
    ],
    ids=["silence", "silence after a frame", "a closed pipe", "reads without an end"],
)
def test_a_helper_that_never_comes_to_an_end_is_stopped(
    monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    with pytest.raises((DecoderTimeout, DecoderCrashed)):
        decode_with(monkeypatch, script, wall_s=0.5)


def test_an_item_without_a_frame_has_no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoFrames):
        decode_with(monkeypatch, "say(); send(DONE)")


def test_errors_come_by_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "send(FAILED, json.dumps(dict(code='too_many_pixels', message='big')).encode())"
    with pytest.raises(TooManyPixels, match="big"):
        decode_with(monkeypatch, script)


@pytest.mark.parametrize("code", ["access_denied", "no such code", 7])
def test_a_code_that_a_decoder_cannot_know_is_undecodable(
    monkeypatch: pytest.MonkeyPatch, code: object
) -> None:
    script = f"send(FAILED, json.dumps(dict(code={code!r}, message='a\\x1b[31m' * 999)).encode())"
    with pytest.raises(Undecodable) as raised:
        decode_with(monkeypatch, script)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= 400
