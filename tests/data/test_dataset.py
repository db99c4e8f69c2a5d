"""From records to clips: what is read, of which part, and what happens when it cannot be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from praxiscope.data.batch import Request, mix_seeds
from praxiscope.data.dataset import (
    ClipReader,
    RgbReader,
    Skip,
    TestClips,
    TrainingClips,
    clear_errors,
    collate,
    frame_range,
)
from praxiscope.data.shared_memory import SlotPool
from praxiscope.errors import DataError, VideoError
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.geometry import Box, Size, resize
from praxiscope.video.opening import open_video
from praxiscope.video.pack import pack_video
from praxiscope.video.sampling import segment_indices
from praxiscope.video.transforms import CenterCrop, MultiScaleCrop, RandomCrop
from support import write_clip


def sample(num_frames: int, generator: torch.Generator | None, snippets: int = 3) -> Tensor:
    return segment_indices(num_frames, snippets, 1, generator)


def record(path: Path, **values: object) -> VideoRecord:
    return VideoRecord(path.name, path, ("a",), **values)  # type: ignore[arg-type]


def make_reader(records: Sequence[VideoRecord], **options: object) -> ClipReader:
    targets = [torch.tensor(number) for number in range(len(records))]
    settings: dict[str, object] = {"sampler": sample, "readers": {"rgb": RgbReader(36)}, **options}
    return ClipReader(records, targets, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five clips of 12 frames, 48 x 64 pixels, at 12 frames per second."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        write_clip(folder / f"{number}.mp4", number, seed=number)
    return [folder / f"{number}.mp4" for number in range(5)]


@pytest.mark.parametrize("crop", [MultiScaleCrop(32), RandomCrop(32), CenterCrop(32)])
def test_reading_a_crop_gives_the_pixels_of_cropping_whole_frames(clips: list[Path], crop: object) -> None:
    reader = make_reader([record(clips[0])], geometry=crop)
    for seed in range(4):
        seen: list[Box] = []

        class Whole(RgbReader):
            """Reads whole frames first and cuts afterwards."""

            def __call__(
                self,
                record: VideoRecord,
                video: Video,
                starts: Tensor,
                first: int,
                last: int,
                box: Box | None,
                seen: list[Box] = seen,
            ) -> Tensor:
                assert box is not None
                seen.append(box)
                return box.cut(super().__call__(record, video, starts, first, last, None))

        whole = make_reader([record(clips[0])], readers={"rgb": Whole(36)}, geometry=crop)
        one, other = reader.read(0, seed).streams["rgb"], whole.read(0, seed).streams["rgb"]
        assert one.shape == (3, 3, 32, 32)
        assert torch.equal(one, other)
        assert seen[0].frame == (36, 48)


class PositionReader:
    """A flow field of half the pictures' size, whose dx is the column and dy the row."""

    def frame_size(self, record: VideoRecord, video: Video) -> Size:
        return 36, 48

    def __call__(
        self, record: VideoRecord, video: Video, starts: Tensor, first: int, last: int, box: Box | None
    ) -> Tensor:
        dy, dx = torch.meshgrid(torch.arange(36.0), torch.arange(48.0), indexing="ij")
        assert box is not None
        return box.cut(torch.stack([dx, dy]).expand(len(starts), -1, -1, -1))


class MiddleOfTheLeft:
    """A crop at a known place: rows 1/6 to 5/6 and columns 1/4 to 3/4 of whatever frame it is drawn on."""

    size = 12

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box:
        rows, columns = size
        return Box(rows // 6, columns // 4, rows * 2 // 3, columns // 2, size)


@pytest.mark.parametrize("leading", ["rgb", "flow"])
def test_streams_of_different_size_lose_the_same_part_whichever_comes_first(
    clips: list[Path], leading: str
) -> None:
    streams = {"rgb": RgbReader(72), "flow": PositionReader()}
    order = {name: streams[name] for name in sorted(streams, key=lambda name: name != leading)}
    clip = make_reader([record(clips[0])], readers=order, geometry=MiddleOfTheLeft()).read(0, seed=1)
    # Rows 6 to 30 and columns 12 to 36 of the flow, two to one: places in the middle, vectors halved.
    dy, dx = torch.meshgrid(torch.arange(6.5, 30, 2), torch.arange(12.5, 36, 2), indexing="ij")
    torch.testing.assert_close(
        clip.streams["flow"][0, :, 1:-1, 1:-1], torch.stack([dx, dy])[:, 1:-1, 1:-1] / 2
    )
    starts = sample(12, torch.Generator().manual_seed(1))
    whole = open_video(clips[0]).frames(starts, short_side=72)
    assert torch.equal(clip.streams["rgb"], resize(whole[..., 12:60, 24:72], (12, 12)))


def test_a_part_of_a_file_is_read_and_nothing_else(clips: list[Path]) -> None:
    video = open_video(clips[0])
    # 12 frames per second: frame k is shown from k / 12 s on.
    part = record(clips[0], start_s=0.25, end_s=0.75)
    assert frame_range(part, video) == (3, 9)
    assert frame_range(record(clips[0]), video) == (0, 12)
    assert frame_range(record(clips[0], end_s=0.25), video) == (0, 3)
    assert frame_range(record(clips[0], start_s=0.5), video) == (6, 12)
    reader = make_reader([part], random=False, sampler=partial(sample, snippets=6))
    expected = open_video(clips[0]).frames(range(3, 9), short_side=36)
    assert torch.equal(reader.read(0).streams["rgb"], expected)


def test_reading_a_part_does_not_decode_the_file_to_confirm_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "new.mp4", 0)
    monkeypatch.setattr(Video, "_verify", lambda self: pytest.fail("the whole file was decoded"))
    make_reader([record(tmp_path / "new.mp4", start_s=0.25, end_s=0.75)]).read(0)


