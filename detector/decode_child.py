"""The decoder helper: a process that reads hostile files and can do nothing else.

Started by helper.py as `python -m detector.decode_child MEMORY_BYTES [FD SIZE]`, the latter two for
a file in memory that the worker sees as well. It takes items from its standard input one after the
other and answers on its standard output, in the words of wire.py. It gives itself limits on memory
and processor time, and after loading its decoders it can open nothing any more: no file, no socket.
The bytes of an item come from the worker, range by range.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import math
import os
import pkgutil
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import av
import numpy as np
from PIL import Image

from core.errors import DecoderOutOfMemory, DecoderUnavailable, DeepsweepError, Undecodable
from detector import images, wire
from detector.frames import Frame, Pixels, sample
from detector.media import Limits, probe
from detector.ranges import holding
from detector.shared import written
from detector.wire import Kind

#: Ranges are asked for in blocks of this size: FFmpeg and Pillow read a few bytes at a time.
_BLOCK_BYTES = 256 << 10

#: Between the blocks and readers of single bytes.
_BUFFER_BYTES = 64 << 10

#: So many blocks of an item are kept: a film is opened three times, each time by its header.
_KEPT_BLOCKS = 16

#: What the helper may write to its standard error, bytes.
_MAX_STDERR_BYTES = 1 << 20


def main() -> None:
    """Serve items until the worker closes the pipe."""
    pipe = _Pipe()
    memory_bytes, *shared = map(int, sys.argv[1:])
    if shared:
        pipe.share(*shared)
    _load_everything()
    _lock(memory_bytes=memory_bytes + sum(shared[1:]))
    pipe.send(Kind.READY)
    while True:
        task = wire.Task.from_json(pipe.receive(Kind.TASK))
        _allow_cpu(task.cpu_s)
        _serve(task, pipe)


def _serve(task: wire.Task, pipe: _Pipe) -> None:
    """One item. Whatever goes wrong here is the item's fault, and is said in one sentence."""
    try:
        _decode(task, pipe)
    except DeepsweepError as error:
        pipe.send(Kind.FAILED, wire.failure_to_json(error.code, str(error)))
    except (ImportError, OSError) as error:
        # Not the file's fault: something was not loaded before the doors were shut.
        sentence = f"The decoder lacks something ({error})."
        pipe.send(Kind.FAILED, wire.failure_to_json(DecoderUnavailable.code, sentence))
    except MemoryError:
        sentence = "Decoding the file takes more memory than an item may use."
        pipe.send(Kind.FAILED, wire.failure_to_json(DecoderOutOfMemory.code, sentence))
    except Exception as error:  # noqa: BLE001  a task's border: decoders raise what they like
        sentence = f"The file cannot be decoded ({type(error).__name__}: {error})."
        pipe.send(Kind.FAILED, wire.failure_to_json(Undecodable.code, sentence))


def _decode(task: wire.Task, pipe: _Pipe) -> None:
    limits = Limits(max_pixels=task.max_pixels)
    file = cast("BinaryIO", _Item(_Remote(pipe, task.size)))
    info = probe(file, limits)
    pipe.send(Kind.INFO, wire.info_to_json(info))
    frames = sample(
        file,
        info,
        task.plan,
        limits,
        threads=task.threads,
        is_enough=lambda: _is_enough(pipe),
    )
    for frame in frames:
        _send_frame(frame, pipe)
        pipe.receive(Kind.NEXT)
    pipe.send(Kind.DONE)


def _is_enough(pipe: _Pipe) -> bool:
    pipe.send(Kind.ENOUGH)
    return pipe.receive(Kind.ANSWER) == b"\x01"


def _send_frame(frame: Frame, pipe: _Pipe) -> None:
    height, width, _ = frame.image.shape
    head = wire.FrameHead(index=frame.index, pts_s=frame.pts_s, height=height, width=width)
    room = pipe.room(head.pixel_bytes)
    if room is None:
        pipe.send(Kind.FRAME, head.to_bytes(), np.ascontiguousarray(frame.image).data.cast("B"))
    else:
        np.copyto(room.reshape(frame.image.shape), frame.image)
        pipe.send(Kind.FRAME, head.to_bytes())


