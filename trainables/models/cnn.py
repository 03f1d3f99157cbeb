"""The convolutional network for images."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

from trainables.errors import ConflictError
from trainables.models.activations import Activation, activation, unknown
from trainables.models.settings import counted, fitted, named, shared, sizes

if TYPE_CHECKING:
    from torch import nn

    from trainables.task import Shape

Norm = Literal["batch", "group", "none"]
"""Batch norm (Ioffe and Szegedy, 2015), group norm (Wu and He, 2018), or none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CNN:
    """Blocks of convolution, norm, activation and pooling, then the mean over all places and a linear layer (after LeCun, 1998).

    Inputs are [B, C, H, W], [B, H, W] (one channel) or flat [B, C H W]; outputs are [B, outputs]. ``image`` is (C, H, W): at None
    it is read off the data, where flat samples must be a square of one channel. Each block has as many channels as ``channels``
    says, keeps height and width in its convolution (odd ``kernel``, zeros around), then takes the maximum of 2 x 2 places as long
    as both sides have two. ``groups`` is for group norm alone. Batch norm in training needs more than one value a channel: a last
    batch of one sample at 1 x 1 raises.

    Parameters: k² n m + 2 m for each block from n to m channels (k² n m + m without norm, which alone has a bias), and
    (m + 1) outputs after the last.
    """

    channels: tuple[int, ...] = (32, 64)
    image: tuple[int, int, int] | None = None
    outputs: int | None = None
    kernel: int = 3
    norm: Norm = "batch"
    groups: int = 8
    activation: Activation = "relu"
    dropout: float = 0.0

    def adapted(self, shape: Shape) -> CNN:
        """The same network for these images. Raises ConflictError where they are none, or others than ``image`` says."""
        image = self.image if self.image is not None else _image(shape.inputs)
        if math.prod(image) != math.prod(shape.inputs) or (len(shape.inputs) == 3 and image != shape.inputs):
            raise ConflictError("CNN", [f"image {image} is not what the data has: {shape.inputs}; leave image=None"])
        return replace(self, image=image, outputs=shape.outputs if self.outputs is None else self.outputs)

    def build(self) -> nn.Module:
        """A new module. Raises ValueError when a size is missing or a setting is wrong."""
        from torch import nn

        from trainables.models.image import Image

        if self.image is None:
            raise ValueError(f"{self} lacks image; give (channels, height, width), or let a task fill it in")
        first, height, width = self.image
        _, outputs = sizes(self, first, self.outputs)
        side = min(height, width)
        blocks = [
            self._block(before, after, pooled=side >> index >= 2)
            for index, (before, after) in enumerate(pairwise((first, *self.channels)))
        ]
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                image=Image(first, height, width),
                blocks=nn.Sequential(*blocks),
                mean=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                head=nn.Linear(self.channels[-1], outputs),
            )
        )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the settings."""
        yield from counted("CNN", "channels", self.channels, (32, 64))
        if not self.channels:
            yield "CNN channels () has no block; give the channels of one at least, such as (32,)"
        yield from counted("CNN", "image", self.image, "(1, 28, 28)")
        yield from fitted("CNN", None, self.outputs)
        yield from counted("CNN", "kernel", self.kernel, 3)
        if self.kernel % 2 == 0:
            yield f"CNN kernel {self.kernel} must be odd, so that an image keeps its size; 3 is usual"
        yield from named("CNN", "norm", self.norm, get_args(Norm))
        yield from counted("CNN", "groups", self.groups, 8)
        if self.norm == "group" and self.groups >= 1:
            for channels in self.channels:
                if channels % self.groups:
                    yield f"CNN groups {self.groups} does not divide {channels} channels; {math.gcd(*self.channels)} divides all"
        yield from unknown("CNN", self.activation)
        yield from shared("CNN", "dropout", self.dropout)

    def _block(self, before: int, after: int, *, pooled: bool) -> nn.Module:
        from torch import nn

        # A norm takes the mean out again, so that a bias before it would learn nothing.
        bias = self.norm == "none"
        layers: list[nn.Module] = [nn.Conv2d(before, after, self.kernel, padding=self.kernel // 2, bias=bias)]
        if self.norm == "batch":
            layers.append(nn.BatchNorm2d(after))
        elif self.norm == "group":
            layers.append(nn.GroupNorm(self.groups, after))
        layers.append(activation(self.activation))
        if pooled:
            layers.append(nn.MaxPool2d(2))
        layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers)


def _image(inputs: tuple[int, ...]) -> tuple[int, int, int]:
    """The (C, H, W) of a sample. Raises ConflictError where it cannot be worked out."""
    if len(inputs) == 3:
        return inputs[0], inputs[1], inputs[2]
    if len(inputs) == 2:
        return 1, inputs[0], inputs[1]
    if len(inputs) == 1 and math.isqrt(inputs[0]) ** 2 == inputs[0]:
        return 1, math.isqrt(inputs[0]), math.isqrt(inputs[0])
    raise ConflictError("CNN", [f"a sample {inputs} is not an image or a square; give image=(channels, height, width)"])
