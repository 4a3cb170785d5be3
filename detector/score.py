"""The one eval-time forward: crops in, logits out, in batches, on one device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.errors import UsageError
from core.vocabulary import EngineChoice
from detector import engines, views
from detector.engines import Parts, Values, Work, sample
from detector.frames import Pixels
from detector.preprocess import FromCrops, check
from detector.spec import Card

#: OpenVINO gains nothing from more crops at a time.
OPENVINO_PARTS = (4, 1)
#: A GPU has room for the faces of many batches, and several views of each, at a time.
CUDA_PART = 256


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one; otherwise the device of that name.

    Raises UsageError when CUDA is asked for and is not there: a worker that was meant for a GPU
    must not go on at a hundredth of its speed.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(
            f"The device is set to {name}, and PyTorch finds no CUDA here; set it to auto or cpu, "
            "or see to the driver."
        )
    return torch.device(name)


class Scorer:
    """A network on its device with the card it is served by. Not thread safe."""

    def __init__(
        self,
        module: nn.Module,
        card: Card,
        *,
        device: str | torch.device = "cpu",
        batch: int = 32,
        engine: EngineChoice = EngineChoice.EXACT,
    ) -> None:
        self.card = card
        work = Work(
            name=card.reference,
            network=FromCrops(module, card.input).eval(),
            sample=sample.faces(card.input.size_px),
            probabilities=self._probabilities,
            parts=Parts(torch=batch, openvino=OPENVINO_PARTS, cuda=max(batch, CUDA_PART)),
            half_pays=True,
        )
        self._engine = engines.prepare(work, choice=engine, device=torch.device(device))

    @property
    def engine(self) -> str:
        """Library, processor and precision that the network runs on."""
        return self._engine.name

    def score(self, crops: Pixels) -> npt.NDArray[np.float64]:
        """One logit per crop in the order given; higher is more fake.

        `crops` are RGB uint8 (n, size, size, 3) as the card says; the answer is float64 (n,).
        Raises OutOfMemory when not even one crop fits.
        """
        check(crops, self.card.input)
        if not len(crops):
            return np.empty(0, dtype=np.float64)
        logits = self._engine.run(crops).astype(np.float64)
        if logits.shape != (len(crops),):
            raise ValueError(f"one logit per crop: got {logits.shape} for {len(crops)} crops")
        if not np.isfinite(logits).all():
            raise FloatingPointError(f"{self.card.reference} gave a logit that is not finite")
        return logits

    def score_faces(self, faces: Pixels) -> npt.NDArray[np.float64]:
        """One logit per face in the order given: the mean over its views.

        `faces` are RGB uint8 (n, views, size, size, 3) as `views.cut` gives them, one after the
        other; all crops go through the network together. The answer is float64 (n,). Raises as
        `score`.
        """
        spec = self.card.input
        if faces.ndim != len("nvhwc") or faces.shape[1] != len(spec.shown):
            raise ValueError(
                f"faces are of shape (n, {len(spec.shown)}, {spec.size_px}, {spec.size_px}, 3), "
                f"got {faces.shape}"
            )
        return views.mean(self.score(faces.reshape(-1, *faces.shape[2:])), spec)

    def _probabilities(self, logits: Values) -> Values:
        """As a still picture's face is calibrated: there, a difference reaches the verdict."""
        platt = self.card.calibration.image
        z = (platt.slope * logits + platt.offset).clip(-80, 80)
        return np.divide(1, 1 + np.exp(-z), dtype=np.float32)
