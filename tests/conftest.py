"""For all tests: the labelled media where they are at hand, and no sockets in unit tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parent.parent

# A busy machine is no fault of the code: no time limit on an example. The same examples each time,
# so that a change is what makes a test fail; other ones with --hypothesis-profile=default.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


@pytest.fixture(scope="session")
def media_root() -> Path:
    """The folder with `train`, `dev` and `robustness`; skips where it is not there."""
    root = Path(os.environ.get("DEEPSWEEP_MEDIA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "robustness" / "files.csv").exists():
        pytest.skip(f"the labelled media are not at {root}; set DEEPSWEEP_MEDIA to their folder")
    return root


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user's commands kept does not decide a test, and tests leave nothing there.

    Fonts stay where they are: matplotlib looks for them once, and that takes seconds.
    """
    kept = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR")}
    user = Path(kept["XDG_CACHE_HOME"] or Path.home() / ".cache")
    os.environ["MPLCONFIGDIR"] = kept["MPLCONFIGDIR"] or str(user / "matplotlib")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands that run inside a test set up logging for a whole process; undo that."""
    root = logging.getLogger()
    level, disabled = root.level, root.manager.disable
    yield
    root.setLevel(level)
    logging.disable(disabled)


@pytest.fixture(autouse=True)
def _no_sockets_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if "unit" not in request.path.relative_to(REPOSITORY).parts:
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
