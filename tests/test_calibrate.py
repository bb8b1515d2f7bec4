from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CARD, FakeBackend, encode, run, save_tiny_model
from PIL import Image
from published_models import SIDE

from fakescan.records import FakescanError, Reason, Split, Verdict
from fakescan.training.calibrate import LEAST, calibrate_card, cross_fit
from fakescan.training.evaluate import (
    LabelledLogits,
    balanced_calibration_error,
    calibration_error,
    probabilities_of,
)
from fakescan.training.fullsize import FullSize, measure_labelled
from fakescan.weights import (
    find_user_card,
    load_card,
    read_card,
    save_user_card,
    user_models_folder,
)

UNCALIBRATED = replace(CARD, calibration=None, thresholds=None)


def draw(real: int, ai: int, *, scale: float = 4.0, shift: float = 3.0) -> FullSize:
    """Logits of two classes that overlap, as by a model that is far too sure and to one side."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.array([0, 1], np.uint8), [real, ai])
    # Of two normal distributions of deviation 1, at -1 and 1, the log odds are 2x.
    true = 2 * random.normal(np.where(labels == 1, 1.0, -1.0), 1.0)
    names = tuple(f"{number}.png" for number in range(real + ai))
    found = LabelledLogits("made", Split.TEST, scale * true + shift, labels, names)
    sides = np.tile([[40, 60]], (real + ai, 1))
    sides[0], sides[-1] = (33, 60), (40, 200)
    return FullSize(found, sides, {"unreadable": 1})


@pytest.mark.parametrize(("real", "ai"), [(1000, 1000), (1800, 400)])
def test_calibration_makes_probabilities_true(real: int, ai: int) -> None:
    card, figures = calibrate_card(UNCALIBRATED, draw(real, ai))
    assert figures.error_before > 0.1
    assert figures.error_after <= 0.05
    assert card.calibration is not None
    assert card.calibration.slope == pytest.approx(1 / 4, rel=0.15)
    assert (figures.real, figures.ai, card.calibration.n) == (real, ai, real + ai)
    assert card.metrics["calibrated"]["error_after"] == figures.error_after
    assert card.thresholds is not None
    assert card.thresholds.ai[0].rate >= 3 / real
    assert {row.n for row in card.thresholds.ai} == {real}


def test_thresholds_keep_their_rate_on_the_pictures_given() -> None:
    measured = draw(1000, 1000)
    card, _ = calibrate_card(UNCALIBRATED, measured)
    assert card.thresholds is not None
    p = probabilities_of(measured.found.logits, card.calibration)
    real, ai = p[measured.found.labels == 0], p[measured.found.labels == 1]
    for row in card.thresholds.ai:
        assert (real >= row.score).mean() <= row.rate
    assert (ai <= card.thresholds.real.score).mean() <= 0.05


def test_the_domain_is_what_was_seen() -> None:
    card, figures = calibrate_card(UNCALIBRATED, draw(100, 100))
    assert (card.domain.minimum_side, card.domain.maximum_side) == (33, 200)
    assert (figures.shortest_side, figures.longest_side) == (33, 200)
    assert card.domain.refuse(300, 100) is Reason.NO_MODEL_FOR_SIZE


def test_no_picture_is_judged_by_a_calibration_that_saw_it() -> None:
    found = draw(60, 60).found
    logits = found.logits.copy()
    whole = cross_fit(logits, found.labels)
    logits[7] = 1000.0  # an outlier moves all other parts' calibrations, and not its own
    moved = cross_fit(logits, found.labels)
    unchanged = np.isclose(whole, moved, atol=1e-12)
    assert 20 <= unchanged.sum() < 40


def test_errors_agree_where_classes_are_even() -> None:
    found = draw(500, 500).found
    p = probabilities_of(found.logits, None)
    assert balanced_calibration_error(p, found.labels) == pytest.approx(
        calibration_error(p, found.labels)
    )


def test_faster_arithmetic_is_to_be_measured_again() -> None:
    card = replace(CARD, metrics={"verdicts_changed": {"int8": 0.0}, "validation": {"n": 5}})
    calibrated, figures = calibrate_card(card, draw(60, 60))
    assert calibrated.metrics == {"validation": {"n": 5}, "calibrated": asdict(figures)}


def test_few_pictures_and_wrong_labels_are_refused() -> None:
    with pytest.raises(FakescanError, match=f"at least {LEAST} of each"):
        calibrate_card(UNCALIBRATED, draw(29, 100))
    with pytest.raises(FakescanError, match="--ai-label"):
        calibrate_card(UNCALIBRATED, draw(100, 100, scale=-1.0))


# The user's cards


def test_a_card_is_found_by_its_weights_and_use(tiny_model: Path) -> None:
    shipped = load_card(tiny_model)
    assert find_user_card(shipped.sha256) is None
    own = replace(shipped, name="mine/own", limits=("known to me",))
    path = save_user_card(own)
    assert path.parent == user_models_folder()
    assert load_card(tiny_model) == own == read_card(path)
    assert load_card(tiny_model, as_shipped=True) == shipped
    # Of the same weights there is one card, and no other use of them goes by it.
    other = replace(own, name="renamed", input=replace(own.input, mirror=True))
    assert save_user_card(other) == path
    assert load_card(tiny_model) == shipped
    assert len(list(user_models_folder().iterdir())) == 1


def test_a_card_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKESCAN_MODELS", "/dev/null/models")
    with pytest.raises(FakescanError, match="can't be written"):
        save_user_card(CARD)


# The command


def picture(seed: int, is_ai: bool, size: tuple[int, int]) -> Image.Image:
    """Noise on a level that tells the class most of the time."""
    random = np.random.default_rng(seed)
    level = random.normal(160 if is_ai else 100, 25)
    pixels = level + random.normal(0, 10, (size[1], size[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


SIZES = ((48, 40), (64, 64), (40, 90))


def make_classes(folder: Path, count: int = 60) -> Path:
    """Class folders of pictures of several sizes, with one broken and one there twice."""
    for place, name in enumerate(("real", "fake")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            made = picture(2 * number + place, place == 1, SIZES[number % len(SIZES)])
            (folder / name / f"{number}.png").write_bytes(encode(made, ".png"))
    (folder / "real" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "real" / "twice.png").write_bytes((folder / "real" / "0.png").read_bytes())
    return folder


def make_index(folder: Path, count: int = 40) -> Path:
    folder.mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator", "collection", "encoding"])
        for number in range(2 * count):
            is_ai = number % 2 == 1
            made = picture(number, is_ai, (48, 48))
            (folder / f"{number}.png").write_bytes(encode(made, ".png"))
            kind = "ai" if is_ai else "real" if number % 4 else "confounder"
            writer.writerow([f"{number}.png", kind, "a generator" if is_ai else "", "one", ""])
    return folder


@pytest.fixture(scope="session")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network that happens to give bright pictures to the class called Real."""
    pytest.importorskip("transformers")
    from published_models import save_swin

    return save_swin(tmp_path_factory.mktemp("published") / "swin")


