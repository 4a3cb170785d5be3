"""Keeping face crops: pictures to objects first, then rows in the transaction of the result.

Writing them may take longer than judging, so it goes on beside the pipeline in threads of its own;
the result of such an item is recorded there, too. A store that fails costs the crops and never the
verdict: people still see the medium, and `worker.later_crops` cuts what they are asked about again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import cv2

from core.errors import DeepsweepError
from core.vocabulary import Verdict
from db import crops, sampling
from db.crop_store import CropStore
from db.crops import NewCrop
from db.keeping import REASONS, Draw, Keeping
from db.leases import Claim
from detector.analyze import Analysis
from detector.frames import Pixels
from detector.keeping import CutFace

_log = logging.getLogger(__name__)

#: Threads that encode and write, and items that may wait for one before the pipeline waits.
THREADS, WAITING = 2, 16
#: zlib's level: above 2 it costs several times as much and saves a few percent of such pictures.
_PNG_LEVEL = 2


def is_kept(claim: Claim, verdict: Verdict, keeping: Keeping | None, draw: Draw) -> bool:
    """Whether crops of an item are kept that is judged so: the same answer each time."""
    if keeping is None or verdict not in REASONS:
        return False
    return sampling.chance(claim.scan_id, claim.item_id) < keeping.share(verdict, draw)


def encode(image: Pixels) -> bytes:
    """A picture, RGB uint8 (height, width, 3), as PNG: nothing is lost."""
    done, data = cv2.imencode(
        ".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL]
    )
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be written as PNG")
    return data.tobytes()


def write(store: CropStore, claim: Claim, analysis: Analysis) -> tuple[NewCrop, ...]:
    """Write the pictures of an item's faces; what is to be known of each.

    Raises what storage raises; nothing is left in the store then, as far as that can be done.
    """
    scores = {
        (frame.index, number): face.score
        for frame in analysis.judgement.frames
        for number, face in enumerate(frame.faces)
    }
    uris = [
        store.uri(claim.item_id, claim.attempt, face.frame_index, face.face_index)
        for face in analysis.faces
    ]
    try:
        return tuple(
            written(store, uri, face, scores[face.frame_index, face.face_index])
            for uri, face in zip(uris, analysis.faces, strict=True)
        )
    except DeepsweepError:
        forget(store, uris)
        raise


def written(store: CropStore, uri: str, face: CutFace, score: float) -> NewCrop:
    """Write one picture; its row to be."""
    data = encode(face.image)
    store.write(uri, data)
    return NewCrop(
        uri=uri,
        sha256=hashlib.sha256(data).digest(),
        width=face.image.shape[1],
        height=face.image.shape[0],
        frame_index=face.frame_index,
        face_index=face.face_index,
        pts_s=face.pts_s,
        track=face.track,
        score=score,
        box=face.box,
        landmarks=face.landmarks,
        area=(face.area.left, face.area.top, face.area.side),
    )


def copied(
    store: CropStore, claim: Claim, sources: Sequence[crops.KeptCrop]
) -> tuple[NewCrop, ...]:
    """Copy the crops of equal bytes, so that either item can be deleted without the other.

    Raises what storage raises, ObjectMissing where they are gone.
    """
    made = []
    for source in sources:
        uri = store.uri(claim.item_id, claim.attempt, source.frame_index, source.face_index)
        store.copy(source.uri, uri)
        made.append(NewCrop.of(source, uri))
    return tuple(made)


def forget(store: CropStore, uris: Sequence[str]) -> None:
    """Delete pictures that no row will name; what cannot be deleted now is swept up later."""
    try:
        store.delete(uris)
    except DeepsweepError as error:
        _log.warning("crops_left_lying", extra={"code": error.code})


class Beside:
    """Work that goes on beside the pipeline, some of it at a time."""

    def __init__(self) -> None:
        """Starts no thread before there is work."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="crops")
        self._lock = threading.Lock()
        self._waiting: set[Future[None]] = set()

    def do(self, work: Callable[[], None]) -> None:
        """Begin or queue some work; waits while too much is queued.

        Raises what earlier work has raised.
        """
        with self._lock:
            while len(self._waiting) >= THREADS + WAITING:
                wait(self._waiting, return_when=FIRST_COMPLETED)
                self._collect()
            self._waiting.add(self._pool.submit(work))
            self._collect()

    def finish(self) -> None:
        """Wait for all of it. Raises what it has raised."""
        with self._lock:
            wait(self._waiting)
            self._collect()

    def close(self) -> None:
        """Let what was begun come to its end, and drop the rest."""
        self._pool.shutdown(cancel_futures=True)

    def _collect(self) -> None:
        done = {each for each in self._waiting if each.done()}
        self._waiting -= done
        for each in done:
            each.result()
