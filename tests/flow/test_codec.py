"""Motion vectors as flow: against motion that the test has made, and against a plain painter of FFmpeg's vectors."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, map_coordinates, median_filter

import praxiscope as px
from praxiscope.bench.flow_methods import our_methods
from praxiscope.checkpoint import FlowInput, InputContract
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.data.flow_reader import flow_reader
from praxiscope.errors import ArgumentError, VideoError
from praxiscope.explain.flow import explain_flow
from praxiscope.flow.codec import CODECS, Codec, _filled, _paint
from praxiscope.flow.contract import FlowContract
from praxiscope.flow.estimate import create_estimator, estimate_flow, estimator_of
from praxiscope.flow.store import FlowStore
from praxiscope.inference.timeline import windows
from praxiscope.types import VideoRecord
from support import Call
from video_files import MATRICES, damaged, forget_indices, make_video, turned

PLAIN_P = {"bf": "0", "refs": "1", "g": "250"}
OPEN_GROUPS = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:open_gop=1"}
ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mpeg4": ("mpeg4", "avi", {"b_frames": 0}),
    "mpeg4 with B-frames": ("mpeg4", "avi", {"b_frames": 2}),
    "mpeg2": ("mpeg2video", "mpg", {"b_frames": 2}),
    "h263": ("h263p", "avi", {}),
    "x264": ("libx264", "mp4", {"options": PLAIN_P}),
    "x264 with defaults": ("libx264", "mp4", {}),
    "x264 with open groups": ("libx264", "mkv", {"options": OPEN_GROUPS}),
    "x264 with fields": ("libx264", "ts", {"options": {"x264-params": "bframes=0:interlaced=1"}}),
}


def texture(height: int, width: int) -> np.ndarray:
    """Noise of several sizes, uint8 [height, width, 3], in which every block is unlike its neighbours."""
    draw = np.random.default_rng(3)
    levels = np.zeros((height, width))
    for size in (3, 9, 27):
        coarse = draw.uniform(-40, 40, (height // size + 1, width // size + 1))
        levels += coarse.repeat(size, 0).repeat(size, 1)[:height, :width]
    return np.repeat(np.clip(levels + 128, 0, 255).astype(np.uint8)[..., None], 3, -1)


def move(
    path: Path,
    codec: str = "libx264",
    steps: list[tuple[int, int]] | None = None,
    *,
    size: tuple[int, int] = (176, 144),
    quadrant: bool = False,
    b_frames: int | None = None,
    gop: int | None = None,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
) -> Path:
    """Encode a texture that moves by ``steps`` (x, y), or only its upper left quarter."""
    width, height = size
    steps = [(3, -2)] * 14 if steps is None else steps
    ground, pattern = texture(height, width), texture(height + 160, width + 160)
    places = np.cumsum([(80, 80), *steps], axis=0)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, pix_fmt, 4_000_000
        stream.codec_context.thread_count = 1
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if gop is not None:
            stream.codec_context.gop_size = gop
        for x, y in 160 - places:
            frame = pattern[y : y + height, x : x + width].copy()
            if quadrant:
                frame, moving = ground.copy(), frame
                frame[: height // 2, : width // 2] = moving[: height // 2, : width // 2]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def fields(path: Path, **options: Any) -> torch.Tensor:
    """float32 [N - 1, 2, H, W]."""
    return torch.stack(list(Codec().fields(px.open_video(path), **options)))


def median(flow: torch.Tensor) -> torch.Tensor:
    """[N, 2, H, W] to [N, 2]."""
    return flow.flatten(2).median(dim=-1).values


# --------------------------------------------------------------------------------------------------- motion


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_median_vector_is_the_motion(tmp_path: Path, encoder: str) -> None:
    codec, suffix, words = ENCODERS[encoder]
    path = move(tmp_path / f"a.{suffix}", codec, **words)
    forward, backward = fields(path), fields(path, backward=True)
    assert forward.shape == backward.shape == (len(px.open_video(path)) - 1, 2, 144, 176) == (14, 2, 144, 176)
    motion = torch.tensor([3.0, -2.0])
    assert (median(forward) - motion).abs().max() <= 0.5
    assert (median(backward) + motion).abs().max() <= 0.5


@pytest.mark.parametrize("encoder", ["mpeg4", "h263", "x264"])
def test_every_field_is_that_of_its_own_pair(tmp_path: Path, encoder: str) -> None:
    codec, suffix, words = ENCODERS[encoder]
    steps = [(4, 1), (-3, 2), (0, 0), (6, -5), (1, 1), (-7, 0), (2, 6)]
    found = median(fields(move(tmp_path / f"a.{suffix}", codec, steps, **words)))
    assert (found - torch.tensor(steps)).abs().max() <= 0.5


def test_b_frames_know_which_frame_is_nearer(tmp_path: Path) -> None:
    """Distances of 1 to 4 frames, past and future, with B-frames that others refer to."""
    options = {"bf": "7", "b_strategy": "0", "refs": "1", "g": "250"}
    path = move(tmp_path / "a.mp4", steps=[(2, -1)] * 24, options=options)
    kinds = [int(frame.raw.pict_type) for frame in px.open_video(path).decode()]
    assert kinds.count(3) > 14
    assert (median(fields(path)) - torch.tensor([2.0, -1.0])).abs().max() <= 0.5


def test_packed_b_frames_keep_their_numbers(data_folder: Path) -> None:
    """A neighbour's flow is farther from what another method estimates."""
    pytest.importorskip("cv2")
    video = px.open_video(data_folder / "ucf101_9" / "Archery" / "v_Archery_g03_c01.avi")
    flow = torch.stack(list(Codec().fields(video)))
    assert len(flow) == len(video) - 1 == 149
    estimated = estimate_flow(video.frames(range(60, 122)), "dis")[1:-1]  # fields 61 to 119
    apart = [float((flow[at : at + 59] - estimated).norm(dim=1).mean()) for at in (60, 61, 62)]
    assert apart[1] < 0.95 * min(apart[0], apart[2])


