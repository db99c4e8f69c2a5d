"""Image networks of timm: by their name in timm, or described by a repository of the Hugging Face Hub or a folder.

========================  ==========================================================================================
``timm/NAME``             a network of timm; ``NAME.TAG`` chooses among its weights
``timm/NAME?KEY=VALUE``   with arguments of timm's builder, such as ``timm/vit_small_patch14_dinov2?depth=6``
``hf-hub:ORG/NAME``       a repository of the Hugging Face Hub, in timm's format; ``@REVISION`` may follow
``local-dir:FOLDER``      a folder with the files of such a repository
========================  ==========================================================================================

``timm/`` may also precede the last two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from torch import nn

from praxiscope._compat import import_timm
from praxiscope.errors import ArgumentError, CheckpointError, unknown_name

__all__ = ["TimmNetwork", "portable_name", "timm_network"]

_SOURCES = ("hf-hub:", "local-dir:")
_OWN_ARGUMENTS = ("num_classes", "in_chans", "drop_rate", "pretrained")  # set by `create_backbone`


class TimmNetwork(NamedTuple):
    """A network of timm, and what is known about its published weights.

    name: as given.
    weights: the name by which timm finds the weights.
    architecture: name of timm's builder.
    arguments: further arguments of the builder.
    size: side in pixels at which the weights were trained.
    num_classes: classes of the published classifier.
    mean, std: normalisation of RGB input in [0, 1].
    """

    name: str
    weights: str
    architecture: str
    arguments: Mapping[str, Any]
    size: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def build(
        self, *, num_classes: int, dropout: float, pretrained: bool, input_size: int | None
    ) -> nn.Module:
        """Build the network.

        Args:
            num_classes: K.
            dropout: rate before the classifier.
            pretrained: load the published weights.
            input_size: H and W in pixels, for transformers, which have a fixed size.

        Raises:
            ArgumentError: an argument is unknown to timm, or the size is not a multiple of the patches.
            CheckpointError: the weights cannot be downloaded or read.
        """
        arguments = {**self.arguments, "num_classes": num_classes, "drop_rate": dropout}
        source = self.weights if pretrained else self.architecture
        try:
            network: Any = import_timm().create_model(source, pretrained=pretrained, **arguments)
        except Exception as error:  # the hub's client raises many kinds of errors
            reason = str(error).partition("\n")[0].rstrip(". ")
            if not pretrained:
                raise ArgumentError(f"{self.name} cannot be built: {reason}") from error
            raise _not_loaded(self.name, reason) from error
        if input_size is not None and hasattr(network, "set_input_size"):
            _resize(network, self.name, input_size)
        built: nn.Module = network
        return built


def _resize(network: Any, name: str, size: int) -> None:
    """Set the size of a transformer's input; its table of positions is interpolated."""
    patches = network.patch_embed.patch_size if hasattr(network, "patch_embed") else (1, 1)
    if size % patches[0]:
        below = max(size // patches[0], 1) * patches[0]
        raise ArgumentError(
            f"{name} has patches of {patches[0]} pixels, of which {size} pixels are not a multiple. Use --size "
            f"{below} or {below + patches[0]}."
        )
    network.set_input_size(img_size=(size, size))


def timm_network(name: str, *, download: bool = False) -> TimmNetwork:
    """Describe a network of timm.

    Args:
        name: see the module's docstring.
        download: whether the description of a repository may be downloaded. Otherwise it must be in the cache of the
            Hugging Face Hub.

    Raises:
        UnknownNameError: timm has no such network; the message names the nearest.
        ArgumentError: timm is not installed, or does not know the tag.
        CheckpointError: the description cannot be read or downloaded.
    """
    timm = import_timm()
    short = name.removeprefix("timm/")
    if short.startswith(_SOURCES):
        return _described(name, short, _description(name, short, download))
    short, _, query = short.partition("?")
    if not timm.is_model(short):
        raise unknown_name("timm backbone", short, timm.list_models())
    try:
        config = timm.get_pretrained_cfg(short) or timm.models.PretrainedCfg()
    except RuntimeError as error:
        raise ArgumentError(f"backbone {name!r}: {error}") from None
    return TimmNetwork(
        name,
        short,
        short.partition(".")[0],
        {key: _parsed(value) for key, value in parse_qsl(query)},
        int(config.input_size[-1]),
        int(config.num_classes),
        tuple(config.mean),
        tuple(config.std),
    )


def portable_name(name: str, *, download: bool = False) -> str:
    """The name of a network that any machine can build without the repository that describes it: of ``hf-hub:`` and
    ``local-dir:`` names ``timm/NAME?KEY=VALUE``, of others the name itself.

    Args and errors: see `timm_network`.
    """
    if not name.removeprefix("timm/").startswith(_SOURCES):
        return name
    network = timm_network(name, download=download)
    query = urlencode({key: json.dumps(value) for key, value in network.arguments.items()})
    return f"timm/{network.architecture}{'?' if query else ''}{query}"


def _parsed(value: str) -> Any:
    """An argument: a number, true, false, null or a list as in JSON, or other text as it is."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _described(name: str, short: str, file: Path) -> TimmNetwork:
    """Read the description of a network, in timm's format."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        own = content.get("pretrained_cfg", content)
        arguments = {k: v for k, v in content.get("model_args", {}).items() if k not in _OWN_ARGUMENTS}
        network = TimmNetwork(
            name,
            short,
            str(content["architecture"]),
            arguments,
            int(own["input_size"][-1]),
            int(content.get("num_classes", own.get("num_classes", 0))),
            tuple(map(float, own["mean"])),
            tuple(map(float, own["std"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: does not describe a network in timm's format ({type(error).__name__}: {error})"
        ) from error
    timm = import_timm()
    if not timm.is_model(network.architecture):
        raise CheckpointError(
            f"{file}: {unknown_name('timm backbone', network.architecture, timm.list_models())}"
        )
    return network


def _description(name: str, short: str, download: bool) -> Path:
    """The file that describes a network."""
    source, _, place = short.partition(":")
    if source == "local-dir":
        return Path(place) / "config.json"
    import huggingface_hub as hub  # timm needs it too

    repository, _, revision = place.partition("@")
    if download:
        try:
            return Path(hub.hf_hub_download(repository, "config.json", revision=revision or None))
        except Exception as error:  # the hub's client raises many kinds of errors
            raise _not_loaded(name, str(error).partition("\n")[0].rstrip(". ")) from error
    try:
        found = hub.try_to_load_from_cache(repository, "config.json", revision=revision or None)
    except ValueError as error:  # not ORG/NAME
        raise ArgumentError(f"backbone {name!r}: {error}") from None
    if not isinstance(found, str):
        raise CheckpointError(
            f"{name} has not been downloaded to this machine. Download it: praxiscope train … --pretrained "
            "(pretrained=True), or praxiscope features … --weights download"
        )
    return Path(found)


def _not_loaded(name: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"the weights of {name} could not be loaded ({reason}). Try again with a network connection, fill "
        "Hugging Face's cache (HF_HOME), or load a local file: weights=PATH"
    )
