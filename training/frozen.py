"""A frozen snapshot as training sees it: a cache of crops divided in advance, and a data folder.

The crops lie in the folders of the sets that they were imported into, the media wherever they were
imported from. Training gets links to them below one folder of the snapshot, checked against its
hashes, so that it sees what was frozen or nothing. Media in a bucket are fetched.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.objects import Storage, local
from core.settings import Settings
from core.vocabulary import Split
from db.snapshots import SnapshotRecord
from training import crops, imports, snapshots
from training.crops import Example, Medium
from training.epochs import thin
from training.imports import Facts
from training.split import Split as Parts

#: One crop of a snapshot's manifest.
Entry = Mapping[str, Any]
#: Problems that a refusal names; the rest are counted.
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A snapshot laid out below `folder`."""

    name: str
    #: 64 hex digits.
    sha256: str
    folder: Path
    examples: Mapping[Split, tuple[Example, ...]]

    @property
    def cache(self) -> Path:
        """The cache of crops that the examples' files are below."""
        return self.folder / "crops"

    @property
    def media(self) -> Path:
        """A folder of labelled media as `--data` takes them.

        The set `train` is what trains and what validates; the other splits are sets of their own.
        """
        return self.folder / "media"

    @property
    def measured(self) -> tuple[str, ...]:
        """The splits that decide nothing, which are sets below `media`."""
        return tuple(str(key) for key in (Split.TEST, Split.GOLDEN) if self.examples.get(key))

    def parts(self, frames: int) -> Parts:
        """What trains and what validates, the latter thinned to so many frames of a medium.

        Raises UsageError when one of the two is empty.
        """
        train, held = (self.examples.get(key, ()) for key in (Split.TRAIN, Split.VALIDATION))
        if not train or not held:
            raise UsageError(
                f"The snapshot {self.name} has {len(train)} crops to train on and {len(held)} to "
                "validate with; freeze one with both (deepsweep data snapshot --validation 0.1)."
            )
        return Parts(train=train, validation=tuple(thin(held, frames)))


def lay_out(settings: Settings, record: SnapshotRecord, cache: Path) -> Frozen:
    """Check a snapshot and link its crops and media below `cache`.

    Raises UsageError where list, crops or media are not what was frozen, and what storage raises.
    """
    _refuse(record, snapshots.verify(settings, record))
    path = snapshots.manifest_path(settings, record.name)
    entries = json.loads(path.read_text(encoding="utf-8"))["examples"]
    examples = _examples(settings, entries)
    sha256 = (record.sha256 or b"").hex()
    by_split: dict[Split, list[Example]] = defaultdict(list)
    for entry, example in zip(entries, examples, strict=True):
        by_split[Split(entry["split"])].append(example)
    frozen = Frozen(
        name=record.name,
        sha256=sha256,
        folder=cache / "snapshots" / sha256[:16],
        examples={split: tuple(found) for split, found in by_split.items()},
    )
    for entry, example in zip(entries, examples, strict=True):
        crop = imports.folder_of(settings, entry["set"]) / entry["file"]
        _link(crop, frozen.cache / example.file)
    _refuse(record, _lay_out_media(settings, entries, frozen))
    return frozen


def _refuse(record: SnapshotRecord, problems: Sequence[str]) -> None:
    if problems:
        more = f" And {len(problems) - _NAMED} more." if len(problems) > _NAMED else ""
        raise UsageError(
            f"The snapshot {record.name} is not what was frozen. "
            + " ".join(problems[:_NAMED])
            + more
        )


def _examples(settings: Settings, entries: Sequence[Entry]) -> list[Example]:
    """The manifest's crops, in its order, with landmarks from the import."""
    imported = {
        name: {
            example.file: example
            for example in crops.load_examples(imports.folder_of(settings, name))
        }
        for name in {entry["set"] for entry in entries}
    }
    return [_example(entry, imported[entry["set"]][entry["file"]]) for entry in entries]


def _example(entry: Entry, imported: Example) -> Example:
    """As it was frozen: a label that was changed since does not count."""
    kind, _, rest = entry["media"].partition("/")
    medium = Medium(
        # Two sets may have media of one name.
        path=f"{kind}/{entry['set']}/{rest}",
        **{key: entry[key] for key in ("label", "kind", "generator", "group", "source", "licence")},
    )
    below = Path(entry["file"]).relative_to("crops")
    file = Path("crops", entry["set"], below).as_posix()
    return replace(imported, media=medium, file=file, box=tuple(entry["box"]))


# --- the media ---------------------------------------------------------------------------------


def _lay_out_media(settings: Settings, entries: Sequence[Entry], frozen: Frozen) -> list[str]:
    """Media and labels below `frozen.media`; what is wrong with them, as sentences."""
    storage = Storage(settings)
    facts = {
        name: imports.read_facts(imports.folder_of(settings, name))
        for name in {entry["set"] for entry in entries}
    }
    by_path = {
        f"{kind}/{entry['set']}/{rest}": facts[entry["set"]][entry["media"]]
        for entry in entries
        for kind, _, rest in (entry["media"].partition("/"),)
    }
    sets: dict[str, dict[str, Medium]] = defaultdict(dict)
    for split, examples in frozen.examples.items():
        name = str(Split.TRAIN if split is Split.VALIDATION else split)
        sets[name] |= {example.media.path: example.media for example in examples}
    problems = []
    for name, media in sets.items():
        for path in media:
            problems += _fetch(storage, by_path[path], frozen.media / name / path)
        _write_labels(frozen.media / name / imports.LABELS, list(media.values()))
    return problems


def _fetch(storage: Storage, facts: Facts, path: Path) -> list[str]:
    """A link to a local medium, the bytes of a remote one; a sentence where they have changed."""
    if path.exists() and not path.is_symlink():
        return []  # fetched and checked before
    if facts.uri.startswith("file://"):
        file = local.path_of(facts.uri)
        _link(file, path)
        same = file.exists() and _sha256(file) == facts.sha256
        return [] if same else [f"{file} was changed or removed."]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with storage.open(storage.stat(facts.uri)) as source, partial.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    if _sha256(partial) != facts.sha256:
        return [f"{facts.uri} was changed."]
    partial.replace(path)
    return []


def _link(target: Path, link: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_labels(path: Path, media: Sequence[Medium]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Medium)])
        writer.writeheader()
        writer.writerows(map(asdict, media))