def test_the_command_calibrates_our_own_model(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path / "models", UNCALIBRATED)
    data = make_classes(tmp_path / "data")
    scan = ("scan", data / "fake", "--model", weights, "--no-store", "--json", "--device", "cpu")
    before = [json.loads(line) for line in run(*scan).stdout.splitlines()]
    assert {record["reason"] for record in before} == {"uncalibrated_model"}
    arguments = ("calibrate", "--model", weights, "--data", data, "--device", "cpu")
    outcome = run(*arguments, "--json")
    assert outcome.code == 0, outcome.stderr
    figures = json.loads(outcome.stdout)
    assert (figures["real"], figures["ai"]) == (60, 60)
    assert figures["left_out"] == {"unreadable": 1, "twice": 1}
    after = [json.loads(line) for line in run(*scan, "--max-fpr", "0.1").stdout.splitlines()]
    assert all(record["model"]["threshold_ai"] for record in after)
    assert [record["model"]["logit"] for record in after] == [
        record["model"]["logit"] for record in before
    ]
    assert run(*scan).code == 2  # 60 pictures can't promise one in a hundred
    assert "brightness" in run("models").stdout
    # Once more goes by the shipped card, and not by the domain of the first.
    assert json.loads(run(*arguments, "--json").stdout) == figures


