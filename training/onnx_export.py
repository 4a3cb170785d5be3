"""A model version as one ONNX file, held against torch on real faces before it is kept.

The file takes crops as `detector.faces.crop` cuts them and normalises them itself, so that nobody
retypes a mean. It gives the logit of each crop; views, calibration and thresholds are in the card,
which is in its metadata: the logit of a face is the mean over the views that the card names.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from core.errors import ModelCorrupt, UsageError
from detector import artifact, views
from detector.calibration import probability
from detector.engines import sample
from detector.faces import FaceFinder
from detector.frames import Pixels
from detector.preprocess import FromCrops
from detector.score import Scorer
from detector.spec import Card
from training.train import read_frames

#: A file whose scores differ from torch's by more is not kept.
MAX_SCORE_DIFFERENCE = 1e-3
#: ONNX Runtime 1.17 and later, OpenVINO and TensorRT read it.
OPSET = 18
#: Key of the card's JSON in the file's metadata.
CARD_KEY = "deepsweep_card"
#: Name of the network's input and output.
INPUT, OUTPUT = "crops", "logits"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How far ONNX Runtime was from torch."""

    crops: int
    #: Of calibrated scores, 0..1.
    max_score_difference: float
    max_logit_difference: float


def export(folder: Path, out: Path, *, media: Sequence[Path] = ()) -> Compared:
    """Write the model of a folder to the file `out`, compared on a portrait and on `media`.

    Raises UsageError without the `export` extra, ModelCorrupt where scores differ by more than
    MAX_SCORE_DIFFERENCE (nothing is left at `out` then), and as `artifact.load`.
    """
    onnx, runtime = _libraries()
    module, card = artifact.load(folder)
    crops = _faces(card, media)
    program = traced(FromCrops(module, card.input).eval(), crops[:2])
    program.model.metadata_props[CARD_KEY] = card.model_dump_json()
    payload = program.model_proto.SerializeToString()
    onnx.checker.check_model(payload)
    session = runtime.InferenceSession(payload, providers=["CPUExecutionProvider"])
    # One at a time and all at once: the batch must be free.
    parts = [session.run([OUTPUT], {INPUT: part})[0] for part in (crops[:1], crops[1:])]
    compared = compare(Scorer(module, card).score(crops), np.concatenate(parts), card)
    if compared.max_score_difference > MAX_SCORE_DIFFERENCE:
        raise ModelCorrupt(
            f"As ONNX the scores of {card.reference} differ by up to "
            f"{compared.max_score_difference:.4f} from torch's; nothing was written."
        )
    _write(out, payload)
    return compared


def compare(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float32], card: Card) -> Compared:
    """How far two networks' logits of the same crops are apart, and their scores as stills."""
    if ours.shape != theirs.shape:
        raise ModelCorrupt(f"As ONNX the network gives {theirs.shape} logits, not {ours.shape}.")
    platt = card.calibration.image
    pairs = [
        abs(probability(float(a), platt) - probability(float(b), platt))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return Compared(
        crops=len(ours),
        max_score_difference=max(pairs),
        max_logit_difference=float(np.abs(ours - theirs).max()),
    )


def _libraries() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise UsageError(
            f"{error.name} is not installed; ONNX export needs `pip install deepsweep[export]`."
        ) from None
    return onnx, onnxruntime


def _faces(card: Card, media: Sequence[Path]) -> Pixels:
    """The portrait that comes with deepsweep, in sixteen ways, and every view of media's faces."""
    found = list(sample.faces(card.input.size_px))
    finder = FaceFinder()
    for path in media:
        for frame in read_frames(path):
            for face in finder.find([frame.image])[0]:
                found += list(views.cut(frame.image, face.box, card.input))
    return np.stack(found)


def traced(network: torch.nn.Module, crops: Pixels) -> Any:
    """torch's ONNX program of a network from uint8 crops to logits, for any number of crops."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The exporter warns of its own internals, and prints its steps.
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            network,
            (torch.from_numpy(crops),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("faces")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )


def _write(out: Path, payload: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.part")
    partial.write_bytes(payload)
    partial.replace(out)
