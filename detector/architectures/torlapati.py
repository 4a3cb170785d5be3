"""Torlapati: Deep Fake Face Detection. Two networks of its own and three frozen bases, 224x224.

The document counts as Keras does. Its bases end in a global mean, and so do these.
"""

from __future__ import annotations

import timm
from torch import nn
from torchvision.models import densenet121, resnet50

from detector.architectures.base import Architecture, Backbone, LogitDifference, SingleLogit
from detector.architectures.transfer import Transfer

_DOCUMENT = "Torlapati: Deep Fake Face Detection"
#: What Keras sets where a document names none: epsilon 0.001, momentum 0.99 (0.01 in torch).
_EPSILON, _MOMENTUM = 1e-3, 0.01


def build_1() -> nn.Module:
    """Two valid 3x3 convolutions (64, 32) and one dense layer of two classes."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(),
        nn.Conv2d(64, 32, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 220 * 220, 2), LogitDifference(),
    )  # fmt: skip


def build_2(dropout: float = 0.25) -> nn.Module:
    """Two valid 3x3 convolutions (32, 64), pooling, 774,400 -> 128 -> 2.

    The document states that there is dropout, not how much; 0.25 is ours.
    """
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(dropout), nn.Flatten(),
        nn.Linear(64 * 110 * 110, 128), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(128, 2), LogitDifference(),
    )  # fmt: skip


def build_densenet121(dropout: float = 0.5) -> nn.Module:
    """A frozen DenseNet121, BatchNorm, dropout, 1024 -> 256, BatchNorm, dropout, 1."""
    base = densenet121(weights=None)
    base.classifier = nn.Identity()
    return Transfer(base, _dense_head(1024, dropout))


def build_resnet50(dropout: float = 0.5) -> nn.Module:
    """A frozen ResNet50 under the head of the DenseNet121.

    The document's 24,121,729 holds 26,560 biases of Keras' convolutions that torchvision's
    ResNet50 leaves out, because a BatchNorm follows each: counted as Keras counts, this one has
    24,095,169. torchvision also halves the map in a block's 3x3 convolution, Keras in its first.
    """
    base = resnet50(weights=None)
    base.fc = nn.Identity()
    return Transfer(base, _dense_head(2048, dropout))


def build_xception(dropout: float = 0.5) -> nn.Module:
    """A frozen Xception, then BatchNorm and dropout twice, 2048 -> 1."""
    head = nn.Sequential(
        nn.BatchNorm1d(2048, _EPSILON, _MOMENTUM), nn.Dropout(dropout),
        nn.BatchNorm1d(2048, _EPSILON, _MOMENTUM), nn.Dropout(dropout),
        nn.Linear(2048, 1), SingleLogit(),
    )  # fmt: skip
    return Transfer(timm.create_model("legacy_xception", num_classes=0), head)


def _dense_head(features: int, dropout: float) -> nn.Module:
    """The document states neither the dropout nor the activation; 0.5 and ReLU are ours."""
    return nn.Sequential(
        nn.BatchNorm1d(features, _EPSILON, _MOMENTUM), nn.Dropout(dropout),
        nn.Linear(features, 256), nn.ReLU(),
        nn.BatchNorm1d(256, _EPSILON, _MOMENTUM), nn.Dropout(dropout),
        nn.Linear(256, 1), SingleLogit(),
    )  # fmt: skip


ARCHITECTURES = (
    Architecture(
        name="torlapati-1",
        input_px=224,
        document=_DOCUMENT,
        builder=build_1,
        parameters=3_117_858,
        keras_parameters=3_117_858,
        trainable_parameters=3_117_858,
        printed_parameters=3_117_858,
    ),
    Architecture(
        name="torlapati-2",
        input_px=224,
        document=_DOCUMENT,
        builder=build_2,
        parameters=99_142_978,
        keras_parameters=99_142_978,
        trainable_parameters=99_142_978,
        printed_parameters=99_142_978,
    ),
    Architecture(
        name="torlapati-densenet121",
        input_px=224,
        document=_DOCUMENT,
        builder=build_densenet121,
        parameters=7_219_073,
        keras_parameters=7_305_281,
        trainable_parameters=265_217,
        printed_parameters=7_305_281,
        backbone=Backbone(name="densenet121.tv_in1k", classifier="classifier"),
    ),
    Architecture(
        name="torlapati-xception",
        input_px=224,
        document=_DOCUMENT,
        builder=build_xception,
        parameters=20_817_193,
        keras_parameters=20_879_913,
        trainable_parameters=10_241,
        printed_parameters=20_879_913,
        backbone=Backbone(name="legacy_xception.tf_in1k", classifier="fc"),
    ),
    Architecture(
        name="torlapati-resnet50",
        input_px=224,
        document=_DOCUMENT,
        builder=build_resnet50,
        parameters=24_037_441,
        keras_parameters=24_095_169,
        trainable_parameters=529_409,
        # With the biases that torchvision leaves out; see build_resnet50.
        printed_parameters=24_121_729,
        backbone=Backbone(name="resnet50.tv_in1k", classifier="fc"),
    ),
)
