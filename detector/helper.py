"""One decoder helper, seen from the worker: started, talked to, watched, stopped.

Apart from isolation.py, which keeps several of them for several threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np

import detector
from core.errors import (
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTimeout,
    DecoderUnavailable,
    NoFrames,
    StorageUnavailable,
)
from core.vocabulary import MAX_FRAMES_PER_ITEM
from detector import ranges, wire
from detector.frames import Frame, Pause, Pixels
from detector.media import MediaInfo
from detector.shared import SharedFrames
from detector.wire import Kind, ProtocolError, Task

logger = logging.getLogger(__name__)

#: The pipe for pictures; the kernel's usual 64 KiB would mean a hundred switches for each frame.
_PIPE_BYTES = 1 << 20

#: Pictures of up to 32 MiB come out of memory that was used before (glibc; others take no notice).
#: Else each is mapped anew, and its pages cleared: an eighth of the time of decoding a keyframe.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}

#: What is kept of the helper's last words.
_LAST_WORDS_BYTES = 2000


class Readable(Protocol):
    """As much of a binary file as ranged reading needs."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes from the current position; empty at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; returns the new position from the start."""


class _TimeIsUp(Exception):
    """The helper did not answer in time."""


class _HelperGone(Exception):
    """The helper closed the conversation."""


