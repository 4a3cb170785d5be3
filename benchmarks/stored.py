"""A film in an S3 server on this machine, and what is fetched of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import SamplingPlan
from detector.frames import Frame
from detector.isolation import DecodePool
from detector.media import Limits
from tests.drill.storage import BUCKET, serving
from tests.integration.s3_fixtures import ENVIRONMENT

#: A pool and a plan -> bytes fetched and frames decoded.
Fetched = Callable[[DecodePool, SamplingPlan], tuple[int, int]]


@contextmanager
def in_s3(path: Path) -> Iterator[Fetched]:
    """Serve the file by HTTP, and fetch of it what a plan needs."""
    os.environ.update(ENVIRONMENT)
    with serving({path.name: path.read_bytes()}) as server:
        storage = Storage(Settings(s3_endpoint_url=server.endpoint_url))

        def fetched(pool: DecodePool, plan: SamplingPlan) -> tuple[int, int]:
            with storage.open(storage.stat(f"s3://{BUCKET}/{path.name}")) as file:
                parts = list(pool.decode(file, plan, Limits()))
                return file.bytes_read, sum(isinstance(part, Frame) for part in parts)

        yield fetched
