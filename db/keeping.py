"""What a scan draws for review and keeps of faces: the figures, and where they stand in its row.

Draw and keeping are decided by the same number of chance (`db.sampling.chance`). So whatever a
person is asked to look at is kept as well, and what is kept of real items is exactly their audit
sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import UsageError
from core.settings import Settings
from core.vocabulary import CropReason, Verdict

#: Why the crops of an item are kept, by its verdict.
REASONS: Mapping[Verdict, CropReason] = {
    Verdict.FAKE: CropReason.FAKE,
    Verdict.UNCERTAIN: CropReason.UNCERTAIN,
    Verdict.REAL: CropReason.AUDIT,
}


@dataclass(frozen=True, kw_only=True)
class Draw:
    """With which probability an item is drawn for review, by its verdict; each 0..1.

    `no_face` is never drawn: the estimated rates are those of items with a judged face.
    """

    #: `scan.audit_probability`.
    real: float = 0.0
    #: None: as `real`, so that one figure of a scan audits both kinds of error.
    fake: float | None = None
    #: The model passed these on to a person.
    uncertain: float = 1.0

    def __post_init__(self) -> None:
        _check(self.real, self.fake or 0.0, self.uncertain)

    def of(self, verdict: Verdict) -> float:
        """The probability of an item that was judged so."""
        fake = self.real if self.fake is None else self.fake
        by_verdict = {Verdict.REAL: self.real, Verdict.FAKE: fake}
        return (by_verdict | {Verdict.UNCERTAIN: self.uncertain}).get(verdict, 0.0)


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Of which items face crops are kept, how many and how long."""

    #: Of one item, at most.
    faces: int
    #: Share of the items judged so that is kept, 0..1. Of `real` ones it is the audit sample, and
    #: of all of them whatever is drawn for review.
    fake: float = 1.0
    uncertain: float = 1.0
    #: Days until they are deleted.
    days_fake: int = 90
    days_uncertain: int = 90
    days_audit: int = 180

    def __post_init__(self) -> None:
        _check(self.fake, self.uncertain)
        if self.faces < 1 or min(self.days_fake, self.days_uncertain, self.days_audit) < 1:
            raise UsageError("What is kept is at least one face of an item, for at least one day.")

    @classmethod
    def usual(cls, settings: Settings) -> Keeping | None:
        """What the settings say; None where they say that nothing is kept."""
        if not settings.keep_faces:
            return None
        return cls(
            faces=settings.keep_faces,
            days_fake=settings.keep_days_fake,
            days_uncertain=settings.keep_days_uncertain,
            days_audit=settings.keep_days_audit,
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Keeping | None:
        """As `document` wrote it; None for a scan that keeps nothing."""
        return cls(**document) if document else None

    def document(self) -> dict[str, Any]:
        """As `scan.keep` has it."""
        return asdict(self)

    def share(self, verdict: Verdict, draw: Draw) -> float:
        """With which probability the crops of an item judged so are kept, 0..1."""
        asked = {Verdict.FAKE: self.fake, Verdict.UNCERTAIN: self.uncertain}
        return max(asked.get(verdict, 0.0), draw.of(verdict))

    def days(self, reason: CropReason) -> int:
        """How long crops that were kept for this reason stay; reported ones as audited ones."""
        days = {CropReason.FAKE: self.days_fake, CropReason.UNCERTAIN: self.days_uncertain}
        return days.get(reason, self.days_audit)


def _check(*probabilities: float) -> None:
    if not all(0 <= each <= 1 for each in probabilities):
        raise UsageError("A probability of being drawn or kept lies between 0 and 1.")