def test_the_motion_is_where_the_object_is(tmp_path: Path) -> None:
    path = move(tmp_path / "a.avi", "mpeg4", [(4, 2)] * 6, quadrant=True, b_frames=0)
    flow = fields(path)
    assert (median(flow[:, :, 8:56, 8:72]) - torch.tensor([4.0, 2.0])).abs().max() <= 0.5
    assert flow[:, :, 88:, 104:].abs().max() == 0


def test_backward_flow_equals_a_plain_painter(tmp_path: Path) -> None:
    path = move(tmp_path / "a.avi", "mpeg4", [(5, -3), (1, 2)], quadrant=True, b_frames=0)
    found = fields(path, backward=True).numpy()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        decoded = list(container.decode(stream))
    y, x = np.mgrid[:144, :176]
    for field, frame in zip(found, decoded[1:], strict=True):
        expected = np.full((2, 144, 176), np.nan)
        for mv in frame.side_data.get("MOTION_VECTORS"):
            assert mv.source == -1
            left, top = mv.dst_x - mv.w // 2, mv.dst_y - mv.h // 2
            shift = mv.motion_x / mv.motion_scale, mv.motion_y / mv.motion_scale
            expected[:, top : top + mv.h, left : left + mv.w] = np.reshape(shift, (2, 1, 1))
        unknown = np.isnan(expected[0, ::8, ::8])  # what is filled, and what depends on it, is not compared
        known = ~binary_dilation(unknown, np.ones((5, 5))).repeat(8, 0).repeat(8, 1)
        assert known.mean() > 0.5
        for component, flow in zip(np.nan_to_num(expected), field, strict=True):
            cells = median_filter(component[::8, ::8], 3, mode="nearest")
            smooth = map_coordinates(
                cells, ((y + 0.5) / 8 - 0.5, (x + 0.5) / 8 - 0.5), order=1, mode="nearest"
            )
            assert smooth[known].std() > 0.1
            assert np.abs(flow - smooth)[known].max() < 1e-4


