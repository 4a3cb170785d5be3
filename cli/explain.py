"""`deepsweep explain`: what the network looked at in the faces of one medium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from cli import options
from cli.lazy import EXIT_FAILED

if TYPE_CHECKING:
    from core.settings import Settings


@click.command(epilog="Exit status: 0 explained, 1 no face or not readable, 2 wrong usage.")
@click.argument("media", metavar="MEDIA")
@click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="default|NAME@N|FOLDER",
    help="Explain this model's scores.",
)
@click.option(
    "--out",
    type=options.FOLDER,
    required=True,
    help="Folder for the pictures and index.html, which opens from disk.",
)
@options.frames()
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Frames of a video that are explained, the most suspicious ones.",
)
@click.option(
    "--faces",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Faces that are explained, at most.",
)
@click.option(
    "--frame",
    type=click.IntRange(min=0),
    help="Only this frame of the sampled ones, by its position in the medium, as `show` has it.",
)
@click.option(
    "--face", type=click.IntRange(min=0), help="Only the face of this number within its frame."
)
@click.option(
    "--samples",
    type=click.IntRange(min=50),
    default=1000,
    show_default=True,
    help="Variations of each face that LIME scores.",
)
@click.pass_context
def explain(
    ctx: click.Context,
    media: str,
    model: str,
    out: Path,
    plan: str,
    top: int,
    faces: int,
    frame: int | None,
    face: int | None,
    samples: int,
) -> None:
    """Write pictures of what the model looked at in MEDIA (a path or an s3:// URI).

    For each face: Grad-CAM for fake and for real, LIME on superpixels, and the maps of the first
    layer; `index.html` in the folder shows them.

    \b
    Examples:
      deepsweep explain portrait.jpg --out why/
      deepsweep explain clip.mp4 --out why/ --top 5 --model sweep@3
      deepsweep explain clip.mp4 --out why/ --frame 48 --face 0
    """
    from cli.environment import read_settings
    from cli.text import place
    from core.objects import Storage, canonical
    from core.vocabulary import SamplingPlan
    from detector.faces import FaceFinder
    from detector.media import Limits
    from training import explain_media

    settings = read_settings()
    storage = Storage(settings)
    uri = canonical(media)
    with storage.open(storage.stat(uri)) as file:
        explained = explain_media.run(
            cast("BinaryIO", file),
            place(uri),
            _folder(model, settings),
            out,
            plan=SamplingPlan.parse(plan),
            options=explain_media.Options(
                frames=top, faces=faces, frame=frame, face=face, lime_samples=samples
            ),
            limits=Limits(max_pixels=settings.max_pixels),
            finder=FaceFinder(
                min_face_px=settings.min_face_px,
                min_confidence=settings.min_face_confidence,
                detect_side_px=settings.detect_side_px,
            ),
            on_face=lambda found: click.echo(f"{found.stem}: score {found.score:.3f}", err=True),
        )
    if not explained:
        click.echo(f"{place(uri)} shows no usable face: there is nothing to explain.", err=True)
        ctx.exit(EXIT_FAILED)
    click.echo(str(out / "index.html"))


def _folder(model: str, settings: Settings) -> Path:
    """The model's folder. A database is opened only for a registered version."""
    from cli.database import opened
    from training.registry import folder_at_hand, folder_of

    found = folder_at_hand(model)
    if found is not None:
        return found
    with opened(settings) as database:
        return folder_of(model, database, settings)
