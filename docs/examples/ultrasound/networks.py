"""MobileNetV1 at a quarter of its width, with the tensors of the published ImageNet weights.

Howard et al., *MobileNets: efficient convolutional neural networks for mobile vision applications*
(2017). The parts are called as the file of weights calls them, so that they fit by name.
"""

from __future__ import annotations

import torch
from torch import nn

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's photographs by color, in units where an image lies in [0, 1]."""
STAGES = (
    ((8, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),
    ((128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)),
    ((256, 2), (256, 1)),
)
"""Output channels and stride of each block; the very first is a plain convolution."""


LEAK = 0.1
"""Of the rectifiers: what the weights were trained with."""


class MobileNetV1(nn.Module):
    """Gray images to logits of classes."""

    def __init__(self, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        """Build it with random weights.

        Args:
            spatial_dims: 2; others are refused.
            in_channels: 1; others are refused.
            num_classes: logits of an answer.

        Raises:
            ValueError: this network does not exist for these images.
        """
        super().__init__()
        if (spatial_dims, in_channels) != (2, 1):
            raise ValueError("MobileNetV1 takes pictures of one channel")
        channels, stages = 3, []
        for number, stage in enumerate(STAGES):
            blocks = []
            for place, (out, stride) in enumerate(stage):
                plain = (number, place) == (0, 0)
                blocks.append((_plain if plain else _separable)(channels, out, stride))
                channels = out
            stages.append(nn.Sequential(*blocks))
        self.stage1, self.stage2, self.stage3 = stages
        self.fc = nn.Linear(channels, num_classes)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 1, rows, columns) in [0, 1] → (batch, classes).

        Gray is shown in all three colors, each normalized as ImageNet's were.
        """
        color = (images - self.mean) / self.deviation
        features = self.stage3(self.stage2(self.stage1(color)))
        return self.fc(features.mean(dim=(2, 3)))


def _plain(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.LeakyReLU(LEAK, inplace=True),
    )


def _separable(channels: int, out: int, stride: int) -> nn.Sequential:
    """A filter for each channel, then a mixture of the channels at each pixel."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(LEAK, inplace=True),
        nn.Conv2d(channels, out, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.LeakyReLU(LEAK, inplace=True),
    )
