"""Extracting flow: what is stored is what was estimated, whatever happens to the run meanwhile."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import praxiscope as px
from praxiscope import jobs as parallel
from praxiscope.cli.main import app
from praxiscope.commands import flow_clips
from praxiscope.commands.arguments import parse_parameters
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.locking import locked
from praxiscope.data.manifest import load_records
from praxiscope.flow.contract import FlowContract
from praxiscope.flow.estimate import estimate_flow
from praxiscope.flow.store import FlowStore, flow_key, through_store
from praxiscope.progress import Reporter
from praxiscope.video.pack import pack_video
from support import write_clip

FAST = {"warps": 1, "iterations": 3}
TINY = {"method": "tvl1", "parameters": FAST, "workers": 1}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number in range(3):
        write_clip(root / "ab"[number % 2] / f"{number}.mp4", number, frames=6 + 5 * number, seed=number)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Listener(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str = "") -> None:
        self.lines.append(text)


# --- what is stored ---


@pytest.mark.parametrize("range", [20.0, "frame"])
def test_the_store_holds_the_rounded_estimates_of_both_directions(
    videos: Path, tmp_path: Path, range: float | str
) -> None:
    summary = extract_flow(
        videos, tmp_path / "out", StoreOptions(**TINY, range=range, short_side=32, backward=True)
    )
    assert (summary.clips, summary.skipped, summary.already) == (3, 0, 0)
    assert summary.fields == 2 * (5 + 10 + 15)
    store = FlowStore(tmp_path / "out")
    contract = store.contract
    assert (contract.method, contract.range, contract.short_side) == ("tvl1", range, 32)
    assert contract.parameters["warps"] == 1
    assert contract.parameters["attachment"] == 0.2  # those that were not named are recorded, too
    assert store.keys() == ["a/0.mp4", "a/2.mp4", "b/1.mp4"]
    for key in store.keys():  # noqa: SIM118
        frames = torch.stack([frame.rgb(32) for frame in px.open_video(videos / key).decode()])
        clip = store.clip(key)
        assert clip.fits(len(frames))
        for backward in (False, True):
            made = estimate_flow(frames, "tvl1", backward=backward, **FAST)
            got = clip.fields(torch.arange(len(clip)), backward=backward)
            assert torch.equal(got, through_store(made, contract))


def test_the_summary_counts_what_is_on_disk(videos: Path, tmp_path: Path) -> None:
    bound = 0.5  # some of the flow goes further
    summary = extract_flow(videos, tmp_path / "out", StoreOptions(**TINY, range=bound))
    store = FlowStore(tmp_path / "out")
    sizes = [p.stat().st_size for p in (tmp_path / "out").rglob("*.pxf")]
    assert summary.bytes == sum(sizes)
    assert summary.bytes_per_field == sum(sizes) / 30
    assert summary.compression == pytest.approx(30 * 2 * 48 * 64 * 4 / sum(sizes))
    errors, outside, total = [], 0, 0
    for key in store.keys():  # noqa: SIM118
        made = estimate_flow(
            px.open_video(videos / key).frames(range(len(store.clip(key)) + 1)), "tvl1", **FAST
        )
        error = store.clip(key).fields(range(len(made))) - made
        errors.append(error[made.abs() <= bound].double())
        outside, total = outside + int((made.abs() > bound).sum()), total + made.numel()
    assert summary.clipped == pytest.approx(outside / total)
    assert 0 < summary.clipped < 1
    assert summary.error_px == pytest.approx(float(torch.cat(errors).square().mean().sqrt()))
    assert summary.largest_error_px == pytest.approx(float(torch.cat(errors).abs().max()))
    assert summary.seconds_per_minute is not None


@pytest.mark.parametrize(("method", "size"), [("tvl1", (48, 64)), ("tvl1", (46, 74)), ("dis", (48, 64))])
def test_the_size_of_the_chunks_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, size: tuple[int, int]
) -> None:
    write_clip(tmp_path / "v" / "a" / "0.mp4", 0, frames=23, size=size)
    stored = {}
    for pairs in (1, 2, 7, 22, 1000):
        monkeypatch.setattr(flow_clips, "_CPU_PIXELS", size[0] * size[1] * pairs)
        chunks = []
        estimate = flow_clips.estimate_flow

        def counted(frames: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
            chunks.append(len(frames) - 1)  # noqa: B023
            return estimate(frames, *args, **options)  # type: ignore[arg-type]  # noqa: B023

        monkeypatch.setattr(flow_clips, "estimate_flow", counted)
        extract_flow(
            tmp_path / "v", tmp_path / str(pairs), StoreOptions(method=method, workers=1, backward=True)
        )
        monkeypatch.setattr(flow_clips, "estimate_flow", estimate)
        assert max(chunks) == min(pairs, 22)
        assert sum(chunks) == 44
        stored[pairs] = contents(tmp_path / str(pairs))
    assert all(files == stored[1] for files in stored.values())


def test_parts_of_a_file_share_its_flow(tmp_path: Path) -> None:
    write_clip(tmp_path / "0.mp4", 0, frames=24)
    (tmp_path / "list.csv").write_text("path,label,start,end\n0.mp4,x,0,1\n0.mp4,y,1,\n")
    summary = extract_flow(tmp_path / "list.csv", tmp_path / "out", StoreOptions(**TINY))
    assert (summary.clips, summary.fields) == (1, 23)
    store = FlowStore(tmp_path / "out")
    records = load_records(tmp_path / "list.csv", random_split=False).records
    assert [flow_key(record) in store for record in records] == [True, True]


def test_a_packed_copy_has_the_names_of_its_originals(videos: Path, tmp_path: Path) -> None:
    for video in sorted(videos.rglob("*.mp4")):
        pack_video(
            video, tmp_path / "packed" / video.relative_to(videos).with_suffix(".mp4.pxv"), short_side=48
        )
    extract_flow(tmp_path / "packed", tmp_path / "out", StoreOptions(**TINY))
    assert FlowStore(tmp_path / "out").keys() == ["a/0.mp4", "a/2.mp4", "b/1.mp4"]


def test_jpeg_folders_are_written_in_tsns_naming(videos: Path, tmp_path: Path) -> None:
    summary = extract_flow(videos, tmp_path / "out", StoreOptions(**TINY, storage="jpeg"))
    assert (tmp_path / "out" / "a" / "0" / "flow_x_00001.jpg").is_file()
    assert (tmp_path / "out" / "a" / "0" / "flow_y_00005.jpg").is_file()
    assert summary.error_px > 0.01
    before = contents(tmp_path / "out")
    assert extract_flow(videos, tmp_path / "out", StoreOptions(**TINY, storage="jpeg")).already == 3
    assert contents(tmp_path / "out") == before
    with pytest.raises(px.ArgumentError, match="ffv1"):
        extract_flow(videos, tmp_path / "other", StoreOptions(**TINY, storage="jpeg", backward=True))
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_stores_what_the_cpu_does_up_to_rounding(videos: Path, tmp_path: Path) -> None:
    extract_flow(videos, tmp_path / "cpu", StoreOptions(**TINY))
    extract_flow(videos, tmp_path / "cuda", StoreOptions(**{**TINY, "workers": 2}, device="cuda"))
    cpu, cuda = FlowStore(tmp_path / "cpu"), FlowStore(tmp_path / "cuda")
    assert cpu.contract == cuda.contract
    for key in cpu.keys():  # noqa: SIM118
        numbers = range(len(cpu.clip(key)))
        difference = (cpu.clip(key).fields(numbers) - cuda.clip(key).fields(numbers)).abs()
        assert difference.mean() < 0.01


# --- going on ---


def test_a_second_run_does_nothing_and_says_so(videos: Path, tmp_path: Path) -> None:
    listener = Listener()
    extract_flow(videos, tmp_path / "out", StoreOptions(**TINY))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pxf")}
    summary = extract_flow(videos, tmp_path / "out", StoreOptions(**TINY), reporter=listener)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pxf")} == before
    assert (summary.already, summary.clips, summary.seconds_per_minute) == (3, 3, None)
    assert any(re.search(r"\b3 videos\b", line) for line in listener.lines)


def test_only_what_is_missing_damaged_or_of_another_file_is_made(tmp_path: Path) -> None:
    videos, out = tmp_path / "v", tmp_path / "out"
    for number in range(4):
        write_clip(videos / "a" / f"{number}.mp4", number)
    extract_flow(videos, out, StoreOptions(**TINY))
    before = contents(out)
    (out / "a" / "0.mp4.forward.pxf").unlink()
    torn = out / "a" / "1.mp4.forward.pxf"
    torn.write_bytes(torn.read_bytes()[:-7])
    assert extract_flow(videos, out, StoreOptions(**TINY)).already == 2
    assert contents(out) == before
    write_clip(videos / "a" / "2.mp4", 2, frames=20)
    summary = extract_flow(videos, out, StoreOptions(**TINY))
    assert (summary.already, summary.clips) == (3, 4)
    assert len(FlowStore(out).clip("a/2.mp4")) == 19
    # The other direction is added without making the first again.
    stamp = torn.stat().st_mtime_ns
    summary = extract_flow(videos, out, StoreOptions(**TINY, backward=True))
    assert (summary.already, summary.fields) == (0, 2 * (11 + 11 + 19 + 11))
    assert torn.stat().st_mtime_ns == stamp


def flip_a_bit(path: Path) -> None:
    """Damage inside: the head and the index stay as they are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_what_is_damaged_inside_is_found_and_made_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_flow(videos, out, StoreOptions(**TINY, backward=True))
    before = contents(out)
    for name in ("a/0.mp4.forward.pxf", "b/1.mp4.backward.pxf"):
        flip_a_bit(out / name)
    assert extract_flow(videos, out, StoreOptions(**TINY)).already == 3  # the indices are whole
    words = ["flow", str(videos), "--out", str(out), "--verify", "--set", "warps=1", "--set", "iterations=3"]
    done = CliRunner().invoke(app, [*words, "--workers", "2"])
    assert done.exit_code == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("Damaged")]
    assert len(said) == 2
    for name in ("a/0.mp4.forward.pxf", "b/1.mp4.backward.pxf"):
        assert any(f"{out / name}: " in line for line in said)
    assert contents(out) == before
    done = CliRunner().invoke(app, [*words, "--workers", "1"])
    assert done.exit_code == 0
    assert "3 videos" in done.stderr


