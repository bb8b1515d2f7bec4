"""`fakescan evaluate` on pictures larger than a window: measured as a scan looks at them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CARD, FakeBackend, noisy, run, save_tiny_model

from fakescan.images import decode_image
from fakescan.pipeline import ScanOptions, scan_batch
from fakescan.records import DecodedImage, Source
from fakescan.weights import Domain, read_card

LARGE = replace(CARD, domain=Domain(32, None, "any picture"))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    for number in range(12):
        folder = tmp_path / "set" / ("FAKE" if number % 2 else "REAL")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(noisy(number, (100, 140)))
    return tmp_path / "set"


def test_whole_pictures_are_judged_as_a_scan_judges_them(labelled: Path, tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path / "models", LARGE)
    model = ("--model", weights, "--device", "cpu")
    (labelled / "REAL" / "broken.png").write_bytes(noisy(1)[:100])
    outcome = run("evaluate", *model, "--data", labelled, "--json")
    assert outcome.code == 0, outcome.stderr
    rows = [
        json.loads(line) for line in run("scan", labelled, *model, "--json").stdout.splitlines()
    ]
    judged = [row for row in rows if row["score"] is not None]
    assert all(len(row["model"]["crops"]) > 1 for row in judged)
    losses = [
        -math.log(row["score"] if "/FAKE/" in row["path"] else 1 - row["score"]) for row in judged
    ]
    measured = json.loads(outcome.stdout)
    assert measured["n"] == 12
    assert measured["log_loss"] == pytest.approx(sum(losses) / 12, abs=1e-3)
    assert "Left out: 1 unreadable." in outcome.stderr


def test_of_a_train_split_it_says_that_figures_flatter(labelled: Path, tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path / "models", LARGE)
    flags = ("evaluate", "--model", weights, "--device", "cpu", "--data")
    assert "flatters it" in run(*flags, labelled).stderr
    tested = tmp_path / "tested" / "test"
    tested.parent.mkdir()
    labelled.rename(tested)
    outcome = run(*flags, tested.parent)
    assert outcome.code == 0, outcome.stderr
    assert "flatters it" not in outcome.stderr


@pytest.mark.parametrize(("windows", "count"), [(1, 1), (None, 6), (64, 6)])
def test_a_model_sees_no_more_windows_than_its_thresholds_hold_for(
    windows: int | None, count: int
) -> None:
    card = replace(LARGE, input=replace(CARD.input, windows=windows))
    image = decode_image(Source("a.png"), noisy(0, (200, 300)))
    assert isinstance(image, DecodedImage)
    (measurement,) = scan_batch([image], [FakeBackend(card)], ScanOptions())
    assert len(measurement.outputs[0].crops) == count


@pytest.mark.parametrize(("side", "windows"), [(32, None), (80, 1)])
def test_a_model_trained_on_single_windows_is_shown_single_windows(
    tmp_path: Path, side: int, windows: int | None
) -> None:
    for number in range(24):
        folder = tmp_path / "set" / ("FAKE" if number % 2 else "REAL")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(noisy(number, (side, side)))
    outcome = run(
        *("train", "--arch", "cnn", "--average", "--size", "32", "--epochs", "1"),
        *("--batch-size", "4", "--validation-fraction", "0.3", "--data", tmp_path / "set"),
        *("--output", tmp_path, "--name", "run", "--device", "cpu"),
    )
    assert outcome.code == 0, outcome.stderr
    assert read_card(tmp_path / "run/run.json").input.windows == windows
