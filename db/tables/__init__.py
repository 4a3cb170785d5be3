"""All tables. Times are timestamptz, words are checked against `core.vocabulary`.

There are no relationships: a query says what it reads, and nothing is loaded on the side.
"""

from db.tables.access import ApiKey, AuditEvent, WebhookDelivery
from db.tables.base import Base
from db.tables.desk import Explanation, SignIn
from db.tables.learning import (
    Crop,
    JobPeriod,
    ModelVersion,
    Snapshot,
    SnapshotExample,
    TrainingRun,
)
from db.tables.results import FaceScore, FrameVerdict, Media, TrackScore, VerdictRow
from db.tables.reviewing import Review, ReviewLabel
from db.tables.scanning import Erasure, Item, Scan

__all__ = [
    "ApiKey",
    "AuditEvent",
    "Base",
    "Crop",
    "Erasure",
    "Explanation",
    "FaceScore",
    "FrameVerdict",
    "Item",
    "JobPeriod",
    "Media",
    "ModelVersion",
    "Review",
    "ReviewLabel",
    "Scan",
    "SignIn",
    "Snapshot",
    "SnapshotExample",
    "TrackScore",
    "TrainingRun",
    "VerdictRow",
    "WebhookDelivery",
]
