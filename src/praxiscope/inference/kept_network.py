"""Choose what runs the network of a run, and keep its exported network beside it.

A folder ``exported/KEY`` in the model folder, or in the user's cache if that cannot be written to, holds the network
and the seconds that each runtime takes on each machine. The key is a digest of the weights, the model card, the shape
of the views, and the versions of the libraries.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import torch

from praxiscope.checkpoint import write_json
from praxiscope.deploy.runtimes import RUNTIMES, open_network
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.inference.options import check_runtime
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.runtimes import ExportedModel
from praxiscope.run_folder import EXPORTED, MODEL_FILE

__all__ = ["PAYS_S", "use_runtime"]

PAYS_S = 60.0
"""Seconds of work in PyTorch from which "auto" exports a network: an export takes 10 to 45 s, and saves about half of
the work (measured: ``benchmarks/export.md``)."""

_CLOSE = 1e-4  # of scores, relative to the largest
_NEEDS = ("onnx", "onnxscript", "onnxruntime")
_ABOUT = "kept.json"
_TURNS = 3


class _Views(NamedTuple):
    """The shape of the views of a protocol: a protocol by which the network can be exported, whether frames are whole,
    and S; None: any number, because they are scored in parts."""

    protocol: str
    whole: bool
    snippets: int | None


def use_runtime(
    recogniser: Any,
    wish: str = "auto",
    *,
    protocol: str | None = None,
    snippets: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Let another library than PyTorch run the networks of a recogniser on a CPU.

    Args:
        recogniser: as loaded from a folder; of a fused one, each part.
        wish: "torch", "onnxruntime", "openvino", or "auto": the fastest on this machine. "auto" exports a network only
            if PyTorch would take `PAYS_S` for the work, in float32; otherwise it takes one that is there.
        protocol: views of the videos to come; None: those of the model.
        snippets: number of snippets that will be seen; None: too many to count, as by a server.
        say: called with lines for the user.

    Returns:
        The runtimes of the parts, each once, joined by "+".

    Raises:
        UnknownNameError: an unknown runtime.
    """
    check_runtime(wish)
    return "+".join(dict.fromkeys(_use(part, wish, protocol, snippets, say) for part in recogniser.parts))


def _use(
    network: Recogniser, wish: str, protocol: str | None, snippets: float | None, say: Callable[[str], None]
) -> str:
    network.exported = None
    if wish == "torch":
        return "torch"
    try:
        views = _check(network, wish, protocol)
        folder = _find(network, views)
        if folder is None and wish == "auto" and not _pays(network, views, snippets):
            return "torch"
        folder = folder or _make(network, views, say)
        models = {name: _opened(network, folder, name) for name in _installed(wish)}
        name = wish if wish != "auto" else _fastest(network, folder, models, views)
    except (ArgumentError, CheckpointError) as error:
        if wish != "auto":
            say(f"Note: {wish} is not used: {error}")
        return "torch"
    network.exported = models.get(name)
    return name


def _installed(wish: str) -> list[str]:
    names = list(RUNTIMES) if wish == "auto" else [wish]
    return [name for name in names if importlib.util.find_spec(name) is not None]


def _check(network: Recogniser, wish: str, protocol: str | None) -> _Views:
    """The views for which a network is exported. Raises ArgumentError if it cannot be, or need not."""
    if network.folder is None:
        raise ArgumentError("the recogniser was not loaded from a folder.")
    if network.device.type != "cpu":
        raise ArgumentError(
            f"the network is on {network.device}, and PyTorch is used there. Add --device cpu."
        )
    if type(network) is not Recogniser:
        raise ArgumentError(f"{network.card.name} is not a network.")
    missing = [name for name in (*_NEEDS, *([] if wish == "auto" else [wish])) if not _has(name)]
    if missing:
        extra = "export,openvino" if "openvino" in missing else "export"
        raise ArgumentError(
            f"it needs {', '.join(dict.fromkeys(missing))}, not installed. Remedy: pip install 'praxiscope[{extra}]'"
        )
    chosen = parse_protocol(protocol or network.default_protocol())
    whole = chosen.crops in ("full", "full-mirrored")
    if network.streams != ("rgb",) or network.sees.all_frames or chosen.sampling == "random":
        raise ArgumentError(
            f"{network.card.name} of {network.stream} is predicted by PyTorch only (views: {chosen.name})."
        )
    return _views(network, chosen, whole)


def _has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _views(network: Recogniser, protocol: Protocol, whole: bool) -> _Views:
    together = network.seen_together(protocol)
    count = "all" if protocol.sampling == "all" else str(protocol.temporal_views)
    dense = "dense" if protocol.sampling == "dense" else ""
    name = protocol.name if whole else f"{dense}{count}x1"
    if network.in_parts and together != 1:
        return _Views(name, whole, None)
    return _Views(name, whole, together if together is not None else protocol.temporal_views)


