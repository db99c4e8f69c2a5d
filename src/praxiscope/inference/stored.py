"""Score videos from the rows of a feature store, without reading the videos.

n rows (frames) of a clip, V views of a frame, C channels, h rows and w columns of a map, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard
from praxiscope.data.dataset import Skip
from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.features.contract import VIEWS, FeatureContract
from praxiscope.features.store import FeatureStore
from praxiscope.inference.scoring import ScoredVideos
from praxiscope.models.contract import LearnsFromFeatures
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord

if TYPE_CHECKING:
    from praxiscope.inference.recogniser import Recogniser

__all__ = ["frame_features", "needed_features", "score_stored", "takes_maps"]


def frame_features(
    store: FeatureStore,
    id: str,
    *,
    maps: bool = False,
    choose: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """The features of frames of a clip, float32 [n, D]: views and places of a map are averaged.

    Args:
        store: the features.
        id: of the clip.
        maps: keep the places of a map: [n, D, h, w].
        choose: numbers of rows, int64, for the number of all rows; None takes all.

    Raises:
        DataError: the store has no features of this video, or they are damaged.
    """
    stored = store.clip(id).features
    rows = (stored if choose is None else stored[choose(len(stored))]).float()
    if not bool(torch.isfinite(rows).all()):
        raise DataError(
            f"{id}: its features in {store.root} are not finite, so the file is damaged. Run the same `praxiscope "
            "features` command again with --verify."
        )
    if len(store.contract.views) > 1:
        rows = rows.mean(1)
    return rows.flatten(2).mean(2) if rows.dim() == 4 and not maps else rows


@torch.inference_mode()
def takes_maps(model: LearnsFromFeatures, card: ModelCard) -> bool:
    """Whether the features of a model are maps [D, h, w]; it is tried on one frame."""
    contract = card.input
    device = next(nn.Module.parameters(model)).device  # type: ignore[arg-type]
    frame = torch.zeros(1, 1, contract.channels, contract.size, contract.size, device=device)
    return model.features(frame).dim() == 5


def needed_features(recogniser: Recogniser) -> FeatureContract | None:
    """The contract of the features that a recogniser learned from; None if it learned from frames."""
    if not isinstance(recogniser.model, LearnsFromFeatures) or not recogniser.card.features:
        return None
    return FeatureContract.from_dict(recogniser.card.features)


def score_stored(
    recogniser: Recogniser,
    store: FeatureStore,
    records: Sequence[VideoRecord],
    targets: Sequence[Tensor],
    protocol: str | None = None,
    *,
    reporter: Reporter | None = None,
) -> tuple[Scores, list[Skip]]:
    """Score videos by their stored features, as `Recogniser.score` does by their frames.

    Args:
        recogniser: its model learns from features.
        store: features with the contract of those that the model learned from. float16 may stand for float32.
        records: the videos.
        targets: int64 [] class numbers (-1: unknown) or multi-hot [K], one per video.
        protocol: only the default one of the model, and only if it says which frames the features are of: n frames of
            equal parts, cropped at the centre.
        reporter: shows progress.

    Returns:
        The scores of the videos with features, and the other videos with the reason. If no protocol says which frames
        the features are of, ``protocol["features"]`` of the scores does.

    Raises:
        ArgumentError: another protocol, or the model does not learn from features.
        DataError: the features were computed differently; the message shows both contracts.
    """
    needed = needed_features(recogniser)
    if needed is None:
        raise ArgumentError(
            f"{recogniser.card.name} learned from frames, not from features; give it the videos."
        )
    given = store.contract
    replace(given, dtype=needed.dtype).check_same(needed, str(store.root))
    usual = recogniser.default_protocol()
    named = "frames" in given.sampling and given.views == VIEWS["center"]  # a protocol says which frames
    if protocol is not None and not (named and parse_protocol(protocol).name == parse_protocol(usual).name):
        raise ArgumentError(
            f"--protocol {protocol}: {store.root} holds features of other frames ({given}). Leave the protocol out, or "
            "give the videos."
        )
    model: Any = recogniser.model
    maps = len(given.shape) == 3 and takes_maps(model, recogniser.card)
    found = ScoredVideos()
    with (reporter or Reporter()).bar("scoring features", len(records)) as bar, torch.inference_mode():
        for record, target in zip(records, targets, strict=True):
            bar.advance()
            try:
                rows = frame_features(store, record.id, maps=maps)
            except DataError as error:
                found.skipped.append(Skip(record.id, str(error)))
                continue
            logits = model.score(rows[None].to(recogniser.device)).logits[0]
            found.add(record.id, logits.float().cpu(), target)
    scores = recogniser.as_scores(found, parse_protocol(usual), targets)
    if not named:
        scores.protocol["features"] = {"sampling": dict(given.sampling), "views": list(given.views)}
    return scores, found.skipped
