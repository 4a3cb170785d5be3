"""What the study of the recipe's ingredients compares: `variants.toml` as recipes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import UsageError
from training import recipe
from training.recipe import Recipe

NAMED = Path(__file__).parent / "variants.toml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Part):
    """One line of the table: changes of the base, or the mean of others."""

    name: str
    what: str
    changes: dict[str, Any] = Field(default_factory=dict)
    #: Variants whose mean logit it is; nothing is trained for it.
    of: tuple[str, ...] = ()
    #: Variants whose runs teach it.
    taught_by: tuple[str, ...] = ()
    #: Passes that a step makes over its crops; it has so many fewer steps, and takes as long.
    passes: int = Field(default=1, ge=1)


class Part(_Part):
    """Variants that change the same kind of thing, in the order in which they are told."""

    of: str
    variant: tuple[Variant, ...]


class Fold(_Part):
    """Sources that are left out of training and judged."""

    name: str
    sources: tuple[str, ...]


class Less(_Part):
    """The recipe on a share of the sources, or on a share of the groups of every source."""

    of: Literal["sources", "groups"]
    share: float = Field(gt=0, lt=1)

    @property
    def name(self) -> str:
        """As tables and folders call it."""
        return f"{self.share:.0%} of {'the sources' if self.of == 'sources' else 'every source'}"


class Study(_Part):
    """The file."""

    base: dict[str, Any]
    part: tuple[Part, ...]
    fold: tuple[Fold, ...] = ()
    less: tuple[Less, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of everything that can be asked for."""
        return (*self.variants, *(each.name for each in (*self.fold, *self.less)))

    @property
    def variants(self) -> dict[str, Variant]:
        """All of them by name, in order."""
        return {variant.name: variant for part in self.part for variant in part.variant}


def read(path: Path = NAMED) -> Study:
    """The file."""
    return Study.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def base_of(study: Study, recipe_name: str, steps: int | None = None) -> dict[str, Any]:
    """What all variants change, as a recipe's fields; `steps` instead of the file's."""
    base = merged(recipe.load(recipe_name).model_dump(mode="json"), study.base)
    if steps is not None:
        base = merged(base, {"optimiser": {"steps": steps, "warm_up_steps": 0}})
    return base


def plan_of(study: Study, base: Mapping[str, Any], name: str) -> Recipe:
    """The recipe of a variant that is trained. Raises UsageError for a name that is not there."""
    if name not in study.variants:
        raise UsageError(f"There is no variant {name!r}; see {NAMED.name}.")
    variant = study.variants[name]
    fields = merged(base, variant.changes)
    if variant.taught_by:
        folders = [folder_of(each, plan_of(study, base, each)) for each in variant.taught_by]
        fields = merged(fields, {"optimiser": {"distillation": {"teachers": folders}}})
    if variant.passes > 1:
        plan = fields["optimiser"]
        fewer = {key: -(-plan[key] // variant.passes) for key in ("steps", "warm_up_steps")}
        fields = merged(fields, {"optimiser": fewer})
    return Recipe.model_validate(fields)


def folder_of(name: str, plan: Recipe) -> str:
    """Of the run: its name, and enough of the recipe's hash to tell it from others of the name."""
    plain = name.translate(str.maketrans(" ", "-", ",%"))
    return f"{plain}-{plan.sha256[:8]}"


def fold_plan(base: Mapping[str, Any], fold: Fold) -> Recipe:
    """The base recipe with the fold's sources held out as well."""
    held = Recipe.model_validate(base).validation.sources
    return Recipe.model_validate(merged(base, {"validation": {"sources": [*held, *fold.sources]}}))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, tables into tables.

    Tables of weights and of options are replaced whole: what they do not name is not there.
    """
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        whole = key in ("methods", "kinds", "options")
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and not whole:
            result[key] = merged(inner, value)
        else:
            result[key] = value
    return result
