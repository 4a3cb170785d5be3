"""Media: what the bytes are, and whether they may be decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from core.errors import EmptyFile, HostileMedia, UnsupportedMedia
from core.vocabulary import MediaKind
from detector import containers, images, videos

#: How many of the first bytes `sniff` wants: three packets of an MPEG transport stream.
HEAD_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What the header of a medium says."""

    #: `image` for one frame; `video` for a film or an animated picture.
    kind: MediaKind
    #: Container or format, lower case: jpeg, png, webp, gif, heif, mp4, matroska, ...
    format: str
    #: Of the upright picture, pixels.
    width: int
    height: int
    #: Seconds; None for a still picture or where the container does not say.
    duration_s: float | None
    #: None where the container does not say.
    frame_count: int | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a decoder may be asked to do."""

    #: Of one picture or frame, width times height.
    max_pixels: int = 100_000_000


def probe(file: BinaryIO, limits: Limits) -> MediaInfo:
    """Read what the medium is from its header, and refuse it before anything is allocated for it.

    `file` is seekable; it is left at no particular position and stays open. Raises EmptyFile,
    UnsupportedMedia, HostileMedia, TooManyPixels, NoFrames, Truncated or Undecodable.
    """
    format = identify(file)
    if format in images.PLUGINS:
        return _probe_picture(file, format, limits)
    header = videos.read_header(file, format, limits.max_pixels)
    return MediaInfo(
        kind=MediaKind.VIDEO,
        format=format,
        width=header.width,
        height=header.height,
        duration_s=header.duration_s,
        frame_count=header.frame_count,
    )


def _probe_picture(file: BinaryIO, format: str, limits: Limits) -> MediaInfo:
    with images.opened(file, format, limits.max_pixels) as image:
        width, height = images.upright_size(image)
        count = images.count_frames(image)
    return MediaInfo(
        kind=MediaKind.VIDEO if count > 1 else MediaKind.IMAGE,
        format=format,
        width=width,
        height=height,
        duration_s=None,
        frame_count=count,
    )


def identify(file: BinaryIO) -> str:
    """The format name of a file, from its first bytes.

    Raises EmptyFile, HostileMedia for a list that points elsewhere, and UnsupportedMedia.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise EmptyFile("The file is empty: it has no bytes.")
    format = sniff(head)
    if format is not None:
        return format
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, what in _REFERRING:
        if text.startswith(mark):
            raise HostileMedia(
                f"This is {what}, which only points to other files or addresses; "
                "submit the media themselves."
            )
    raise UnsupportedMedia(
        f"This is {_describe(head)}, not an image or a video that deepsweep reads "
        f"({', '.join(sorted({*images.PLUGINS, *containers.DEMUXERS}))})."
    )


def sniff(head: bytes) -> str | None:
    """The format name that the first bytes show, or None for what is not read here.

    `head` is the first HEAD_BYTES of a file, or all of a shorter one. The name of the file plays
    no part.
    """
    for offset, mark, format in _MARKS:
        if head.startswith(mark, offset):
            return format
    if head[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm" if b"webm" in head[:64] else "matroska"
    if _is_transport_stream(head):
        return "mpegts"
    return None


def _sniff_brands(head: bytes) -> str | None:
    """Which member of the ISO base media family (ISO/IEC 14496-12) the `ftyp` box names."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {major, *(head[at : at + 4] for at in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    if major in _HEIF_BRANDS or (major in {b"mif1", b"msf1"} and brands & _HEIF_BRANDS):
        return "heif"
    if major in {b"crx ", b"jp2 ", b"jpx ", b"jxl "}:
        return None
    return "mov" if major == b"qt  " else "mp4"


def _is_transport_stream(head: bytes) -> bool:
    """Sync bytes each 188 bytes, or each 192 after a four-byte stamp (as Blu-ray discs have)."""
    for stride, start in ((188, 0), (192, 4)):
        syncs = head[start::stride]
        if len(syncs) >= 3 and set(syncs) == {0x47}:
            return True
    return False


def _describe(head: bytes) -> str:
    for mark, what in _REFUSED:
        if mark in head[:300] if mark.startswith(b"<") else head.startswith(mark):
            return what
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "text" if printable > 0.95 * len(head) else "a file of unknown kind"


#: Offset, bytes, format. Each says what the file is without a look at anything else.
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"BM", "bmp"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (0, b"II+\x00", "tiff"),
    (0, b"MM\x00+", "tiff"),
    (0, b"FLV\x01", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"DKIF\x00\x00", "ivf"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpegvideo"),
    # QuickTime files from before `ftyp` begin with one of their boxes.
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
    (4, b"skip", "mov"),
    (4, b"pnot", "mov"),
)

_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"}
)

#: Texts that make a careless decoder open other files or addresses.
_REFERRING: tuple[tuple[bytes, str], ...] = (
    (b"#EXTM3U", "an HLS playlist"),
    (b"ffconcat", "a script that joins other files"),
    (b"file '", "a script that joins other files"),
    (b"<MPD", "a DASH manifest"),
    (b"<SmoothStreamingMedia", "a streaming manifest"),
    (b"<smil", "a SMIL presentation"),
    (b"<ASX", "a playlist"),
    (b"<asx", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"[Reference]", "a playlist"),
    (b"v=0\r\n", "a session description"),
    (b"v=0\n", "a session description"),
)

#: What people send by mistake, so that the sentence can name it.
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"ID3", "an audio file"),
    (b"fLaC", "an audio file"),
    (b"RIFF", "an audio or other RIFF file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"<svg", "an SVG drawing"),
    (b"<html", "a web page"),
    (b"<!DOCTYPE html", "a web page"),
)
