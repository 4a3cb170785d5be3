"""Snapshots: which crops train, validate and test, frozen, hashed, and free of leaks.

A split is made by group (person, or whatever the label file says belongs together), never by
frame. The digest is that of the list alone: the same sets and shares give the same digest on every
machine, whatever the snapshot is called and wherever the crops lie.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from core.errors import LeakBetweenSplits, UsageError
from core.objects import canonical
from core.settings import Settings
from core.vocabulary import Label, Split
from db import snapshots as rows
from db.canonical import canonical_sha256
from db.session import Database
from training import crops, imports, likeness
from training import split as splitting
from training.crops import Example
from training.imports import Facts
from training.likeness import Looks
from training.recipe import Validation

#: More than any video has: a snapshot keeps every frame.
_ALL_FRAMES = 1_000_000
#: What of an example the digest does not speak of: where it lies.
_PLACE = ("set", "file")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a snapshot is made of."""

    #: Name of each set, and the split that all of it belongs to; None where groups are drawn.
    sets: Mapping[str, Split | None]
    #: Share of the drawn sets' groups.
    validation: float = 0.1
    test: float = 0.0
    seed: int = 0
    #: Sources and groups that validate whole; what is shown of them speaks of the unseen.
    hold_out: tuple[str, ...] = ()
    #: Draw groups that show the same picture or file together, instead of refusing them.
    join: bool = False


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One crop of a snapshot with all that is known of it."""

    set: str
    example: Example
    facts: Facts
    #: Number of the face within its frame.
    face: int
    split: Split
    sha256: str
    looks: Looks


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Two media in two splits that must not be apart."""

    why: str
    first: Listed
    second: Listed

    def __str__(self) -> str:
        first, second = (
            f"{one.set}/{one.example.media.path} ({one.split})" for one in (self.first, self.second)
        )
        return f"{self.why}: {first}, {second}"


def freeze(
    database: Database, settings: Settings, name: str, plan: Plan, *, actor: str
) -> rows.SnapshotRecord:
    """Put a snapshot together, refuse leaks, and keep it as rows and as a manifest file.

    Raises UsageError for a set that was not imported or has no faces, LeakBetweenSplits with the
    list, NotInThisState where the name stands for another list.
    """
    listed, leaks = _divided(settings, plan)
    if leaks:
        raise LeakBetweenSplits(
            f"{len(leaks)} leak(s) between splits; put what belongs together into one group, or "
            "leave one of the two out (--join does the first where groups are drawn).\n"
            + "\n".join(map(str, leaks))
        )
    manifest = make_manifest(name, plan, listed)
    with database.transaction() as session:
        kept = rows.keep(session, [_media(one.facts) for one in listed], _crops(settings, listed))
        record = rows.freeze(
            session,
            name,
            sha256=bytes.fromhex(manifest["sha256"]),
            recipe=manifest["recipe"],
            counts=manifest["counts"],
            examples=[_example(settings, one) for one in listed],
            crops=kept,
            actor=actor,
        )
        # Within the transaction: rows without their file are not left behind.
        _write(manifest_path(settings, name), manifest)
    return record


def manifest_path(settings: Settings, name: str) -> Path:
    """Where the manifest of a snapshot lies. Raises UsageError for a bad name."""
    imports.folder_of(settings, name)
    return settings.data_dir / "snapshots" / f"{name}.json"


def _divided(settings: Settings, plan: Plan) -> tuple[list[Listed], list[Leak]]:
    """The crops with their splits and what leaks; what may be joined is, until nothing does."""
    listed = gather(settings, plan)
    together: dict[str, str] = {}
    while True:
        listed = _draw(listed, plan, together)
        leaks = find_leaks(listed)
        loose = [leak for leak in leaks if not {leak.first.set, leak.second.set} & _pinned(plan)]
        if not plan.join or not loose:
            return listed, leaks
        for leak in loose:
            pair = (leak.first.example.media.group, leak.second.example.media.group)
            _join(together, pair, preferred=plan.hold_out)


def _pinned(plan: Plan) -> set[str]:
    return {name for name, split in plan.sets.items() if split is not None}


def _join(together: dict[str, str], groups: Iterable[str], preferred: Collection[str] = ()) -> None:
    """Let groups, and all that were joined to any of them, be drawn under one name.

    It is a preferred one where there is one, so that what is joined to it shares its fate.
    """
    names = {_name(together, group) for group in groups}
    lowest = min(names, key=lambda name: (name not in preferred, name))
    joined = {group for group, name in together.items() if name in names}
    together |= dict.fromkeys({*groups, *names, *joined}, lowest)


