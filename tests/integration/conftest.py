"""Fixtures of the services that integration tests talk to."""

from tests.integration.api_fixtures import (
    api,
    api_keys,
    api_settings,
    client,
    hints,
    live,
    scanned,
    stranger,
)
from tests.integration.crop_fixtures import kept
from tests.integration.db_fixtures import (
    _engine,
    database,
    database_url,
    engine,
    session,
    short_folder,
)
from tests.integration.s3_fixtures import (
    aws_environment,
    blocks_of_a_mebibyte,
    bucket,
    faulty_s3,
    s3_server,
    s3_settings,
)
from tests.integration.scan_fixtures import model, model_folder, scan_settings, two_folders
from tests.integration.service_fixtures import (
    parts,
    redis_client,
    redis_folder,
    service_settings,
)

__all__ = [
    "_engine",
    "api",
    "api_keys",
    "api_settings",
    "aws_environment",
    "blocks_of_a_mebibyte",
    "bucket",
    "client",
    "database",
    "database_url",
    "engine",
    "faulty_s3",
    "hints",
    "kept",
    "live",
    "model",
    "model_folder",
    "parts",
    "redis_client",
    "redis_folder",
    "s3_server",
    "s3_settings",
    "scan_settings",
    "scanned",
    "service_settings",
    "session",
    "short_folder",
    "stranger",
    "two_folders",
]