def test_damaged_jpegs_are_found_and_made_again(videos: Path, tmp_path: Path) -> None:
    out, listener = tmp_path / "out", Listener()
    extract_flow(videos, out, StoreOptions(**TINY, storage="jpeg"))
    before = contents(out)
    (out / "a" / "0" / "flow_y_00003.jpg").write_bytes(b"no picture")
    (out / "a" / "2" / "flow_x_00002.jpg").unlink()
    summary = extract_flow(videos, out, StoreOptions(**TINY, storage="jpeg", verify=True), reporter=listener)
    assert (summary.damaged, summary.already) == (2, 1)
    assert contents(out) == before
    assert any("a/0: " in line and "flow_y_00003.jpg" in line for line in listener.lines)


def test_another_contract_is_refused_with_both_shown(videos: Path, tmp_path: Path) -> None:
    extract_flow(videos, tmp_path / "out", StoreOptions(**TINY))
    before = contents(tmp_path / "out")
    with pytest.raises(px.ArgumentError, match=r"warps=1.*warps=2"):
        extract_flow(videos, tmp_path / "out", StoreOptions(parameters={**FAST, "warps": 2}, workers=1))
    with pytest.raises(px.ArgumentError, match=r"range=20\b.*frame"):
        extract_flow(videos, tmp_path / "out", StoreOptions(**TINY, range="frame"))
    with pytest.raises(px.ArgumentError, match=r"ffv1.*jpeg"):
        extract_flow(videos, tmp_path / "out", StoreOptions(**TINY, storage="jpeg"))
    assert contents(tmp_path / "out") == before