class Helper:
    """A running helper process. For one thread at a time, but for `kill`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        last_words: IO[bytes],
        shared: SharedFrames | None = None,
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._last_words = last_words
        self._shared = shared
        #: Where the next frame is going to lie.
        self._granted: _Granted | None = None
        self._pipe = _Pipe(write_fd=process.stdin.fileno(), read_fd=process.stdout.fileno())
        #: How many items it was given.
        self.items = 0
        #: Whether it waits for an item: false from the moment it is given one to its orderly end.
        self.in_order = True

    @classmethod
    def start(cls, *, memory_bytes: int, start_s: float) -> Helper:
        """A helper that has loaded its decoders. Raises DecoderUnavailable."""
        last_words = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        shared = SharedFrames.create()
        try:
            process = subprocess.Popen(  # noqa: S603  our own module, no input in the arguments
                _command(memory_bytes, shared),
                pass_fds=() if shared is None else (shared.fd,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=last_words,
                bufsize=0,
                cwd="/",
                env=_environment(),
                # Ctrl-C is for the worker: it lets items come to their end.
                start_new_session=True,
            )
        except OSError as error:
            last_words.close()
            if shared is not None:
                shared.close()
            raise DecoderUnavailable(f"No decoder could be started ({error}).") from error
        helper = cls(process, last_words, shared)
        try:
            helper._pipe.receive_ready(_Stopwatch(start_s))
        except (_TimeIsUp, _HelperGone, ProtocolError) as error:
            words = helper.last_words()
            helper.stop()
            raise DecoderUnavailable(f"The decoder did not start: {words or error!r}") from error
        return helper

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End the process at once; whoever talks to it finds out. Safe from any thread."""
        self._process.kill()

    def stop(self) -> None:
        """End the process and let go of everything that belongs to it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._last_words):
            if pipe is not None:
                pipe.close()
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def last_words(self) -> str:
        """The end of what the process wrote to its standard error."""
        size = self._last_words.seek(0, os.SEEK_END)
        self._last_words.seek(max(0, size - _LAST_WORDS_BYTES))
        return self._last_words.read().decode(errors="replace").strip()

    def decode(
        self, file: Readable, task: Task, *, wall_s: float
    ) -> Generator[MediaInfo | Frame | Pause, None, None]:
        """The header of the item, then its frames. See DecodePool.decode for the errors."""
        self.in_order = False
        self.items += 1
        watch = _Stopwatch(wall_s)
        try:
            self._pipe.send(watch, Kind.TASK, task.to_json())
            yield from self._converse(file, task, watch)
        except _TimeIsUp:
            raise DecoderTimeout(
                f"Decoding took longer than {wall_s:g} s and was stopped."
            ) from None
        except _HelperGone:
            raise self._cause_of_death(task) from None
        except ProtocolError as error:
            logger.warning("decoder_helper_broke_protocol", extra={"why": str(error)})
            raise DecoderCrashed("The decoder lost its mind over this file.") from error

    def _converse(
        self, file: Readable, task: Task, watch: _Stopwatch
    ) -> Generator[MediaInfo | Frame | Pause, None, None]:
        known = False
        frames = asked_after = 0
        while True:
            kind, length = self._pipe.receive_head(watch)
            if kind is Kind.READ:
                self._answer_read(file, task.size, length, watch)
            elif known and kind in (Kind.EXPECT, Kind.ROOM):
                self._prepare(kind, file, task, length, watch)
            elif kind is Kind.INFO and not known:
                known = True
                info = wire.info_from_json(self._pipe.receive_json(length, watch))
                with watch.paused():
                    yield info
            elif kind is Kind.FRAME and known and frames < MAX_FRAMES_PER_ITEM:
                frames += 1
                frame = self._receive_frame(length, task, watch)
                # The next one is decoded while the consumer looks at this one.
                self._pipe.send(watch, Kind.NEXT)
                with watch.paused():
                    yield frame
            elif kind is Kind.ENOUGH and not length and frames > asked_after:
                asked_after = frames
                pause = Pause()
                with watch.paused():
                    yield pause
                self._pipe.send(watch, Kind.ANSWER, bytes([pause.enough]))
            elif kind is Kind.DONE and known:
                self.in_order = True
                if not frames:
                    raise NoFrames("The decoder found no frame in the file.")
                return
            elif kind is Kind.FAILED:
                error = wire.failure_from_json(self._pipe.receive_json(length, watch))
                # After running out of memory its heap may be in pieces.
                spent = isinstance(error, (DecoderOutOfMemory, DecoderUnavailable))
                self.in_order = not spent and self._granted is None
                raise error
            else:
                raise ProtocolError(f"{kind.name} out of turn")

    def _answer_read(self, file: Readable, size: int, length: int, watch: _Stopwatch) -> None:
        offset, count = wire.READ.unpack(self._pipe.receive_exactly(wire.READ.size, length, watch))
        if count > wire.MAX_READ_BYTES or offset + count > size:
            raise ProtocolError(f"a read of {count} bytes at {offset} of {size}")
        try:
            file.seek(offset)
            data = file.read(count)
        except OSError as error:
            raise StorageUnavailable(f"Reading the file failed ({error}).") from error
        self._pipe.send(watch, Kind.DATA, data[:count])

    def _prepare(
        self, kind: Kind, file: Readable, task: Task, length: int, watch: _Stopwatch
    ) -> None:
        """What the helper says of bytes it is going to read, and asks for a frame to come."""
        if kind is Kind.EXPECT:
            ranges.expect(file, self._pipe.receive_ranges(length, task.size, watch))
        elif self._granted is None:
            self._granted = self._grant(length, task, watch)
        else:
            raise ProtocolError("room for a second frame at a time")

    def _grant(self, length: int, task: Task, watch: _Stopwatch) -> _Granted | None:
        """Shared memory for a frame, if there is room; the helper hears of it."""
        (size,) = wire.ROOM.unpack(self._pipe.receive_exactly(wire.ROOM.size, length, watch))
        if not 0 < size <= 3 * task.max_pixels:
            raise ProtocolError(f"room for {size} bytes")
        begin = None if self._shared is None else self._shared.grant(size)
        place = wire.NO_PLACE if begin is None else begin
        self._pipe.send(watch, Kind.PLACE, wire.PLACE.pack(place))
        return None if begin is None else _Granted(begin, size)

    def _receive_frame(self, length: int, task: Task, watch: _Stopwatch) -> Frame:
        """A frame, its pixels in the shared memory where room was granted, else in the message."""
        granted, self._granted = self._granted, None
        if length < wire.FRAME.size:
            raise ProtocolError(f"a frame in {length} bytes")
        sent = length - wire.FRAME.size
        if granted is not None and sent:
            raise ProtocolError("pixels that were sent although they had a place")
        data = self._pipe.receive_exactly(wire.FRAME.size, wire.FRAME.size, watch)
        head = wire.FrameHead.from_bytes(
            data, pixel_bytes=granted.size if granted else sent, max_pixels=task.max_pixels
        )
        if granted is not None and self._shared is not None:
            image = self._shared.frame(granted.begin, head.height, head.width)
        else:
            image = self._pipe.receive_pixels(head.height, head.width, watch)
        return Frame(index=head.index, pts_s=head.pts_s, image=image)

    def _cause_of_death(self, task: Task) -> DecoderCrashed | DecoderTimeout:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        status = self._process.poll()
        logger.warning(
            "decoder_helper_died", extra={"status": status, "last_words": self.last_words()}
        )
        if status == -signal.SIGXCPU:
            return DecoderTimeout(
                f"Decoding used more than {task.cpu_s:g} s of processor time and was stopped."
            )
        if status is not None and status < 0:
            return DecoderCrashed(
                f"The decoder crashed on this file ({signal.Signals(-status).name})."
            )
        return DecoderCrashed(f"The decoder ended on this file (exit status {status}).")


class _Granted(NamedTuple):
    """A place in the shared memory that the next frame is written to."""

    begin: int
    size: int


def _command(memory_bytes: int, shared: SharedFrames | None) -> list[str]:
    memory = () if shared is None else (shared.fd, shared.size)
    return [sys.executable, "-P", "-m", "detector.decode_child", *map(str, (memory_bytes, *memory))]


def _environment() -> dict[str, str]:
    """What the helper is told: where the code lies, and nothing secret."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    passed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    root = Path(detector.__file__).parent.parent
    return {**passed, **threads, **_ALLOCATOR, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(root)}


