"""The smallest network there is, untrained: drills and benchmarks are not about what it says."""

from __future__ import annotations

from pathlib import Path

import torch

from db import models
from db.session import Database
from detector import architectures, artifact
from detector.score import Scorer
from detector.spec import Card
from tests.unit.cards import card

_ARCHITECTURE = "spagnola-baseline"
_SIDE_PX = 64


def scorer() -> Scorer:
    """It, ready to score on the processor."""
    return Scorer(_module(), _card())


def register(database: Database, folder: Path) -> None:
    """Save it under `folder` and make it known as `test@1`."""
    artifact.save(folder / "model", _module(), _card())
    written = artifact.read_card(folder / "model")
    with database.transaction() as session:
        models.register(
            session,
            written.model_dump(mode="json"),
            uri=str(folder / "model"),
            sha256=bytes.fromhex(written.weights_sha256),
        )


def _module() -> torch.nn.Module:
    torch.manual_seed(11)
    return architectures.build(_ARCHITECTURE)


def _card() -> Card:
    small = card(architecture=_ARCHITECTURE, parameters=8657)
    return small.model_copy(update={"input": small.input.model_copy(update={"size_px": _SIDE_PX})})
