from __future__ import annotations

import base64
import gc
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakescan.images import decode_image, read_bytes
from fakescan.records import (
    Credential,
    Crop,
    DecodedImage,
    Evidence,
    Finding,
    JudgedModel,
    Measurement,
    MetadataStatus,
    ModelOutput,
    Provenance,
    Reason,
    Says,
    Source,
    Status,
    Tier,
    Verdict,
)
from fakescan.reports import ReportHeader, Summary, html, open_report, to_record
from fakescan.reports.html import thumbnails

HOSTILE = "<img src=x onerror=alert(1)>.png"
ENDING = "</script><script>alert(1)</script><!-- \u2028\u2029 & \u202e"
HEADER = ReportHeader(
    program={"name": "fakescan", "version": "0.1.0"},
    models=({"name": "photo", "version": "1.0.0", "sha256": "51ab", "limits": [HOSTILE]},),
    settings={"max_false_positive_rate": 0.01, "paths": [HOSTILE, "\udcff"]},
)
OUTPUT = ModelOutput(
    "photo", "1.0.0", "51ab", "torch", "fp32", 2.1, (Crop(0, 0, 128, 2.5), Crop(72, 22, 128, 1.7))
)
MODEL = JudgedModel(OUTPUT, 0.181, 0.842, 0.01)
HOSTILE_FINDING = Finding(
    source=Source(f"photos/{HOSTILE}", 1480233, 1772446544_000_000_000),
    measurement=Measurement(
        status=Status.OK,
        provenance=Provenance(
            evidence=(
                Evidence(
                    "png_text",
                    "a1111-parameters",
                    Says.AI,
                    Tier.STRONG,
                    HOSTILE,
                    HOSTILE,
                    41,
                    ENDING,
                ),
            ),
            credential=Credential("valid", (HOSTILE,), HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), "1"),
            generator=HOSTILE,
            generator_version=ENDING,
            prompt=ENDING,
            camera_make=HOSTILE,
            camera_model=HOSTILE,
            software=HOSTILE,
        ),
        outputs=(OUTPUT,),
        sha256="9f2c",
        media_type="image/png",
        width=200,
        height=150,
        orientation=1,
    ),
    verdict=Verdict.AI,
    score=0.8909,
    reason=Reason.DECLARED_AI,
    decided_by="png_text",
    hints=f"{HOSTILE} {ENDING}",
    model=MODEL,
    overlay="javascript:alert(1)/<b>.png",
)
CORRUPT = Finding(
    Source("photos/broken.jpg"),
    Measurement(Status.CORRUPT, Provenance(MetadataStatus.UNREAD)),
    None,
    None,
    None,
    None,
    "",
    None,
)


def write_report(path: Path, findings: list[Finding]) -> Path:
    summary = Summary()
    with open_report(path, HEADER, summary) as report:
        for finding in findings:
            summary.add(finding)
            report.write(finding, to_record(finding))
    return path