def _key(network: Recogniser, views: _Views) -> str:
    assert network.folder is not None
    digest = hashlib.sha256(repr((*views[1:], sorted(network.card.kwargs.items()))).encode())
    digest.update(repr((network.card.name, network.labels, network.card.input)).encode())
    versions = [importlib.metadata.version(name) for name in ("torch", "onnx", "onnxscript")]
    digest.update(" ".join(versions).encode())
    with (network.folder / MODEL_FILE).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:20]


def _places(network: Recogniser) -> Iterator[Path]:
    """The folders that may hold exported networks of a run: its own, and that of the user."""
    assert network.folder is not None
    yield network.folder / EXPORTED
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "praxiscope" / EXPORTED


def _find(network: Recogniser, views: _Views) -> Path | None:
    places = [place for place in _places(network) if place.is_dir()]
    if not places:
        return None
    key = _key(network, views)
    return next((place / key for place in places if (place / key / _ABOUT).is_file()), None)


def _pays(network: Recogniser, views: _Views, snippets: float | None) -> bool:
    """Whether exporting a network saves more time than it takes. In bfloat16 PyTorch is as fast as others are in
    float32."""
    if network.precision.name != "32":
        return False
    if snippets is None:
        return True
    return snippets * _seconds(network, views, turns=1) > PAYS_S


def _seconds(network: Recogniser, views: _Views, turns: int = _TURNS) -> float:
    """Seconds for a snippet by what runs the network now: the median of some forward passes, after one."""
    contract = network.card.input
    size = contract.size
    together = views.snippets or contract.snippets
    count = max(1, network.at_once(size, size) // together)
    shape = (count, together, contract.channels, size, size)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scorer = network.scorer(parse_protocol(views.protocol))
    scorer.forward(noise)
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        scorer.forward(noise)
        times.append(time.perf_counter() - started)
    return statistics.median(times) / count / together


def _make(network: Recogniser, views: _Views, say: Callable[[str], None]) -> Path:
    """Export a network, and keep it.

    Raises:
        ArgumentError: it cannot be exported, or there is no place for it.
    """
    from praxiscope.inference.export import export_network  # imports the exporter

    key, plain = _key(network, views), Recogniser(network.model, network.card, precision="32")
    started = time.perf_counter()
    with _new_folder(network) as folder:
        about, difference = export_network(plain, folder, "onnx", views.protocol)
        if not difference < _CLOSE:
            raise ArgumentError(f"its scores would differ by {difference:.2g} from PyTorch's.")
        write_json(
            folder / _ABOUT,
            {
                "file": about.frames or about.file,
                "in_parts": bool(about.frames),
                "snippets": views.snippets,
                "whole": views.whole,
                "difference": difference,
                "seconds": {},
            },
        )
        target = folder.parent / key
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    took = time.perf_counter() - started
    say(f"Exported the network for a faster prediction in {took:.0f} s; kept in {target.parent}.")
    return target


@contextmanager
def _new_folder(network: Recogniser) -> Iterator[Path]:
    """A new folder in the first place that can be written to, which is removed unless it was renamed."""
    for place in _places(network):
        try:
            place.mkdir(parents=True, exist_ok=True)
            folder = Path(mkdtemp(prefix=".part-", dir=place))
        except OSError:
            continue
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    raise ArgumentError("neither the run nor the user's cache can be written to.")


def _opened(network: Recogniser, folder: Path, runtime: str) -> ExportedModel:
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        file, in_parts, snippets = folder / str(about["file"]), bool(about["in_parts"]), about["snippets"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: is damaged ({error}). Remove it.") from error
    # Whole frames have any size. A part for features takes snippets one by one.
    whole = bool(about.get("whole"))
    return ExportedModel(
        network,
        runtime,
        open_network(file, "features" if in_parts else "logits", runtime, torch.get_num_threads()),
        in_parts=in_parts,
        snippets=1 if in_parts else snippets,
        size=None if whole else network.card.input.size,
    )


def _fastest(network: Recogniser, folder: Path, models: dict[str, ExportedModel], views: _Views) -> str:
    """The name of the fastest runtime on this machine, which is measured once."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    machine = f"{platform.node()}, {torch.get_num_threads()} threads, {network.precision.name}"
    seconds: dict[str, float] = about["seconds"].get(machine, {})
    names = ["torch", *models]
    if any(name not in seconds for name in names):
        for name in names:
            network.exported = models.get(name)
            seconds[name] = _seconds(network, views)
        network.exported = None
        about["seconds"][machine] = seconds
        with suppress(OSError):  # a run of another user
            write_json(folder / _ABOUT, about)
    return min(names, key=lambda name: seconds[name])
