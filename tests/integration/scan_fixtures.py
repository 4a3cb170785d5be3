"""A registered model with random weights, and settings that point at the tests' services."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import SecretStr

from core.settings import Settings
from db import models
from db.session import Database
from detector import architectures, artifact
from tests.unit.cards import card


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Che & Ingham's network, untrained: what it says does not matter, that it says it does."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(11)
    artifact.save(folder, architectures.build("che-cnn"), card())
    return folder


@pytest.fixture
def model(database: Database, model_folder: Path) -> str:
    """Its name in the registry."""
    written = artifact.read_card(model_folder)
    with database.transaction() as session:
        models.register(
            session,
            written.model_dump(mode="json"),
            uri=str(model_folder),
            sha256=bytes.fromhex(written.weights_sha256),
        )
    return written.reference


@pytest.fixture
def scan_settings(database_url: str, tmp_path: Path) -> Settings:
    """One decoder, small batches, the tests' database."""
    return Settings(
        database_url=SecretStr(database_url),
        data_dir=tmp_path / "data",
        device="cpu",
        decode_workers=1,
        frame_batch=4,
    )
