"""Hit@k of single examples of videos.

Axis letters: K classes.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["ClipHits"]

_RANKS = (1, 5)


class ClipHits:
    """Counts the examples of which a label is among the k best classes (clip Hit@k; Ng, 2018, section 3.4).

    Of classes with equal scores, the lower number wins, as in `praxiscope.evaluation.metrics`.
    """

    def __init__(self) -> None:
        self._examples = 0
        self._hits = dict.fromkeys(_RANKS, 0)

    def add(self, target: Tensor, logits: Tensor) -> None:
        """Add an example.

        Args:
            target: int64 [] class number (-1: unknown), or multi-hot [K]. Examples without a label are not counted.
            logits: scores before softmax, float [K].
        """
        labels = target.nonzero().flatten() if target.ndim else target[None][target[None] >= 0]
        if not len(labels):
            return
        self._examples += 1
        best = (-logits).argsort(stable=True)
        for k in _RANKS:
            self._hits[k] += int(bool((best[:k, None] == labels).any()))

    def figures(self) -> dict[str, float]:
        """``clip_hit1`` and ``clip_hit5``, fractions of all examples; empty if none has a label."""
        if not self._examples:
            return {}
        return {f"clip_hit{k}": hits / self._examples for k, hits in self._hits.items()}