def _name(together: Mapping[str, str], group: str) -> str:
    return together.get(group, group)


def gather(settings: Settings, plan: Plan) -> list[Listed]:
    """Every crop of the plan's sets, ordered by what it is and not by its place.

    Those of sets whose groups are drawn stand under `train` until they are.
    """
    found: list[Listed] = []
    for name, pinned in plan.sets.items():
        examples = _examples(imports.folder_of(settings, name), name)
        found += _list(settings, name, examples, pinned or Split.TRAIN)
    return sorted(found, key=_order)


def find_leaks(listed: Sequence[Listed]) -> list[Leak]:
    """Groups, media bytes and pictures that stand in two splits, each pair of media once."""
    by_split: dict[Split, list[Listed]] = {}
    for one in listed:
        by_split.setdefault(one.split, []).append(one)
    found: dict[tuple[str, str], Leak] = {}
    for first, second in combinations(by_split.values(), 2):
        for why, a, b in _pairs(first, second):
            key = (a.example.media.path, b.example.media.path)
            found.setdefault(key, Leak(why=why, first=a, second=b))
    return list(found.values())


def make_manifest(name: str, plan: Plan, listed: Sequence[Listed]) -> dict[str, Any]:
    """The snapshot as a JSON value; `sha256` is that of its examples without their places."""
    examples = [_entry(one) for one in listed]
    return {
        "format": 1,
        "name": name,
        "sha256": digest(examples),
        "recipe": asdict(plan) | {"sets": dict(plan.sets), "hold_out": list(plan.hold_out)},
        "counts": _counts(listed),
        "examples": examples,
    }


