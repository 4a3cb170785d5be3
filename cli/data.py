"""`deepsweep data`: labelled media in, frozen snapshots out."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.lazy import EXIT_FAILED, SentenceGroup

if TYPE_CHECKING:
    from core.vocabulary import Split
    from training.crops import Label, Medium

#: Media without a face that an import names; the rest are counted.
_NAMED = 20


@click.group(cls=SentenceGroup)
def data() -> None:
    """Import labelled media, and freeze them as snapshots to train on."""


@data.command("import")
@click.argument("source", metavar="DIR|CSV|s3://...")
@click.option("--name", required=True, help="Of the set; importing again goes on with it.")
@click.option(
    "--label",
    type=click.Choice(["real", "fake"]),
    help="Of all media, where there is no labels.csv.",
)
@click.option("--licence", default="unknown", show_default=True, help="Where the labels say none.")
@options.frames("uniform:20")
def import_(source: str, name: str, label: Label | None, licence: str, plan: str) -> None:
    """Find and crop the faces of labelled media, as scanning does, and keep the crops lossless.

    A CSV file has the columns path (relative to it) or uri, and label (real or fake); kind,
    generator, person or group, source and licence are kept where they are given.

    \b
    Examples:
      deepsweep data import ../data/train --name train
      deepsweep data import s3://press-photos/checked/ --name press --label real
    """
    from cli.environment import read_settings
    from core.vocabulary import SamplingPlan
    from training import crops, imports

    settings = read_settings()
    with _watch() as tell:
        folder = imports.run(
            settings,
            source,
            name,
            plan=SamplingPlan.parse(plan),
            defaults=imports.Defaults(label=label, licence=licence),
            on_medium=tell,
        )
    found = crops.load_examples(folder)
    media = len({example.media.path for example in found})
    click.echo(f"{name}: {len(found)} faces of {media} media, in {folder}")
    _tell_unused(imports.unused(folder))


@data.command()
@click.argument("name")
@click.option(
    "--set",
    "sets",
    multiple=True,
    required=True,
    metavar="SET[=SPLIT]",
    help="A set, and the split that all of it belongs to: train, validation, test or golden. "
    "Without one its groups are drawn.",
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Of the groups: rules, calibration and thresholds are chosen on them.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Of the groups: figures are measured on them, and nothing is chosen.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw of groups.")
@click.option(
    "--hold-out",
    multiple=True,
    metavar="SOURCE|GROUP",
    help="Validates whole, so that validation speaks of sources that training never sees.",
)
@click.option(
    "--join",
    is_flag=True,
    help="Draw groups together that show the same file or nearly the same picture.",
)
def snapshot(name: str, sets: tuple[str, ...], hold_out: tuple[str, ...], **shares: Any) -> None:
    """Freeze sets as the snapshot NAME, split by group; refused where splits leak into each other.

    The same sets, shares and seed give the same SHA-256 on every machine, and train models with
    `deepsweep train --snapshot NAME`.

    \b
    Examples:
      deepsweep data snapshot autumn --set train --set dev=test --validation 0.1
      deepsweep data snapshot autumn --set train --test 0.1 --join --hold-out some/source
    """
    from cli.database import opened
    from cli.environment import read_settings
    from training import snapshots

    settings = read_settings()
    plan = snapshots.Plan(sets=dict(map(_set, sets)), hold_out=hold_out, **shares)
    actor = f"command line: {getpass.getuser()}"
    with opened(settings) as database:
        record = snapshots.freeze(database, settings, name, plan, actor=actor)
    click.echo(f"{name} is frozen, SHA-256 {(record.sha256 or b'').hex()}")
    for split, counted in record.counts.items():
        click.echo(f"  {split}: " + ", ".join(f"{n} {what}" for what, n in counted.items()))


@data.command("list")
@options.json_flag()
def list_(as_json: bool) -> None:
    """List the snapshots, the newest first."""
    from cli.database import opened
    from cli.environment import read_settings
    from db import snapshots

    with opened(read_settings()) as database, database.transaction() as session:
        found = snapshots.listed(session)
    if as_json:
        listed = [
            {
                "name": record.name,
                "sha256": record.sha256.hex() if record.sha256 else None,
                "frozen": record.frozen_at.isoformat() if record.frozen_at else None,
                "counts": dict(record.counts),
            }
            for record in found
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    if not found:
        click.echo("There is no snapshot yet; `deepsweep data snapshot` freezes one.", err=True)
        return
    from rich.table import Table

    from cli.text import console

    table = Table("snapshot", "sha256", "made", "crops", box=None, header_style="dim")
    for record in found:
        crops = "; ".join(
            f"{split} {sum(n for what, n in counted.items() if what != 'media')}"
            for split, counted in record.counts.items()
        )
        digest = (record.sha256 or b"").hex()[:12]
        table.add_row(record.name, digest, f"{record.created_at:%Y-%m-%d %H:%M}", crops)
    console().print(table)


@data.command()
@click.argument("name")
@click.pass_context
def verify(ctx: click.Context, name: str) -> None:
    """Check that the snapshot NAME is what was frozen: its list, and the bytes of every crop."""
    from cli.database import opened
    from cli.environment import read_settings
    from db import snapshots as rows
    from training import snapshots

    settings = read_settings()
    with opened(settings) as database, database.transaction() as session:
        record = rows.find(session, name)
    problems = snapshots.verify(settings, record)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        ctx.exit(EXIT_FAILED)
    click.echo(f"{name} is as it was frozen.")


def _set(text: str) -> tuple[str, Split | None]:
    from core.errors import UsageError
    from core.vocabulary import Split

    name, _, split = text.partition("=")
    if split and split not in set(Split):
        raise UsageError(f"--set {text}: a split is one of {', '.join(Split)}.")
    return name, Split(split) if split else None


@contextmanager
def _watch() -> Iterator[Callable[[Medium, int], None]]:
    """A bar on a terminal, a line for each medium elsewhere."""
    from cli import training
    from cli.text import console, printable

    if not console(stderr=True).is_terminal:
        yield _tell
        return
    with training.bar("finding faces") as progress:
        yield lambda medium, _: training.tick(progress, printable(medium.path))


def _tell(medium: Medium, faces: int) -> None:
    from cli.text import printable

    click.echo(f"{printable(medium.path)}: {faces} face(s)", err=True)


def _tell_unused(unused: Mapping[str, str]) -> None:
    """Which media gave nothing, and why: a wrong path is else found out only by the counts."""
    from cli.text import printable

    if unused:
        click.echo(f"{len(unused)} media gave no face:", err=True)
    for path, why in list(unused.items())[:_NAMED]:
        click.echo(f"  {printable(path)}: {why}", err=True)
    if len(unused) > _NAMED:
        click.echo(f"  and {len(unused) - _NAMED} more", err=True)
