"""What happens to real and fake media alike on their way: codecs, rescaling, noise, edits.

`degrade` draws everything from the generator it is given and never looks at the picture, so that
the same seed does the same to both members of a pair: formats and resolution cannot tell the
label.
"""

from __future__ import annotations

import io

import av
import cv2
import numpy as np
import numpy.typing as npt

from training.colours import clip, sharpen

Pixels = npt.NDArray[np.uint8]

_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST,
            cv2.INTER_LANCZOS4)  # fmt: skip


def degrade(image: Pixels, rng: np.random.Generator, *, strength: float = 1.0) -> Pixels:
    """A random chain of treatments; about one picture in five (at strength 1) passes untouched.

    `strength` in 0..1 scales how often each is applied.
    """
    side = image.shape[0]
    if rng.random() > 0.8 * strength:
        return image
    result = image
    if rng.random() < 0.35:
        result = _tone(result, rng)
    if rng.random() < 0.55:
        result = rescale(result, rng)
    if rng.random() < 0.15:
        result = _blur_or_sharpen(result, rng)
    if rng.random() < 0.2:
        result = _noise(result, rng)
    result = _encode(result, rng)
    if rng.random() < 0.2:
        result = _encode(rescale(result, rng), rng)
    if result.shape[0] != side:
        result = cv2.resize(result, (side, side), interpolation=cv2.INTER_LINEAR)
    return result


def rescale(image: Pixels, rng: np.random.Generator) -> Pixels:
    """0.25 to 1 times the side by a random kernel; the picture stays small."""
    side = max(48, round(image.shape[0] * rng.uniform(0.25, 1.0)))
    kernel = _KERNELS[int(rng.choice(5, p=[0.4, 0.25, 0.2, 0.05, 0.1]))]
    return cv2.resize(image, (side, side), interpolation=kernel)


def jpeg(image: Pixels, quality: int) -> Pixels:
    """Through JPEG of this quality with 4:2:0 chroma."""
    return _through(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def webp(image: Pixels, quality: int) -> Pixels:
    """Through lossy WebP of this quality."""
    return _through(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])


def _through(image: Pixels, extension: str, options: list[int]) -> Pixels:
    _, payload = cv2.imencode(extension, image[..., ::-1], options)
    decoded = cv2.imdecode(payload, cv2.IMREAD_COLOR)
    assert decoded is not None, f"OpenCV could not read its own {extension}"
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def h264(image: Pixels, crf: int) -> Pixels:
    """Through one H.264 frame (x264, veryfast, 4:2:0) at this constant rate factor."""
    side = image.shape[0] // 2 * 2
    memory = io.BytesIO()
    options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    with av.open(memory, "w", format="h264") as out:
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        stream.codec_context.thread_count = 1
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(image[:side, :side]), format="rgb24"
        )
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    memory.seek(0)
    with av.open(memory, format="h264") as back:
        back.streams.video[0].codec_context.thread_count = 1
        decoded = next(back.decode(video=0)).to_ndarray(format="rgb24")
    if side == image.shape[0]:
        return decoded
    return cv2.resize(decoded, image.shape[:2], interpolation=cv2.INTER_LINEAR)


def _encode(image: Pixels, rng: np.random.Generator) -> Pixels:
    kind = rng.random()
    quality, crf = int(rng.integers(30, 100)), int(rng.integers(18, 38))
    if kind < 0.55:
        return jpeg(image, quality)
    if kind < 0.65:
        return webp(image, quality)
    return h264(image, crf) if kind < 0.9 else image


def _tone(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Gamma, gain, a colour cast; now and then grey."""
    gamma, gain = rng.uniform(0.75, 1.35), rng.uniform(0.8, 1.15)
    cast = rng.uniform(0.92, 1.08, 3)
    if rng.random() < 0.2:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    levels = np.linspace(0, 1, 256)[:, None] ** gamma * gain * cast
    table = np.clip(np.rint(levels * 255), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[:, None, :].reshape(1, 256, 3))


def _blur_or_sharpen(image: Pixels, rng: np.random.Generator) -> Pixels:
    amount = rng.uniform(0.3, 1.6)
    if rng.random() < 0.7:
        return cv2.GaussianBlur(image, (0, 0), amount)
    return sharpen(image, amount)


def _noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    # Drawn at the input's full size by a child generator: the number of draws would otherwise
    # depend on the size.
    child = np.random.default_rng(rng.integers(1 << 63))
    deviation = child.uniform(1.0, 7.0)
    channels = 1 if child.random() < 0.5 else 3
    noise = child.standard_normal((*image.shape[:2], channels), np.float32)
    return clip(image.astype(np.float32) + np.float32(deviation) * noise)
