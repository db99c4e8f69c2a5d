"""Draw the answers for a video on its frames.

H rows, W columns.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.progress import Reporter
from praxiscope.types import Prediction
from praxiscope.units import counted
from praxiscope.video.opening import open_video
from praxiscope.video.redraw import check_written, redraw

__all__ = ["answer_at", "label_video", "written_files"]

_NONE = "none of these"
_LINES = 3  # classes that are shown
_HEIGHT = 0.05  # of a line, of the short side of the frame
_LEAST = 11  # pixels
_DARK = 0.4  # what is left of the picture below the text


def written_files(sources: list[str], out: str | Path) -> dict[str, Path]:
    """The file to write for each video: ``out`` for one video; for several a folder, with a file named after each.

    Raises:
        ArgumentError: the name of a file has no known suffix, or two videos have the same name.
    """
    if len(sources) == 1:
        return {sources[0]: check_written(out)}
    if Path(out).suffix:
        raise ArgumentError(
            f"--video {out}: is one file, for {counted(len(sources), 'video')}. Name a folder."
        )
    found = {source: Path(out) / f"{Path(source).stem}.mp4" for source in sources}
    if len(set(found.values())) < len(found):
        raise ArgumentError(f"--video {out}: two videos have the same name. Predict them one by one.")
    return found


def label_video(prediction: Prediction, out: str | Path, reporter: Reporter | None = None) -> None:
    """Write the video of a prediction with its classes and their probabilities drawn on it.

    Frames of a timeline show the window whose middle is nearest. Times, orientation, the shape of pixels and sound
    are those of the video; memory does not grow with its length.

    Args:
        prediction: of a file.
        out: the video to write.
        reporter: shows progress.

    Raises:
        ArgumentError: no such format, or the video itself.
        VideoError: the video cannot be read.
        OSError: the file cannot be written.
    """
    video, reporter = open_video(prediction.source), reporter or Reporter()
    answers = _Answers(prediction)
    with reporter.bar(f"writing {Path(out).name}", video.quick_length()) as bar:
        silent = redraw(video, out, answers.draw, bar.advance)
    if silent:
        reporter.line(f"Note: {out}: the sound of {prediction.source} could not be kept.")


def answer_at(prediction: Prediction, time_s: float, first: int = 0) -> int:
    """The number of the window that is shown at a time: its middle is nearest; of two the first.

    Args:
        prediction: with segments, in order.
        time_s: seconds.
        first: a number that is not above the result.
    """
    segments = prediction.segments

    def away(number: int) -> float:
        return abs((segments[number].start_s + segments[number].end_s) / 2 - time_s)

    while first + 1 < len(segments) and away(first + 1) < away(first):
        first += 1
    return first


class _Answers:
    """Draws the answer for each frame of a video, in order."""

    def __init__(self, prediction: Prediction) -> None:
        self._prediction, self._number = prediction, 0
        self._drawn: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def draw(self, pixels: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
        """Pixels uint8 [H, W, 3] with the answer in the lower left corner."""
        self._number = answer_at(self._prediction, time_s, self._number)
        key = (self._number, *pixels.shape[:2])
        if key not in self._drawn:  # kept while the answer stays
            self._drawn = {key: _text(self._lines(), *pixels.shape[:2])}
        text = self._drawn[key]
        height, width = text.shape[:2]
        found, corner = pixels.copy(), pixels[-height:, :width]
        found[-height:, :width] = np.maximum(_DARK * corner, 255 * text[..., None]).round().astype(np.uint8)
        return found

    def _lines(self) -> list[str]:
        shown: Any = self._prediction
        if self._prediction.segments:
            shown = self._prediction.segments[self._number]
        best = list(zip(shown.labels, shown.scores, strict=True))[:_LINES]
        lines = [f"{label}  {100 * score:.0f} %" for label, score in best]
        return [_NONE, *lines] if shown.none_of_these else lines


def _text(lines: list[str], height: int, width: int) -> NDArray[np.float32]:
    """White text, 0 to 1, [h, w] with a margin, as wide as the frame at most."""
    from PIL import Image, ImageDraw

    size = max(_LEAST, round(_HEIGHT * min(height, width)))
    while True:
        font = _font(size)
        margin = size // 2
        rows = 2 * margin + round(1.3 * size) * len(lines)
        columns = 2 * margin + round(max(font.getlength(line) for line in lines))
        if (rows <= height and columns <= width) or size <= 1:
            break
        size -= 1
    image = Image.new("L", (min(columns, width), min(rows, height)))
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((margin, margin + number * round(1.3 * size)), line, fill=255, font=font)
    return np.asarray(image, np.float32) / np.float32(255)


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and has the letters of most alphabets."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)
