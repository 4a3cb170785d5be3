"""The three networks of MTCNN, with facenet-pytorch's weights, in the form that engines run.

The only module that imports facenet-pytorch (Zhang et al., "Joint Face Detection and Alignment
using Multi-task Cascaded Convolutional Networks", 2016). Its layers and weights are used as they
are; only the ends differ. Each network takes uint8 pixels as they lie in memory and gives one
array, whose first channel is the logit of "this is a face": the softmax over two classes is the
sigmoid of their difference, and a threshold on the one is a threshold on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import facenet_pytorch.models.mtcnn as facenet
import numpy as np
import torch
from torch import nn

from core.vocabulary import EngineChoice
from detector import engines, pyramid
from detector.engines import Engine, Parts, Values, Work, sample
from detector.frames import Pixels

#: Side of the pictures that R- and O-Net take, pixels.
REFINE_PX, OUTPUT_PX = 24, 48


@dataclass(frozen=True, kw_only=True)
class Networks:
    """P-, R- and O-Net: propose, refine, output."""

    #: (n, height, width, 3) -> (n, 5, height / 2 - 5, width / 2 - 5), sides even: logit, shifts.
    propose: nn.Module
    #: (n, 24, 24, 3) -> (n, 5): logit, shifts of the four sides.
    refine: nn.Module
    #: (n, 48, 48, 3) -> (n, 15): logit, shifts, five x and five y of the landmarks.
    output: nn.Module


def load() -> Networks:
    """The networks in eval mode, float32, on the CPU; the weights come inside facenet-pytorch."""
    return Networks(
        propose=_Propose(facenet.PNet()).eval().requires_grad_(False),
        refine=_Refine(facenet.RNet()).eval().requires_grad_(False),
        output=_Output(facenet.ONet()).eval().requires_grad_(False),
    )


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The same three, each on its engine; P-Net's windows are those of `detector.pyramid`."""

    propose: Engine
    refine: Engine
    output: Engine


def prepare(*, device: torch.device, engine: EngineChoice) -> Engines:
    """Each network on an engine that was checked on faces. Raises as `engines.prepare` does."""
    networks = load()
    propose = Work(
        name="p-net",
        network=networks.propose,
        sample=_small_faces(),
        probabilities=_best_of_neighbourhoods,
        parts=Parts(torch=1, openvino=(1,), cuda=128),
    )
    refine = Work(
        name="r-net",
        network=networks.refine,
        sample=sample.faces(REFINE_PX),
        probabilities=_of_candidates,
        parts=Parts(torch=32, openvino=(64, 16, 4, 1), cuda=2048),
    )
    output = Work(
        name="o-net",
        network=networks.output,
        sample=sample.faces(OUTPUT_PX),
        probabilities=_of_candidates,
        parts=Parts(torch=8, openvino=(16, 4, 1), cuda=512),
    )
    return Engines(
        propose=engines.prepare(propose, choice=engine, device=device),
        refine=engines.prepare(refine, choice=engine, device=device),
        output=engines.prepare(output, choice=engine, device=device),
    )


def probabilities(logits: Values) -> Values:
    """Of being a face, 0..1."""
    # Beyond 80 the sigmoid is 0 or 1 in float32, and its exponential near overflowing.
    return np.divide(1, 1 + np.exp(-logits.clip(-80, 80)), dtype=np.float32)


def _small_faces() -> Pixels:
    """Windows full of faces as small as P-Net looks for, to check its engine on."""
    rows, columns = pyramid.WINDOW_ROWS, pyramid.WINDOW_COLUMNS
    bands = [np.concatenate(list(sample.faces(side_px)), axis=1) for side_px in (16, 24, 36)]
    return np.stack([np.tile(band, (17, 2, 1))[:rows, :columns] for band in bands])