def test_a_second_run_at_the_same_time_is_refused(videos: Path, tmp_path: Path) -> None:
    extract_flow(videos, tmp_path / "out", StoreOptions(**TINY))
    with (
        locked(tmp_path / "out"),
        pytest.raises(px.ArgumentError, match=re.escape(str(tmp_path / "out"))),
    ):
        extract_flow(videos, tmp_path / "out", StoreOptions(**TINY))


def test_broken_videos_are_listed_and_left_out(tmp_path: Path) -> None:
    videos, out = tmp_path / "v", tmp_path / "out"
    for number in range(5):
        write_clip(videos / "a" / f"{number}.mp4", number)
    (videos / "a" / "1.mp4").write_text("no video\n" * 100)
    (videos / "a" / "2.mp4").write_bytes(b"")
    write_clip(videos / "a" / "3.mp4", 0, frames=1)
    summary = extract_flow(videos, out, StoreOptions(**TINY))
    assert (summary.clips, summary.skipped) == (2, 3)
    rows = {row["id"]: row["problem"] for row in csv.DictReader((out / "skipped.csv").open())}
    assert list(rows) == ["a/1.mp4", "a/2.mp4", "a/3.mp4"]
    assert "empty (0 bytes)" in rows["a/2.mp4"]
    assert "one frame" in rows["a/3.mp4"]
    assert FlowStore(out).keys() == ["a/0.mp4", "a/4.mp4"]
    with pytest.raises(px.TrainingError, match=r"\b3 of 5\b.*skipped\.csv"):
        extract_flow(videos, out, StoreOptions(**TINY, max_skip=0.1))
    for name in ("0.mp4", "4.mp4"):
        (videos / "a" / name).write_bytes(b"")
    with pytest.raises(px.DataError, match=r"\b5\b"):
        extract_flow(videos, out, StoreOptions(**TINY))