class _Item(io.BufferedReader):
    """The item as decoders read it; without a buffer once it is known what will be read."""

    def __init__(self, remote: _Remote) -> None:
        super().__init__(remote, _BUFFER_BYTES)
        self._remote = remote
        self._planned = False

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """These ranges will be read, and a reading ends where one of them ends."""
        self._planned = True
        self._remote.expect(ranges)

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._planned:
            return super().read(size)
        # FFmpeg takes less than it asked for: no byte behind a range is fetched for its buffer.
        return self._remote.read(-1 if size is None else size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._remote.seek(offset, whence) if self._planned else super().seek(offset, whence)

    def tell(self) -> int:
        return self._remote.tell() if self._planned else super().tell()


class _Remote(io.RawIOBase):
    """The item's bytes, which the worker reads for us."""

    def __init__(self, pipe: _Pipe, size: int) -> None:
        super().__init__()
        self._pipe = pipe
        self._size = size
        self._position = 0
        #: By their number, the oldest first.
        self._kept: dict[int, bytes] = {}
        self._expected: Sequence[tuple[int, int]] = ()
        #: The piece of an expected range that was read last, and where it begins.
        self._piece: tuple[int, bytes] = (0, b"")

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Read these ranges and nothing around them; the worker hears of them, too."""
        self._pipe.send(Kind.EXPECT, wire.ranges_to_bytes(ranges))
        self._expected = ranges

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        range_ = holding(self._expected, self._position)
        if range_ is None:
            number, start = divmod(self._position, _BLOCK_BYTES)
            data = memoryview(self._block(number))[start : start + len(buffer)]
        else:
            data = self._from_range(range_[1])[: len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _from_range(self, stop: int) -> memoryview:
        """What is at hand from here on, up to the end of the range."""
        start, piece = self._piece
        if not start <= self._position < start + len(piece):
            start = self._position
            end = min(stop, start + wire.MAX_READ_BYTES, self._size)
            self._piece = (start, piece := b"".join(self._parts(start, end)))
        return memoryview(piece)[self._position - start :]

    def _block(self, number: int) -> bytes:
        if number not in self._kept:
            if len(self._kept) == _KEPT_BLOCKS:
                del self._kept[next(iter(self._kept))]
            offset = number * _BLOCK_BYTES
            end = min(offset + _BLOCK_BYTES, self._size)
            self._kept[number] = b"".join(self._parts(offset, end))
        return self._kept[number]

    def _parts(self, offset: int, end: int) -> Iterator[bytes]:
        """One part as a rule; more where the worker's file gives less than it is asked for."""
        while offset < end:
            self._pipe.send(Kind.READ, wire.READ.pack(offset, end - offset))
            data = self._pipe.receive(Kind.DATA)
            if not data:
                return
            yield data
            offset += len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"a seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class _Pipe:
    """The two ends of the conversation. Without a worker there is nothing left to do."""

    def __init__(self) -> None:
        self._in = os.fdopen(0, "rb")
        # Libraries may print: what they print must not reach the conversation.
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._shared: Pixels | None = None

    def share(self, fd: int, size: int) -> None:
        """Memory that the worker sees as well."""
        self._shared = written(fd, size)

    def room(self, size: int) -> Pixels | None:
        """So many bytes of it, uint8 (size,); None where there are none."""
        if self._shared is None or size > len(self._shared):
            return None
        self.send(Kind.ROOM, wire.ROOM.pack(size))
        (begin,) = wire.PLACE.unpack(self.receive(Kind.PLACE))
        return None if begin == wire.NO_PLACE else self._shared[begin : begin + size]

    def receive(self, expected: Kind) -> bytes:
        """The body of the next message, which must be of this kind."""
        kind, length = wire.HEAD.unpack(self._read(wire.HEAD.size))
        if kind != expected:
            _leave(f"got message {kind}, expected {expected}")
        return self._read(length)

    def _read(self, size: int) -> bytes:
        data = self._in.read(size)
        if len(data) < size:
            _leave("the worker has gone")
        return data

    def send(self, kind: Kind, *parts: bytes | memoryview) -> None:
        """One message, its body in parts."""
        self._write(wire.HEAD.pack(kind, sum(len(part) for part in parts)))
        for part in parts:
            self._write(part)

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except BrokenPipeError:
            _leave("the worker has gone")


def _leave(why: str) -> NoReturn:
    # Not by an exception: decoders that call us back would swallow it and go on.
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(0)


def _load_everything() -> None:
    """Import what decoders import on first use, because later nothing can be opened."""
    for name in ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        codecs.lookup(name)
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in {"av.__main__", "av.datasets"}:
            importlib.import_module(module.name)
    images.load_plugins()
    # Our own limit, which comes with each item, takes the place of Pillow's.
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    tiny = io.BytesIO()
    Image.new("CMYK", (16, 16)).save(tiny, "TIFF", compression="jpeg")
    with images.opened(tiny, "tiff", 1 << 10) as image:
        images.to_rgb(image)


def _lock(memory_bytes: int) -> None:
    """Give up what a decoder does not need. Limits of a process can only be lowered."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_STDERR_BYTES, _MAX_STDERR_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the machine as a whole runs out of memory, the helper goes before its worker.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Descriptors below the lowest free one are in use: no other can be opened from here on.
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, lowest_free))


def _allow_cpu(seconds: float) -> None:
    """Processor time for one item; the kernel ends the process (SIGXCPU) when it is used up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
