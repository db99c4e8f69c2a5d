"""Several exported networks whose scores are fused. K classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import FusedDescription
from praxiscope.deploy.predictor import Predictor
from praxiscope.errors import CheckpointError
from praxiscope.evaluation.fusion import combine
from praxiscope.evaluation.svm import SvmFusion
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video

__all__ = ["SVM", "FusedRunner", "read_svm", "write_svm"]

SVM = "svm.npz"


class FusedRunner(Predictor):
    """Exported networks of the same classes, which predict as a fused run does.

    Args:
        description: of the fusion.
        parts: its networks.
        svm: of the kind "svm".
    """

    def __init__(
        self, description: FusedDescription, parts: Sequence[Predictor], svm: SvmFusion | None = None
    ) -> None:
        self.description: FusedDescription = description
        self.parts, self._svm = list(parts), svm
        self.runtime = parts[0].runtime

    def __repr__(self) -> str:
        return f"<FusedRunner of {self.description.model}, {len(self.labels)} classes>"

    def logits(
        self, source: str | Path | Video, protocol: str | None = None, average: str | None = None
    ) -> NDArray[np.float32]:
        """The fused scores of one video, float32 [K]. ``average`` applies to the views of each part."""
        about, video = self.description, source if isinstance(source, Video) else open_video(source)
        rows = [part.logits(video, protocol, average)[None] for part in self.parts]
        if self._svm is not None:
            return self._svm.decide(rows)[0].astype(np.float32)
        fused = combine(rows, kind=about.kind, weights=about.weights, multi_label=about.multi_label)
        return np.asarray(fused[0], np.float32)


def write_svm(folder: Path, svm: SvmFusion) -> None:
    """Write the weights of the kind "svm"."""
    np.savez(folder / SVM, coefficients=svm.coefficients, intercepts=svm.intercepts)


def read_svm(folder: Path, labels: Sequence[str]) -> SvmFusion:
    """Read what `write_svm` has written. Raises CheckpointError if it cannot be read."""
    try:
        with np.load(folder / SVM) as arrays:
            return SvmFusion(arrays["coefficients"], arrays["intercepts"], tuple(labels), c=0.0)
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / SVM}: cannot be read ({error}). Export the run again.") from error
