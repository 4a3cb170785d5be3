"""Settings, read once at an entry point and passed in from there.

Every field can be set by an environment variable `DEEPSWEEP_<FIELD>`. Values that are secrets are
`SecretStr`, so that printing or logging the settings never shows them.
"""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_dir
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator can set. Units are in the names."""

    model_config = SettingsConfigDict(env_prefix="DEEPSWEEP_", extra="ignore", frozen=True)

    # --- services ---
    #: SQLAlchemy URL of a PostgreSQL server; None starts the embedded one under `data_dir`.
    database_url: SecretStr | None = None
    #: URL of a Redis server; None starts the embedded one under `data_dir`.
    redis_url: SecretStr | None = None
    #: Where the embedded servers, kept crops and registered models live.
    data_dir: Path = Field(default_factory=lambda: Path(user_data_dir("deepsweep")))

    # --- object storage (credentials come from boto3's own chain) ---
    #: Endpoint of an S3-compatible server; None means AWS.
    s3_endpoint_url: str | None = None
    s3_region: str | None = None
    s3_connect_timeout_s: float = Field(default=5.0, gt=0)
    s3_read_timeout_s: float = Field(default=30.0, gt=0)
    s3_attempts: int = Field(default=4, ge=1, le=20)

    # --- limits on one item ---
    max_object_bytes: int = Field(default=8 << 30, gt=0)
    #: Of one picture or video frame, width times height.
    max_pixels: int = Field(default=100_000_000, gt=0)
    decode_timeout_s: float = Field(default=120.0, gt=0)
    decode_memory_bytes: int = Field(default=4 << 30, gt=0)

    # --- faces ---
    #: Faces with a smaller side in the full frame, in pixels, are not judged.
    min_face_px: int = Field(default=32, ge=12, le=1000)
    #: MTCNN's probability that a box is a face, 0..1.
    min_face_confidence: float = Field(default=0.95, ge=0, le=1)
    #: Frames are reduced so that their longer side is at most this before faces are looked for.
    detect_side_px: int = Field(default=640, ge=120, le=4096)

    # --- batches and device ---
    #: auto | cpu | cuda | cuda:N
    device: str = "auto"
    frame_batch: int = Field(default=16, ge=1, le=1024)
    face_batch: int = Field(default=32, ge=1, le=4096)
    #: Threads that fetch and decode beside the model.
    decode_workers: int = Field(default=2, ge=1, le=128)
    #: Items fetched and decoded ahead of the model, at most.
    items_ahead: int = Field(default=8, ge=1, le=1024)

    # --- delivery ---
    #: A worker that says nothing for this long loses its items.
    lease_s: float = Field(default=900.0, gt=0)
    max_attempts: int = Field(default=3, ge=1, le=100)
