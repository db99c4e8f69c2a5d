"""CNN-M-2048, the network of both streams in Simonyan and Zisserman 2014 (from Chatfield et al. 2014).

Axis letters: N images, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from praxiscope.errors import ArgumentError

__all__ = ["CnnM2048", "cnn_m_2048", "cnn_m_2048_temporal"]

SMALLEST_INPUT = 41  # pixels; for smaller images the input of the last pooling is empty


def local_response_norm() -> nn.Module:
    """AlexNet's normalisation: x / (2 + 1e-4 * sum over 5 channels of x^2)^0.75. Torch divides alpha by 5."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def _pool() -> nn.Module:
    # The figure shows 2x2 pooling. The published network pools 3x3 with stride 2 and rounds up.
    return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)


class CnnM2048(nn.Module):
    """Five convolutions, three full layers; 224 px become 109, 54 (pool), 26, 13 (pool), 13, 13, 13, 6 (pool).

    For other sizes, maps are averaged to 6x6 before the first full layer, as in torchvision's AlexNet and VGG; at 224
    px this has no effect.

    Args:
        norm1: creates the normalisation after conv1.
        norm2: creates the normalisation after conv2; ``nn.Identity`` for none, which keeps the names of all layers.
        num_classes: K.
        dropout: rate after each of the two full layers.
    """

    def __init__(
        self,
        *,
        norm1: Callable[[], nn.Module] = local_response_norm,
        norm2: Callable[[], nn.Module] = local_response_norm,
        num_classes: int = 1000,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 96, kernel_size=7, stride=2), nn.ReLU(inplace=True), norm1(), _pool()),
            *(
                nn.Conv2d(96, 256, kernel_size=5, stride=2, padding=1),
                nn.ReLU(inplace=True),
                norm2(),
                _pool(),
            ),
            *(nn.Conv2d(256, 512, kernel_size=3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(512, 512, kernel_size=3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(512, 512, kernel_size=3, padding=1), nn.ReLU(inplace=True), _pool()),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 6 * 6, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),  # full6
            *(nn.Linear(4096, 2048), nn.ReLU(inplace=True), nn.Dropout(dropout)),  # full7
            nn.Linear(2048, num_classes),
        )
        # The paper uses one Gaussian for all layers. He initialisation preserves the signal through eight layers.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, K].

        Raises:
            ArgumentError: H or W is below 41 pixels.
        """
        return self.classifier(self.avgpool(self.features(self.check_size(x))).flatten(1))

    @staticmethod
    def check_size(x: Tensor) -> Tensor:
        """Return images [N, C, H, W] unchanged. Raises ArgumentError if H or W is below 41 pixels."""
        if min(x.shape[-2:]) < SMALLEST_INPUT:
            raise ArgumentError(
                f"CNN-M-2048 needs images of at least {SMALLEST_INPUT} x {SMALLEST_INPUT} pixels, got "
                f"{x.shape[-2]} x {x.shape[-1]}"
            )
        return x


def cnn_m_2048() -> CnnM2048:
    """The network of the spatial stream: normalisation after conv1 and conv2."""
    return CnnM2048()


def cnn_m_2048_temporal() -> CnnM2048:
    """The network of the temporal stream: "we removed the second normalisation layer … to reduce memory
    consumption"."""
    return CnnM2048(norm2=nn.Identity)
