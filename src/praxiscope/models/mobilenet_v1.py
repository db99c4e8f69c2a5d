"""MobileNet v1 (Howard et al. 2017) as in Keras, so that its published weights load.

Axis letters: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

__all__ = ["MobileNetV1"]

# Output channels at width 1, and stride, of the 13 depthwise-separable blocks.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6; with a stride it pads only at the bottom and on the right, as Keras does."""
    one_sided = kernel > 1 and stride == 2
    return nn.Sequential(
        OrderedDict(
            pad=nn.ZeroPad2d((0, 1, 0, 1)) if one_sided else nn.Identity(),
            conv=nn.Conv2d(
                inputs, outputs, kernel, stride, 0 if one_sided else kernel // 2, groups=groups, bias=False
            ),
            norm=nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
            activation=nn.ReLU6(inplace=True),
        )
    )


class MobileNetV1(nn.Module):
    """MobileNet v1.

    Args:
        width: multiplies every layer's channels.
        num_classes: K.
        dropout: rate before the classifier.
    """

    def __init__(self, *, width: float = 0.25, num_classes: int = 1000, dropout: float = 1e-3) -> None:
        super().__init__()
        channels = int(32 * width)
        self.stem = _convolution(3, channels, 3, stride=2)
        blocks: list[nn.Module] = []
        for full, stride in _BLOCKS:
            wider = int(full * width)
            depthwise = _convolution(channels, channels, 3, stride, groups=channels)
            pointwise = _convolution(channels, wider, 1)
            blocks.append(nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise)))
            channels = wider
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, K]."""
        features = self.pool(self.blocks(self.stem(x))).flatten(1)
        return self.classifier(self.dropout(features))
