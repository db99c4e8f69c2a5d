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
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import ViewMean
from praxiscope.features.contract import VIEWS, FeatureContract
from praxiscope.features.store import FeatureStore
from praxiscope.inference.scoring import ScoredVideos
from praxiscope.models.contract import LearnsFromFeatures
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord

if TYPE_CHECKING:
    from praxiscope.inference.recogniser import Recogniser

__all__ = ["frame_features", "needed_features", "score_stored", "takes_maps"]

_ROWS = 512
"""Rows of the views that are scored together."""


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
    # The sum of rows with a NaN or infinity is not finite; it takes a twentieth of the time of looking at each number.
    if not (bool(rows.sum().isfinite()) or bool(rows.isfinite().all())):
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


def _row_views(
    recogniser: Recogniser, given: FeatureContract, protocol: Protocol
) -> Callable[[int], Tensor] | None:
    """The rows of the views of a protocol, int64 [V, S] for the number of a clip's rows. None for all rows at once,
    where the rows are no grid of a frame rate, or the protocol has other crops or random views."""
    grid = recogniser.card.input.fps is not None and "fps" in given.sampling
    if not grid or protocol.crops != "center" or given.views != VIEWS["center"]:
        return None
    return recogniser.view_sampler(protocol, 1).views


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
        protocol: of a model at a frame rate, any of centre crops, whose views are of the rows of a clip. Of others only
            the default one, and only if it says which frames the features are of: n frames of equal parts, cropped at
            the centre.
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
    chosen = parse_protocol(protocol or usual)
    # A protocol says which frames the features are of, or takes its views from rows at a frame rate.
    views = _row_views(recogniser, given, chosen)
    named = "frames" in given.sampling and given.views == VIEWS["center"]
    if protocol is not None and views is None and not (named and chosen.name == parse_protocol(usual).name):
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
            mean = ViewMean(chosen.average, recogniser.card.multi_label)
            numbers = torch.arange(len(rows))[None] if views is None else views(len(rows))
            for some in torch.split(numbers, max(1, _ROWS // numbers.shape[1])):
                for row in model.score(rows[some].to(recogniser.device)).logits.float().cpu():
                    mean.add(row)
            found.add(record.id, mean.logits(), target)
    scores = recogniser.as_scores(found, chosen, targets)
    if not named:
        scores.protocol["features"] = {"sampling": dict(given.sampling), "views": list(given.views)}
    return scores, found.skipped