def read_data(page: Path, name: str) -> Any:
    pattern = rf'<script type="application/json" id="{name}">(.*?)</script>'
    found = re.findall(pattern, page.read_text("utf-8"), re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def picture_finding(
    path: Path, verdict: Verdict | None = Verdict.AI, score: float | None = 0.9
) -> Finding:
    """A finding for a file that exists, as the scan would decode it."""
    source = Source(str(path))
    data = read_bytes(source)
    assert isinstance(data, bytes)
    image = decode_image(source, data)
    assert isinstance(image, DecodedImage)
    measurement = Measurement(
        Status.OK,
        sha256=image.sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        orientation=image.orientation,
    )
    reason = Reason.SCORE_ABOVE_THRESHOLD
    return Finding(source, measurement, verdict, score, reason, "model", "", None)


def save_noise(path: Path, size: tuple[int, int] = (300, 200), **options: Any) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


def decode_uri(uri: str) -> tuple[bytes, Image.Image]:
    scheme, _, data = uri.partition(",")
    assert scheme == "data:image/webp;base64"
    raw = base64.b64decode(data)
    return raw, Image.open(io.BytesIO(raw))


# Hostile text


def test_hostile_text_is_only_data(tmp_path: Path) -> None:
    page = write_report(tmp_path / "out.html", [HOSTILE_FINDING])
    text = page.read_text("utf-8")
    assert "<img" not in text and "<b>" not in text
    assert text.count("<script>") == 1 and text.count("<script ") == 3
    assert "\u2028" not in text and "\u2029" not in text
    finding = read_data(page, "findings")[0]
    assert finding["path"] == f"photos/{HOSTILE}"
    assert finding["prompt"] == ENDING
    assert finding["evidence"][0][-1] == ENDING
    assert finding["overlay"].startswith("./") and ":" not in finding["overlay"]


def test_policy_allows_the_own_script_and_style_alone(tmp_path: Path) -> None:
    text = write_report(tmp_path / "out.html", [HOSTILE_FINDING]).read_text("utf-8")
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    policy = found[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    for element in ("script", "style"):
        inline = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    # The policy has to come before what it governs.
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_nothing_is_fetched_and_nothing_becomes_markup(tmp_path: Path) -> None:
    text = write_report(tmp_path / "out.html", [CORRUPT]).read_text("utf-8")
    namespace = "http://www.w3.org/2000/svg"  # a name, which is never fetched
    assert "http" not in text.replace(namespace, "").replace("http-equiv", "")
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "@import",
    ):
        assert sink not in text
    assert not re.search(r"\son\w+=|\sstyle=|url\(", text.replace("onerror=alert", ""))


# What the page holds


def test_header_says_what_verdicts_mean(tmp_path: Path) -> None:
    text = write_report(tmp_path / "out.html", []).read_text("utf-8")
    assert "Of 1,000 real photographs about 10 are called AI" in text
    assert "No sign of AI" in text
    assert "An edit of part of a real photograph is not found from its pixels." in text


def test_records_are_whole_but_for_nulls(tmp_path: Path) -> None:
    page = write_report(tmp_path / "out.html", [HOSTILE_FINDING, CORRUPT])
    first, second = read_data(page, "findings")
    record = to_record(HOSTILE_FINDING)
    for key in ("verdict", "score", "reason", "credential", "sha256", "size_bytes"):
        assert first[key] == record[key]
    assert first["model"] == [0, 2.1, [[0, 0, 128, 2.5], [72, 22, 128, 1.7]]]
    rest = read_data(page, "rest")
    assert rest["models"][0]["threshold_ai"] == 0.842
    assert rest["summary"]["files"] == 2
    assert second == {
        "path": "photos/broken.jpg",
        "status": "corrupt",
        "metadata_status": "unread",
    }


def test_what_looks_empty_is_kept(tmp_path: Path) -> None:
    provenance = Provenance(prompt="ok", generator="False")
    finding = replace(
        HOSTILE_FINDING,
        source=Source("a.png", 0),
        score=0.0,
        measurement=replace(HOSTILE_FINDING.measurement, provenance=provenance),
    )
    (kept,) = read_data(write_report(tmp_path / "out.html", [finding]), "findings")
    assert (kept["score"], kept["size_bytes"], kept["prompt"]) == (0.0, 0, "ok")
    assert kept["generator"] == "False" and "has_gps" not in kept and "evidence" not in kept


def test_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    provenance = Provenance(prompt="x" * 5000)
    long = replace(
        HOSTILE_FINDING, measurement=replace(HOSTILE_FINDING.measurement, provenance=provenance)
    )
    page = write_report(tmp_path / "out.html", [long])
    assert read_data(page, "findings")[0]["prompt"] == (
        "x" * html.LONG_TEXT + "… (cut; 5,000 characters in all)"
    )


def test_ten_thousand_files_weigh_at_most_25_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(limit: int) -> Any:
        uri = f"data:image/webp;base64,{base64.b64encode(bytes(limit)).decode()}"
        return lambda pictured: [uri for _ in pictured]

    monkeypatch.setattr(thumbnails, "make_thumbnails", largest(thumbnails.THUMBNAIL_BYTES))
    monkeypatch.setattr(thumbnails, "make_overlays", largest(thumbnails.OVERLAY_BYTES))
    crops = tuple(Crop(1000 + place, 1000 + place, 128, -1.23456) for place in range(8))
    output = replace(OUTPUT, crops=crops)
    settings = "Steps: 28, Sampler: DPM++ 2M Karras, " * 60
    mark = Evidence(
        "png_text", "a1111-parameters", Says.AI, Tier.STRONG, "ComfyUI", "PNG:tEXt", 41, settings
    )
    provenance = Provenance(
        evidence=(mark,), generator="ComfyUI", prompt=settings, camera_make="Canon"
    )
    finding = replace(
        HOSTILE_FINDING,
        measurement=replace(
            HOSTILE_FINDING.measurement, provenance=provenance, sha256="9f" * 32, outputs=(output,)
        ),
        model=replace(MODEL, output=output),
        source=Source("a folder/of some depth/with photographs/IMG_0000.png", 1, 1),
        hints="Generation settings of ComfyUI; unsigned, easy to forge.",
        overlay=str(tmp_path / "overlays/IMG_0000-9f2c1b7a04de.png"),
    )
    record = to_record(finding)
    page = tmp_path / "out.html"
    with open_report(page, HEADER, Summary()) as report:
        for _ in range(10_000):
            report.write(finding, record)
    assert page.read_text("utf-8").count("data:image") == html.MAX_THUMBNAILS + html.MAX_OVERLAYS
    assert page.stat().st_size <= 25_000_000


def test_same_findings_same_bytes(tmp_path: Path) -> None:
    finding = picture_finding(save_noise(tmp_path / "a.png"))
    one = write_report(tmp_path / "1.html", [finding, HOSTILE_FINDING])
    other = write_report(tmp_path / "2.html", [finding, HOSTILE_FINDING])
    assert one.read_bytes() == other.read_bytes()


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        open_report(tmp_path / "a.html", HEADER, Summary()) as report,
    ):
        report.write(CORRUPT, to_record(CORRUPT))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "MAX_THUMBNAILS", 20)
    tracemalloc.start()
    try:
        with open_report(tmp_path / "out.html", HEADER, Summary()) as report:
            for number in range(400):
                source = Source(f"{number}.png")
                finding = replace(HOSTILE_FINDING, source=source, score=number / 400)
                report.write(finding, to_record(finding))
                if number == 100:
                    gc.collect()
                    early = tracemalloc.get_traced_memory()[0]
            gc.collect()
            late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 300_000  # 300 records take 0.9 MB