def test_estimates_that_are_no_numbers_cost_one_video(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(frames: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        flow = torch.zeros(len(frames) - 1, 2, *frames.shape[-2:])
        return flow / 0 if len(frames) == 6 else flow

    monkeypatch.setattr(flow_clips, "estimate_flow", broken)
    assert extract_flow(videos, tmp_path / "out", StoreOptions(**TINY)).skipped == 1
    (row,) = csv.DictReader((tmp_path / "out" / "skipped.csv").open())
    assert row["problem"].startswith(f"{videos / 'a' / '0.mp4'}: ")
    assert "NaN" in row["problem"]


def test_videos_of_one_place_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "0.mp4", 0)
    write_clip(tmp_path / "lists" / "a" / "0.mp4", 1)
    (tmp_path / "lists" / "list.csv").write_text("path,label\n../a/0.mp4,x\na/0.mp4,y\n")
    with pytest.raises(px.DataError, match=r"\.\./a/0\.mp4 .*a/0\.mp4 "):
        extract_flow(tmp_path / "lists" / "list.csv", tmp_path / "out", StoreOptions(**TINY))
    shutil.copy(tmp_path / "a" / "0.mp4", tmp_path / "a" / "0.mkv")
    (tmp_path / "set").mkdir()
    (tmp_path / "a").rename(tmp_path / "set" / "a")
    with pytest.raises(px.DataError, match=r"a/0\.mkv.*a/0\.mp4"):
        extract_flow(tmp_path / "set", tmp_path / "out2", StoreOptions(**TINY, storage="jpeg"))


def test_settings_are_checked_before_anything_is_written(videos: Path, tmp_path: Path) -> None:
    for wrong in (
        {"method": "tvl2"},
        {"parameters": {"warp": 3}},
        {"range": 0},
        {"workers": 0},
        {"device": "nowhere"},
        {"storage": "png"},
        {"storage": "jpeg", "range": "frame"},
    ):
        with pytest.raises(px.ArgumentError):
            extract_flow(videos, tmp_path / "out", StoreOptions(**{**TINY, **wrong}))  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()
    assert parse_parameters(["warps=3", "scale = 0.8", "preset=fast", "x=true"]) == {
        "warps": 3,
        "scale": 0.8,
        "preset": "fast",
        "x": True,
    }
    with pytest.raises(px.ArgumentError, match=r"--set warps: "):
        parse_parameters(["warps"])


# --- several processes, interrupts and kills ---


def test_two_workers_store_what_one_does(videos: Path, tmp_path: Path) -> None:
    extract_flow(videos, tmp_path / "one", StoreOptions(**TINY))
    extract_flow(videos, tmp_path / "two", StoreOptions(**{**TINY, "workers": 2}))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


real_extract = flow_clips._extract


def _die_on_the_second(job: flow_clips._Job) -> flow_clips._Outcome:
    if job.key.endswith("1.mp4"):
        os._exit(9)
    return real_extract(job)


def test_a_video_that_kills_its_reader_costs_only_itself(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_clips, "_extract", _die_on_the_second)
    monkeypatch.setattr(parallel, "get_context", lambda _: multiprocessing.get_context("fork"))
    summary = extract_flow(videos, tmp_path / "out", StoreOptions(**{**TINY, "workers": 2}))
    assert (summary.clips, summary.skipped) == (2, 1)
    (row,) = csv.DictReader((tmp_path / "out" / "skipped.csv").open())
    assert "1.mp4: the process" in row["problem"]


def test_an_interrupt_leaves_no_half_file(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()

    def interrupted(pieces: int, weight: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flow_clips, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_flow(videos, tmp_path / "out", StoreOptions(**TINY), reporter=listener)
    assert sorted(contents(tmp_path / "out")) == [".lock", "flow.json"]
    assert any("Stopped" in line for line in listener.lines)


@pytest.fixture(scope="module")
def kill_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """Videos, the store of an undisturbed run, and the seconds that it took."""
    root = tmp_path_factory.mktemp("kill")
    for number in range(4):
        write_clip(root / "v" / "ab"[number % 2] / f"{number}.mp4", number, frames=40, seed=number)
    extract_flow(root / "v", root / "warm", StoreOptions(**TINY, backward=True))
    began = time.perf_counter()
    extract_flow(root / "v", root / "undisturbed", StoreOptions(**TINY, backward=True))
    return root / "v", root / "undisturbed", time.perf_counter() - began


def _run_in_child(videos: Path, out: Path) -> None:
    extract_flow(videos, out, StoreOptions(**TINY, backward=True))


def test_ten_kills_at_random_moments_change_nothing(
    kill_set: tuple[Path, Path, float], tmp_path: Path
) -> None:
    videos, undisturbed, seconds = kill_set
    expected = contents(undisturbed)
    draw, context = random.Random(3), multiprocessing.get_context("fork")
    killed, halves = 0, 0
    while killed < 10:
        out = tmp_path / "out"
        child = context.Process(target=_run_in_child, args=(videos, out))
        child.start()
        child.join(draw.uniform(0, 0.6 * seconds))
        child.kill()
        child.join()
        if child.exitcode == 0:  # it was done: nothing is left to kill
            assert contents(out) == expected
            shutil.rmtree(out)
            continue
        killed += 1
        halves += any(out.rglob("*.part"))
        for name, data in contents(out).items():
            assert name.endswith((".part", ".tmp")) or data == expected[name]
    extract_flow(videos, out, StoreOptions(**TINY, backward=True))
    assert contents(out) == expected
    assert halves  # some kill has met a file that was being written


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(
    kill_set: tuple[Path, Path, float], tmp_path: Path, how: signal.Signals
) -> None:
    videos, undisturbed, _ = kill_set
    out = tmp_path / "out"
    options = ["--set", "warps=1", "--set", "iterations=3", "--backward", "--workers", "2"]
    command = [sys.executable, "-m", "praxiscope", "flow", str(videos), "--out", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not any(out.rglob("*.p*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    workers = [int(pid) for pid in _children(process.pid)]
    process.send_signal(how)
    _, messages = process.communicate(timeout=120)
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_alive(pid) for pid in workers)
    if how == signal.SIGINT and process.returncode:
        assert process.returncode == 130
        assert "Stopped" in messages
        assert "Traceback" not in messages
        assert not list(out.rglob("*.part"))
    extract_flow(videos, out, StoreOptions(**TINY, backward=True))
    assert contents(out) == contents(undisturbed)


def _children(pid: int) -> list[str]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    if not listing.exists():
        pytest.skip("needs Linux's /proc")
    return listing.read_text().split()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False


# --- the command ---


def test_the_command_prints_one_json_document(videos: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    arguments = [
        "flow",
        str(videos),
        "--out",
        out,
        "--workers",
        "1",
        "--set",
        "warps=1",
        "--set",
        "iterations=3",
    ]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert (result["clips"], result["fields"], result["skipped"]) == (3, 30, 0)
    assert FlowStore(out).contract == FlowContract(
        "tvl1", flow_clips.create_estimator("tvl1", **FAST).parameters, 20.0
    )
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "3 clips, 30 fields" in done.stdout
    assert "float32" in done.stdout
    assert "per minute of video" not in done.stdout  # nothing was made


def test_real_clips_are_stored(data_folder: Path, tmp_path: Path) -> None:
    clip = next(iter(sorted((data_folder / "ucf101_9" / "Archery").glob("*g05*"))))
    (tmp_path / "v" / "Archery").mkdir(parents=True)
    shutil.copy(clip, tmp_path / "v" / "Archery")
    summary = extract_flow(tmp_path / "v", tmp_path / "out", StoreOptions(method="dis", workers=1))
    video = px.open_video(clip)
    stored = FlowStore(tmp_path / "out").clip(f"Archery/{clip.name}")
    assert stored.fits(len(video))
    assert (stored.height, stored.width) == (240, 320)
    made = estimate_flow(video.frames([20, 21]), "dis")
    assert torch.equal(stored.fields([20]), through_store(made, stored.contract))
    assert summary.error_px < summary.largest_error_px <= 20 / 255 * 1.001
    assert summary.compression > 20
