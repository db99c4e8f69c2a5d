"""Something-Something, versions 1 and 2, by lists in the formats that are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import praxiscope as px
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.pack import PackFormat, pack
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.errors import DataError

CLIPS = {1: "20bn-something-something-v1", 2: "20bn-something-something-v2"}
# Numbers are out of alphabetical order on purpose.
NUMBERS = {
    "Closing something": "2",
    "Putting something, something and something on the table": "0",
    "Dropping something onto something": "1",
}
CLASSES = ("Putting something, something and something on the table", "Dropping something onto something",
           "Closing something")  # fmt: skip
TEMPLATES = {
    "close": "Closing [something]",
    "put": "Putting [something], [something] and [something] on the table",
    "drop": "Dropping [something] onto [something]",
}
TRAIN = {"78687": "close", "42326": "put", "100904": "drop", "7": "drop"}
VALIDATION = {"74225": "drop", "116154": "close"}
TEST = ("1420", "3")


def entries(videos: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"id": name, "label": "closing grüne box", "template": TEMPLATES[key], "placeholders": ["grüne box"]}
        for name, key in videos.items()
    ]


def write_json_lists(folder: Path, start: str = "something-something-v2-", **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lists = {
        "labels": NUMBERS, "train": entries(TRAIN), "validation": entries(VALIDATION),
        "test": [{"id": name} for name in TEST],
    } | changed  # fmt: skip
    for name, content in lists.items():
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)
            (folder / f"{start}{name}.json").write_text(text, encoding="utf-8")
    return folder


def write_csv_lists(folder: Path, end: str = "\n", mark: str = "", **changed: str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    bare = {key: text.replace("[", "").replace("]", "") for key, text in TEMPLATES.items()}
    lists: dict[str, str | None] = {
        "labels": "\n".join(CLASSES) + "\n",
        "train": "".join(f"{name};{bare[key]}\n" for name, key in TRAIN.items()),
        "validation": "".join(f"{name};{bare[key]}\n" for name, key in VALIDATION.items()),
        "test": "".join(f"{name}\n" for name in TEST),
    }
    for name, content in (lists | changed).items():
        if content is not None:
            data = (mark + content.replace("\n", end)).encode()
            (folder / f"something-something-v1-{name}.csv").write_bytes(data)
    return folder


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def write_frames(folder: Path, count: int = 4, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(1, count + 1):
        Image.fromarray(generator.integers(0, 255, (24, 32, 3), np.uint8)).save(folder / f"{number:05d}.jpg")
    return folder


def said(manifest: Manifest, phrase: str) -> bool:
    return any(phrase in note for note in manifest.notes)


def described(manifest: Manifest) -> list[tuple[str, str, str | None]]:
    return [
        (record.path.name.partition(".")[0], record.labels[0], record.split) for record in manifest.records
    ]


FOUND = [
    ("78687", "Closing something", "train"),
    ("42326", "Putting something, something and something on the table", "train"),
    ("100904", "Dropping something onto something", "train"),
    ("74225", "Dropping something onto something", "test"),
    ("116154", "Closing something", "test"),
]
VIDEOS = [f"{name}.webm" for name in (*list(TRAIN)[:3], *VALIDATION, *TEST, "5")]


@pytest.mark.parametrize("start", ["something-something-v2-", ""])
@pytest.mark.parametrize("place", [".", "labels", "annotations", "..", "../labels", "../elsewhere"])
@pytest.mark.parametrize("inner", [".", CLIPS[2]])
def test_version_2_is_listed_wherever_its_lists_lie(
    tmp_path: Path, start: str, place: str, inner: str
) -> None:
    folder = (
        touch(tmp_path / "set" / inner, *VIDEOS).parent if inner != "." else touch(tmp_path / "set", *VIDEOS)
    )
    lists = write_json_lists(folder / place, start)
    annotations = lists if "elsewhere" in place else None
    manifest = load_records(f"something-something:{folder}", annotations=annotations)
    assert manifest.name == "something-something"
    assert manifest.classes == CLASSES
    assert described(manifest) == FOUND
    before = f"{inner}/".removeprefix("./")
    assert manifest.records[0].id == f"{before}78687.webm"
    assert manifest.missing == ("7",)
    assert said(manifest, "Something-Something v2")
    assert said(manifest, ": 7")
    assert said(manifest, ": 1420, 3")
    assert said(manifest, f": {before}5.webm")


@pytest.mark.parametrize(("end", "mark"), [("\n", ""), ("\r\n", "\ufeff")])
def test_version_1_is_listed_with_folders_of_frames_for_videos(tmp_path: Path, end: str, mark: str) -> None:
    write_csv_lists(tmp_path, end, mark)
    for name in (*list(TRAIN)[:3], *VALIDATION, TEST[0]):
        write_frames(tmp_path / CLIPS[1] / name)
    manifest = load_records(f"something-something:{tmp_path}")
    assert manifest.classes == CLASSES
    assert described(manifest) == FOUND
    assert [record.id for record in manifest.of("test")] == [f"{CLIPS[1]}/74225", f"{CLIPS[1]}/116154"]
    assert manifest.missing == ("7",)
    assert said(manifest, "Something-Something v1")
    assert said(manifest, ": 1420")
    video = px.open_video(manifest.records[0].path)
    assert (len(video), video.fps) == (4, 12.0)


def test_a_byte_order_mark_numbers_as_ids_and_other_suffixes_do_no_harm(tmp_path: Path) -> None:
    train = [entry | {"id": int(entry["id"])} for entry in entries(TRAIN)]
    write_json_lists(
        tmp_path,
        train="\ufeff" + json.dumps(train),
        labels="\ufeff" + json.dumps(NUMBERS, indent=1).replace("\n", "\r\n"),
    )
    touch(tmp_path, "78687.WEBM", "42326.mp4", "100904.webm.pxv", "74225.Avi", "116154.webm")
    write_frames(tmp_path / "deep" / "7")
    found = described(load_records(f"something-something:{tmp_path}"))
    assert sorted(found) == sorted([*FOUND, ("7", "Dropping something onto something", "train")])


def test_without_the_test_list_its_videos_are_in_no_list(tmp_path: Path) -> None:
    write_json_lists(tmp_path, test=None)
    manifest = load_records(f"something-something:{touch(tmp_path, *VIDEOS)}")
    assert described(manifest) == FOUND
    assert said(manifest, ": 1420.webm, 3.webm, 5.webm")


@pytest.mark.parametrize("version", [1, 2])
def test_the_folder_tells_which_of_both_versions_is_meant(tmp_path: Path, version: int) -> None:
    write_csv_lists(tmp_path)
    write_json_lists(tmp_path)
    touch(tmp_path / CLIPS[2], *VIDEOS)
    for name in (*list(TRAIN)[:3], *VALIDATION):
        write_frames(tmp_path / CLIPS[1] / name, 1)
    manifest = load_records(f"something-something:{tmp_path / CLIPS[version]}")
    assert described(manifest) == FOUND
    assert said(manifest, f"Something-Something v{version}")
    with pytest.raises(DataError, match=r"v1 or .*v2"):
        load_records(f"something-something:{tmp_path}")


def test_videos_of_the_other_version_in_the_same_folder_do_not_matter(tmp_path: Path) -> None:
    lists = write_json_lists(tmp_path / "lists")
    touch(tmp_path / "set" / CLIPS[2], *VIDEOS)
    write_frames(tmp_path / "set" / CLIPS[1] / "78687", 1)  # another clip of the same number
    manifest = load_records(f"something-something:{tmp_path / 'set'}", annotations=lists)
    assert described(manifest) == FOUND
    assert manifest.records[0].id == f"{CLIPS[2]}/78687.webm"


def test_lists_of_the_other_version_further_away_do_not_matter(tmp_path: Path) -> None:
    write_csv_lists(tmp_path)
    write_json_lists(tmp_path / "mine")
    manifest = load_records(f"something-something:{touch(tmp_path / 'mine', *VIDEOS)}")
    assert said(manifest, "Something-Something v2")


def test_classes_without_videos_are_told_and_left_out(tmp_path: Path) -> None:
    write_json_lists(tmp_path)
    manifest = load_records(f"something-something:{touch(tmp_path, '100904.webm', '74225.webm')}")
    assert manifest.classes == ("Dropping something onto something",)
    assert said(manifest, "2 of the 3 classes")
    assert said(manifest, ": 78687, 42326, 7, 116154")


@pytest.mark.parametrize("name", ["labels", "train", "validation"])
def test_a_list_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    write_json_lists(tmp_path / "two", **{name: None})
    with pytest.raises(DataError, match=rf"something-something-v2-{name}\.json"):
        load_records(f"something-something:{touch(tmp_path / 'two', *VIDEOS)}")
    write_csv_lists(tmp_path / "one", **{name: None})
    with pytest.raises(DataError, match=rf"something-something-v1-{name}\.csv"):
        load_records(f"something-something:{tmp_path / 'one'}")


def test_no_lists_and_a_split_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "set", *VIDEOS, "train.json")  # one file of so common a name says nothing
    with pytest.raises(DataError, match=r"v2-train\.json or train\.json .*labels"):
        load_records(f"something-something:{tmp_path / 'set'}")
    with pytest.raises(DataError, match=r"nowhere"):
        load_records(f"something-something:{tmp_path / 'set'}", annotations=tmp_path / "nowhere")
    with pytest.raises(DataError, match="split"):
        load_records(f"something-something:{write_json_lists(tmp_path / 'set')}", split=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train": "[{"}, r"v2-train\.json: .*Expecting property name"),
        ({"train": {"a": 1}}, r"v2-train\.json: .*list"),
        ({"train": ["78687"]}, r"v2-train\.json, entry 1: .*id and template"),
        ({"train": [{"id": "1"}]}, r"v2-train\.json, entry 1: .*id and template"),
        ({"validation": [*entries(VALIDATION), {"id": "9", "template": "Eating [something]"}]},
         r"v2-validation\.json, entry 3: 'Eating something' .*v2-labels\.json"),
        ({"validation": entries({"7": "put"})}, r"entry 1: .*\b7\b"),
        ({"labels": {"Closing something": "two"}}, r"v2-labels\.json: .*'Closing something'"),
        ({"labels": NUMBERS | {"Closing something": "1"}}, r"v2-labels\.json: "),
        ({"labels": {}}, r"v2-labels\.json: "),
        ({"test": '"'}, r"v2-test\.json: "),
    ],
)  # fmt: skip
def test_damaged_lists_of_version_2_are_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    write_json_lists(tmp_path, **change)
    with pytest.raises(DataError, match=says) as caught:
        load_records(f"something-something:{touch(tmp_path, *VIDEOS)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"train": "78687,Closing something\n"},
            r"v1-train\.csv, line 1: .*ID;LABEL.*'78687,Closing",
        ),
        (
            {"validation": "\n74225;Eating something\n"},
            r"line 2: 'Eating something' .*v1-labels",
        ),
        (
            {"labels": "Closing something\nClosing something\n"},
            r"labels.*: Closing something",
        ),
        ({"labels": "\n"}, r"v1-labels\.csv: "),
    ],
)
def test_damaged_lists_of_version_1_are_named(tmp_path: Path, change: dict[str, str], says: str) -> None:
    write_csv_lists(tmp_path, **change)
    with pytest.raises(DataError, match=says):
        load_records(f"something-something:{tmp_path}")


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    write_json_lists(tmp_path)
    touch(tmp_path, *VIDEOS)
    write_frames(tmp_path / "frames" / "7", 1)
    write_frames(tmp_path / "more" / "7", 1)
    with pytest.raises(DataError, match=r"frames/7 .*more/7"):
        load_records(f"something-something:{tmp_path}")


def test_a_packed_copy_and_stored_flow_of_version_1_are_found_by_its_names(tmp_path: Path) -> None:
    lists = write_csv_lists(tmp_path / "set")
    for seed, name in enumerate((*list(TRAIN)[:3], *VALIDATION)):
        write_frames(lists / CLIPS[1] / name, seed=seed)
    data = f"something-something:{lists}"
    wanted = load_records(data)
    pack(data, tmp_path / "packed", format=PackFormat(24), workers=1)
    packed = load_records(f"something-something:{tmp_path / 'packed'}", annotations=lists)
    assert [(r.id, r.labels, r.split) for r in packed.records] == [
        (r.id, r.labels, r.split) for r in wanted.records
    ]
    assert all(record.path.suffix == ".pxv" for record in packed.records)
    again = pack(data, tmp_path / "packed", format=PackFormat(24), workers=1)
    assert again.already == 5
    settings: dict[str, Any] = {"parameters": {"warps": 1, "iterations": 1}, "workers": 1}
    made = extract_flow(data, tmp_path / "flow", StoreOptions(**settings))
    assert (made.clips, made.fields, made.skipped) == (5, 5 * 3, 0)
    with (lists / CLIPS[1] / "78687" / "00002.jpg").open("ab") as file:
        file.write(b" ")  # another file, which the clip's size tells
    assert extract_flow(data, tmp_path / "flow", StoreOptions(**settings)).already == 4
    assert pack(data, tmp_path / "packed", format=PackFormat(24), workers=1).already == 4


def test_the_real_labels_of_version_2_give_their_174_classes(data_folder: Path, tmp_path: Path) -> None:
    (published,) = (
        path
        for path in (data_folder / "annotations" / "ssv2").iterdir()
        if isinstance(next(iter(json.loads(path.read_text()).values())), str)
        and next(iter(json.loads(path.read_text()))) == "Approaching something with your camera"
    )
    numbers = json.loads(published.read_text())
    train = [{"id": f"{100 + int(number)}", "template": label.replace("something", "[something]")}
             for label, number in numbers.items()]  # fmt: skip
    validation = [{"id": f"{500 + int(number)}", "template": label} for label, number in numbers.items()]
    write_json_lists(tmp_path, labels=published.read_text(), train=train, validation=validation)
    touch(tmp_path, *[f"{entry['id']}.webm" for entry in train + validation])
    manifest = load_records(f"something-something:{tmp_path}")
    assert list(manifest.classes) == sorted(numbers, key=lambda label: int(numbers[label]))
    assert len(manifest.classes) == 174
    assert all(int(record.id.removesuffix(".webm")) % 100 == int(numbers[record.labels[0]]) % 100
               for record in manifest.records)  # fmt: skip
