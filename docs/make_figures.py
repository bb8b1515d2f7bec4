"""Make the README's pictures from tests/pictures: `python docs/make_figures.py`.

Needs the test extra and Chromium. What is scanned are renderings; their scores mean nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def main() -> None:
    """Scan, and keep one overlay and one screenshot beside this script."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary, "report.html")
        shutil.copytree(ROOT / "tests" / "pictures", Path(temporary, "pictures"))
        # Exit code 3: one of the pictures is broken on purpose.
        command = [sys.executable, "-m", "fakescan", "scan", "pictures", "--no-store"]
        subprocess.run([*command, "--report", report.name], cwd=temporary, check=False)
        command += ["--model", "cifake-cnn", "--overlay", "overlays", "--overlay-all"]
        subprocess.run(command, cwd=temporary, check=False)
        overlay = next(Path(temporary, "overlays").glob("thumbnail-32-*.png"))
        shutil.copy(overlay, FOLDER / "overlay.png")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(report.as_uri())
            page.get_by_text("webui.png").first.click()
            page.wait_for_timeout(500)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=FOLDER / "report.png")
            browser.close()
    with Image.open(FOLDER / "report.png") as picture:
        # 256 colours are enough for a page, and a third of the bytes.
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            FOLDER / "report.png", optimize=True
        )


if __name__ == "__main__":
    main()
