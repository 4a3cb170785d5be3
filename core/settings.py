"""Settings, read once at an entry point and passed in from there.

Every field can be set by an environment variable `DEEPSWEEP_<FIELD>`. Values that are secrets are
`SecretStr`, so that printing or logging the settings never shows them.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_data_dir
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.vocabulary import EngineChoice


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
    #: Of a remote object that is being read, so much is kept in a nameless file under `data_dir`,
    #: so that none of it is fetched twice; 0 for none.
    spool_bytes: int = Field(default=1 << 30, ge=0)
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
    #: auto | torch | openvino | exact
    engine: EngineChoice = EngineChoice.AUTO
    frame_batch: int = Field(default=16, ge=1, le=1024)
    face_batch: int = Field(default=32, ge=1, le=4096)
    #: Threads that fetch, waiting for the storage most of their time.
    fetch_workers: int = Field(default=8, ge=1, le=256)
    #: Helper processes that decode beside the model.
    decode_workers: int = Field(default=2, ge=1, le=128)
    #: Items claimed at a time; more where a worker is quick.
    items_ahead: int = Field(default=8, ge=1, le=1024)

    # --- kept face crops ---
    #: Folder or `s3://bucket/prefix/` that they go to; None: `crops` under `data_dir`.
    crops_uri: str | None = None
    #: Of one item, at most, where its scan does not say otherwise; 0 keeps none at all.
    keep_faces: int = Field(default=8, ge=0, le=1000)
    #: Days until the crops of an item are deleted, by its verdict; `audit` is of the random sample
    #: of real ones, and of what users reported.
    keep_days_fake: int = Field(default=90, ge=1, le=36_500)
    keep_days_uncertain: int = Field(default=90, ge=1, le=36_500)
    keep_days_audit: int = Field(default=180, ge=1, le=36_500)
    #: The same for crops that a snapshot for training holds, where this is longer.
    keep_days_snapshot: int = Field(default=730, ge=1, le=36_500)

    # --- delivery ---
    #: A worker that says nothing for this long loses its items; it speaks three times as often.
    lease_s: float = Field(default=120.0, gt=0)
    max_attempts: int = Field(default=3, ge=1, le=100)
    #: How long a worker that is asked to stop may go on with what is in hand; the rest it gives
    #: back. Less than what the system waits before it kills (30 s in Kubernetes, 10 s in Docker).
    stop_s: float = Field(default=25.0, ge=0)
    #: A worker that has items and ends none for this long says that it is not well.
    stall_s: float = Field(default=900.0, gt=0)
    #: Where a worker tells its health and figures over HTTP; 0 for nowhere.
    worker_host: str = "127.0.0.1"
    worker_port: int = Field(default=0, ge=0, le=65_535)

    # --- HTTP ---
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65_535)
    #: Processes of the API that are asked by turns: each gives out its share of a key's rate.
    api_processes: int = Field(default=1, ge=1, le=1024)
    #: Of a request's body, uploads excepted.
    max_body_bytes: int = Field(default=8 << 20, gt=0)
    max_upload_bytes: int = Field(default=256 << 20, gt=0)
    #: Folder or `s3://bucket/prefix/` that uploads go to; None: `uploads` under `data_dir`.
    upload_uri: str | None = None
    #: Uploads, and what was made of them, are deleted after so many days; 0 for never.
    upload_days: float = Field(default=30.0, ge=0, le=36_500)
    #: What links to media and callbacks are signed with, the same for every process of a
    #: deployment; None: drawn once and kept under `data_dir`.
    signing_secret: SecretStr | None = None
    #: What Prometheus shows as its bearer token; None: only keys with the scope `admin` may look.
    metrics_token: SecretStr | None = None

    # --- retraining ---
    #: When to retrain, as cron says it in UTC, e.g. "0 3 * * sun"; None for when asked only.
    retrain_cron: str | None = None
    #: Name of a recipe of `training/recipes`, or a path; its network is replaced by the champion's.
    retrain_recipe: str = "retrain"
    #: Snapshots that are replayed beside what the champion itself was retrained on.
    retrain_replay: tuple[str, ...] = ()
    #: Snapshots on which nothing may get worse, each with how much of a figure may be lost,
    #: 0..1, e.g. {"press": 0.02}.
    golden_sets: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    #: Whether a challenger that passes the gate is promoted at once, or by a person.
    retrain_promote: bool = False
    #: Folder or `s3://bucket/prefix/` that new model versions go to, which every worker reaches;
    #: None: `models` under `data_dir`.
    retrain_store: str | None = None
    #: Labelled persons that are new since the last training, of both kinds and of each.
    retrain_min_labels: int = Field(default=40, ge=2)
    retrain_min_each: int = Field(default=10, ge=1)
    #: Share of live items that a challenger made by retraining judges beside the champion.
    shadow_share: float = Field(default=0.05, ge=0, le=1)

    # --- callbacks ---
    #: Networks that are not public and may be called back nevertheless, e.g. ["10.0.0.0/8"].
    callback_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    #: Whether callbacks may go without encryption.
    callback_http: bool = False
    callback_timeout_s: float = Field(default=10.0, gt=0)
    callback_attempts: int = Field(default=12, ge=1, le=100)

    def of_results(self) -> dict[str, Any]:
        """The settings that change results: where they are equal, a verdict may be shared."""
        return {
            "min_face_px": self.min_face_px,
            "min_face_confidence": self.min_face_confidence,
            "detect_side_px": self.detect_side_px,
            "max_pixels": self.max_pixels,
        }
