"""The command itself: what it imports, what it says of itself, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import deepsweep
from cli.lazy import LazyCommand, LazyGroup
from core.errors import BadSamplingPlan, DeepsweepError, ObjectMissing
from detector.architectures import architectures, table

ROOT = Path(deepsweep.__file__).parent


def run(*arguments: str) -> Result:
    return CliRunner().invoke(deepsweep.cli, list(arguments))


def failing(error: BaseException) -> LazyGroup:
    """A group whose one command raises."""

    def fail() -> None:
        raise error

    group = LazyGroup(lazy={}, name="deepsweep")
    group.add_command(click.Command("fail", callback=fail))
    return group


def test_help_imports_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys, deepsweep\n"
        "try: deepsweep.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'av', 'sqlalchemy', 'cv2', 'numpy', 'rich', 'boto3'}\n"
        "sys.exit(f'{heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)\n"
    )
    command = [sys.executable, "-c", program, "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Examples:" in ended.stdout


def test_help_of_the_group_lists_every_command_with_its_own_first_sentence() -> None:
    text = " ".join(run("--help").output.split())
    for name, entry in deepsweep.COMMANDS.items():
        assert f"{name} " in text
        assert entry.help in text


@pytest.mark.parametrize(
    "name",
    ["scan", "show", "scans", "demo", "models", "architectures", "db", "data", "search", "study"],
)
def test_the_listed_sentence_is_the_one_that_the_command_says_of_itself(name: str) -> None:
    entry = deepsweep.COMMANDS[name]
    assert (entry.load().help or "").startswith(entry.help)


@pytest.mark.parametrize(
    "name", ["scan", "show", "scans", "demo", "architectures", "train", "search"]
)
def test_help_of_a_command_has_examples(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"deepsweep {name}" in result.output


def commands(
    command: click.Command = deepsweep.cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, (*path, name))


def test_every_command_has_help_and_every_option_says_what_it_is_for() -> None:
    for path, command in commands():
        assert run(*path, "--help").exit_code == 0
        options = [each for each in command.params if isinstance(each, click.Option)]
        silent = [each.name for each in options if not each.help and not each.hidden]
        assert (path, silent) == (path, [])


def test_help_of_scan_states_its_exit_statuses() -> None:
    text = " ".join(run("scan", "--help").output.split())
    assert "0 every item has a verdict, 1 some items failed, 2 wrong usage, 130" in text


def test_the_version_is_the_installed_one() -> None:
    assert run("--version").output == "deepsweep 0.1.0\n"


def test_a_wrong_plan_is_wrong_usage_with_a_sentence() -> None:
    result = run("scan", "somewhere", "--frames", "often")
    assert result.exit_code == 2
    assert "'often' is not a sampling plan" in result.stderr
    assert "[bad_sampling_plan]" in result.stderr
    assert "Traceback" not in result.output


def test_a_device_that_there_is_not_is_wrong_usage() -> None:
    result = run("scan", "somewhere", "--device", "tpu")
    assert result.exit_code == 2
    assert "'tpu' is none of auto, cpu, cuda and cuda:N" in result.stderr


@pytest.mark.parametrize("source", ["ftp://host/a.jpg", "", "s3://", "file://host/a.jpg"])
def test_a_source_that_names_nothing_readable_is_wrong_usage(source: str) -> None:
    result = run("scan", source)
    assert result.exit_code == 2
    assert "[unsupported_source]" in result.stderr


def test_a_password_in_a_source_is_not_repeated() -> None:
    for source in ("s3://me:hunter2@bucket/a.jpg", "file://me:hunter2@host/a.jpg"):
        assert "hunter2" not in run("scan", source).output


def test_help_of_a_group_shows_whole_sentences() -> None:
    for name in ("models", "data", "items", "keys", "db", "study"):
        assert "..." not in run(name, "--help").output.partition("Commands:")[2]


def test_a_scan_of_nothing_is_wrong_usage() -> None:
    assert run("scan").exit_code == 2


def test_an_unknown_command_is_wrong_usage() -> None:
    assert run("scna").exit_code == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ObjectMissing("There is no such file."), 1),
        (BadSamplingPlan("That is no plan."), 2),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_status_and_no_traceback(
    error: BaseException, status: int
) -> None:
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == status
    assert result.stderr.startswith("deepsweep: ")
    assert "Traceback" not in result.output
    if isinstance(error, DeepsweepError):
        assert result.stderr == f"deepsweep: {error} [{error.code}]\n"


def test_debugging_lets_the_traceback_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSWEEP_DEBUG", "1")
    result = CliRunner().invoke(failing(ZeroDivisionError("division by zero")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_lazy_entry_that_names_no_command_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="not a click command"):
        LazyCommand(module="cli.text", attribute="bar", help="").load()


def test_architectures_as_json_are_those_of_the_registry() -> None:
    listed = json.loads(run("architectures", "--json").output)
    assert listed == table()
    assert [each["name"] for each in listed] == [each.name for each in architectures()]
    shown = run("architectures").output
    assert all(f"{each['keras_parameters']:,}" in shown for each in listed)


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSWEEP_DECODE_WORKERS", "secret-word")
    result = run("scans")
    assert result.exit_code == 2
    assert "DEEPSWEEP_DECODE_WORKERS" in result.stderr
    assert "secret-word" not in result.output
