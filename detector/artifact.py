"""A model version on disk: `model.safetensors` and `card.json` in one folder. Never a pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from core.errors import ModelCorrupt, ModelMissing, PickleRefused
from detector import architectures
from detector.spec import Card, faults

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "card.json"

#: The model that ships with deepsweep.
DEFAULT_FOLDER = Path(__file__).parent / "weights" / "default"


def save(
    folder: Path, module: nn.Module, card: Card, *, dtype: torch.dtype = torch.float16
) -> Card:
    """Write weights and card; returns the card with the hash of the weights filled in.

    Floating-point tensors are stored as `dtype`. Both files appear whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in module.state_dict().items()
    }
    payload = save_tensors(tensors)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(payload).hexdigest()})
    _replace(folder / WEIGHTS_FILE, payload)
    _replace(folder / CARD_FILE, (card.model_dump_json(indent=2) + "\n").encode())
    return card


def load(folder: Path = DEFAULT_FOLDER) -> tuple[nn.Module, Card]:
    """The network in eval mode, float32, on the CPU, and its card. Every tensor must match.

    Raises ModelMissing, PickleRefused, or ModelCorrupt when hash, card or tensors disagree.
    """
    card = read_card(folder)
    payload = _read_weights(folder)
    digest = hashlib.sha256(payload).hexdigest()
    if digest != card.weights_sha256:
        raise ModelCorrupt(
            f"The weights of {card.reference} in {folder} have sha256 {digest[:12]}..., the card "
            f"says {card.weights_sha256[:12]}...; fetch the model again."
        )
    module = architectures.build(card.architecture, **card.options)
    try:
        tensors = {
            name: value.to(torch.float32) if value.is_floating_point() else value
            for name, value in load_tensors(payload).items()
        }
        module.load_state_dict(tensors, strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise ModelCorrupt(
            f"The weights of {card.reference} do not fit {card.architecture}: {error}"
        ) from error
    return module.eval().requires_grad_(False), card


def shipped(weights_sha256: str) -> Path | None:
    """The folder of the model that ships with deepsweep, where those are its weights, as hex."""
    if not (DEFAULT_FOLDER / CARD_FILE).exists():
        return None
    return DEFAULT_FOLDER if read_card(DEFAULT_FOLDER).weights_sha256 == weights_sha256 else None


def read_card(folder: Path) -> Card:
    """The card alone. Raises ModelMissing or ModelCorrupt."""
    path = folder / CARD_FILE
    try:
        return Card.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ModelMissing(f"There is no model in {folder}: {CARD_FILE} is missing.") from None
    except ValidationError as error:
        raise ModelCorrupt(f"The card {path} cannot be read. {faults(error)}.") from error


def _read_weights(folder: Path) -> bytes:
    try:
        payload = (folder / WEIGHTS_FILE).read_bytes()
    except FileNotFoundError:
        raise ModelMissing(f"There is no {WEIGHTS_FILE} in {folder}.") from None
    if _is_pickle(payload):
        raise PickleRefused(
            f"{folder / WEIGHTS_FILE} is a pickle, which can run code when it is loaded; "
            "deepsweep reads safetensors only."
        )
    return payload


def _is_pickle(payload: bytes) -> bool:
    """A zip (torch.save) or a bare pickle; safetensors starts with a length of eight bytes.

    A header is far shorter than 4 GiB, so its length ends in zeros, and it is JSON; a pickle goes
    on with opcodes.
    """
    protocol = payload[:1] == b"\x80" and payload[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    header = not any(payload[4:8]) and payload[8:9] == b"{"
    return payload[:4] == b"PK\x03\x04" or (protocol and not header)


def _replace(path: Path, payload: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(payload)
    partial.replace(path)
