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


@pytest.fixture(scope="module")
def two_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of a small network with other weights."""
    folders = []
    for number in (1, 2):
        folder = tmp_path_factory.mktemp("version")
        torch.manual_seed(number)
        network = architectures.build("spagnola-tuned")
        small = {"size_px": 64, "crop_margin": 0.2, "mean": (0.5,) * 3, "std": (0.5,) * 3}
        described = card(name="small", version=number, architecture="spagnola-tuned")
        described = type(described).model_validate(described.model_dump() | {"input": small})
        artifact.save(folder, network, described)
        folders.append(folder)
    return folders
