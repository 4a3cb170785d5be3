"""Small real media for tests: clips whose frames carry their own number, and nasty files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import pillow_heif
from av.video.frame import VideoFrame
from PIL import Image, ImageCms

Pixels = npt.NDArray[np.uint8]

#: Frames carry their number as this many bars, black for 0 and white for 1, lowest bit left.
BITS = 10
WIDTH, HEIGHT = 16 * BITS, 64


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """A picture that says which one it is, through any lossy codec."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, width // BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, len(row), 3)))


def number_of(picture: Pixels) -> int:
    """The number that a picture made by `numbered` carries."""
    bar = picture.shape[1] // BITS
    means = [picture[:, bit * bar : (bit + 1) * bar].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 127)


def clip(
    *,
    codec: str = "libx264",
    container: str = "mp4",
    frames: int | Iterable[Pixels] = 30,
    fps: int = 25,
    ticks: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    gop: int = 10,
    b_frames: int = 2,
    rotate: int | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    colours: tuple[int, int] | None = None,
) -> bytes:
    """An encoded film.

    `frames` are pictures, or how many numbered ones. `ticks` are their times in milliseconds, for
    a variable rate. `colours` are AVColorSpace and AVColorRange.
    """
    pictures = [numbered(n) for n in range(frames)] if isinstance(frames, int) else list(frames)
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if colours is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colours
        if rotate is not None:
            stream.set_display_rotation(rotate)
        for number, picture in enumerate(pictures):
            frame = _frame(picture, pix_fmt, colours)
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = Fraction(1, fps) if ticks is None else Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def _frame(picture: Pixels, pix_fmt: str, colours: tuple[int, int] | None) -> VideoFrame:
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    if colours is None:
        return frame.reformat(format=pix_fmt)
    space, span = colours
    frame = frame.reformat(format=pix_fmt, dst_colorspace=space, dst_color_range=span)
    frame.colorspace, frame.color_range = space, span
    return frame


def frameless() -> bytes:
    """An MP4 whose video track has no frame in it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "empty_moov"}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.start_encoding()
    return file.getvalue()


def sound(container: str = "mp4") -> bytes:
    """A file with sound and no film."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream("aac", rate=44100)
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, 1024 * number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def picture(format: str, mode: str = "RGB", **options: object) -> bytes:
    """A small gradient in a still format."""
    return save(gradient().convert(mode), format, **options)


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    """Red grows to the right, green grows downwards, blue is constant."""
    across = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, 0)
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, None].repeat(width, 1)
    return Image.fromarray(np.dstack([across, down, np.full_like(down, 64)]))


def save(image: Image.Image, format: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def animation(format: str, durations_ms: Sequence[int]) -> bytes:
    """Numbered pictures, each shown for its duration."""
    first, *rest = [Image.fromarray(numbered(n)) for n in range(len(durations_ms))]
    options = {"lossless": True} if format == "WEBP" else {}
    durations = list(durations_ms)
    return save(
        first, format, save_all=True, append_images=rest, duration=durations, loop=0, **options
    )


def oriented(format: str, orientation: int) -> bytes:
    """The gradient, stored so that this EXIF orientation makes it upright again."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = gradient().transpose(undo[orientation]) if orientation > 1 else gradient()
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(image, format, exif=exif, quality=95)


def profile_with_red_for_green() -> bytes:
    """An ICC profile like sRGB, but for its first channel being green and its second red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red_first = profile.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ")
    renamed = red_first.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return renamed.replace(b"----", b"gXYZ")


def load_heif() -> None:
    """Let Pillow write HEIF."""
    pillow_heif.register_heif_opener()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, data) for name, data in chunks)


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def gif_bomb(width: int = 65535, height: int = 65535) -> bytes:
    """A GIF of a few bytes that announces the largest screen there is."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    descriptor = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return screen + descriptor + b"\x02\x02\x4c\x01\x00\x3b"


def gif_that_takes_long(side: int = 4000, frames: int = 400) -> bytes:
    """A GIF of a few kilobytes, each of whose many frames repaints a large screen."""
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes((0, 0, 0, 9, 9, 9))
    frame = b"\x21\xf9\x04\x08\x0a\x00\x00\x00"
    frame += b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00"
    return screen + frame * frames + b"\x3b"


def large_white_png(side: int) -> bytes:
    """A square of one bit per pixel: small to send, three bytes per pixel once it is RGB."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * -(-side // 8)) * side, 1)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, data) for name, data in chunks)


def damaged(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """The same bytes with some of them changed, cut out, doubled or cut off."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(data)
        kind = random.integers(4)
        start = int(random.integers(len(data)))
        end = min(len(data), start + int(random.integers(1, 64)))
        if kind == 0:
            changed[start:end] = random.bytes(end - start)
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = changed[start:end]
        else:
            del changed[start:]
        for at in random.integers(len(changed), size=3) if changed else ():
            changed[at] ^= 1 << int(random.integers(8))
        yield bytes(changed)
