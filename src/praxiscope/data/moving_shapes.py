"""Generate single samples of moving shapes; `praxiscope.data.flow_layouts.moving_shapes` describes their files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from praxiscope.data.flow_layouts.moving_shapes import FLOW_FILE, MovingShapesSample
from praxiscope.data.moving_shapes_draw import Pixels, draw_texture, occlusion, render, texture_from_files
from praxiscope.data.moving_shapes_scene import Design, Scene, draw_scene
from praxiscope.flow.flo import write_flo

__all__ = ["Maker"]

_KINDS = ("train/pairs", "test/pairs", "train/clips", "test/clips")


@dataclass(frozen=True)
class Maker:
    """Generates samples. It is sent to worker processes.

    Attributes:
        root: folder of the set.
        design: what samples show.
        seed: of the set. The seed, the split, the kind and the number of a sample determine its bytes.
        textures: images and videos for each split; empty: generated textures.
        flo: whether to write the flow as .flo files, too.
    """

    root: Path
    design: Design
    seed: int
    textures: Mapping[str, Sequence[Path]]
    flo: bool = False

    def make(self, sample: MovingShapesSample) -> None:
        """Write a sample. An existing one is kept.

        Raises:
            DataError: the files of textures cannot be read.
        """
        folder = self.root / sample.id
        if folder.is_dir():
            return
        kind, _, number = sample.id.rpartition("/")
        rng = np.random.default_rng([self.seed, _KINDS.index(kind), int(number)])
        scene = draw_scene(self.design, sample.num_fields + 1, rng)
        files = self.textures.get(kind.partition("/")[0], ())
        frames, layers = render(scene, [_texture(rng, side, files) for side in _sides(scene)])
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        part.mkdir(parents=True)
        try:
            self._write(MovingShapesSample(part, "", sample.num_fields), scene, frames, layers)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _write(self, sample: MovingShapesSample, scene: Scene, frames: Pixels, layers: Pixels) -> None:
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(sample.frame_path(number), compress_level=1)
        hidden = np.packbits(occlusion(scene, layers), axis=-1)
        np.savez_compressed(sample.root / FLOW_FILE, layers=layers, motions=scene.motions, occluded=hidden)
        if self.flo:
            for number in range(sample.num_fields):
                write_flo(sample.root / f"flow_{number:02d}.flo", sample.fields(number, 1)[0])


def _sides(scene: Scene) -> list[int]:
    """Sides of the textures of all layers. Smaller ones than the layer are reflected."""
    return [round(1.25 * scene.size), *(max(32, round(2.2 * outline.radius)) for outline in scene.outlines)]


def _texture(rng: np.random.Generator, side: int, files: Sequence[Path]) -> Pixels:
    return texture_from_files(rng, files, side) if files else draw_texture(rng, side)
