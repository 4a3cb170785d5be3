"""Explains one face of a judged item: where the network that judged it looked.

Asked for by a page, while a person waits; done beside the pipeline, on the CPU, with a decoder
helper of its own. The pictures go into the row that asked.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import cv2
from torch import nn

from core.errors import DatabaseBusy, DatabaseUnavailable, DeepsweepError, NoFrames
from core.objects import ObjectRef, Storage
from core.settings import Settings
from db import explanations
from db.explanations import Job
from db.session import Database
from detector import faces, views
from detector.frames import Frame, Pixels
from detector.grad_cam import grad_cam, overlay
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits
from detector.spec import Card
from worker import active_model

#: Longest side of the pictures; faces are shown as large as they are, up to this.
MAX_SIDE_PX = 640


@dataclass(kw_only=True)
class Explainer:
    """Explains faces, one at a time. Thread safe."""

    database: Database
    settings: Settings
    storage: Storage

    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    #: The network that was used last, by the row of its version.
    _loaded: tuple[int, nn.Module, Card] | None = field(default=None, init=False)

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
        image = self._frame(job).image
        spec = card.input
        margin = spec.shown[0].margin
        seen = views.first(image, job.box, spec)
        side = min(MAX_SIDE_PX, max(spec.size_px, faces.square(job.box, margin).side))
        large = faces.crop(image, job.box, margin, side)
        return large, overlay(large, grad_cam(module, seen, spec), side)

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