def calibrate(model: Path, data: Path, *flags: str) -> dict[str, Any]:
    arguments = ("calibrate", "--model", model, "--data", data, "--device", "cpu", "--json")
    outcome = run(*arguments, *flags)
    assert outcome.code == 0, outcome.stderr
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def scan(model: Path, folder: Path, *flags: str) -> list[dict[str, Any]]:
    arguments = ("scan", folder, "--model", model, "--no-store", "--json", "--device", "cpu")
    outcome = run(*arguments, *flags)
    assert outcome.code in {0, 3}, outcome.stderr
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_a_published_model_that_is_the_wrong_way_round_is_said(swin: Path, tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data", count=30)
    outcome = run("calibrate", "--model", swin, "--data", data, "--device", "cpu")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert "--ai-label" in outcome.stderr


def test_a_published_model_is_calibrated_and_then_decides(swin: Path, tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data")
    before = scan(swin, data / "fake", "--ai-label", "Real")
    figures = calibrate(swin, data, "--ai-label", "Real")
    assert figures["auc"] > 0.9
    assert (figures["shortest_side"], figures["longest_side"]) == (40, 90)
    card = read_card(Path(figures["card"]))
    assert card.labels is not None and card.labels.ai == (0,)
    # The label stands on the card and need not be named again.
    after = scan(swin, data / "fake", "--max-fpr", "0.05")
    assert [one["model"]["logit"] for one in after] == [one["model"]["logit"] for one in before]
    assert {one["reason"] for one in before} == {Reason.UNCALIBRATED_MODEL.value}
    verdicts = [one["verdict"] for one in after]
    assert verdicts.count(Verdict.AI.value) > 20
    # Another reading of the same weights is not what was calibrated.
    other = scan(swin, data / "fake", "--ai-label", "Fake")
    assert {one["reason"] for one in other} == {Reason.UNCALIBRATED_MODEL.value}
    # A picture of a size that was not seen is not judged.
    large = tmp_path / "large"
    large.mkdir()
    (large / "a.png").write_bytes(encode(picture(1, True, (200, 200)), ".png"))
    assert scan(swin, large, "--max-fpr", "0.05")[0]["reason"] == Reason.NO_MODEL_FOR_SIZE.value
    outcome = run("models")
    assert "swin" in outcome.stdout and "0.05" in outcome.stdout


def test_the_same_weights_elsewhere_go_by_the_card(swin: Path, tmp_path: Path) -> None:
    import shutil

    data = make_classes(tmp_path / "data", count=40)
    calibrate(swin, data, "--ai-label", "Real")
    moved = shutil.copytree(swin, tmp_path / "elsewhere")
    assert scan(moved, data, "--max-fpr", "0.1")[0]["model"]["threshold_ai"] is not None


def test_photo_folders_calibrate_too(swin: Path, tmp_path: Path) -> None:
    folder = make_index(tmp_path / "photos")
    figures = calibrate(swin, folder, "--ai-label", "Real")
    assert (figures["real"], figures["ai"]) == (40, 40)
    outcome = run("calibrate", "--model", swin, "--data", folder, "--split", "test")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)


class Brightness(FakeBackend):
    """Says of dark pictures what it is told to."""

    def logits(self, crops: np.ndarray) -> np.ndarray:
        found = super().logits(crops)
        return np.where(found < 0, np.float32(np.nan), found)


def test_a_model_that_gives_no_number_is_one_line(tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data", count=4)
    with pytest.raises(FakescanError, match=r"gives nan for data/real/.*png") as refused:
        measure_labelled(data, Brightness(), CARD)
    assert "\n" not in str(refused.value)


def test_one_picture_in_both_classes_is_refused_by_its_names(tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data", count=4)
    (data / "fake" / "same.png").write_bytes((data / "real" / "1.png").read_bytes())
    words = "data/fake/same.png is AI and data/real/1.png is real, and they are one picture"
    with pytest.raises(FakescanError, match=words):
        measure_labelled(data, FakeBackend(), CARD)


def test_confounders_count_as_real_and_are_told(tmp_path: Path) -> None:
    measured = measure_labelled(make_index(tmp_path / "photos"), FakeBackend(), CARD)
    assert (measured.confounders, measured.left_out) == (20, {})
    card, figures = calibrate_card(UNCALIBRATED, measured)
    assert (figures.real, figures.ai, figures.confounders) == (40, 40, 20)
    assert "on 40 real (20 of them scans, posters and the like) and 40 AI" in card.limits[-1]
    assert "of them" not in calibrate_card(UNCALIBRATED, draw(60, 60))[0].limits[-1]


def test_archives_and_splits(swin: Path, tmp_path: Path) -> None:
    import shutil

    make_classes(tmp_path / "set" / "train", count=30)
    make_classes(tmp_path / "set" / "test", count=35)
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path, "set")
    label = ("--ai-label", "Real")
    by_folder = calibrate(swin, tmp_path / "set", *label)
    assert (by_folder["real"], by_folder["ai"]) == (35, 35)
    by_archive = calibrate(swin, Path(archive), *label)
    assert {**by_archive, "data": "set"} == by_folder
    assert calibrate(swin, tmp_path / "set", *label, "--split", "train")["real"] == 30
    outcome = run("calibrate", "--model", swin, "--data", tmp_path / "set", "--split", "validation")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)


def test_without_json_it_is_a_table(swin: Path, tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data", count=40)
    flags = ("--device", "cpu", "--ai-label", "Real")
    outcome = run("calibrate", "--model", swin, "--data", data, *flags)
    assert outcome.code == 0, outcome.stderr
    for words in ("calibration error before", "5-fold cross-fitted", "ai from, --max-fpr 0.1"):
        assert words in outcome.stdout
    assert "every scan with these weights goes by it" in outcome.stdout


def test_evaluate_takes_published_models_at_full_size(swin: Path, tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data", count=20)
    arguments = ("evaluate", "--model", swin, "--ai-label", "Real", "--device", "cpu", "--json")
    outcome = run(*arguments, "--data", data)
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["n"] == 40 and result["auc"] > 0.9
    outcome = run(*arguments, "--data", data, "--explain")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)


def test_evaluate_takes_published_models_calibrated_on_pictures_of_their_own_size(
    swin: Path, tmp_path: Path
) -> None:
    for place, name in enumerate(("real", "fake")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(40):
            made = picture(2 * number + place, place == 1, (SIDE, SIDE))
            (tmp_path / "data" / name / f"{number}.png").write_bytes(encode(made, ".png"))
    calibrate(swin, tmp_path / "data", "--ai-label", "Real")
    outcome = run(
        *("evaluate", "--model", swin, "--ai-label", "Real", "--device", "cpu", "--json"),
        *("--data", tmp_path / "data"),
    )
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["n"] == 80


def test_evaluate_takes_published_models_on_photos(swin: Path, tmp_path: Path) -> None:
    folder = make_index(tmp_path / "photos", count=12)
    rows = (folder / "index.csv").read_text().replace("a generator", "another", 6)
    rows = rows.replace(",,one", ",,two", 6)
    (folder / "index.csv").write_text(rows)
    outcome = run(
        *("evaluate", "--model", swin, "--ai-label", "Real", "--device", "cpu", "--json"),
        *("--data", folder),
    )
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["model"] == "swin local"
