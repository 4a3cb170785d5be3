"""Fixtures of the services that integration tests talk to."""

from tests.integration.s3_fixtures import (
    aws_environment,
    bucket,
    faulty_s3,
    s3_server,
    s3_settings,
)

__all__ = ["aws_environment", "bucket", "faulty_s3", "s3_server", "s3_settings"]
