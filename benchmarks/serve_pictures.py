"""Pictures of the page of ``praxiscope serve`` for the documentation.

`python benchmarks/serve_pictures.py ADDRESS VIDEO --out docs/pictures`. Needs Chromium, as `make test-web` does.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

_WAIT_MS = 600_000


def save(page: Page, path: Path, height: int | None = None) -> None:
    """Write what the page shows, from its top, as JPEG."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    image.crop((0, 0, image.width, min(height or image.height, image.height))).save(path, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of a running server")
    parser.add_argument("video")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.goto(options.address)
        page.set_input_files("#file", options.video)
        expect(page.locator("#status")).to_have_text("Done", timeout=_WAIT_MS)
        page.focus("#timeline")
        for key in ("Home", "PageUp", "ArrowRight"):
            page.keyboard.press(key)
        page.get_by_role("button", name="Explain").click()
        expect(page.locator("#why-page")).to_be_visible(timeout=_WAIT_MS)
        if page.locator("#similar").is_visible():
            page.get_by_role("button", name="Find similar videos").click()
            expect(page.locator("#hits li").first).to_be_visible(timeout=_WAIT_MS)
        page.wait_for_timeout(1500)
        save(page, options.out / "serve.jpg")
        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(1000)
        save(page, options.out / "serve_phone.jpg", 2600)
        browser.close()


if __name__ == "__main__":
    main()
