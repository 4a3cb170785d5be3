"""Explains one face of a judged item: where the network that judged it looked.

Asked for by a page, while a person waits: so it has a lane of its own, a thread beside the pipeline
and the messages, on the CPU. A face that was kept is explained by its crop; else its frame is
decoded again, by a helper of its own. The pictures go into the row that asked.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from types import TracebackType

import cv2
import numpy as np
from torch import nn

from core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    DeepsweepError,
    NoFrames,
    ObjectChanged,
    ObjectMissing,
)
from core.objects import ObjectRef, Storage
from core.settings import Settings
from db import crops, explanations
from db.crops import Box, KeptCrop
from db.explanations import Job
from db.session import Database
from detector import faces, views
from detector.frames import Frame, Pixels
from detector.grad_cam import grad_cam, overlay
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits
from detector.spec import Card
from worker import active_model

_log = logging.getLogger(__name__)

#: A lane without messages looks for what they should have told of this often, and takes what
#: nobody has begun for so long: its message was lost, or its worker is busy.
LOOK_S = 2.0
LEFT_S = 5.0
_BROKE = "This face could not be explained; the worker's log says why."
#: Longest side of the pictures; faces are shown as large as they are, up to this.
MAX_SIDE_PX = 640


class Lane:
    """While the block lasts, a thread explains what is asked for; it holds up nothing else."""

    def __init__(self, explainer: Explainer, *, look_s: float = LOOK_S) -> None:
        """Begins with the block."""
        self._explainer = explainer
        self._look_s = look_s
        self._lock = threading.Lock()
        #: Told by messages, the last one first.
        self._told: list[int] = []
        self._something = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="explaining", daemon=True)

    def explain(self, explanation_id: int) -> None:
        """Have it explained; returns at once."""
        with self._lock:
            self._told.insert(0, explanation_id)
        self._something.set()

    def __enter__(self) -> Lane:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A daemon: the process does not wait for what is in hand, somebody asks again.
        self._over = True
        self._something.set()

    def _work(self) -> None:
        while not self._over:
            try:
                found = self._next()
                if found is not None:
                    self._explain(found)
                    continue
            except (DatabaseBusy, DatabaseUnavailable) as error:
                _log.warning("explaining_put_off", extra={"code": error.code})
            self._something.wait(self._look_s)
            self._something.clear()

    def _explain(self, explanation_id: int) -> None:
        try:
            self._explainer.explain(explanation_id)
        except (DatabaseBusy, DatabaseUnavailable):
            raise
        except Exception:  # noqa: BLE001 - the lane's border: one face must not end it for all
            _log.exception("explaining_broke", extra={"explanation_id": explanation_id})
            self._explainer.give_up(explanation_id)

    def _next(self) -> int | None:
        with self._lock:
            if self._told:
                return self._told.pop(0)
        left = self._explainer.left()
        return left[0] if left else None


@dataclass(kw_only=True)
class Explainer:
    """Explains faces, one at a time. Thread safe."""

    database: Database
    settings: Settings
    storage: Storage

    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    #: The network that was used last, by the row of its version.
    _loaded: tuple[int, nn.Module, Card] | None = field(default=None, init=False)

    def left(self) -> list[int]:
        """What is wanted and nobody has begun; the last one first."""
        with self.database.transaction() as session:
            return explanations.waiting(session, since_s=LEFT_S)

    def give_up(self, explanation_id: int) -> None:
        """Say that something broke. Raises the errors of the database."""
        with self.database.transaction() as session:
            explanations.fail(session, explanation_id, code="internal_error", message=_BROKE)

    def explain(self, explanation_id: int) -> None:
        """Make the pictures, or say why there are none; nothing where nobody waits any more.

        Raises the errors of the database; the page asks again.
        """
        with self._lock:
            try:
                with self.database.transaction() as session:
                    job = explanations.job(session, explanation_id)
                if job is None:
                    return
                crop, heat = (_png(picture) for picture in self._pictures(job))
            except (DatabaseBusy, DatabaseUnavailable):
                raise  # nothing can be written either
            except DeepsweepError as error:
                self._fail(explanation_id, error)
                return
        with self.database.transaction() as session:
            explanations.finish(session, explanation_id, crop=crop, heat=heat)

    def _fail(self, explanation_id: int, error: DeepsweepError) -> None:
        with self.database.transaction() as session:
            explanations.fail(session, explanation_id, code=error.code, message=str(error))

    def _pictures(self, job: Job) -> tuple[Pixels, Pixels]:
        """The face as large as it is, and the same under what speaks for fake in its first view."""
        module, card = self._network(job.model_version_id)
        image, box = self._kept(job.kept) or (self._frame(job).image, job.box)
        spec = card.input
        margin = spec.shown[0].margin
        seen = views.first(image, box, spec)
        side = min(MAX_SIDE_PX, max(spec.size_px, faces.square(box, margin).side))
        large = faces.crop(image, box, margin, side)
        return large, overlay(large, grad_cam(module, seen, spec), side)

    def _kept(self, crop: KeptCrop | None) -> tuple[Pixels, Box] | None:
        """The picture of a kept crop and the face's box in it; None where it cannot be had."""
        if crop is None:
            return None
        try:
            data = crops.read(self.storage, crop)
        except (ObjectMissing, ObjectChanged):
            return None  # deleted or replaced meanwhile: the medium has it, too
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            return None
        return np.ascontiguousarray(picture[..., ::-1], dtype=np.uint8), crop.box

    def _network(self, version_id: int) -> tuple[nn.Module, Card]:
        if self._loaded is None or self._loaded[0] != version_id:
            self._loaded = None  # two networks need not fit into memory
            module, card = active_model.network(self.database, self.settings, version_id)
            self._loaded = version_id, module, card
        return self._loaded[1:]

    def _frame(self, job: Job) -> Frame:
        """The frame, decoded as it was for the verdict. Raises what storage and decoders raise."""
        settings = self.settings
        ref = ObjectRef(uri=job.uri, version=job.version, etag=job.etag, size=job.size)
        limits = IsolationLimits(
            memory_bytes=settings.decode_memory_bytes,
            cpu_s=settings.decode_timeout_s,
            wall_s=settings.decode_timeout_s,
        )
        with DecodePool(1, limits) as pool, self.storage.open(ref) as file:
            decoded = pool.decode(file, job.plan, Limits(max_pixels=settings.max_pixels))
            for each in decoded:
                if isinstance(each, Frame) and each.index == job.frame_index:
                    decoded.close()
                    return each
        raise NoFrames("The frame with this face is not found any more.")


def _png(picture: Pixels) -> bytes:
    done, encoded = cv2.imencode(".png", picture[..., ::-1])
    assert done
    return encoded.tobytes()