class _Stopwatch:
    """Time left of a limit; it stands still while the consumer works."""

    def __init__(self, limit_s: float) -> None:
        self._until = time.monotonic() + limit_s

    def left_s(self) -> float:
        return self._until - time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        paused_at = time.monotonic()
        yield
        self._until += time.monotonic() - paused_at


class _Pipe:
    """Messages to and from the helper, none of which may wait longer than the watch allows."""

    def __init__(self, *, write_fd: int, read_fd: int) -> None:
        self._write_fd = write_fd
        self._read_fd = read_fd
        for fd in (write_fd, read_fd):
            os.set_blocking(fd, False)
        # More than the system grants its users is refused; then the usual size has to do.
        with contextlib.suppress(OSError):
            fcntl.fcntl(read_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def receive_ready(self, watch: _Stopwatch) -> None:
        kind, length = self.receive_head(watch)
        if kind is not Kind.READY or length:
            raise ProtocolError(f"{kind.name} before READY")

    def receive_head(self, watch: _Stopwatch) -> tuple[Kind, int]:
        """Kind of the next message and the length of its body."""
        kind, length = wire.HEAD.unpack(self._receive(wire.HEAD.size, watch))
        try:
            return Kind(kind), length
        except ValueError as error:
            raise ProtocolError(f"a message of kind {kind}") from error

    def receive_exactly(self, size: int, length: int, watch: _Stopwatch) -> bytes:
        if length != size:
            raise ProtocolError(f"{length} bytes instead of {size}")
        return self._receive(size, watch)

    def receive_json(self, length: int, watch: _Stopwatch) -> bytes:
        if length > wire.MAX_JSON_BYTES:
            raise ProtocolError(f"{length} bytes of JSON")
        return self._receive(length, watch)

    def receive_ranges(self, length: int, size: int, watch: _Stopwatch) -> list[tuple[int, int]]:
        if length > wire.MAX_RANGES * wire.RANGE.size:
            raise ProtocolError(f"{length} bytes of ranges")
        return wire.ranges_from_bytes(self._receive(length, watch), size=size)

    def receive_pixels(self, height: int, width: int, watch: _Stopwatch) -> Pixels:
        """The rest of a frame, in the array that is handed on."""
        image = np.empty((height, width, 3), np.uint8)
        self._receive_into(image.data.cast("B"), watch)
        return image

    def _receive(self, size: int, watch: _Stopwatch) -> bytes:
        data = bytearray(size)
        self._receive_into(memoryview(data), watch)
        return bytes(data)

    def _receive_into(self, rest: memoryview, watch: _Stopwatch) -> None:
        while rest:
            self._await(self._read_fd, select.POLLIN, watch)
            count = os.readv(self._read_fd, [rest])
            if not count:
                raise _HelperGone
            rest = rest[count:]

    def send(self, watch: _Stopwatch, kind: Kind, body: bytes = b"") -> None:
        rest = memoryview(wire.HEAD.pack(kind, len(body)) + body)
        try:
            while rest:
                self._await(self._write_fd, select.POLLOUT, watch)
                rest = rest[os.write(self._write_fd, rest) :]
        except BrokenPipeError:
            raise _HelperGone from None

    def _await(self, fd: int, event: int, watch: _Stopwatch) -> None:
        """Until the pipe can be read or written, or has been closed."""
        left_s = watch.left_s()
        poll = select.poll()
        poll.register(fd, event)
        if left_s <= 0 or not poll.poll(math.ceil(left_s * 1000)):
            raise _TimeIsUp
