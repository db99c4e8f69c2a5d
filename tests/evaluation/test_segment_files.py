"""Files of segments: read back by other readers (FFmpeg, xml), and their structure."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
from html import escape
from pathlib import Path

import av
import pytest

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.segment_files import as_elan, as_srt, as_vtt, write_segments
from praxiscope.evaluation.segments import Segment

SEGMENTS = [
    Segment(0.0, 1.5, "jump", 0.9),
    Segment(1.5, 2.25, "wave & <walk>", 0.8),
    Segment(3725.0049, 3726.9996, "jump", 0.7),
    Segment(3726.5, 3728.0, "a\nb --> c", 0.6),
]


def cues(path: Path) -> list[tuple[int, int, str]]:
    """Start, duration (milliseconds) and text of each cue, by FFmpeg."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        found = []
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                scale = 1000 * packet.time_base
                text = bytes(packet).decode()
                found.append((round(packet.pts * scale), round(packet.duration * scale), text))
        return found


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_ffmpeg_reads_the_cues_of_subtitles(tmp_path: Path, kind: str) -> None:
    write_segments(tmp_path / f"a.{kind}", kind, SEGMENTS)
    found = cues(tmp_path / f"a.{kind}")
    assert [cue[:2] for cue in found] == [(0, 1500), (1500, 750), (3725005, 1995), (3726500, 1500)]
    texts = ["jump", "wave & <walk>", "jump", "a b -> c"]  # cues of WebVTT are escaped as in HTML
    wanted = [escape(each) for each in texts] if kind == "vtt" else texts
    assert [cue[2].strip() for cue in found] == wanted


def test_times_of_subtitles_are_written_as_their_specifications_say() -> None:
    assert as_srt(SEGMENTS[2:3]) == "1\n01:02:05,005 --> 01:02:07,000\njump\n"
    assert as_vtt(SEGMENTS[2:3]) == "WEBVTT\n\n01:02:05.005 --> 01:02:07.000\njump\n"
    assert as_vtt([Segment(360000, 360001, "x")]).split("\n")[2] == "100:00:00.000 --> 100:00:01.000"
    stamps = re.findall(r"^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}$", as_vtt(SEGMENTS), re.MULTILINE)
    assert len(stamps) == 4


def test_without_segments_the_files_are_empty_but_valid(tmp_path: Path) -> None:
    assert as_srt([]) == ""
    assert as_vtt([]).startswith("WEBVTT\n")
    assert ElementTree.fromstring(as_elan([])).find("TIER") is None
    write_segments(tmp_path / "a.csv", "csv", [])
    assert (tmp_path / "a.csv").read_text() == "start_s,end_s,label,score\n"


def test_csv_holds_seconds_labels_and_scores(tmp_path: Path) -> None:
    write_segments(tmp_path / "new" / "a.csv", "csv", SEGMENTS)
    with (tmp_path / "new" / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["start_s", "end_s", "label", "score"]
    assert [(float(r["start_s"]), r["label"], float(r["score"])) for r in rows] == [
        (pytest.approx(s.start_s, abs=1e-3), s.label, s.score) for s in SEGMENTS
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.csv"]


def test_elan_documents_have_the_published_structure(tmp_path: Path) -> None:
    write_segments(tmp_path / "a.eaf", "elan", SEGMENTS, tmp_path / "my film.mp4")
    root = ElementTree.parse(tmp_path / "a.eaf").getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)
    # The order of the schema: HEADER, TIME_ORDER, TIER*, LINGUISTIC_TYPE*.
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", *["TIER"] * 3, "LINGUISTIC_TYPE"]
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert (media.get("MEDIA_URL"), media.get("MIME_TYPE")) == (
        (tmp_path / "my film.mp4").as_uri(),
        "video/mp4",
    )
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    assert root.find("HEADER").get("TIME_UNITS") == "milliseconds"  # type: ignore[union-attr]
    found = [
        (tier.get("TIER_ID"), slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")])
        for tier in root.iter("TIER")
        for one in tier.iter("ALIGNABLE_ANNOTATION")
    ]
    assert sorted(found, key=lambda each: each[1:]) == [
        ("jump", 0, 1500),
        ("wave & <walk>", 1500, 2250),
        ("jump", 3725005, 3727000),
        ("a\nb --> c", 3726500, 3728000),
    ]
    types = {kind.get("LINGUISTIC_TYPE_ID") for kind in root.iter("LINGUISTIC_TYPE")}
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")} <= types
    names = [one.get("ANNOTATION_ID") for one in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(names)) == len(names) == 4
    assert [value.text for value in root.iter("ANNOTATION_VALUE")].count("jump") == 2


def test_labels_with_characters_that_xml_does_not_allow_are_written_without_them() -> None:
    root = ElementTree.fromstring(as_elan([Segment(0, 1, "a\x00\x1bé")]))
    assert [tier.get("TIER_ID") for tier in root.iter("TIER")] == ["a??é"]


def test_overlapping_segments_of_one_class_and_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'a'"):
        as_elan([Segment(0, 2, "a"), Segment(1, 3, "a")])
    with pytest.raises(ArgumentError, match="sbv"):
        write_segments(tmp_path / "x", "sbv", [])
    assert list(tmp_path.iterdir()) == []