@pytest.mark.parametrize(("distance", "vector"), [(2, (-32, 16)), (-1, (16, -8))])
def test_forward_flow_lies_where_a_block_comes_from(distance: int, vector: tuple[int, int]) -> None:
    """A block of 16 x 8 pixels around (40, 28): its content moves by (8, -4) pixels per frame."""
    names = ("w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
    one = np.array([(16, 8, 40, 28, *vector, 2)], dtype=[(name, np.int32) for name in names])
    for backward, columns, flow in ((False, (3, 4), (8, -4)), (True, (4, 5), (-8, 4))):
        grid = np.full((8, 8, 2), np.nan, dtype=np.float32)
        _paint(grid, one, distance, backward)
        row = 3 if backward else 4  # (28 - 4 + 4) / 8 = 3.5 is rounded to the even number
        assert np.argwhere(~np.isnan(grid[..., 0])).tolist() == [[row, column] for column in columns]
        assert grid[row, columns[0]].tolist() == grid[row, columns[1]].tolist() == list(flow)


def test_unknown_cells_have_the_mean_of_those_around_them() -> None:
    grid = np.full((3, 5, 2), np.nan, dtype=np.float32)
    grid[:, :3] = np.arange(18, dtype=np.float32).reshape(3, 3, 2)
    whole = grid[:, :3].copy()
    grid[1, 1] = np.nan
    filled = _filled(grid.copy())
    assert filled is not None
    assert np.allclose(filled[1, 1], (whole[0, 1] + whole[2, 1] + whole[1, 0] + whole[1, 2]) / 4)
    assert np.array_equal(filled[:, 3], whole[:, 2])  # from the border on
    assert np.array_equal(filled[[0, 2], 0], whole[[0, 2], 0])
    assert np.isfinite(filled).all()
    assert _filled(np.full((2, 2, 2), np.nan, dtype=np.float32)) is None


def test_key_frames_repeat_the_field_before_or_are_zero(tmp_path: Path) -> None:
    steps = [(4, 0), (0, 3), (-2, 0), (0, -5), (3, 3), (1, 0), (0, 1)]
    path = move(tmp_path / "a.avi", "mpeg4", steps, b_frames=0, gop=3)
    kinds = [frame.raw.pict_type for frame in px.open_video(path).decode()]
    keys = [number for number, kind in enumerate(kinds) if kind == 1]
    assert keys == [0, 3, 6]
    flow = fields(path)
    for number in keys[1:]:
        assert torch.equal(flow[number - 1], flow[number - 2])
    short = move(tmp_path / "b.avi", "mpeg4", steps[:3], b_frames=0, gop=2)
    kept = Codec().fields(px.open_video(short))
    assert torch.equal(next(kept), fields(short)[0])


# --------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("matrix", MATRICES)
def test_vectors_turn_with_the_frame(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Against the matrix itself: it sends (p, q) to (a p + c q, b p + d q), and so every displacement."""
    plain = move(tmp_path / "plain.mp4", steps=[(4, 2)] * 4, quadrant=True, options=PLAIN_P)
    a, b, c, d = matrix
    path = turned(plain, tmp_path / "turned.mp4", matrix)
    video, flow = px.open_video(path), fields(path)
    assert flow.shape == (4, 2, video.height, video.width)
    x, y = a * -1 + c * -1, b * -1 + d * -1  # the corner where the upper left quarter is
    expected = torch.tensor([a * 4.0 + c * 2.0, b * 4.0 + d * 2.0])
    height, width = video.height // 2, video.width // 2
    for row, column in itertools.product((0, 1), repeat=2):
        part = flow[
            :, :, row * height + 16 : (row + 1) * height - 16, column * width + 16 : (column + 1) * width - 16
        ]
        inside = (2 * column - 1, 2 * row - 1) == (x, y)
        assert (median(part) - (expected if inside else 0)).abs().max() <= 0.5, (row, column)


def test_fields_have_the_size_of_scaled_frames(tmp_path: Path) -> None:
    path = move(tmp_path / "a.mp4", size=(170, 102), options=PLAIN_P)  # no whole number of blocks
    assert fields(path).shape == (14, 2, 102, 170)
    flow = fields(path, short_side=51)
    assert flow.shape == (14, 2, 51, 85)
    assert flow.shape[2:] == px.open_video(path).frames([0], short_side=51).shape[2:]
    assert (median(flow) - torch.tensor([1.5, -1.0])).abs().max() <= 0.25


def test_vectors_from_a_time_on_are_those_from_the_start(tmp_path: Path) -> None:
    video = px.open_video(move(tmp_path / "a.avi", "mpeg4", b_frames=0, gop=4))
    found = {}
    for start_s in (None, 0.3):
        found[start_s] = {
            frame.index: frame.raw.side_data.get("MOTION_VECTORS") is None
            for frame in video.decode(start_s, motion_vectors=True)
        }
    assert list(found[0.3]) == list(range(8, 15))
    assert found[0.3] == {number: number % 4 == 0 for number in range(8, 15)}
    assert found[None] == {number: number % 4 == 0 for number in range(15)}


def test_one_frame_has_no_field(tmp_path: Path) -> None:
    assert list(Codec().fields(px.open_video(move(tmp_path / "a.mp4", steps=[])))) == []


def test_a_damaged_file_has_a_field_for_each_pair_that_decodes(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=60, options={"g": "12", "bf": "2"})
    path = damaged(whole, tmp_path / "a.mp4", 20, 24)
    flow, video = fields(path), px.open_video(path)
    assert len(flow) == len(video) - 1 < 59
    assert torch.isfinite(flow).all()


def test_odd_videos_have_a_field_for_each_pair(data_folder: Path) -> None:
    paths = sorted((data_folder / "odd_videos").rglob("*.m*"))
    supported = [path for path in paths if px.open_video(path).codec in CODECS]
    assert len(supported) >= 8
    for path in supported:
        video, shapes = px.open_video(path), set()
        count = 0
        for flow in Codec().fields(video):
            count += 1
            shapes.add(tuple(flow.shape))
        assert count == len(video) - 1, path
        assert shapes == {(2, video.height, video.width)}


# --------------------------------------------------------------------------------------------------- where it is used


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FlowStore]:
    """Three videos, one of them damaged, and their stored flow in both directions."""
    root = tmp_path_factory.mktemp("codec")
    videos = root / "videos"
    for name in ("a", "b"):
        (videos / name).mkdir(parents=True)
    move(videos / "a" / "0.mp4", steps=[(3, 1)] * 20)
    move(videos / "b" / "1.avi", "mpeg4", [(-2, 0)] * 20, b_frames=2)
    whole = make_video(root / "whole.mp4", frames=60, options={"g": "12", "bf": "2"})
    damaged(whole, videos / "b" / "2.mp4", 20, 24)
    options = StoreOptions(method="codec", backward=True, short_side=40, workers=1)
    summary = extract_flow(videos, root / "flow", options)
    assert (summary.clips, summary.skipped) == (3, 0)
    return videos, FlowStore(root / "flow")


def inputs(store: FlowStore, kind: str = "stack-bidirectional") -> FlowInput:
    return FlowInput(length=4, kind=kind, made=store.contract.to_dict())


@pytest.mark.parametrize("key", ["a/0.mp4", "b/1.avi", "b/2.mp4"])
def test_stored_flow_is_the_estimated_flow(stored: tuple[Path, FlowStore], key: str) -> None:
    videos, store = stored
    assert store.contract == FlowContract("codec", {}, 20.0, 40)
    record = VideoRecord(key, videos / key, (0,))
    starts = torch.tensor([0, 3, 11, 15, 30, 52] if key == "b/2.mp4" else [0, 3, 11, 15])
    readers = [flow_reader(inputs(store), 36, source) for source in (None, store)]
    read = []
    for reader in readers:
        forget_indices()  # neither knows what the other has found of the damage
        video = px.open_video(record.path)
        read.append(reader(record, video, starts, 0, video.quick_length(), None))
    assert read[0].shape[:2] == (len(starts), 8)
    assert read[0].abs().max() > 0.5
    assert torch.equal(read[0], read[1])


@pytest.mark.parametrize("key", ["a/0.mp4", "b/1.avi"])
def test_windows_see_the_same_flow_from_file_and_store(stored: tuple[Path, FlowStore], key: str) -> None:
    videos, store = stored
    contract = InputContract(size=32, short_side=36, snippets=2, flow=inputs(store))
    seen = [
        [window.snippets for window in windows(videos / key, 0.4, 0.2, contract, source)]
        for source in (None, store)
    ]
    assert len(seen[0]) == len(seen[1]) >= 3
    for one, other in zip(*seen, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a["flow"].shape == (8, 32, 32)
            assert torch.equal(a["flow"], b["flow"])


def test_the_picture_shows_the_motion(tmp_path: Path) -> None:
    path = move(tmp_path / "a.mp4", steps=[(2 * number, -number) for number in range(8)], options=PLAIN_P)
    facts = explain_flow(path, "codec", frames=3, short_side=72).facts
    assert (facts["method"], facts["parameters"], facts["size"]) == ("codec", {}, [72, 88])
    shown = fields(path, short_side=72)[facts["frames"]]
    assert facts["mean_px"] == pytest.approx(float(shown.norm(dim=1).mean()), rel=1e-5)


def test_the_command_stores_both_clips(stored: tuple[Path, FlowStore], tmp_path: Path, call: Call) -> None:
    videos, store = stored
    given = call(
        "flow", videos, "--method", "codec", "--short-side", 40, "--workers", 1, "--out", tmp_path / "flow"
    )
    assert given.code == 0, given.err
    again = FlowStore(tmp_path / "flow")
    assert again.keys() == store.keys() == ["a/0.mp4", "b/1.avi", "b/2.mp4"]
    for key in again.keys():  # noqa: SIM118
        numbers = range(len(again.clip(key)))
        assert torch.equal(again.clip(key).fields(numbers), store.clip(key).fields(numbers))


# --------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "named"),
    [
        ("libx265", "mp4", "yuv420p", "hevc"),
        ("libvpx-vp9", "webm", "yuv420p", "vp9"),
        ("mjpeg", "avi", "yuvj420p", "mjpeg"),
    ],
)
def test_other_codecs_are_named(tmp_path: Path, codec: str, suffix: str, pix_fmt: str, named: str) -> None:
    path = move(tmp_path / f"a.{suffix}", codec, [(1, 0)] * 3, pix_fmt=pix_fmt)
    with pytest.raises(VideoError, match=rf"codec {named}\b.*libx264"):
        next(iter(Codec().fields(px.open_video(path))))


def test_frames_that_were_coded_alone_have_no_vectors(tmp_path: Path) -> None:
    path = move(tmp_path / "a.avi", "mpeg4", [(1, 0)] * 3, gop=0)
    with pytest.raises(VideoError, match="no motion vectors"):
        fields(path)


def test_packed_clips_and_folders_of_frames_have_no_vectors(tmp_path: Path) -> None:
    from PIL import Image

    from praxiscope.video.pack import pack_video

    pack_video(move(tmp_path / "a.mp4", steps=[(1, 0)] * 3), tmp_path / "a.pxv", short_side=64)
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.fromarray(texture(32, 32)).save(tmp_path / "frames" / f"{number:03}.png")
    for name in ("a.pxv", "frames"):
        with pytest.raises(VideoError, match="single images"):
            fields(tmp_path / name)


def test_small_frames_are_refused(tmp_path: Path) -> None:
    path = move(tmp_path / "a.mp4", steps=[(1, 0)] * 3)
    with pytest.raises(VideoError, match="15 x 18 pixels"):
        fields(path, short_side=15)


def test_frames_alone_are_refused() -> None:
    frames = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ArgumentError, match="reads the video file"):
        estimate_flow(frames, "codec")
    with pytest.raises(ArgumentError, match="reads video files"):
        our_methods(["codec"])
    assert [one.run for one in our_methods() if one.name == "codec"] == [None]


def test_it_has_no_parameters_and_no_weights() -> None:
    assert estimator_of({"method": "codec"}) == create_estimator("codec") == Codec()
    assert Codec().parameters == {}
    with pytest.raises(ArgumentError):
        create_estimator("codec", winsize=3)
    with pytest.raises(ArgumentError, match="takes no weights"):
        estimator_of({"method": "codec"}, "weights.pth")
