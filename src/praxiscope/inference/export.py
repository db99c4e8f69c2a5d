"""Write a trained network for other runtimes: ONNX, OpenVINO, or PyTorch's exported program.

The exported network takes uint8 RGB frames, normalises them, and returns the scores of views. The folder can be read by
`praxiscope.deploy`, without torch.

Axis letters: B views, S snippets of a view, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from praxiscope._version import __version__
from praxiscope.deploy.description import Description
from praxiscope.deploy.runtimes import PROGRAM, Runtime, open_network
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.inference.recogniser import Recogniser

__all__ = ["FORMATS", "Exportable", "check_exportable", "describe", "export_network", "opened"]

_CLOSE = (
    1e-3  # relative difference from which a number of snippets counts as one that the network does not take
)
_MINIMUM = 64  # pixels of the frames with which networks for whole frames are tried


class Exportable(nn.Module):
    """A network with the normalisation of its frames: uint8 [B, S, C, H, W] to scores before softmax, [B, K]."""

    gain: Tensor
    offset: Tensor

    def __init__(self, network: Recogniser) -> None:
        super().__init__()
        contract = network.card.input
        channels = contract.channels
        self.model = network.model.float().cpu().eval()
        mean, std = (
            torch.tensor(value).repeat(channels // len(value)) for value in (contract.mean, contract.std)
        )
        self.register_buffer("gain", (1 / (255 * std.double())).float()[:, None, None])
        self.register_buffer("offset", (-mean.double() / std.double()).float()[:, None, None])

    def forward(self, rgb: Tensor) -> Tensor:
        x = rgb.float() * self.gain + self.offset
        logits: Tensor = self.model(x).logits
        return logits


def describe(network: Recogniser, protocol: Protocol, file: str, snippets: int | None) -> Description:
    """The description of an exported network."""
    card = network.card
    return Description(
        model=card.name,
        file=file,
        labels=card.labels,
        multi_label=card.multi_label,
        calibration=card.calibration,
        size=card.input.size,
        short_side=card.input.short_side,
        length=card.input.length,
        protocol=protocol.name,
        average=protocol.average,
        together=network.seen_together(protocol),
        windows=network.takes_windows,
        snippets=snippets,
        versions={"praxiscope": __version__, "torch": str(torch.__version__)},
    )


def check_exportable(network: Recogniser, protocol: Protocol) -> None:
    """Raise ArgumentError for a network that cannot be exported yet."""
    card, name = network.card, network.card.name
    problem = ""
    if network.streams != ("rgb",):
        problem = f"takes {network.stream}, and only networks of RGB frames can be exported"
    elif network.sees.all_frames:
        problem = "takes all frames of a video at once"
    elif card.input.fps is not None or card.input.max_seconds is not None:
        problem = f"reads videos at {card.input.fps} frames per second"
    elif protocol.crops not in ("center", "full", "full-mirrored") or protocol.sampling == "random":
        problem = (
            f"was asked for protocol {protocol.name}, and only crops at the centre and whole frames are run"
        )
    if problem:
        raise ArgumentError(f"{name}: cannot be exported: it {problem}. Predict with the run itself.")


def export_network(
    network: Recogniser, folder: Path, to: str = "onnx", protocol: str | None = None
) -> tuple[Description, float]:
    """Write a network into an existing folder.

    Args:
        network: of RGB frames.
        folder: where the file is written.
        to: one of `FORMATS`.
        protocol: views by which videos are predicted; None: the default of the model.

    Returns:
        The description, and the largest difference of scores on random frames, relative to the largest score.

    Raises:
        ArgumentError: the network cannot be exported, or a library is missing.
    """
    chosen = parse_protocol(protocol or network.default_protocol())
    check_exportable(network, chosen)
    module = Exportable(network).eval()
    together = network.seen_together(chosen)
    count = together or chosen.temporal_views
    sides = [network.card.input.size] * 2
    if chosen.crops != "center":
        sides = [max(_MINIMUM, network.card.input.size), max(_MINIMUM, network.card.input.size) + 32]
    sizes = (2, count, network.card.input.channels, *sides)
    attempts = [True, False] if together is None else [False]
    for any_number in attempts:
        # Layers that divide the snippets into windows may have been exported for this many windows only.
        least = network.sees.least
        counts = [count, 2 * count, max(least, count // 2), least] if any_number else [count, count]
        try:
            file = FORMATS[to](module, _noise(sizes), _dynamic(any_number, chosen.crops != "center"), folder)
            found = _difference(module, folder / file, sizes, counts)
        except Exception as error:  # of several libraries, each with its own exceptions
            if any_number:
                continue  # its loops over time need a known number
            first = str(error).splitlines()[0] if str(error) else ""
            raise ArgumentError(
                f"{network.card.name}: cannot be exported to {to} ({type(error).__name__}: {first})."
            ) from error
        if found < _CLOSE or not any_number:
            break
    return describe(network, chosen, file, None if any_number else count), found


def _noise(sizes: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, sizes, dtype=torch.uint8, generator=generator)


def _dynamic(any_number: bool, any_size: bool) -> dict[int, Any]:
    """The axes of the input whose length is free: the batch, and the snippets and the size if they are."""
    axes = [0, *([1] if any_number else []), *([3, 4] if any_size else [])]
    return dict.fromkeys(axes, torch.export.Dim.DYNAMIC)


def _difference(module: Exportable, path: Path, sizes: tuple[int, ...], counts: Sequence[int]) -> float:
    """The largest difference of the scores of random frames, relative to the largest score, for batches of other sizes
    than that of the export, and some numbers of snippets."""
    run = opened(path)
    largest = 0.0
    for batch, count in enumerate(counts, 1):
        frames = _noise((1 if batch == 1 else 3, count, *sizes[2:]), seed=batch)
        with torch.inference_mode():
            expected = module(frames).numpy()
        difference = np.abs(run({"rgb": frames.numpy()}) - expected).max() / max(np.abs(expected).max(), 1e-6)
        largest = max(largest, float(difference))
    return largest


def opened(path: Path) -> Runtime:
    """A written network, ready to run."""
    if path.suffix != PROGRAM:
        return open_network(path)
    program = torch.export.load(path).module()

    def run(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = program(torch.from_numpy(inputs["rgb"])).numpy()
            return found

    return run


@contextmanager
def _silent() -> Iterator[None]:
    """Without the progress and the warnings of the exporter."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        known = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(known)


