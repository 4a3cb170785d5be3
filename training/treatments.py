"""What happens to media on social networks, one treatment at a time, for measuring a detector.

Unlike `training.degrade`, which draws at random and works on face crops, these are fixed, work on
whole media, and give bytes: the treated medium goes through the pipeline from probing on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import cv2
import numpy as np

from core.vocabulary import MediaKind, SamplingPlan
from detector.frames import Frame, Pixels, sample
from detector.media import Limits, probe

#: Frames of a video that are encoded again: three for each that is looked at by default. All of
#: them would take minutes a clip, and at a constant rate factor each frame is about as bad.
PLAN = SamplingPlan.parse("uniform:48")
#: Frames a second where the medium does not say how long it takes.
_USUAL_RATE = 25.0
#: The screen that a screenshot is taken of, pixels, and how much of it the application's bars take.
SCREEN, BAR = (1080, 1920), 132

Still = Callable[[Pixels], bytes]


@dataclass(frozen=True, kw_only=True)
class Film:
    """How a video is encoded again, with x264's `veryfast`."""

    #: Constant rate factor: 23 is x264's usual, 51 the worst.
    crf: int
    #: What happens to each frame before.
    frame: Callable[[Pixels], Pixels] = lambda image: image


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """One way that media take; None where it does not apply to the medium."""

    name: str
    #: One sentence for tables.
    means: str
    still: Still | None = None
    film: Film | None = None


def treat(file: BinaryIO, treatment: Treatment, limits: Limits) -> BinaryIO | None:
    """The treated medium as a file; None where the treatment does not apply to it.

    Raises MediaError as decoding does.
    """
    info = probe(file, limits)
    if info.kind is MediaKind.IMAGE:
        if treatment.still is None:
            return None
        frame = next(iter(sample(file, info, PLAN, limits)))
        return io.BytesIO(treatment.still(frame.image))
    if treatment.film is None:
        return None
    return _encode(sample(file, info, PLAN, limits), info.duration_s, treatment.film)


def _encode(frames: Iterable[Frame], duration_s: float | None, film: Film) -> BinaryIO:
    """H.264 in MP4, at the pace at which the frames were taken."""
    memory = io.BytesIO()
    encoder, count = None, PLAN.count or 1
    rate = min(60.0, max(1.0, count / duration_s if duration_s else _USUAL_RATE))
    with av.open(memory, "w", format="mp4") as out:
        for number, each in enumerate(frames):
            image = _even(film.frame(each.image))
            if encoder is None:
                encoder = _encoder(out, image, rate, film.crf)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            out.mux(encoder.encode(frame))
        if encoder is not None:
            out.mux(encoder.encode(None))
    memory.seek(0)
    return memory


def _encoder(
    out: av.container.OutputContainer, image: Pixels, rate: float, crf: int
) -> av.VideoStream:
    options = {"crf": str(crf), "preset": "veryfast"}
    fraction = Fraction(rate).limit_denominator(1001)
    encoder = out.add_stream("libx264", rate=fraction, options=options)
    encoder.height, encoder.width, encoder.pix_fmt = image.shape[0], image.shape[1], "yuv420p"
    encoder.codec_context.thread_count = 1
    encoder.codec_context.time_base = 1 / fraction
    return encoder


def _even(image: Pixels) -> Pixels:
    """4:2:0 chroma needs sides of an even number of pixels."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return np.ascontiguousarray(image[:height, :width])


# --- the treatments ------------------------------------------------------------------------------


def _packed(image: Pixels, extension: str, *options: int) -> bytes:
    done, payload = cv2.imencode(extension, image[..., ::-1], list(options))
    if not done:
        raise OSError(f"OpenCV could not write {extension}")
    return payload.tobytes()


def _unpacked(payload: bytes) -> Pixels:
    image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise OSError("OpenCV could not read what it wrote")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def _jpeg_chain(image: Pixels) -> bytes:
    """Posted three times. Each time the picture is cropped a little, so that blocks move."""
    payload = b""
    for quality, cut in ((70, 0), (40, 3), (55, 2)):
        payload = _packed(
            image[cut:, cut:] if min(image.shape[:2]) > 64 else image,
            ".jpg",
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
        )
        image = _unpacked(payload)
    return payload


def _scaled(image: Pixels, factor: float) -> Pixels:
    size = (max(16, round(image.shape[1] * factor)), max(16, round(image.shape[0] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)


def _half(image: Pixels) -> Pixels:
    return _scaled(image, 0.5)


def _on_screen(image: Pixels) -> Pixels:
    """A telephone's screen with the picture as wide or as high as fits, between two bars."""
    width, height = SCREEN
    room = height - 2 * BAR
    shown = _scaled(image, min(width / image.shape[1], room / image.shape[0]))
    screen = np.full((height, width, 3), 18, np.uint8)
    top, left = BAR + (room - shown.shape[0]) // 2, (width - shown.shape[1]) // 2
    screen[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    screen[:BAR], screen[-BAR:] = 245, 245
    cv2.putText(screen, "12:48", (48, 84), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (30, 30, 30), 3)
    for number in range(5):
        cv2.circle(screen, (108 + 216 * number, height - BAR // 2), 26, (90, 90, 90), 4)
    return screen


def _recorded(image: Pixels) -> Pixels:
    """The screen as a recorder of 540 pixels width takes it."""
    return _scaled(_on_screen(image), 0.5)


_ALL = (
    Treatment(
        name="jpeg",
        means="JPEG of quality 70, then 40, then 55, each time cropped by 2 or 3 pixels",
        still=_jpeg_chain,
    ),
    Treatment(
        name="webp",
        means="lossy WebP of quality 50",
        still=lambda image: _packed(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
    ),
    Treatment(
        name="half",
        means="half as wide and high; stills lossless, videos H.264 at CRF 23",
        still=lambda image: _packed(_half(image), ".png"),
        film=Film(crf=23, frame=_half),
    ),
    Treatment(
        name="screenshot",
        means="shown on a telephone's screen; stills as JPEG 85, videos recorded at half size and "
        "CRF 28",
        still=lambda image: _packed(_on_screen(image), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 85),
        film=Film(crf=28, frame=_recorded),
    ),
    Treatment(name="h264", means="H.264 at CRF 38", film=Film(crf=38)),
)
#: Every treatment by name, in the order of reports.
TREATMENTS: Mapping[str, Treatment] = {each.name: each for each in _ALL}


def settings_of(treatment: Treatment) -> str:
    """What a cached result depends on, besides the code: bump when a treatment changes."""
    return f"{treatment.name}:1:{PLAN}"
