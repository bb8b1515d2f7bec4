"""Small pictures degraded and attacked: what each condition does, and what the table tells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CARD, FakeBackend, noisy, plain, run, save_tiny_model

from fakescan.model import build_detector
from fakescan.training.data import AI, REAL, Pictures
from fakescan.training.recompression import add_noise, blur
from fakescan.training.small_robustness import PUBLISHED, measure_attacked, measure_conditions
from fakescan.weights import load_card, load_tensors

NAMES = ["clean", "jpeg-80", "jpeg-60", "jpeg-40"]
NAMES += ["noise-0.04", "noise-0.10", "blur-0.4", "blur-1.0"]
ATTACKS = ["not-attacked", "fgsm-1", "fgsm-2", "fgsm-4", "pgd-1", "pgd-2", "pgd-4"]


def two_levels(count: int = 12) -> Pictures:
    """Bright pictures that are AI, and dark ones that aren't, as `FakeBackend` sees it."""
    labels = np.array([AI, REAL] * (count // 2), dtype=np.uint8)
    levels = np.where(labels == AI, 170, 90)[:, None, None, None]
    noise = np.random.default_rng(0).integers(-20, 21, (count, 32, 32, 3))
    return Pictures((levels + noise).astype(np.uint8), labels, ("",) * count)


def test_every_condition_has_a_row() -> None:
    rows = measure_conditions(FakeBackend().logits, CARD, two_levels())
    assert [row.condition for row in rows] == NAMES
    # Nothing changes a picture's brightness by half.
    assert {(row.n, row.accuracy, row.auc) for row in rows} == {(12, 1.0, 1.0)}
    assert {row.condition: row.published for row in rows if row.published} == PUBLISHED


class Texture:
    """Calls smooth pictures AI: what every condition bears upon."""

    def logits(self, crops: np.ndarray) -> np.ndarray:
        differences = np.abs(np.diff(crops.astype(float), axis=2)).mean(axis=(1, 2, 3))
        return (8 - differences).astype(np.float32)


def test_degradations_do_what_they_say() -> None:
    pictures = two_levels()
    smooth = np.full_like(pictures.pixels, 120)
    mixed = np.where((pictures.labels == AI)[:, None, None, None], smooth, pictures.pixels)
    rows = {
        row.condition: row
        for row in measure_conditions(
            Texture().logits, CARD, Pictures(mixed, pictures.labels, pictures.names)
        )
    }
    assert rows["clean"].accuracy == 1
    # Strong noise makes all look real, a strong blur all like AI.
    assert (rows["noise-0.10"].recall, rows["noise-0.10"].false_positive_rate) == (0, 0)
    assert (rows["blur-1.0"].recall, rows["blur-1.0"].false_positive_rate) == (1, 1)
    assert rows["blur-0.4"].accuracy == 1


def test_noise_is_as_strong_as_said_and_the_same_again() -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    noise = add_noise(grey, 0.04, 7)
    assert noise.astype(float).std() == pytest.approx(0.04 * 255, rel=0.05)
    assert np.array_equal(noise, add_noise(grey, 0.04, 7))
    assert not np.array_equal(noise, add_noise(grey, 0.04, 8))


def test_a_blur_is_as_wide_as_said() -> None:
    point = np.zeros((33, 33, 3), dtype=np.uint8)
    point[16, 16] = 255
    weak, strong = blur(point, 0.4), blur(point)
    assert strong[16, 16, 0] < weak[16, 16, 0] < 255
    # A Gaussian of 1 px has 0.159 of its weight in the middle.
    assert strong[16, 16, 0] / 255 == pytest.approx(0.159, abs=0.02)


def test_attacks_move_figures_the_wrong_way(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path)
    detector = build_detector(load_card(weights), load_tensors(weights))
    pictures = two_levels(40)
    levels = np.linspace(-90, 100, 40)[:, None, None, None]
    spread = (pictures.pixels + levels).clip(0, 255).astype(np.uint8)
    # Labels as the untrained network sees them, so that there is something to lose.
    with torch.no_grad():
        logits = detector(torch.from_numpy(spread)).numpy()
    order = np.argsort(logits)
    labels = np.zeros(40, np.uint8)
    labels[order[20:]] = AI
    rows = measure_attacked(detector, CARD, Pictures(spread, labels, pictures.names), count=20)
    assert [row.condition for row in rows] == ATTACKS
    by_name = {row.condition: row for row in rows}
    assert by_name["not-attacked"].auc == 1
    assert {row.n for row in rows} == {20}
    for method in ("fgsm", "pgd"):
        assert by_name[f"{method}-4"].auc < by_name[f"{method}-1"].auc < 1


def make_test_set(folder: Path) -> Path:
    for name, suffix in (("REAL", 0), ("FAKE", 10)):
        (folder / "test" / name).mkdir(parents=True)
        for number in range(4):
            picture = noisy(number + suffix) if name == "REAL" else plain(200 + number)
            (folder / "test" / name / f"{number}.png").write_bytes(picture)
    return folder


def test_evaluate_tells_robustness(tiny_model: Path, tmp_path: Path) -> None:
    folder = make_test_set(tmp_path / "cifake")
    flags = ("--model", tiny_model, "--data", folder, "--device", "cpu", "--robustness")
    outcome = run("evaluate", *flags, "--json", "--attack", "4")
    assert (outcome.code, outcome.stderr) == (0, "")
    document = json.loads(outcome.stdout)
    rows = document["robustness"]
    assert [row["condition"] for row in rows] == NAMES + ATTACKS
    assert rows[0]["accuracy"] == document["accuracy"]
    assert [row["n"] for row in rows] == [8] * len(NAMES) + [4] * len(ATTACKS)
    table = run("evaluate", *flags)
    assert table.code == 0
    assert "jpeg-40" in table.stdout and "0.959" in table.stdout and "pgd-4" in table.stdout


def test_options_that_need_each_other(tiny_model: Path, tmp_path: Path) -> None:
    folder = make_test_set(tmp_path / "cifake")
    flags = ("--model", tiny_model, "--data", folder)
    outcome = run("evaluate", *flags, "--attack", "4")
    assert outcome.code == 2
    assert outcome.stderr.endswith("other pictures are attacked with --robustness\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/index.csv").write_bytes(b"")
    outcome = run("evaluate", "--model", tiny_model, "--data", tmp_path / "photos", "--robustness")
    assert outcome.code == 2
    assert outcome.stderr.startswith("fakescan: --robustness: ")