def test_a_part_without_frames_names_the_videos_end(clips: list[Path]) -> None:
    with pytest.raises(DataError, match=r"0\.mp4.*7 s.*9 s.*0\.92 s"):
        make_reader([record(clips[0], start_s=7, end_s=9)]).read(0)


def test_a_snippet_longer_than_the_video_repeats_its_last_frame(clips: list[Path]) -> None:
    part = record(clips[0], end_s=0.25)  # three frames
    reader = make_reader(
        [part], random=False, readers={"rgb": RgbReader(36, 5)}, sampler=lambda n, g: torch.tensor([0])
    )
    frames = reader.read(0).streams["rgb"]
    assert frames.shape == (1, 15, 36, 48)
    expected = open_video(clips[0]).frames([0, 1, 2, 2, 2], short_side=36).reshape(1, 15, 36, 48)
    assert torch.equal(frames, expected)


@pytest.fixture
def half_broken(clips: list[Path], tmp_path: Path) -> list[VideoRecord]:
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    return [record(clips[0]), record(tmp_path / "text.mp4"), record(clips[1]), record(tmp_path / "empty.mp4")]


def test_a_broken_video_is_replaced_by_the_same_other_one_each_time(half_broken: list[VideoRecord]) -> None:
    chosen = []
    for _ in range(2):
        data = TrainingClips(make_reader(half_broken, geometry=CenterCrop(32)))
        for seed in range(6):
            clip, skipped = data[Request(1, seed)]
            assert skipped[0].id == "text.mp4"
            assert "text.mp4" in skipped[0].problem
            assert clip.id in ("0.mp4", "1.mp4")
            chosen.append((clip.id, [skip.id for skip in skipped], clip.seed))
    assert chosen[:6] == chosen[6:]
    assert {name for name, _, _ in chosen} == {"0.mp4", "1.mp4"}


def test_every_other_video_is_tried_once_before_a_request_fails(half_broken: list[VideoRecord]) -> None:
    broken = [half_broken[1], half_broken[3]]
    data = TrainingClips(make_reader([*broken, half_broken[0]]))
    for seed in range(8):  # a replacement that was drawn again would fail half of these
        clip, skipped = data[Request(0, seed)]
        assert clip.id == "0.mp4"
        assert {skip.id for skip in skipped} <= {one.id for one in broken}
        assert len({skip.id for skip in skipped}) == len(skipped)


def test_a_replacement_does_not_depend_on_what_was_known_to_be_broken(half_broken: list[VideoRecord]) -> None:
    fresh = TrainingClips(make_reader(half_broken))
    told = TrainingClips(make_reader(half_broken, known_broken={"text.mp4": "x", "empty.mp4": "y"}))
    for seed in range(6):
        (one, _), (other, skipped) = fresh[Request(3, seed)], told[Request(3, seed)]
        assert one.id == other.id
        assert torch.equal(one.streams["rgb"], other.streams["rgb"])
        assert {skip.problem for skip in skipped} <= {"x", "y"}


def test_a_known_broken_video_is_not_opened_again(half_broken: list[VideoRecord]) -> None:
    reader = make_reader(half_broken)
    with pytest.raises(VideoError):
        reader.read(1)
    half_broken[1].path.unlink()
    with pytest.raises(DataError, match=r"text\.mp4"):
        reader.read(1)


def test_nothing_readable_is_an_error_that_says_so(half_broken: list[VideoRecord]) -> None:
    data = TrainingClips(make_reader([half_broken[1], half_broken[3]]))
    with pytest.raises(DataError, match=r"\b2 videos .*praxiscope check"):
        data[Request(0, 0)]


