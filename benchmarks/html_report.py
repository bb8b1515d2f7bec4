"""Write an HTML report of many made-up findings, open it in Chromium, and print the figures.

python benchmarks/html_report.py --files 10000 --output report.html --browser /usr/bin/chromium

The findings are drawn from a fixed seed: nothing here was scanned, and the scores mean nothing.
Pictures are noise on gradients, which compresses worse than photographs do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fakescan.records import (
    Crop,
    Evidence,
    Finding,
    JudgedModel,
    Measurement,
    ModelOutput,
    Provenance,
    Reason,
    Says,
    Source,
    Status,
    Tier,
    Verdict,
)
from fakescan.reports import ReportHeader, Summary, open_report, to_record

PICTURES = 400
"""Distinct pictures; each is read and made small as often as findings name it."""

THRESHOLD_REAL, THRESHOLD_AI = 0.181, 0.842
CAMERAS = (("Canon", "EOS R6"), ("NIKON CORPORATION", "Z 6_2"), ("Apple", "iPhone 15 Pro"))
GENERATORS = (("Stable Diffusion web UI", "v1.10.1"), ("ComfyUI", None), ("Midjourney", "6.1"))
PROMPT = (
    "a harbour at dusk, fishing boats, wet cobblestones reflecting lamplight, volumetric fog,"
    " 35mm photograph, film grain, highly detailed, muted colours, quiet mood"
)
SETTINGS = (
    f"{PROMPT}\nNegative prompt: blurry, lowres, deformed hands, watermark, jpeg artefacts\n"
    "Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234567890, Size: 1024x768,"
    " Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Version: v1.10.1"
)


def make_pictures(folder: Path, width: int = 1200, height: int = 900) -> list[tuple[Path, str]]:
    """JPEG pictures and their SHA-256, from a fixed seed."""
    randomness = np.random.default_rng(0)
    made = []
    for number in range(PICTURES):
        corners = randomness.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        smooth = np.asarray(
            Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)
        )
        noise = randomness.normal(0, 18, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
        pixels = smooth[: noise.shape[0], : noise.shape[1]] + noise
        path = folder / f"{number:04d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        made.append((path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return made


def make_findings(count: int, pictures: list[tuple[Path, str]]) -> Iterator[Finding]:
    """Findings of a mixed folder: photographs, AI images found by mark and by score, damage."""
    randomness = np.random.default_rng(1)
    for number in range(count):
        picture, sha256 = pictures[number % len(pictures)]
        path = picture.parent / f"batch-{number % 23:02d}" / f"DSC{number:05d}.jpg"
        path.hardlink_to(picture)
        draw = randomness.random()
        source = Source(
            str(path), int(randomness.integers(200_000, 9_000_000)), 1_772_446_544 * 10**9
        )
        if draw < 0.01:
            yield Finding(source, Measurement(Status.CORRUPT), None, None, None, None, "", None)
            continue
        logit = float(randomness.normal(3.2 if draw < 0.25 else -3.0, 1.6))
        crops = tuple(
            Crop(357 * (place % 4), 772 * (place // 4), 128, logit + float(randomness.normal()))
            for place in range(8)
        )
        output = ModelOutput("photo", "1.0.0", "51ab" * 16, "torch", "fp32", logit, crops)
        provenance = _make_provenance(draw, number)
        score = round(1 / (1 + math.exp(-logit)), 4)
        declared = any(piece.says is Says.AI for piece in provenance.evidence)
        verdict, reason = _judge(score, declared)
        yield Finding(
            source=source,
            measurement=Measurement(
                status=Status.OK,
                provenance=provenance,
                outputs=(output,),
                sha256=sha256,
                media_type="image/jpeg",
                width=1200,
                height=900,
                orientation=1,
            ),
            verdict=verdict,
            score=score,
            reason=reason,
            decided_by="jpeg_comment" if declared else "model",
            hints="Generation settings; unsigned, easy to forge." if declared else "",
            model=JudgedModel(output, THRESHOLD_REAL, THRESHOLD_AI, 0.01),
        )


def _judge(score: float, declared: bool) -> tuple[Verdict, Reason]:
    if declared:
        return Verdict.AI, Reason.DECLARED_AI
    if score >= THRESHOLD_AI:
        return Verdict.AI, Reason.SCORE_ABOVE_THRESHOLD
    if score <= THRESHOLD_REAL:
        return Verdict.REAL, Reason.SCORE_BELOW_THRESHOLD
    return Verdict.UNCERTAIN, Reason.SCORE_BETWEEN_THRESHOLDS


def _make_provenance(draw: float, number: int) -> Provenance:
    if draw < 0.12:
        generator, version = GENERATORS[number % len(GENERATORS)]
        mark = Evidence(
            signal="jpeg_comment",
            rule="a1111-parameters",
            says=Says.AI,
            tier=Tier.STRONG,
            source=generator,
            location="JPEG:COM",
            offset=20,
            value=SETTINGS,
        )
        return Provenance(
            evidence=(mark,), generator=generator, generator_version=version, prompt=PROMPT
        )
    if draw < 0.25:
        return Provenance()
    make, model = CAMERAS[number % len(CAMERAS)]
    camera = Evidence(
        signal="exif",
        rule="camera-exif",
        says=Says.CAMERA,
        tier=Tier.WEAK,
        source=f"{make} {model}",
        location="EXIF:Model",
        offset=None,
        value=model,
    )
    return Provenance(
        evidence=(camera,),
        camera_make=make,
        camera_model=model,
        lens_model="24-70mm F2.8",
        date_time_original="2026-02-11T17:03:22+01:00",
        has_gps=number % 3 == 0,
    )


def time_browser(browser: str, page: Path) -> dict[str, float]:
    """Seconds until the page says that it is ready, and milliseconds of its usual actions."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=browser, headless=True, args=arguments
        )
        tab = context.new_page()
        begin = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_selector("html[data-ready]", timeout=120_000)
        ready = time.perf_counter() - begin
        timed = tab.evaluate(
            """() => {
              const set = (id, value) => {
                const begin = performance.now();
                document.getElementById(id).value = value;
                document.getElementById(id).dispatchEvent(new Event("input"));
                document.body.offsetHeight;
                return performance.now() - begin;
              };
              return {
                first_search_ms: set("text", "harbour"),
                search_ms: set("text", "canon"),
                clear_ms: set("text", ""),
                sort_ms: set("sort", "path-up"),
              };
            }"""
        )
        context.close()
    return {"ready_s": round(ready, 2)} | {key: round(value, 1) for key, value in timed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("report.html"))
    parser.add_argument("--browser", help="a Chromium to open the report in")
    options = parser.parse_args()
    summary = Summary()
    header = ReportHeader(
        program={"name": "fakescan", "version": "made-up findings"},
        models=({"name": "photo", "version": "1.0.0", "sha256": "51ab" * 16, "limits": []},),
        settings={"max_false_positive_rate": 0.01},
    )
    with tempfile.TemporaryDirectory() as folder:
        for batch in range(23):
            (Path(folder) / f"batch-{batch:02d}").mkdir()
        pictures = make_pictures(Path(folder))
        begin = time.perf_counter()
        with open_report(options.output, header, summary) as report:
            for finding in make_findings(options.files, pictures):
                summary.add(finding)
                report.write(finding, to_record(finding))
            written = time.perf_counter()
        left = time.perf_counter()
    figures: dict[str, object] = {
        "benchmark": "html_report",
        "files": options.files,
        "machine": platform.processor() or platform.machine(),
        "megabytes": round(options.output.stat().st_size / 1e6, 2),
        "rows_s": round(written - begin, 2),
        "pictures_s": round(left - written, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if options.browser:
        figures |= time_browser(options.browser, options.output.resolve())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
