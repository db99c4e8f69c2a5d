"""Folders of frames from training to prediction, on a small copy of Something-Something v1."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from praxiscope.cli.main import app
from praxiscope.commands.train import train
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from runs import run_test
from support import SMALL

LABELS = ("Closing something", "Dropping something onto something", "Turning something upside down")


def pictures(colour: int, seed: int, count: int = 8) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 60, (count, 36, 48, 3), dtype=np.uint8)
    frames[:, 8:28, 10:30, colour] = 220
    return list(frames)


@pytest.fixture(scope="module")
def something(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips to learn from and one to test of each class, and a broken one."""
    root = tmp_path_factory.mktemp("something")
    lists: dict[str, list[str]] = {"train": [], "validation": []}
    for colour, label in enumerate(LABELS):
        for clip in range(5):
            name = str(1000 * colour + clip)
            folder = root / "20bn-something-something-v1" / name
            folder.mkdir(parents=True)
            for number, frame in enumerate(pictures(colour, 10 * colour + clip), start=1):
                Image.fromarray(frame).save(folder / f"{number:05d}.jpg")
            lists["validation" if clip == 4 else "train"].append(f"{name};{label}")
    (root / "20bn-something-something-v1" / "77").mkdir()
    lists["train"].append(f"77;{LABELS[0]}")
    for part, lines in lists.items():
        (root / f"something-something-v1-{part}.csv").write_text("\n".join(lines) + "\n")
    (root / "something-something-v1-labels.csv").write_text("\n".join(LABELS) + "\n")
    return root


@pytest.fixture(scope="module")
def run(something: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    assignments = [*SMALL, "optim.epochs=1", f"data.source=something-something:{something}"]
    assert train(override(get_recipe("default"), assignments), out)
    return out


def test_a_run_trains_and_tests_on_them_and_skips_the_broken_one(something: Path, run: Path) -> None:
    skipped = (run / "skipped.csv").read_text()
    assert "20bn-something-something-v1/77," in skipped
    assert "00001.jpg" in skipped
    result = run_test(run, f"something-something:{something}", workers=0)
    assert set(result.scores.ids) == {f"20bn-something-something-v1/{1000 * k + 4}" for k in range(3)}
    assert result.scores.classes == list(LABELS)


def test_predict_takes_a_folder_of_frames_like_the_video_of_the_same_pixels(
    run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=12, options={"level": "3"})
        stream.width, stream.height, stream.pix_fmt = 48, 36, "bgr0"
        for number, pixels in enumerate(pictures(1, 99)):
            Image.fromarray(pixels).save(folder / f"frame{number:06d}.png")
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0"))
            )
        container.mux(stream.encode(None))
    found = []
    for words in ([], ["--window", "500ms"]):
        result = CliRunner().invoke(
            app,
            ["predict", str(run), str(folder), str(tmp_path / "a.mkv"), *words, "--device", "cpu", "--json"],
        )
        assert result.exit_code == 0, result.output
        one, other = json.loads(result.stdout)
        assert (one["source"], other["source"]) == (str(folder), str(tmp_path / "a.mkv"))
        assert one["labels"] == other["labels"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-3)
        found.append([(segment["start_s"], segment["end_s"]) for segment in one["segments"]])
        assert found[-1] == [pytest.approx((s["start_s"], s["end_s"]), abs=2e-3) for s in other["segments"]]
    assert found[0] == []
    assert found[1][-1][1] == pytest.approx(8 / 12, abs=1e-5)