def digest(examples: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of a list of examples in canonical form, 64 hex digits."""
    told = [{key: e[key] for key in e if key not in _PLACE} for e in examples]
    return canonical_sha256({"format": 1, "examples": told}).hex()


def verify(settings: Settings, record: rows.SnapshotRecord) -> list[str]:
    """What is wrong with a snapshot, as sentences: its manifest, its digest, each crop's bytes."""
    path = manifest_path(settings, record.name)
    if not path.exists():
        return [f"The manifest {path} is missing; make the snapshot again under its name."]
    manifest = json.loads(path.read_text(encoding="utf-8"))
    problems = []
    if digest(manifest["examples"]) != (record.sha256 or b"").hex():
        problems.append(f"The list in {path} is not the one that was frozen.")
    for entry in manifest["examples"]:
        file = imports.folder_of(settings, entry["set"]) / entry["file"]
        if not file.exists():
            problems.append(f"{file} is missing.")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != entry["crop_sha256"]:
            problems.append(f"{file} was changed.")
    return problems


def _examples(folder: Path, name: str) -> list[Example]:
    """The set's faces under the labels that it has now."""
    if not (folder / imports.FACES).exists():
        raise UsageError(f"There is no set {name}; import it with `deepsweep data import`.")
    labels = {medium.path: medium for medium in crops.read_labels(folder)}
    found = [
        replace(example, media=labels[example.media.path])
        for example in crops.load_examples(folder)
        if example.media.path in labels
    ]
    if not found:
        raise UsageError(f"The set {name} has no faces.")
    return found


def _draw(listed: Sequence[Listed], plan: Plan, together: Mapping[str, str]) -> list[Listed]:
    """The crops under the splits that their groups draw; pinned sets keep theirs."""
    pinned = _pinned(plan)
    splits = _draw_groups(
        [_renamed(one.example, together) for one in listed if one.set not in pinned], plan
    )
    return [
        one
        if one.set in pinned
        else replace(one, split=splits[_name(together, one.example.media.group)])
        for one in listed
    ]


def _renamed(example: Example, together: Mapping[str, str]) -> Example:
    name = _name(together, example.media.group)
    return replace(example, media=replace(example.media, group=name))


def _draw_groups(examples: Sequence[Example], plan: Plan) -> dict[str, Split]:
    """The split of each group."""
    whole = Validation(share=0.0, sources=plan.hold_out, groups=plan.hold_out, frames=_ALL_FRAMES)
    held = splitting.split(examples, whole, plan.seed)
    test = Validation(share=plan.test, frames=_ALL_FRAMES)
    first = splitting.split(held.train, test, plan.seed)
    share = Validation(share=plan.validation, frames=_ALL_FRAMES)
    # Another seed: the groups just drawn are those with the lowest draws of this one.
    second = splitting.split(first.train, share, plan.seed + 1)
    return (
        dict.fromkeys(_groups(first.validation), Split.TEST)
        | dict.fromkeys(_groups([*held.validation, *second.validation]), Split.VALIDATION)
        | dict.fromkeys(_groups(second.train), Split.TRAIN)
    )


def _groups(examples: Iterable[Example]) -> set[str]:
    return {example.media.group for example in examples}


def _list(
    settings: Settings, name: str, examples: Sequence[Example], split: Split
) -> Iterator[Listed]:
    folder = imports.folder_of(settings, name)
    facts = imports.read_facts(folder)
    faces: Counter[tuple[str, int]] = Counter()
    for example in examples:
        place = (example.media.path, example.frame)
        yield Listed(
            set=name,
            example=example,
            facts=facts[example.media.path],
            face=faces[place],
            split=split,
            sha256=hashlib.sha256((folder / example.file).read_bytes()).hexdigest(),
            looks=likeness.look(crops.load_crop(folder, example)),
        )
        faces[place] += 1


def _order(one: Listed) -> tuple[str, str, int, int]:
    return (one.example.media.path, one.facts.sha256, one.example.frame, one.face)


def _pairs(
    first: Sequence[Listed], second: Sequence[Listed]
) -> Iterator[tuple[str, Listed, Listed]]:
    groups = {one.example.media.group: one for one in second}
    contents = {one.facts.sha256: one for one in second}
    for one in first:
        if other := contents.get(one.facts.sha256):
            yield "the same file", one, other
        if other := groups.get(one.example.media.group):
            yield f"the same group {one.example.media.group}", one, other
    looks = ([one.looks for one in part] for part in (first, second))
    for i, j in likeness.near_duplicates(*looks):
        yield "nearly the same picture", first[i], second[j]


def _entry(one: Listed) -> dict[str, Any]:
    medium = asdict(one.example.media)
    return {
        "set": one.set,
        "file": one.example.file,
        "media": medium.pop("path"),
        **medium,
        "media_sha256": one.facts.sha256,
        "frame": one.example.frame,
        "face": one.face,
        "box": list(one.example.box),
        "split": str(one.split),
        "crop_sha256": one.sha256,
    }


def _counts(listed: Iterable[Listed]) -> dict[str, dict[str, int]]:
    """Crops by split and label, and the media of each split."""
    counted: dict[str, Counter[str]] = {}
    media: dict[str, set[str]] = {}
    for one in listed:
        counted.setdefault(one.split, Counter())[one.example.media.label] += 1
        media.setdefault(one.split, set()).add(one.facts.sha256)
    return {str(split): {**counted[split], "media": len(media[split])} for split in sorted(counted)}


def _media(facts: Facts) -> rows.NewMedia:
    return rows.NewMedia(
        sha256=bytes.fromhex(facts.sha256),
        kind=facts.kind,
        format=facts.format,
        width=facts.width,
        height=facts.height,
        duration_s=facts.duration_s,
        size_bytes=facts.size_bytes,
    )


def _uri(settings: Settings, one: Listed) -> str:
    return canonical(str(imports.folder_of(settings, one.set) / one.example.file))


def _crops(settings: Settings, listed: Iterable[Listed]) -> list[rows.NewCrop]:
    return [
        rows.NewCrop(
            media_sha256=bytes.fromhex(one.facts.sha256),
            frame_index=one.example.frame,
            face_index=one.face,
            track=one.face,
            box={"box": one.example.box, "landmarks": one.example.landmarks},
            uri=_uri(settings, one),
            sha256=bytes.fromhex(one.sha256),
            width=one.example.side_px,
            height=one.example.side_px,
            phash=one.looks.phash,
            label=Label(one.example.media.label),
            person=one.example.media.group,
            source=one.example.media.source,
            licence=one.example.media.licence,
            kind=one.example.media.kind,
            generator=one.example.media.generator,
        )
        for one in listed
    ]


def _example(settings: Settings, one: Listed) -> rows.NewExample:
    label = Label(one.example.media.label)
    return rows.NewExample(crop_uri=_uri(settings, one), label=label, split=one.split)


def _write(path: Path, manifest: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)