def test_a_test_set_gives_a_skip_in_the_place_of_a_broken_video(half_broken: list[VideoRecord]) -> None:
    data = TestClips(make_reader(half_broken, random=False))
    items = [data[number] for number in range(len(data))]
    assert [type(item) is Skip for item in items] == [False, True, False, True]
    assert items[1].id == "text.mp4"
    assert "empty (0 bytes)" in items[3].problem  # type: ignore[union-attr]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        make_reader([])


def test_a_packed_clip_is_sampled_alike_and_looks_nearly_the_same(clips: list[Path], tmp_path: Path) -> None:
    packed = tmp_path / "0.mp4.pxv"
    pack_video(clips[0], packed, short_side=36)
    options = {"geometry": MultiScaleCrop(32)}
    raw, small = make_reader([record(clips[0])], **options), make_reader([record(packed)], **options)
    for seed in range(3):
        one, other = raw.read(0, seed), small.read(0, seed)
        assert one.seed == other.seed
        difference = (one.streams["rgb"].float() - other.streams["rgb"].float()).abs()
        assert difference.mean() < 6
        # Another frame, or another place, is further away: the pictures are noise around a moving square.
        shifted = raw.read(0, seed + 10).streams["rgb"].float()
        assert (one.streams["rgb"].float() - shifted).abs().mean() > 2 * difference.mean()


def test_reading_processes_give_what_this_process_gives(clips: list[Path]) -> None:
    data = TrainingClips(make_reader([record(path) for path in clips], geometry=MultiScaleCrop(32)))
    requests = [[Request(place, 7 * place) for place in range(5)][at : at + 2] for at in (0, 2)]

    def load(workers: int) -> list[tuple[list[str], list[int], Tensor, Tensor]]:
        loader = torch.utils.data.DataLoader(
            data, batch_sampler=requests, collate_fn=collate, num_workers=workers
        )
        batches = [loaded.batch for loaded in loader]
        return [(b.ids, b.seeds, b.targets, b.streams["rgb"]) for b in batches]

    for (ids, seeds, targets, rgb), other in zip(load(0), load(2), strict=True):
        assert (ids, seeds) == other[:2]
        assert torch.equal(targets, other[2])
        assert torch.equal(rgb, other[3])


def test_stems_take_turns_over_a_batch_in_any_number_of_reading_processes(clips: list[Path]) -> None:
    data = TrainingClips(make_reader([record(path) for path in clips], geometry=MultiScaleCrop(32)))
    requests = [[Request(place, 7 * place + at) for place in range(4)] for at in range(6)]
    pool = SlotPool(workers=2, slots=8, slot_bytes=4 * 3 * 3 * 32 * 32)
    options = {"collate_fn": partial(collate, pool=pool, stems=2), "batch_sampler": requests}
    here, there = (
        [
            loaded.batch.streams["stem"]
            for loaded in torch.utils.data.DataLoader(data, num_workers=n, **options)
        ]
        for n in (0, 2)
    )
    assert all(torch.equal(*pair) for pair in zip(here, there, strict=True))
    assert {tuple(stem[:, 0].tolist()) for stem in here} == {(0, 1, 0, 1), (1, 0, 1, 0)}
    for stem in here:
        assert (stem.shape, stem.dtype) == ((4, 3), torch.int64)
        assert torch.equal(stem, stem[:, :1].expand(-1, 3))


def test_a_batch_of_one_video_uses_every_stem_in_time(clips: list[Path]) -> None:
    reader = make_reader([record(clips[0])], geometry=CenterCrop(32))
    clip = reader.read(0)
    drawn = [collate([(replace(clip, seed=mix_seeds(n)), [])], stems=3) for n in range(60)]
    counts = torch.bincount(torch.cat([one.batch.streams["stem"][:, 0] for one in drawn]), minlength=3)
    assert counts.min() >= 10
    assert "stem" not in collate([(clip, [])]).batch.streams


class Failing(torch.utils.data.Dataset[int]):
    """Raises, or ends its process."""

    def __init__(self, dies: bool) -> None:
        self.dies = dies

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if self.dies:
            os._exit(3)
        raise DataError("none of 2 videos could be read")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_reading_process_carries_no_traceback(workers: int) -> None:
    loader = torch.utils.data.DataLoader(Failing(dies=False), num_workers=workers)
    with pytest.raises(DataError) as caught:
        list(clear_errors(loader))
    assert str(caught.value) == "none of 2 videos could be read"


def test_a_reading_process_that_dies_is_an_error_with_its_likely_causes() -> None:
    loader = torch.utils.data.DataLoader(Failing(dies=True), num_workers=1)
    with pytest.raises(DataError, match=r"workers.*praxiscope check"):
        list(clear_errors(loader))