def _best_of_neighbourhoods(values: Values) -> Values:
    """The best cell of each 8 x 8: elsewhere there is nothing on which engines could differ."""
    count, _, rows, columns = values.shape
    neighbourhoods = values[:, 0].reshape(count, rows // 8, 8, columns // 8, 8)
    return probabilities(neighbourhoods.max(axis=(2, 4)))


def _of_candidates(values: Values) -> Values:
    return probabilities(values[:, 0])


# --- the networks ------------------------------------------------------------------------------


class _Propose(nn.Module):
    def __init__(self, net: facenet.PNet) -> None:
        super().__init__()
        self.first = _PooledFirst(net.conv1, net.prelu1, net.pool1, net.conv2)
        self.features = nn.Sequential(
            net.conv2,
            net.prelu2,
            net.conv3,
            net.prelu3,
        )
        self.head = nn.Conv2d(32, 5, 1)
        _join(self.head, net.conv4_1, net.conv4_2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(self.first(_centred(pixels))))


class _PooledFirst(nn.Module):
    """The first convolution with its PReLU after the pooling, on a quarter of the values.

    Where the slope a is positive the two commute. Where it is negative, PReLU is the larger of x
    and a x, so that its maximum over a pool is the larger of the maxima of x and of a x: the
    convolution gives both, as further channels of its output. The answer is the same, exactly.
    """

    def __init__(
        self, conv: nn.Conv2d, prelu: nn.PReLU, pool: nn.MaxPool2d, following: nn.Conv2d
    ) -> None:
        super().__init__()
        slopes = prelu.weight.detach()
        # Channels with a negative slope come first; the next layer takes them in that order.
        order = torch.argsort(slopes >= 0, stable=True)
        self.folded = int((slopes < 0).sum())
        folded = order[: self.folded]
        self.conv = _from_pixels(conv)
        with torch.no_grad():
            weight, bias, by = conv.weight, _bias(conv), slopes[folded]
            folded_weight = weight[folded] * by.view(-1, 1, 1, 1)
            conv.weight = nn.Parameter(torch.cat([weight[order], folded_weight]))
            conv.bias = nn.Parameter(torch.cat([bias[order], bias[folded] * by]))
            following.weight = nn.Parameter(following.weight[:, order].contiguous())
        self.pool = pool
        self.prelu = nn.PReLU(len(slopes))
        self.prelu.weight = nn.Parameter(slopes[order].clamp(min=0))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(self.conv(values))
        plain, extra = pooled.split([len(self.prelu.weight), self.folded], dim=1)
        shaped = self.prelu(plain)
        both = torch.maximum(shaped[:, : self.folded], extra)
        return torch.cat([both, shaped[:, self.folded :]], dim=1)


class _Refine(nn.Module):
    def __init__(self, net: facenet.RNet) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _from_pixels(net.conv1),
            net.prelu1,
            net.pool1,
            net.conv2,
            net.prelu2,
            net.pool2,
            net.conv3,
            net.prelu3,
            _Flatten(),
            net.dense4,
            net.prelu4,
        )
        self.head = nn.Linear(128, 5)
        _join(self.head, net.dense5_1, net.dense5_2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(_centred(pixels)))


class _Output(nn.Module):
    def __init__(self, net: facenet.ONet) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _from_pixels(net.conv1),
            net.prelu1,
            net.pool1,
            net.conv2,
            net.prelu2,
            net.pool2,
            net.conv3,
            net.prelu3,
            net.pool3,
            net.conv4,
            net.prelu4,
            _Flatten(),
            net.dense5,
            net.prelu5,
        )
        self.head = nn.Linear(256, 15)
        _join(self.head, net.dense6_1, net.dense6_2, net.dense6_3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(_centred(pixels)))


class _Flatten(nn.Module):
    """Columns, then rows, then channels: the order that the dense weights were trained in."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.permute(0, 3, 2, 1).flatten(1)


def _centred(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 NHWC seen as NCHW around zero; such half integers are exact even in bfloat16."""
    return pixels.permute(0, 3, 1, 2).float() - 127.5


def _from_pixels(conv: nn.Conv2d) -> nn.Conv2d:
    """The first layer on centred pixels: facenet's factor 1/128 is a power of two, so exact."""
    with torch.no_grad():
        conv.weight.mul_(1 / 128)
    return conv


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    if conv.bias is None:
        raise AssertionError("every convolution of MTCNN has a bias")
    return conv.bias


def _join(head: nn.Conv2d | nn.Linear, classes: nn.Module, *others: nn.Module) -> None:
    """Fill `head` with the classes' difference (face minus background) and the other outputs."""
    with torch.no_grad():
        for name in ("weight", "bias"):
            both = getattr(classes, name)
            rows = [both[1:] - both[:1], *(getattr(other, name) for other in others)]
            getattr(head, name).copy_(torch.cat(rows))
