"""Where the command line keeps what can be made again."""

from __future__ import annotations

from pathlib import Path


def found_faces() -> Path:
    """Faces that were found in labelled media, for judging further models."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("deepsweep")) / "found"
