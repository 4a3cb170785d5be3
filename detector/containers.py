"""FFmpeg, opened safely: one demuxer named by us, no other files, our errors.

Apart from videos.py and decode_film.py, which say what is read from a film once it is open.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NoReturn, cast

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import HostileMedia, NoFrames, Truncated, Undecodable, UnsupportedMedia
from detector.boxes import HollowFile, ShutFile, has_index
from detector.images import refuse_pixels

#: Our name of a format -> the one FFmpeg demuxer that may read it. None of them opens other files
#: by itself; playlists, concatenations and image sequences are not among them.
DEMUXERS = {
    "mp4": "mov",
    "mov": "mov",
    "matroska": "matroska",
    "webm": "matroska",
    "avi": "avi",
    "mpegts": "mpegts",
    "mpeg": "mpeg",
    "mpegvideo": "mpegvideo",
    "flv": "flv",
    "asf": "asf",
    "ogg": "ogg",
    "ivf": "ivf",
}

#: Ticks before the first frame of any film.
_BEFORE_ALL = -(1 << 50)


@contextmanager
def opened(
    file: BinaryIO | HollowFile,
    format: str,
    max_pixels: int,
    *,
    parse: bool = True,
    threads: int = 1,
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container of a file and its film, for as long as the block runs.

    Without `parse` packets say what the container says of them, and nothing is learned from what
    is in them: so it has to be for a hollow file, where the parser would find no keyframe. With
    more than one thread as many frames are decoded at a time. A film with an index is opened by it
    alone, without a look at its pictures.

    Raises NoFrames, TooManyPixels, UnsupportedMedia and HostileMedia; what FFmpeg raises inside
    the block comes out as Truncated or Undecodable.
    """
    # The limit holds also while FFmpeg decodes a little to complete the header.
    options = {"max_pixels": str(max_pixels), "threads": "1"}
    if not parse:
        options["fflags"] = "noparse+nofillin"
    shut = _shut(file, format) if parse else None
    file.seek(0)
    try:
        with av.open(
            file if shut is None else shut,
            mode="r",
            format=DEMUXERS[format],
            options=options,
            metadata_errors="ignore",
            io_open=_refuse_to_open,
        ) as container:
            film = _film_of(container, max_pixels)
            _read_only(container, film)
            if threads > 1:
                film.codec_context.thread_count = threads
                film.codec_context.thread_type = "FRAME"
            if shut is not None:
                _show(shut, container, film)
            yield container, film
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        if DEMUXERS[format] == "mov" and not has_index(cast("BinaryIO", file)):
            raise Truncated(
                f"The {format} file ends before the index of its frames: it was cut off, or is "
                "still being written."
            ) from error
        raise Undecodable(f"The {format} file cannot be read ({error.strerror}).") from error


def _shut(file: BinaryIO | HollowFile, format: str) -> ShutFile | None:
    indexed = DEMUXERS[format] == "mov" and not isinstance(file, HollowFile)
    return ShutFile.where_indexed(cast("BinaryIO", file)) if indexed else None


def _show(shut: ShutFile, container: InputContainer, film: VideoStream) -> None:
    """Let the pictures be read, from the first one on, where opening looked for them in vain."""
    shut.show()
    # A film without a frame has nowhere to go to.
    with suppress(av.error.FFmpegError):
        container.seek(_BEFORE_ALL, stream=film)


def _refuse_to_open(*_: object) -> NoReturn:
    raise HostileMedia("The file asks for another file or address; only the file itself is read.")


def _film_of(container: InputContainer, max_pixels: int) -> VideoStream:
    """The first stream of moving pictures; cover art of a song does not count."""
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        raise NoFrames("The file holds no video track, only sound or other data.")
    film = films[0]
    if film.codec_context is None:
        raise UnsupportedMedia("The video track is made of a codec that deepsweep does not know.")
    refuse_pixels((film.width, film.height), max_pixels)
    film.codec_context.thread_count = 1
    film.codec_context.options = {"max_pixels": str(max_pixels)}
    return film


def _read_only(container: InputContainer, film: VideoStream) -> None:
    """Sound and subtitles between the film's packets are not read from the file."""
    for stream in container.streams:
        if stream is not film:
            stream.discard = Discard.all


def packets_of(container: InputContainer, film: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The film's packets up to where the container is damaged; the last one flushes the decoder."""
    packets = container.demux(film)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def whole_frames(
    packets: Iterable[Packet[VideoStream]], film: VideoStream
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames that decoded without damage, each with its time in ticks, strictly increasing.

    A frame without a time of its own follows the one before it by the stream's frame rate.
    """
    step = _ticks_per_frame(film)
    ticks: int | None = None
    for frame in itertools.chain.from_iterable(map(decoded, packets)):
        if frame.is_corrupt:
            continue
        following = 0 if ticks is None else ticks + step
        time = following if frame.pts is None else frame.pts
        ticks = time if ticks is None else max(time, ticks + 1)
        yield ticks, frame


def decoded(packet: Packet[VideoStream]) -> list[VideoFrame]:
    """The frames that come out when this packet goes in; none when it is damaged."""
    return _unharmed(packet.decode)


def drained(film: VideoStream) -> list[VideoFrame]:
    """The frames that the decoder holds back; it is ready for a keyframe afterwards."""
    frames = _unharmed(lambda: film.codec_context.decode(None))
    film.codec_context.flush_buffers()
    return frames


def _unharmed(decode: Callable[[], list[VideoFrame]]) -> list[VideoFrame]:
    try:
        return decode()
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        return []


def _ticks_per_frame(film: VideoStream) -> int:
    rate = film.average_rate or film.base_rate
    if not rate or not film.time_base:
        return 1
    return max(1, round(1 / (rate * film.time_base)))
