"""EfficientNet-Lite (Tan and Le, ICML 2019, arXiv 1905.11946, without squeeze-and-excitation).

Plain convolutions and ReLU6 alone, so that they are as fast on CPUs as their arithmetic says.
Padding is symmetric: the published weights were trained with TensorFlow's "same" padding, which
depends on the input's size and does not export; on photos both give nearly the same classes.
"""

from __future__ import annotations

import timm
from torch import nn

from detector.architectures.base import Architecture, SingleLogit

#: TensorFlow's, with which the published weights were trained.
_BATCHNORM_EPS = 1e-3
_FEATURES = 1280


def build_efficientnet_lite(model: str, dropout: float = 0.2) -> nn.Module:
    """timm's network; global mean, dropout, 1280 -> 1. All but the classifier is timm's by name."""
    network = timm.create_model(model, pretrained=False, num_classes=1, bn_eps=_BATCHNORM_EPS)
    network.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_FEATURES, 1), SingleLogit())
    return network


def _lite0(dropout: float = 0.2) -> nn.Module:
    return build_efficientnet_lite("efficientnet_lite0", dropout)


def _lite2(dropout: float = 0.2) -> nn.Module:
    return build_efficientnet_lite("efficientnet_lite2", dropout)


ARCHITECTURES = (
    Architecture(
        name="efficientnet-lite0",
        input_px=224,
        document="Tan and Le, EfficientNet, ICML 2019; Lite variant",
        builder=_lite0,
        parameters=3_372_289,
        keras_parameters=3_414_305,
        trainable_parameters=3_372_289,
    ),
    Architecture(
        name="efficientnet-lite2",
        input_px=260,
        document="Tan and Le, EfficientNet, ICML 2019; Lite variant",
        builder=_lite2,
        parameters=4_812_353,
        keras_parameters=4_870_449,
        trainable_parameters=4_812_353,
    ),
)
