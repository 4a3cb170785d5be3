"""Fixtures of the drill."""

from tests.integration.db_fixtures import short_folder

__all__ = ["short_folder"]