def _program(module: nn.Module, example: Tensor, dynamic: dict[int, Any]) -> Any:
    with _silent():
        return torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=["rgb"],
            output_names=["logits"],
            verbose=False,
        )


def _to_onnx(module: nn.Module, example: Tensor, dynamic: dict[int, Any], folder: Path) -> str:
    _program(module, example, dynamic).save(folder / "model.onnx")
    return "model.onnx"


def _to_openvino(module: nn.Module, example: Tensor, dynamic: dict[int, Any], folder: Path) -> str:
    import openvino

    with TemporaryDirectory() as scratch:
        made = openvino.convert_model(Path(scratch) / _to_onnx(module, example, dynamic, Path(scratch)))
        openvino.save_model(made, folder / "model.xml", compress_to_fp16=False)
    return "model.xml"


def _to_program(module: nn.Module, example: Tensor, dynamic: dict[int, Any], folder: Path) -> str:
    # The exporter of ONNX keeps the batch free where torch.export.export alone takes that of the example.
    torch.export.save(_program(module, example, dynamic).exported_program, folder / f"model{PROGRAM}")
    return f"model{PROGRAM}"


FORMATS: Mapping[str, Callable[[nn.Module, Tensor, dict[int, Any], Path], str]] = {
    "onnx": _to_onnx,
    "openvino": _to_openvino,
    "pt2": _to_program,
}
"""What writes a network in a format, and returns the name of the file."""
