"""Where a network's weights come from before its first step: a file, the model hub, or chance.

Weights are read from safetensors alone, every tensor has to fit, and the hash of the file goes
into the run's record. Starting from random weights is never silent.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from core.errors import ModelCorrupt, ModelMissing
from detector.architectures import Architecture
from detector.architectures.base import Backbone

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run records of its first weights."""

    source: Literal["random", "file"]
    #: Name of the file, and its hash; empty for random weights.
    file: str = ""
    sha256: str = ""
    #: Tensors taken from it.
    tensors: int = 0
    #: A sentence for a person.
    note: str = ""


def prepare(
    module: nn.Module, architecture: Architecture, file: Path | None, *, fetch: bool = False
) -> Start:
    """Fill the network's backbone from `file`, which may first be fetched; else leave it random.

    `fetch` allows a download into `file` where it is missing. Raises ModelCorrupt when the file
    does not fit.
    """
    if architecture.backbone is None or file is None:
        return Start(source="random", note=f"{architecture.name} starts from random weights.")
    if fetch and not file.exists():
        _download(architecture.backbone, file)
    if file.exists():
        return load(module, architecture.backbone, file)
    log.warning(
        "backbone_starts_random",
        extra={"architecture": architecture.name, "missing_file": str(file)},
    )
    return Start(
        source="random",
        note=(
            f"{architecture.name} starts from random weights, unlike its document: {file} is "
            f"missing. Put {architecture.backbone.name}'s model.safetensors there."
        ),
    )


def load(module: nn.Module, backbone: Backbone, file: Path) -> Start:
    """Copy every tensor of the file into the backbone; both sides must agree in names and shapes.

    Only the library's classifier may be missing on either side. Raises ModelMissing, ModelCorrupt.
    """
    tensors, sha256 = _read(file)
    base = module.get_submodule(backbone.module)
    own = base.state_dict()
    fitting = {name for name in tensors if name in own and tensors[name].shape == own[name].shape}
    wrong = sorted(
        name
        for name in (set(tensors) | set(own)) - fitting
        if not name.startswith(f"{backbone.classifier}.")
        and not name.endswith("num_batches_tracked")
    )
    if wrong:
        raise ModelCorrupt(
            f"{file} does not hold the weights of {backbone.name}: {len(wrong)} tensors are "
            f"missing, unknown or of another shape, {wrong[0]} among them."
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(tensors[name])
    return Start(
        source="file",
        file=file.name,
        sha256=sha256,
        tensors=len(fitting),
        note=f"{len(fitting)} tensors of {backbone.name} from {file.name}.",
    )


def load_member(module: nn.Module, file: Path) -> Start:
    """Fill the whole of an ensemble's member. Raises ModelMissing, ModelCorrupt."""
    tensors, sha256 = _read(file)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ModelCorrupt(f"{file} does not fit the ensemble's member: {error}") from error
    return Start(source="file", file=file.name, sha256=sha256, tensors=len(tensors))


def _read(file: Path) -> tuple[dict[str, torch.Tensor], str]:
    try:
        payload = file.read_bytes()
        return load_tensors(payload), hashlib.sha256(payload).hexdigest()
    except FileNotFoundError:
        raise ModelMissing(f"There are no weights at {file}.") from None
    except SafetensorError as error:
        raise ModelCorrupt(f"{file} is not a safetensors file: {error}") from error


def _download(backbone: Backbone, file: Path) -> None:
    """Fetch the weights from timm's models on the hub. Being offline is no error here."""
    from huggingface_hub import hf_hub_download

    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        cached = Path(hf_hub_download(f"timm/{backbone.name}", "model.safetensors"))
    except OSError as error:
        log.warning(
            "backbone_not_fetched",
            extra={"backbone": backbone.name, "reason": type(error).__name__},
        )
        return
    partial = file.with_name(file.name + ".partial")
    partial.write_bytes(cached.read_bytes())
    partial.replace(file)
