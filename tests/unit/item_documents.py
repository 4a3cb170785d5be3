"""Documents of items, as `--json` writes them, for tests of what a person sees."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def face(score: float, *, track: int = 0, box: tuple[float, ...] = (10, 20, 50, 60)) -> Document:
    return {"box": list(box), "score": score, "confidence": 0.999, "track": track}


def frame(*faces: Document, index: int = 0, pts_s: float = 0.0) -> Document:
    highest = max((each["score"] for each in faces), default=None)
    return {"index": index, "pts_s": pts_s, "score": highest, "faces": list(faces)}


def image(uri: str = "file:///media/portrait.jpg", score: float = 0.97, **changes: Any) -> Document:
    whole: Document = {
        "id": 1,
        "scan_id": "0b3b5a3e-6f0f-4a6e-8f43-0d8f6a4f7e11",
        "uri": uri,
        "status": "done",
        "verdict": "fake",
        "score": score,
        "model": "test@1",
        "reason": f"highest of 1 person: track 0 over 1 frame scores {score:.2f}",
        "shared": False,
        "media": {
            "kind": "image",
            "format": "jpeg",
            "width": 200,
            "height": 100,
            "duration_s": None,
            "bytes": 12_345,
            "sha256": "ab" * 32,
        },
        "frames": [frame(face(score))],
        "tracks": [{"track": 0, "score": score, "frames": 1}],
        "error": None,
        "timings_ms": {"fetch": 1.0, "decode": 2.0, "detect": 30.0, "score": 4.0},
    }
    return {**whole, **changes}


def video(uri: str = "s3://bucket/clip.mp4", **changes: Any) -> Document:
    """Two people over four frames; the second is missing in the third frame."""
    frames = [
        frame(face(0.9, track=0), face(0.1, track=1), index=0, pts_s=0.5),
        frame(face(0.95, track=0), face(0.2, track=1), index=25, pts_s=1.5),
        frame(face(0.92, track=0), index=50, pts_s=2.5),
        frame(face(0.96, track=0), face(0.15, track=1), index=75, pts_s=3.5),
    ]
    media = {**image()["media"], "kind": "video", "format": "mp4", "duration_s": 4.0}
    tracks = [{"track": 0, "score": 0.93, "frames": 4}, {"track": 1, "score": 0.15, "frames": 3}]
    return image(uri, 0.93, **{"media": media, "frames": frames, "tracks": tracks, **changes})


def judged(verdict: str, score: float, **changes: Any) -> Document:
    return image(score=score, **{"verdict": verdict, **changes})


def no_face(**changes: Any) -> Document:
    none = {"verdict": "no_face", "score": None, "frames": [frame()], "tracks": []}
    return {**image(), **none, "reason": "no usable face in 1 frame", **changes}


def failed(code: str = "truncated", **changes: Any) -> Document:
    none = {"verdict": None, "score": None, "media": None, "frames": [], "tracks": []}
    error = {"code": code, "message": "The file ends before its picture does."}
    return {**image(), **none, "status": "failed", "reason": None, "error": error, **changes}