def test_other_reports_load_neither_template_nor_pictures() -> None:
    program = (
        "import sys, fakescan.reports as reports; from pathlib import Path\n"
        "reports.check_report_path(Path('a.csv'))\n"
        "print(sorted({'jinja2', 'PIL', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


# Small pictures


@pytest.mark.parametrize("name", ["noise.png", "noise.jpg", "noise.webp", "noise.gif"])
def test_thumbnails_keep_their_limits(tmp_path: Path, name: str) -> None:
    finding = picture_finding(save_noise(tmp_path / name, (500, 300)))
    made = read_data(write_report(tmp_path / "out.html", [CORRUPT, finding]), "rest")["thumbnails"]
    assert list(made) == ["1"]
    raw, image = decode_uri(made["1"])
    assert len(raw) <= 4096 and image.size == (96, 58)


def test_thumbnails_are_upright(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :100] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees: what is left comes on top
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    finding = picture_finding(tmp_path / "a.jpg")
    made = read_data(write_report(tmp_path / "out.html", [finding]), "rest")["thumbnails"]
    _, image = decode_uri(made["0"])
    assert image.size == (48, 96)
    small = np.asarray(image.convert("RGB"))
    assert small[5, 24, 0] > 200 and small[90, 24, 0] < 50


def test_no_thumbnail_of_another_file_than_was_judged(tmp_path: Path) -> None:
    finding = picture_finding(save_noise(tmp_path / "a.png"))
    gone = picture_finding(save_noise(tmp_path / "b.png"))
    save_noise(tmp_path / "a.png", (30, 20))
    (tmp_path / "b.png").unlink()
    page = write_report(tmp_path / "out.html", [finding, gone])
    assert read_data(page, "rest")["thumbnails"] == {}


def test_flagged_files_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MAX_THUMBNAILS", 4)
    path = save_noise(tmp_path / "a.png", (40, 30))
    verdicts: list[tuple[Verdict, float | None]] = [
        (Verdict.REAL, 0.1),
        (Verdict.UNCERTAIN, 0.5),
        (Verdict.AI, 0.86),
        (Verdict.UNCERTAIN, 0.7),
        (Verdict.AI, None),
        (Verdict.AI_EDIT, 0.2),
    ]
    findings = [picture_finding(path, verdict, score) for verdict, score in verdicts]
    page = write_report(tmp_path / "out.html", findings)
    assert sorted(read_data(page, "rest")["thumbnails"]) == ["2", "3", "4", "5"]


def test_an_overlay_in_a_folder_whose_name_is_no_text_is_linked(tmp_path: Path) -> None:
    finding = picture_finding(save_noise(tmp_path / "a.png"))
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    finding = replace(finding, overlay=str(folder / "a.png"))
    page = write_report(tmp_path / "out.html", [finding])
    assert read_data(page, "findings")[0]["overlay"] == "./%FF/a.png"
    page = write_report(folder / "out.html", [replace(finding, overlay=str(tmp_path / "a.png"))])
    assert read_data(page, "findings")[0]["overlay"] == "./../a.png"


def test_overlays_are_linked_and_shown_small(tmp_path: Path) -> None:
    (tmp_path / "overlays").mkdir()
    overlay = save_noise(tmp_path / "overlays" / "a #1.png", (900, 600))
    finding = replace(picture_finding(save_noise(tmp_path / "a.png")), overlay=str(overlay))
    page = write_report(tmp_path / "out.html", [finding])
    assert read_data(page, "findings")[0]["overlay"] == "./overlays/a%20%231.png"
    raw, image = decode_uri(read_data(page, "rest")["overlays"]["0"])
    assert len(raw) <= thumbnails.OVERLAY_BYTES and image.size == (480, 320)


# In a browser


CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as driver, tempfile.TemporaryDirectory() as profile:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS
        )
        yield context
        context.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab that must neither complain nor ask the network for anything."""
    page = browser.new_page()
    faults: list[str] = []

    def watch_dialog(dialog: Any) -> None:
        faults.append(dialog.message)
        dialog.dismiss()

    def watch_request(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            faults.append(request.url)

    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", watch_dialog)
    page.on("request", watch_request)
    yield page
    page.close()
    assert faults == []


def open_page(tab: Any, page: Path) -> None:
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-ready]")


def mixed_findings(tmp_path: Path) -> list[Finding]:
    (tmp_path / "in").mkdir()
    picture = picture_finding(save_noise(tmp_path / "in" / "first.png"), Verdict.REAL, 0.05)
    picture = replace(
        picture,
        reason=Reason.SCORE_BELOW_THRESHOLD,
        model=MODEL,
        measurement=replace(picture.measurement, outputs=(OUTPUT,), orientation=6),
        overlay=str(save_noise(tmp_path / "overlay.png")),
    )
    uncertain = replace(
        picture,
        source=Source("other/second.png"),
        verdict=Verdict.UNCERTAIN,
        score=0.6,
        reason=Reason.SCORE_BETWEEN_THRESHOLDS,
    )
    return [picture, CORRUPT, uncertain, HOSTILE_FINDING]


def names(tab: Any) -> list[str]:
    return [str(name) for name in tab.locator("#rows .file .line").all_text_contents()]


@pytest.mark.slow
def test_filters_sorts_and_drawer(tmp_path: Path, tab: Any) -> None:
    open_page(tab, write_report(tmp_path / "out.html", mixed_findings(tmp_path)))
    assert names(tab) == [HOSTILE, "second.png", "broken.jpg", "first.png"]
    assert tab.locator("#rows img").count() == 1  # the one file that exists
    assert tab.locator("#plot .threshold").count() == 2

    tab.select_option("#sort", "score-up")
    assert names(tab) == ["first.png", "second.png", HOSTILE, "broken.jpg"]
    tab.select_option("#sort", "scanned")
    assert names(tab) == ["first.png", "broken.jpg", "second.png", HOSTILE]

    tab.click(".tile.uncertain")
    assert names(tab) == ["second.png"]
    tab.click(".tile.unreadable")
    assert names(tab) == ["broken.jpg", "second.png"]
    tab.click("#clear")
    tab.select_option("#status", "corrupt")
    assert names(tab) == ["broken.jpg"]
    tab.click("#clear")
    tab.select_option("#folder", "photos")
    assert names(tab) == ["broken.jpg", HOSTILE]
    tab.click("#clear")
    tab.select_option("#generator", HOSTILE)
    assert names(tab) == [HOSTILE]
    tab.click("#clear")
    tab.keyboard.press("Escape")
    tab.keyboard.press("/")
    tab.keyboard.type("ONERROR photos/")
    assert names(tab) == [HOSTILE]
    assert tab.text_content("#shown") == "1 of 4 files"
    tab.fill("#text", "nowhere")
    assert names(tab) == [] and tab.is_visible("#empty")
    tab.click("#clear")
    tab.keyboard.press("Escape")

    tab.keyboard.press("j")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("k")
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    assert tab.text_content("#drawer-title") == "second.png"
    tab.keyboard.press("j")
    assert tab.text_content("#drawer-title") == HOSTILE
    details = tab.text_content("#drawer")
    for text in (Reason.DECLARED_AI.sentence, "strong", "png_text", "@ 41", "0.8909", "9f2c"):
        assert text in details
    assert "</script><script>alert(1)</script>" in details and "\u202e" not in details
    assert tab.locator("#drawer img").count() == 0
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#drawer")
    assert tab.evaluate("document.activeElement.id") == "grid"
    tab.locator("#rows .row").first.click()
    assert tab.text_content("#drawer-title") == "first.png"
    assert tab.locator("#drawer svg rect").count() == 2
    assert tab.locator("#drawer img").count() == 1  # the overlay


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(tmp_path: Path, tab: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 900})
    # axe is put into the page from outside, which the page's own policy does not hold up.
    open_page(tab, write_report(tmp_path / "out.html", mixed_findings(tmp_path)))
    for step in ("list", "drawer"):
        if step == "drawer":
            tab.locator("#rows .row").first.click()
        violations = axe.Axe().run(tab).response["violations"]
        serious = [found for found in violations if found["impact"] in ("serious", "critical")]
        assert serious == [], json.dumps(serious, indent=1)[:4000]


@pytest.mark.slow
def test_ten_thousand_files_open_soon(tmp_path: Path, tab: Any) -> None:
    findings = [
        replace(HOSTILE_FINDING, source=Source(f"folder {number % 50}/{number}.png"), overlay=None)
        for number in range(10_000)
    ]
    page = write_report(tmp_path / "out.html", findings)
    begin = time.perf_counter()
    open_page(tab, page)
    assert time.perf_counter() - begin < 30  # ten times what it may take on a quiet machine
    assert tab.locator("#rows .row").count() < 60
    tab.keyboard.press("End")
    assert tab.text_content("#rows .row[aria-selected=true] .file .line") == "9999.png"


@pytest.mark.slow
def test_prints_all_rows(tmp_path: Path, tab: Any) -> None:
    findings = [replace(CORRUPT, source=Source(f"{number}.png")) for number in range(200)]
    open_page(tab, write_report(tmp_path / "out.html", findings))
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("#rows .row").count() == 200
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("#rows .row").count() < 60
    assert len(tab.pdf()) > 10_000
