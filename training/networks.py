"""A network ready to be trained: built, given pretrained weights, its BatchNorm re-estimated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.errors import ModelMissing, UsageError
from detector import architectures
from detector.architectures.residual import SilentConv2d
from training import packaged
from training.recipe import Network


def prepare(network: Network, data: Path, sample: torch.Tensor, seed: int) -> nn.Module:
    """Build the recipe's network; where it names pretrained weights, load them from `data`.

    `sample` is float32 (n, 3, size, size), normalised as in training: its statistics replace
    those that were folded into the pretrained convolutions, unless those are to be kept. Raises
    ModelMissing, UsageError.
    """
    torch.manual_seed(seed)
    module = architectures.build(network.architecture, **network.options)
    if network.pretrained:
        load_backbone(module, packaged.locate(network.pretrained, data))
        if network.statistics == "follow":
            reestimate_batchnorm(module, sample)
    keep_strided_depthwise_in_full_precision(module)
    return module.to(memory_format=torch.channels_last)


def keep_strided_depthwise_in_full_precision(module: nn.Module) -> None:
    """Run depthwise convolutions with a stride in float32 under autocast; weights are shared.

    oneDNN has no fast backward pass for them in bfloat16: MobileNetV2's four took a third of a
    training step and are 4 to 17 times as fast in float32 (AVX512, torch 2.14).
    """
    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and layer.groups > 1 and max(layer.stride) > 1:
                setattr(parent, name, _FullPrecisionConv(layer))


class _FullPrecisionConv(nn.Conv2d):
    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
            groups=layer.groups,
            bias=layer.bias is not None,
            device="meta",
        )
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            return super().forward(maps.float()).to(maps.dtype)


def load_backbone(module: nn.Module, path: Path) -> None:
    """Copy every tensor of `path` whose name and shape fit, all but the classifier.

    Layers that say nothing until they are trained may be missing there as well. Raises ModelMissing
    without the file, UsageError when the file is of another network.
    """
    if not path.exists():
        raise ModelMissing(
            f"There are no pretrained weights at {path}; give the right data folder, or set "
            'network.pretrained = "" in the recipe to start from random weights.'
        )
    own, found = module.state_dict(), read_fitting(module, path)
    silent = [name for name, layer in module.named_modules() if isinstance(layer, SilentConv2d)]
    spared = ("classifier", *(f"{name}." for name in silent))
    missing = {name for name in set(own) - set(found) if not name.startswith(spared)}
    if missing:
        raise UsageError(f"{path} does not fit: {len(missing)} tensors have no counterpart in it")
    module.load_state_dict(found, strict=False)


def read_fitting(module: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file whose name and shape fit the network, in the network's precision."""
    own = module.state_dict()
    return {
        name: value.to(own[name].dtype)
        for name, value in load_file(path).items()
        if name in own and value.shape == own[name].shape
    }


def between(
    start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Tensor by tensor `share` of `start` and the rest of `end`; counters are those of `end`."""
    return {
        name: torch.lerp(value, start[name].to(value), share)
        if value.is_floating_point()
        else value
        for name, value in end.items()
    }


@torch.no_grad()
def reestimate_batchnorm(module: nn.Module, sample: torch.Tensor) -> None:
    """Give every BatchNorm the statistics of its input on `sample`, keeping its function.

    The weights at hand had BatchNorm folded into the convolutions (weight 1, mean 0, variance
    1 - eps), which makes the first training step jump. With the true mean and variance as running
    statistics, and weight and bias set to undo them, the function stays and training starts
    from it. Layers are done in order, so that each sees the input that it will see.
    """
    module.eval()
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    handles = [layer.register_forward_pre_hook(_reestimate) for layer in layers]
    try:
        module(sample)
    finally:
        for handle in handles:
            handle.remove()


def hold_statistics(module: nn.Module) -> None:
    """Let every BatchNorm of a network in training mode use its statistics and leave them be."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()


def _reestimate(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    assert isinstance(layer, _BatchNorm)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    values = inputs[0]
    axes = [axis for axis in range(values.ndim) if axis != 1]
    mean, variance = values.mean(axes), values.var(axes, unbiased=False)
    # The function before: y = scale * x + shift.
    scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
    shift = layer.bias - scale * layer.running_mean
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    layer.weight.copy_(scale * torch.sqrt(variance + layer.eps))
    layer.bias.copy_(shift + scale * mean)


class Seen(NamedTuple):
    """What a network in training says of n crops."""

    #: (n,), higher is more fake.
    logits: torch.Tensor
    #: Logits (n, 2, cells, cells) of where the crops are foreign, if an inner layer is asked.
    maps: torch.Tensor | None
    #: The embedding (n, channels) that the classifier is given, if it is asked for.
    embedding: torch.Tensor | None = None


class Guided(nn.Module):
    """A network whose inner layer is also asked where a fake is foreign, while it trains.

    A label says one bit about a crop; the masks of self-made fakes say where to look (face X-ray,
    Li et al., CVPR 2020). Only `network` is kept in the end.
    """

    def __init__(
        self, network: nn.Module, layer: str, sample: torch.Tensor, *, embedded: str = ""
    ) -> None:
        """`layer` names the inner layer; "" asks none. `sample` tells its channels.

        `embedded` names the layer whose input is the embedding; "" asks for none.
        """
        super().__init__()
        self.network = network
        self.head: nn.Conv2d | None = None
        # Slots, outside of the modules: copies of the network must not carry activations.
        self._seen: list[torch.Tensor] = []
        self._embedding: list[torch.Tensor] = []
        if embedded:
            network.get_submodule(embedded).register_forward_pre_hook(self._embed)
        if layer:
            network.get_submodule(layer).register_forward_hook(self._keep)
            with torch.no_grad():
                network(sample[:1])
            self.head = nn.Conv2d(self._seen[0].shape[1], 2, 1)

    def _keep(self, _layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        self._seen[:] = [output]

    def _embed(self, _layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._embedding[:] = inputs[:1]

    def forward(self, crops: torch.Tensor) -> Seen:
        """What the network says of float32 (n, 3, size, size), and what it was asked for beside."""
        logits = self.network(crops)
        maps = self.head(self._seen.pop()) if self.head is not None else None
        return Seen(logits, maps, self._embedding.pop() if self._embedding else None)


class Average:
    """An exponential average of a network's weights and statistics, kept in its own copy."""

    def __init__(self, module: nn.Module, share: float) -> None:
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self._share = share

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the network; early on faster, so that the start is soon forgotten."""
        share = min(self._share, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - share)
            else:
                self.state[name].copy_(value)
