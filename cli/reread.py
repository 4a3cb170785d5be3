"""Reading a scanned object again, for the pictures of the report."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from cli.documents import Document
from cli.text import size
from core.errors import ObjectChanged
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import SamplingPlan
from detector.frames import Frame
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits


class Rereader:
    """Gives the sampled frames of an item again, decoded in a helper process.

        with Rereader(settings, plan) as read:
            for frame in read(document):
                ...

    Raises what storage and decoders raise, and ObjectChanged when the object has another size
    than the one that was judged.
    """

    def __init__(self, settings: Settings, plan: SamplingPlan) -> None:
        self._storage = Storage(settings)
        self._plan = plan.at_once
        self._limits = Limits(max_pixels=settings.max_pixels)
        self._pool = DecodePool(
            1,
            IsolationLimits(
                memory_bytes=settings.decode_memory_bytes,
                cpu_s=settings.decode_timeout_s,
                wall_s=settings.decode_timeout_s,
            ),
        )

    def __enter__(self) -> Rereader:
        self._pool.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def __call__(self, document: Document) -> Iterator[Frame]:
        """The frames, in time order."""
        ref = self._storage.stat(document["uri"])
        judged = (document["media"] or {}).get("bytes")
        if judged is not None and ref.size != judged:
            raise ObjectChanged(
                f"The object has {size(ref.size)} now and had {size(judged)} when it was judged."
            )
        with self._storage.open(ref) as file:
            for part in self._pool.decode(file, self._plan, self._limits):
                if isinstance(part, Frame):
                    yield part
