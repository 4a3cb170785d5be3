"""What deploy/ and docs/operations.md name exists: commands, options, variables, ports, metrics."""

from __future__ import annotations

import contextlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import click
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import deepsweep
from api import scans
from api.metrics import Metrics
from core.errors import DatabaseUnavailable
from core.queue import Queues
from core.settings import Settings
from core.vocabulary import ItemStatus, Priority, ScanState, Verdict
from db import gauges
from worker.health import Health
from worker.meters import Meters

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
#: Read by the code outside the settings.
OTHER_VARIABLES = {"DEEPSWEEP_LOG_LEVEL", "DEEPSWEEP_DEBUG", "DEEPSWEEP_MEDIA"}
VARIABLES = {f"DEEPSWEEP_{field.upper()}" for field in Settings.model_fields} | OTHER_VARIABLES


def _load(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def _items(path: str, kind: str) -> dict[str, dict[str, Any]]:
    found = _load(path)["items"]
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


MANIFEST = "kubernetes/deepsweep.yaml"
DEPLOYMENTS = _items(MANIFEST, "Deployment")
JOBS = _items(MANIFEST, "Job")
SCALED = _items("kubernetes/autoscaling.yaml", "ScaledObject")
CONFIG: dict[str, str] = _items(MANIFEST, "ConfigMap")["deepsweep"]["data"]
ALERTS = {
    rule["alert"]: rule
    for group in _load("prometheus/alerts.yaml")["groups"]
    for rule in group["rules"]
}


def _pod(workload: dict[str, Any]) -> dict[str, Any]:
    return workload["spec"]["template"]["spec"]


def _container(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = _pod(workload)["containers"]
    return container


WORKLOADS = DEPLOYMENTS | JOBS
CONTAINERS = {name: _container(each) for name, each in WORKLOADS.items()}
WORKERS = {name: each for name, each in DEPLOYMENTS.items() if CONTAINERS[name]["name"] == "worker"}


def _parse(words: list[str]) -> dict[str, Any]:
    """The values of a command line of ours; click raises for what it does not take."""
    command: click.Command = deepsweep.cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return command.make_context(command.name, list(words)).params


# --- Kubernetes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_container_runs_one_of_our_commands(name: str) -> None:
    _parse(CONTAINERS[name]["args"])


def test_every_queue_of_the_service_has_workers() -> None:
    served = {
        queue
        for name in WORKERS
        for queue in str(_parse(CONTAINERS[name]["args"])["queues"]).split(",")
    }
    assert served == {str(queue) for queue in Queues}


@pytest.mark.parametrize("name", WORKLOADS)
def test_variables_are_settings_with_values_that_they_take(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {each["name"]: each["value"] for each in CONTAINERS[name].get("env", ())}
    assert set(CONFIG | own) <= VARIABLES
    for variable, value in (CONFIG | own).items():
        monkeypatch.setenv(variable, value)
    Settings()


def test_no_secret_stands_in_the_manifests() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|DATABASE_URL|REDIS_URL")
    assert not [name for name in CONFIG if secret.search(name)]
    for container in CONTAINERS.values():
        assert {"secretRef": {"name": "deepsweep"}} in container["envFrom"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_selects_its_own_pods_and_no_others(name: str) -> None:
    spec = DEPLOYMENTS[name]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    same = [
        other for other, each in DEPLOYMENTS.items() if each["spec"]["selector"] == spec["selector"]
    ]
    assert same == [name]


def test_probes_ask_where_the_parts_answer() -> None:
    ports = {
        "api": (int(CONFIG["DEEPSWEEP_API_PORT"]), ROOT / "api" / "health.py"),
        "worker": (int(CONFIG["DEEPSWEEP_WORKER_PORT"]), ROOT / "worker" / "health.py"),
    }
    probed = 0
    for container in CONTAINERS.values():
        for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
            if kind in container:
                port, source = ports[container["name"]]
                asked = container[kind]["httpGet"]
                named = {each["name"]: each["containerPort"] for each in container["ports"]}
                assert named[asked["port"]] == port
                assert f'"{asked["path"]}"' in source.read_text()
                probed += 1
    assert probed > 5


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_given_the_time_to_hand_its_items_back(name: str) -> None:
    assert _pod(WORKERS[name])["terminationGracePeriodSeconds"] > Settings().stop_s + 5


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_may_use_the_memory_of_its_helpers(name: str) -> None:
    container = CONTAINERS[name]
    if "scan" not in container["args"][2]:
        return  # it decodes nothing
    own = {each["name"]: each["value"] for each in container.get("env", ())}
    helpers = int(own.get("DEEPSWEEP_DECODE_WORKERS", Settings().decode_workers))
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) << 30
    assert limit > helpers * Settings().decode_memory_bytes


@pytest.mark.parametrize("name", WORKLOADS)
def test_nothing_runs_with_rights_that_it_does_not_need(name: str) -> None:
    assert _pod(WORKLOADS[name])["securityContext"]["runAsNonRoot"] is True
    assert _pod(WORKLOADS[name])["automountServiceAccountToken"] is False
    assert CONTAINERS[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (
        f"--gid {_pod(WORKLOADS[name])['securityContext']['runAsUser']}"
        in (ROOT / "Dockerfile").read_text()
    )


def test_rates_of_keys_are_shared_by_as_many_processes_as_there_are() -> None:
    replicas = DEPLOYMENTS["deepsweep-api"]["spec"]["replicas"]
    assert int(CONFIG["DEEPSWEEP_API_PROCESSES"]) == replicas


@pytest.mark.parametrize("name", SCALED)
def test_what_is_scaled_exists_and_has_no_number_of_its_own(name: str) -> None:
    spec = SCALED[name]["spec"]
    target = DEPLOYMENTS[spec["scaleTargetRef"]["name"]]
    # A number in the manifest would undo what the autoscaler did, at each apply.
    assert "replicas" not in target["spec"]
    assert spec["minReplicaCount"] < spec["maxReplicaCount"]


@pytest.mark.parametrize("name", SCALED)
def test_workers_are_scaled_by_the_age_of_their_queue(name: str) -> None:
    (trigger,) = SCALED[name]["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "Value")
    _check_expression(trigger["metadata"]["query"])
    (priority,) = re.findall(r'priority="(\w+)"', trigger["metadata"]["query"])
    target = SCALED[name]["spec"]["scaleTargetRef"]["name"]
    assert f"scan-{Priority(priority)}" in CONTAINERS[target]["args"][2]


# --- metrics --------------------------------------------------------------------------------------

_SELECTOR = re.compile(r"\b(deepsweep_\w+)(?:\{([^}]*)\})?")


def _check_expression(expression: str) -> None:
    """Every metric in it exists, and has the labels that it is selected by."""
    selectors = _SELECTOR.findall(expression)
    assert selectors, expression
    for metric, matchers in selectors:
        assert metric in known_metrics(), f"{metric} is told by nobody"
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            assert label in known_metrics()[metric], f"{metric} has no label {label}"


@cache
def known_metrics() -> dict[str, set[str]]:
    """What the API tells, of itself and of workers, with labels: asked of itself."""
    told: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(_told()):
        for sample in family.samples:
            told.setdefault(sample.name, set()).update(sample.labels)
    return told


def _told() -> str:
    metrics = Metrics(_Database(), _Pulses())  # type: ignore[arg-type]
    metrics.observe("POST", "/v1/scans", 202, 0.1)
    return metrics.text().decode()


class _Database:
    """Somebody else reads the gauges."""

    def transaction(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()


class _Pulses:
    """One worker, which scans."""

    def all(self) -> dict[str, str]:
        meters = Meters()
        pipeline, consumer = MagicMock(claims=None), MagicMock(stalled=False)
        pipeline.engines.resting.return_value = []
        pipeline.idle_or_moving_since.return_value = 0.0
        Health(Settings(), pipeline=pipeline, consumer=consumer, meters=meters)
        return {"machine/1/abc": meters.text()}


_GAUGES = gauges.Gauges(
    waiting={
        each: gauges.Waiting(items=3, retries=1, suspects=1, oldest_s=4.0) for each in Priority
    },
    items=dict.fromkeys(ItemStatus, 3),
    scans=dict.fromkeys(ScanState, 1),
    oldest_expanding_s=1.0,
    overdue_leases=0,
    verdicts={("test@1", Verdict.FAKE): 3},
    stages={"decode": gauges.Stage(mean_ms=1.0, p95_ms=2.0)},
    callbacks_waiting=1,
    oldest_callback_s=2.0,
)


@pytest.fixture(autouse=True)
def _gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "read", lambda _: _GAUGES)


def test_the_metrics_are_known_with_their_labels() -> None:
    assert known_metrics()["deepsweep_queue_oldest_seconds"] == {"priority"}
    assert known_metrics()["deepsweep_http_requests_total"] == {"method", "route", "status"}
    assert known_metrics()["deepsweep_worker_items_held"] == {"worker"}
    assert "deepsweep_up" in known_metrics()


def test_a_database_that_is_away_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(gauges, "read", away)
    assert "deepsweep_up 0.0" in _told()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_asks_only_for_what_is_told(name: str) -> None:
    _check_expression(ALERTS[name]["expr"])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_a_misspelled_metric_is_noticed() -> None:
    with pytest.raises(AssertionError, match="told by nobody"):
        _check_expression("deepsweep_queue_oldest > 1")
    with pytest.raises(AssertionError, match="no label"):
        _check_expression('deepsweep_up{priority="bulk"} > 1')


def test_routes_in_alerts_are_routes_of_the_api() -> None:
    paths = {getattr(route, "path", "") for route in scans.router.routes}
    named = {
        each for rule in ALERTS.values() for each in re.findall(r'route="([^"]+)"', rule["expr"])
    }
    assert named
    assert named <= paths


def test_prometheus_finds_the_pods_that_tell_everything() -> None:
    (job,) = _load("prometheus/scrape.yaml")["scrape_configs"]
    (kept,) = [each for each in job["relabel_configs"] if each.get("action") == "keep"]
    found = {
        name
        for name, each in DEPLOYMENTS.items()
        if re.fullmatch(kept["regex"], _words(each["spec"]["template"]["metadata"]["labels"]))
    }
    assert found == {"deepsweep-api"}
    assert f'"{job["metrics_path"]}"' in (ROOT / "api" / "metrics.py").read_text()


def _words(labels: dict[str, str]) -> str:
    return ";".join(labels[f"app.kubernetes.io/{word}"] for word in ("name", "component"))


# --- the page -------------------------------------------------------------------------------------


def test_the_page_names_variables_that_exist() -> None:
    named = set(re.findall(r"DEEPSWEEP_[A-Z0-9_]+", OPERATIONS))
    assert len(named) > 10
    assert named <= VARIABLES


def test_the_page_names_commands_that_exist() -> None:
    # In code: a line of a block, or between backticks; placeholders and comments are left out.
    lines = re.findall(r"^ {4}(?:[A-Z_]+=\S+ )*deepsweep (.+)$", OPERATIONS, re.MULTILINE)
    lines += re.findall(r"`deepsweep ([^`]+)`", OPERATIONS)
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line.split("  #")[0].split(" > ")[0])
        command: click.Command = deepsweep.cli
        while words and isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, line
            command = found
        options = {name for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_the_page_names_files_metrics_and_alerts_that_exist() -> None:
    files = set(
        re.findall(r"\b(?:deploy|docs|core|db|worker|tests|benchmarks)/[\w./-]*\w", OPERATIONS)
    )
    assert len(files) > 5
    assert [each for each in files if not (ROOT / each).exists()] == []
    for metric in set(re.findall(r"\bdeepsweep_\w+", OPERATIONS)):
        assert metric in known_metrics(), metric
    assert set(re.findall(r"\bDeepsweep[A-Z]\w+", OPERATIONS)) == set(ALERTS)
