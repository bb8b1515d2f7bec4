"""Names of files: weak hints, anchored, that never decide and are never remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fakescan.pipeline import ScanOptions, scan
from fakescan.provenance import read_name
from fakescan.records import Says, Tier, Verdict
from fakescan.store import Store


@pytest.mark.parametrize(
    ("name", "says", "source"),
    [
        ("ChatGPT Image Apr 3, 2025, 10_12_11 AM.png", Says.AI, "ChatGPT"),
        ("Gemini_Generated_Image_x1y2z3x1y2z3x1y2.png", Says.AI, "Gemini"),
        ("DALL\u00b7E 2024-02-11 18.03.22 - a harbour.webp", Says.AI, "DALL-E"),
        ("ComfyUI_00042_.png", Says.AI, "ComfyUI"),
        ("Firefly a harbour at dusk 20395.jpg", Says.AI, "Adobe Firefly"),
        ("IMG-20240501-WA0007.jpg", Says.STRIPPED, "WhatsApp"),
        ("WhatsApp Image 2024-05-01 at 10.11.12.jpeg", Says.STRIPPED, "WhatsApp"),
        ("photo_2024-05-01_10-11-12.jpg", Says.STRIPPED, "Telegram"),
        ("123456789_1234567890123456_1234567890123456789_n.jpg", Says.STRIPPED, "Facebook"),
    ],
)
def test_names_are_known(name: str, says: Says, source: str) -> None:
    (evidence,) = read_name(f"/photos/in/{name}")
    assert (evidence.says, evidence.tier, evidence.offset) == (says, Tier.WEAK, None)
    assert (evidence.source or "").startswith(source)
    assert (evidence.signal, evidence.location) == ("file_name", "File:FileName")


@pytest.mark.parametrize(
    "name",
    ["IMG_0412.JPG", "PXL_20240501_101112345.jpg", "my ChatGPT Image.png", "Firefly.jpg", "a"],
)
def test_other_names_say_nothing(name: str) -> None:
    assert read_name(name) == ()
    assert read_name(f"ComfyUI_00001_/{name}") == ()


def test_a_name_never_decides_and_the_same_bytes_renamed_lose_it(tmp_path: Path) -> None:
    named = tmp_path / "ComfyUI_00042_.png"
    Image.new("RGB", (40, 40), "teal").save(named)
    plain = tmp_path / "plain.png"
    plain.write_bytes(named.read_bytes())
    with Store(tmp_path / "store.sqlite3") as store:
        found = {
            Path(finding.source.path).name: finding
            for _ in range(2)
            for finding in scan([named, plain], ScanOptions(), store=store)
        }
    assert found["ComfyUI_00042_.png"].verdict is Verdict.UNCERTAIN
    assert "faint trace" in found["ComfyUI_00042_.png"].hints
    assert found["ComfyUI_00042_.png"].measurement.provenance.generator is None
    assert found["plain.png"].measurement.provenance.evidence == ()
