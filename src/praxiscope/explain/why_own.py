"""The pictures that only some models have, as sections of the page of an answer.

To add one, add an `Own` to `OWN`: for which networks, how it is drawn, and which times of the video it names.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from praxiscope.evaluation.report.html import data_address
from praxiscope.explain.blocks import explain_blocks
from praxiscope.explain.clusters import explain_clusters
from praxiscope.explain.confidence import explain_confidence
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.gates import explain_gates
from praxiscope.explain.principal import explain_principal
from praxiscope.explain.trajectories import explain_trajectories
from praxiscope.explain.why_page import Section, seek
from praxiscope.explain.winners import explain_winners
from praxiscope.inference.live_models import scores_online
from praxiscope.inference.recogniser import Recogniser
from praxiscope.layers.consensus import is_average
from praxiscope.models.contract import ClustersFrames, ScoresTrajectories, TakesMaximum
from praxiscope.models.parts import GatesStreams

__all__ = ["OWN", "Own", "own_section"]

_DOTS_PER_INCH = 110

Times = Iterable[tuple[float, str]]


class Own(NamedTuple):
    """A picture of some models.

    name, title: of the section.
    text: what is seen, a sentence or two.
    has: whether a network has it.
    draw: from a network, the path of a video and the explained class.
    times: from its facts, the times that it names, seconds, and what is there.
    """

    name: str
    title: str
    text: str
    has: Callable[[Recogniser], bool]
    draw: Callable[[Recogniser, Path, str], Explanation]
    times: Callable[[dict[str, Any]], Times]


def own_section(own: Own, network: Recogniser, part: str, path: Path, label: str, end: str) -> Section:
    """The section of a picture.

    Args:
        own: the picture.
        network: one that has it.
        part: name of the network.
        path: of the video.
        label: the explained class.
        end: ending of the section's name, for one of several networks.

    Raises:
        PraxiscopeError: it cannot be drawn for this video.
    """
    made = own.draw(network, path, label)
    content = io.BytesIO()
    made.figure.savefig(content, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
    buttons = "".join(seek(time_s, text, escape(text)) for time_s, text in own.times(made.facts))
    group = f'<div class="times" role="group" aria-label="Times">{buttons}</div>' if buttons else ""
    image = data_address("png", content.getvalue())
    body = (
        f"<p>{escape(own.text)}</p>{group}"
        f'<div class="drawn"><img src="{image}" alt="{escape(f"{own.title}. {own.text}")}"></div>'
    )
    title = f"{own.title}: {part}" if end else own.title
    return Section(f"{own.name}{end}", title, body, {"part": part, **made.facts})


def _average(network: Recogniser) -> bool:
    # A model that scores snippets has a consensus; see the contract.
    single = len(network.streams) == 1 and network.sees.scores_snippets
    return (
        single and not isinstance(network.model, ScoresTrajectories) and is_average(network.model.consensus)
    )


def _clusters(facts: dict[str, Any]) -> Times:
    for cluster in facts["clusters"]:
        yield cluster["start_s"], f"cluster {cluster['number']}, from {cluster['start_s']:.2f} s"


def _principal(facts: dict[str, Any]) -> Times:
    for number in facts["chosen"]:
        yield facts["times_s"][number], f"snippet at {facts['times_s'][number]:.2f} s"


def _ahead(facts: dict[str, Any]) -> Times:
    yield facts["ahead_from_s"], f"{facts['label']} is ahead from {facts['ahead_from_s']:.2f} s on"


def _winners(facts: dict[str, Any]) -> Times:
    best = sorted(facts["winners"], key=lambda one: -one["contribution"])[:6]
    for one in sorted(best, key=lambda each: each["time_s"]):
        yield one["time_s"], f"{one['time_s']:.2f} s: contribution {one['contribution']:+.2g}"


def _cuts(facts: dict[str, Any]) -> Times:
    for place in facts["cuts"]:
        yield facts["times_s"][place], f"large change at {facts['times_s'][place]:.2f} s"


OWN: list[Own] = [
    Own(
        "clusters",
        "Frames that are averaged together",
        "The network averages the frames of each cluster after its first block.",
        lambda network: isinstance(network.model, ClustersFrames) and network.card.input.flow is None,
        lambda network, path, label: explain_clusters(network, path),
        _clusters,
    ),
    Own(
        "blocks",
        "Whether the blocks agree on the distances",
        "Clusters follow the changes after the first block; here are those of the later blocks beside them.",
        lambda network: isinstance(network.model, ClustersFrames) and network.card.input.flow is None,
        lambda network, path, label: explain_blocks(network, path),
        _cuts,
    ),
    Own(
        "principal",
        "Snippets that stand for the video",
        "How far the answer of each snippet is from that of all, and the few whose mean is nearest to it.",
        _average,
        lambda network, path, label: explain_principal(network, path),
        _principal,
    ),
    Own(
        "gates",
        "Gates between the streams",
        "Red: where the activations of one stream let the residual branch of the other through.",
        lambda network: isinstance(network.model, GatesStreams) and bool(network.model.gate_names()),
        lambda network, path, label: explain_gates(network, path),
        lambda facts: [(time_s, f"{time_s:.2f} s") for time_s in facts["times_s"]],
    ),
    Own(
        "confidence",
        "The answer over time",
        "How the probabilities grow while the network sees the frames.",
        lambda network: scores_online(network.model),
        lambda network, path, label: explain_confidence(network, path, label=label),
        _ahead,
    ),
    Own(
        "winners",
        "Frames that win the maximum",
        "Which frames win the maximum over time, and what they say for the class.",
        lambda network: isinstance(network.model, TakesMaximum),
        lambda network, path, label: explain_winners(network, path, label=label),
        _winners,
    ),
    Own(
        "trajectories",
        "Trajectories",
        "The tracked points that the model describes, before and after the motion of the camera is removed.",
        lambda network: isinstance(network.model, ScoresTrajectories),
        lambda network, path, label: explain_trajectories(path, frames=2),
        lambda facts: [],
    ),
]
"""The pictures, in their order on the page."""
