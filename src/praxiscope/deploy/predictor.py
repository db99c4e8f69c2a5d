"""What predicts the action in a video by exported networks. K classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import Described
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.answers import NoneBelow, find_threshold, is_none
from praxiscope.types import Prediction
from praxiscope.video.decode import Video

__all__ = ["Predictor", "log_sigmoid", "log_softmax"]


class Predictor(ABC):
    """One exported network, or several that are fused.

    Attributes:
        description: what the folder says.
        runtime: the library that computes the scores.
    """

    description: Described
    runtime: str = "onnxruntime"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return self.description.labels

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The calibration of the answers; empty if there is none."""
        return self.description.calibration

    def predict(
        self,
        source: str | Path | Video,
        top: int = 5,
        protocol: str | None = None,
        average: str | None = None,
        none_below: NoneBelow = "auto",
    ) -> Prediction:
        """Predict the action in one video.

        Args:
            source: a video file, a folder of frames, or an open video.
            top: number of classes to return.
            protocol: views to average, of crops at the centre or whole frames; None: the default of the model.
            average: "logits" or "softmax"; None: that of the protocol.
            none_below: see `praxiscope.Recogniser.predict`.

        Raises:
            ArgumentError: an unknown protocol, or one that the network cannot take.
            VideoError: the file cannot be read.
        """
        if top < 1:
            raise ArgumentError(f"top must be at least 1, got {top}")
        threshold = find_threshold(none_below, self.calibration)
        probabilities = self._probabilities(self.logits(source, protocol, average))
        best = np.argsort(-probabilities, kind="stable")[:top]
        labels, scores = [self.labels[number] for number in best], probabilities[best].tolist()
        name = str(source.path if isinstance(source, Video) else source)
        none = is_none(scores, threshold)
        return Prediction(
            name, labels, scores, none_of_these=none, none_below=threshold, runtime=self.runtime
        )

    @abstractmethod
    def logits(
        self, source: str | Path | Video, protocol: str | None = None, average: str | None = None
    ) -> NDArray[np.float32]:
        """Scores of one video before softmax, float32 [K]. Takes the arguments of `predict`."""

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        scores = logits.astype(np.float64) / self.description.temperature
        return np.exp(log_sigmoid(scores) if self.description.multi_label else log_softmax(scores))


def log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of probabilities that add up to 1 along the last axis."""
    return np.asarray(x - np.logaddexp.reduce(x, axis=-1, keepdims=True))


def log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the probability of each value by itself."""
    return np.asarray(-np.logaddexp(0, -x))
