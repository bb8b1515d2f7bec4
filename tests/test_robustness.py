"""Robustness by source: every figure against one computed by hand, in small cases."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CARD, run
from PIL import Image

from fakescan.calibration import calls_of
from fakescan.cli.robustness_tables import print_robustness
from fakescan.model import Detector
from fakescan.networks.cnn import build_cnn
from fakescan.networks.photo import build_photo
from fakescan.records import FakescanError, Reason
from fakescan.training.attacks import Method, attack_windows, measure_attacks
from fakescan.training.data import Pictures
from fakescan.training.evaluate import (
    area_under_curve,
    calibration_error,
    true_positive_rate,
)
from fakescan.training.figures import Outcome, Tables
from fakescan.training.folds import FOLDS, Folds
from fakescan.training.judges import Judge, Panel, seat_by_fold, seat_one
from fakescan.training.photos import Kind, Origin, Photos, list_sources, read_photos
from fakescan.training.recompression import DEGRADATIONS
from fakescan.training.resampling import (
    balanced_calibration_error,
    draw_weights,
    estimate,
    estimate_share,
    weigh_area,
    weigh_share,
    weigh_true_positive_rate,
)
from fakescan.training.robustness import RobustnessReport, attack_photos, evaluate_photos
from fakescan.training.robustness_picture import draw_robustness
from fakescan.weights import (
    Architecture,
    Calibration,
    Domain,
    Gates,
    Input,
    ModelCard,
    Threshold,
    Thresholds,
    read_card,
    save_card,
    save_model,
)

SIDE, WINDOW = 96, 48
GATES = Gates(0.0, 0.0, 1e9, 1.0, 1.0)  # that refuse nothing
PHOTO_CARD = replace(
    CARD,
    name="tiny",
    architecture=Architecture("photo", {"channels": 8}),
    input=Input(WINDOW, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    domain=Domain(WINDOW, None, "pictures of tests"),
)

MUTE_CARD = replace(PHOTO_CARD, calibration=None, thresholds=None)

# Kind, generator, collection, brightness; the judge's logit is how far that is above 128.
PICTURES = (
    ("ai", "g1", "a1", 200),
    ("ai", "g1", "a1", 180),
    ("ai", "g2", "a2", 150),
    ("ai", "g2", "a2", 110),
    ("real", "", "r1", 60),
    ("real", "", "r1", 70),
    ("real", "", "r2", 120),
    ("real", "", "r2", 80),
    ("confounder", "", "c1", 250),
    ("confounder", "", "c1", 20),
)


def make_photos() -> Photos:
    noise = np.random.default_rng(0).integers(-20, 21, (len(PICTURES), SIDE, SIDE, 1))
    levels = np.array([row[3] for row in PICTURES]).reshape(-1, 1, 1, 1)
    pixels = np.repeat((levels + noise).clip(0, 255), 3, axis=3).astype(np.uint8)
    labels = np.array([row[0] == "ai" for row in PICTURES], dtype=np.uint8)
    origins = tuple(
        Origin(
            kind=Kind(kind),
            generator=generator,
            collection=collection,
            route="original q2 4:2:0" if number % 2 else "borrowed q2 4:2:0",
            file_size=1000 + number,
            area=1000 if kind == "ai" else 500 + number,
        )
        for number, (kind, generator, collection, _) in enumerate(PICTURES)
    )
    touches = np.zeros((len(PICTURES), FOLDS), dtype=np.bool_)
    touches[np.arange(len(PICTURES)), (0, 0, 1, 1, 0, 1, 2, 2, 2, 0)] = True
    touches[9] = True  # of several folds: validates nowhere
    names = tuple(f"{number}.jpg" for number in range(len(PICTURES)))
    return Photos(Pictures(pixels, labels, names), origins, Folds(touches))


def make_fold_card(fold: int, ai: float, real: float, new: set[str]) -> ModelCard:
    """Of a network that has seen all of the generators and collections but those `new` to it."""
    sources = {
        "generators": sorted({row[1] for row in PICTURES} - new - {""}),
        "collections": sorted({row[2] for row in PICTURES} - new),
    }
    return replace(
        PHOTO_CARD,
        name=f"fold-{fold}",
        calibration=Calibration(1.0, float(fold), 100),
        thresholds=Thresholds((Threshold(0.01, ai, 300),), Threshold(0.05, real, 100)),
        training={"sources": sources},
    )


FOLD_CARDS = (
    make_fold_card(0, 0.6, 0.1, {"g1", "a1", "r1", "c1"}),
    make_fold_card(1, 0.95, 0.2, {"g2", "a2", "c1"}),
    make_fold_card(2, 0.9, 0.3, {"r2", "c1"}),
)


def brightness(crops: np.ndarray) -> np.ndarray:
    return ((crops.mean(axis=(1, 2, 3)) - 128) / 20).astype(np.float32)


@pytest.fixture(scope="module")
def photos() -> Photos:
    return make_photos()


@pytest.fixture(scope="module")
def report(photos: Photos) -> RobustnessReport:
    panel = seat_one(Judge(brightness, PHOTO_CARD), len(PICTURES))
    card = replace(PHOTO_CARD, gates=GATES)
    return evaluate_photos(photos, panel, card, data="made", resamples=200)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations_are_deterministic_and_leave_a_picture(name: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    given = pixels.copy()
    degraded = DEGRADATIONS[name](pixels)
    assert degraded.dtype == np.uint8
    assert degraded.shape[0] == degraded.shape[1] >= 128
    assert (degraded == DEGRADATIONS[name](pixels)).all()
    assert (pixels == given).all()
    assert (name == "clean") == (
        degraded.shape == pixels.shape and bool((degraded == pixels).all())
    )


def test_harder_jpeg_loses_more() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(noise).resize((128, 128)))
    lost = [
        np.abs(DEGRADATIONS[f"jpeg-{quality}"](pixels).astype(int) - pixels).mean()
        for quality in (90, 70, 50, 40)
    ]
    assert lost == sorted(lost)
    assert DEGRADATIONS["half-jpeg-75"](pixels).shape == (64, 64, 3)
    assert DEGRADATIONS["screenshot"](pixels).shape == (102, 102, 3)


def test_figures_by_hand(report: RobustnessReport) -> None:
    clean = report.conditions[0]
    assert clean.name == "clean"
    assert report.n == {"ai": 4, "real": 4, "confounder": 2}
    figures = clean.ungated
    # 110 loses to 120 alone: 15 of 16 pairs are won.
    assert figures.auc is not None
    assert figures.auc.value == pytest.approx(15 / 16)
    # Above 120 stand three of four.
    assert figures.tpr_at_1_percent_fpr is not None
    assert figures.tpr_at_1_percent_fpr.value == 0.75
    # At 0.9 a logit of 2.2 is called AI: 200 and 180 are; at 0.2, one of -1.4: none of AI is real.
    assert figures.ai_called_ai is not None
    assert figures.ai_called_ai.value == 0.5
    assert figures.balanced_accuracy is not None
    assert figures.balanced_accuracy.value == 0.75
    assert figures.real_called_ai is not None
    assert figures.real_called_ai.value == 0
    assert figures.real_called_ai.high > 0.4  # of four pictures
    assert figures.real_called_real is not None
    assert figures.real_called_real.value == 0.75
    assert figures.ai_called_real is not None
    assert figures.ai_called_real.value == 0
    assert figures.confounders_called_ai is not None
    assert figures.confounders_called_ai.value == 0.5
    names = [condition.name for condition in report.conditions]
    assert names == [*DEGRADATIONS, "clean-original-jpeg-only"]
    assert report.conditions[-1].ungated.n_ai == 2


def test_intervals_contain_their_value(report: RobustnessReport) -> None:
    for condition in report.conditions:
        for figure in (condition.ungated.auc, condition.ungated.real_called_ai):
            assert figure is not None
            assert figure.low <= figure.value <= figure.high


def test_sources_worst_first_and_confounders_last(report: RobustnessReport) -> None:
    rows = {row.name: row for row in report.sources}
    assert set(rows) == {"g1", "g2", "a1", "a2", "r1", "r2", "c1"}
    assert rows["g1"].conditions["clean"].auc == 1
    assert rows["g2"].conditions["clean"].auc == pytest.approx(7 / 8)
    assert rows["r2"].conditions["clean"].auc == pytest.approx(7 / 8)
    assert rows["g1"].conditions["clean"].called_ai == 1
    assert rows["c1"].conditions["clean"].auc is None
    assert rows["c1"].conditions["clean"].called_ai == 0.5
    assert report.sources[-1].name == "c1"
    areas = [row.conditions["clean"].auc for row in report.sources[:-1]]
    assert areas == sorted(areas, key=float)
    assert set(rows["g1"].conditions) == {"clean", "jpeg-70", "half-jpeg-75"}


def test_baselines_tell_what_shows_no_pixel(report: RobustnessReport) -> None:
    baselines = {one.name: one for one in report.baselines}
    # All AI files are the smaller, all AI pictures the larger: in either direction told.
    assert baselines["file_size"].auc == 1
    assert baselines["picture_area"].auc == 1
    assert baselines["picture_area"].auc_original_jpeg_only == 1


def test_resampled_figures_agree_with_the_plain_ones_where_all_count_once() -> None:
    generator = np.random.default_rng(2)
    logits = generator.integers(0, 30, 700).astype(float)  # with ties
    labels = (generator.random(700) < 0.4).astype(np.uint8)
    logits += 8 * labels
    ai, real = logits[labels == 1], logits[labels == 0]
    ones = np.ones((1, len(ai))), np.ones((1, len(real)))
    assert weigh_area(ai, real, *ones)[0] == pytest.approx(area_under_curve(logits, labels))
    for rate in (0.01, 0.05, 0.3):
        found = weigh_true_positive_rate(ai, real, *ones, rate)[0]
        assert found == pytest.approx(true_positive_rate(logits, labels, rate))


def test_a_weight_of_two_is_a_picture_counted_twice() -> None:
    ai, real = np.array([1.0, 3.0]), np.array([0.0, 2.0, 3.0])
    weights = np.array([[2.0, 1.0]]), np.array([[1.0, 0.0, 3.0]])
    twice = np.array([1, 1, 3, 0, 3, 3, 3.0]), np.array([1, 1, 1, 0, 0, 0, 0], np.uint8)
    assert weigh_area(ai, real, *weights)[0] == pytest.approx(area_under_curve(*twice))


def test_balanced_calibration_error_is_the_plain_one_where_classes_are_even() -> None:
    generator = np.random.default_rng(3)
    ai, real = generator.random(300) ** 0.5, generator.random(300)
    plain = calibration_error(np.concatenate([ai, real]), np.repeat(np.uint8([1, 0]), 300))
    assert balanced_calibration_error(ai, real) == pytest.approx(plain)
    # By hand: AI at 0.9 and real ones at 0.1, each a tenth off, whatever their number.
    assert balanced_calibration_error(np.full(3, 0.9), np.full(50, 0.1)) == pytest.approx(0.1)
    assert balanced_calibration_error(ai, real[:0]) is None


def test_intervals_resample_sources_and_not_pictures() -> None:
    sources = [f"s{number}" for number in range(10) for _ in range(50)]
    chosen = np.array([source in {"s0", "s1"} for source in sources])
    by_source = estimate(weigh_share(chosen, draw_weights(sources, ["ai"] * 500)))
    by_picture = estimate(
        weigh_share(chosen, draw_weights([str(n) for n in range(500)], ["ai"] * 500))
    )
    assert by_source is not None
    assert by_picture is not None
    assert by_source.value == by_picture.value == 0.2
    assert by_source.high - by_source.low > 3 * (by_picture.high - by_picture.low)


def test_resamples_take_whole_sources_within_their_class() -> None:
    weights = draw_weights(["x", "x", "y", "x"], ["ai", "ai", "ai", "real"], resamples=50)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 3] == 1).all()


def test_a_class_of_one_source_has_intervals_of_its_pictures() -> None:
    kinds = ["ai"] * 40 + ["real"] * 40
    sources = ["one"] * 40 + [f"r{number % 4}" for number in range(40)]
    weights = draw_weights(sources, kinds, resamples=200)
    assert (weights[0] == 1).all()
    assert (weights[:, :40].sum(axis=1) == 40).all()
    chosen = np.arange(80) % 2 == 0
    found = estimate(weigh_share(chosen[:40], weights[:, :40]))
    assert found is not None
    assert found.low < 0.4 and found.high > 0.6
    # The draws of the others are what they were.
    two = [f"a{number % 2}" for number in range(40)] + sources[40:]
    kept = draw_weights(sources[40:], kinds[40:], resamples=200)
    assert np.array_equal(weights[:, 40:], kept)
    assert len(set(draw_weights(two, kinds, resamples=200)[1:, 0])) == 3


def test_a_share_of_nothing_has_an_interval_still() -> None:
    weights = draw_weights(["x"] * 50 + ["y"] * 50, ["real"] * 100, resamples=50)
    found = estimate_share(np.zeros(100, dtype=np.bool_), weights)
    assert found is not None
    # Wilson: z² / (n + z²).
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(3.8415 / 103.8415, rel=1e-4)
    assert estimate_share(np.zeros(0, dtype=np.bool_), weights[:, :0]) is None


def test_the_gate_takes_pictures_out_of_the_area_and_out_of_what_is_called() -> None:
    kinds = np.array(["ai", "ai", "real", "real", "confounder"])
    logits = np.array([3.0, -1.0, 0.0, 4.0, 5.0])
    refusals = (None, Reason.TOO_DEGRADED, None, Reason.OUTSIDE_DOMAIN, Reason.OUTSIDE_DOMAIN)
    scores = 1 / (1 + np.exp(-logits))
    outcome = Outcome(logits, scores, calls_of(scores, (0.3, 0.9)), refusals)
    tables = Tables(kinds, np.ones((3, 5)), has_gate=True)
    found = tables.tabulate("clean", outcome, np.ones(5, dtype=np.bool_))
    off, on = found.ungated, found.gated
    assert on is not None
    values = [
        [figure and figure.value for figure in (one.auc, one.real_called_ai, one.ai_called_real)]
        for one in (off, on)
    ]
    assert values == [[0.25, 0.5, 0.5], [1.0, 0.0, 0.0]]
    assert on.confounders_called_ai is not None
    assert on.confounders_called_ai.value == 0
    assert (on.n_ai, on.n_real) == (1, 1)
    assert on.balanced_accuracy is not None
    assert on.balanced_accuracy.value == 1
    assert found.abstentions == {
        "ai": {"outside_domain": 0.0, "too_degraded": 0.5},
        "real": {"outside_domain": 0.5, "too_degraded": 0.0},
        "confounder": {"outside_domain": 1.0, "too_degraded": 0.0},
    }
    ungated = replace(tables, has_gate=False).tabulate("clean", outcome, np.ones(5, dtype=np.bool_))
    assert ungated.gated is ungated.abstentions is None


def test_each_fold_is_judged_by_its_own_model(photos: Photos) -> None:
    judges = tuple(
        Judge(lambda crops, fold=fold: np.full(len(crops), fold, np.float32), card)
        for fold, card in enumerate(FOLD_CARDS)
    )
    panel = seat_by_fold(judges, photos.folds, photos.origins)
    # g1 and r1 are new to the first alone, g2 to the second, r2 to the third, c1 to all; one r1
    # lies in the second's fold now, which has seen r1, and one c1 in several.
    assert panel.seats.tolist() == [0, 0, 1, 1, 0, -1, 2, 2, 2, -1]
    order = np.array([7, 0, 2])
    logits = panel.logits(photos.pictures.pixels[order], order)
    assert logits.tolist() == [2, 0, 1]
    report = evaluate_photos(photos, panel, PHOTO_CARD, resamples=20)
    assert report.left_out == 2
    assert report.out_of_fold
    assert report.conditions[0].gated is None


def test_each_judge_scores_and_calls_by_its_own_card(photos: Photos) -> None:
    judges = tuple(Judge(brightness, card) for card in FOLD_CARDS)
    panel = seat_by_fold(judges, photos.folds, photos.origins)
    order, logits = np.array([7, 0, 2]), np.full(3, -1.0)  # of judges 2, 0 and 1
    scores = panel.scores(logits, order)
    assert scores.tolist() == pytest.approx([0.7311, 0.2689, 0.5], abs=1e-4)
    found = panel.calls(np.array([0.29, 0.15, 0.15]), order, 0.01)
    assert found is not None
    assert found.tolist() == [-1, 0, -1]
    found = panel.calls(np.array([0.65, 0.65, 0.96]), order, 0.01)
    assert found is not None
    assert found.tolist() == [0, 1, 1]
    report = evaluate_photos(photos, panel, FOLD_CARDS[0], resamples=20)
    assert [(one.judge, one.ai, one.real) for one in report.thresholds] == [
        ("fold-0", 0.6, 0.1),
        ("fold-1", 0.95, 0.2),
        ("fold-2", 0.9, 0.3),
    ]
    # g2's logits are 1.1 and -.9: with the second's intercept scores of .89 and .52, called
    # neither by its threshold of .95, while g1's by the first's of .6 are both called.
    rows = {row.name: row.conditions["clean"] for row in report.sources}
    assert (rows["g1"].called_ai, rows["g2"].called_ai) == (1, 0)
    assert rows["g2"].mean_score == pytest.approx((0.89 + 0.52) / 2, abs=0.01)
    assert report.conditions[0].ungated.ai_called_ai.value == 0.5
    mute = replace(panel, judges=(*panel.judges[:2], replace(panel.judges[2], card=MUTE_CARD)))
    assert mute.calls(scores, order, 0.01) is None
    assert evaluate_photos(photos, mute, FOLD_CARDS[0], resamples=20).thresholds == ()


def test_what_leaves_no_window_is_said(photos: Photos) -> None:
    card = replace(PHOTO_CARD, input=replace(PHOTO_CARD.input, size=64))
    panel = seat_one(Judge(brightness, card), len(PICTURES))
    report = evaluate_photos(photos, panel, card, resamples=20)
    assert report.too_small == ("half-jpeg-75",)
    assert "half-jpeg-75" not in report.sources[0].conditions
    card = replace(PHOTO_CARD, input=replace(PHOTO_CARD.input, size=128))
    with pytest.raises(FakescanError, match="window of 128 px"):
        evaluate_photos(photos, seat_one(Judge(brightness, card), len(PICTURES)), card)


def make_detector(size: int, *, is_photo: bool) -> Detector:
    torch.manual_seed(0)
    network = build_photo(channels=8) if is_photo else build_cnn(4, 1, (8,))
    if is_photo:
        # What is not learned gives no gradient: an attack may move it either way.
        with torch.no_grad():
            network.head.linear[-1].weight[:, 32:] = 0
    return Detector(network, replace(PHOTO_CARD.input, size=size)).eval()


@pytest.mark.parametrize(
    ("method", "size", "is_photo"), [(Method.FGSM, 128, True), (Method.PGD, 32, False)]
)
def test_attacks_raise_the_loss_and_stay_near(
    photos: Photos, method: Method, size: int, is_photo: bool
) -> None:
    detector = make_detector(size, is_photo=is_photo)
    pixels = np.tile(photos.pictures.pixels[2:6], (1, 2, 2, 1))
    windows = np.ascontiguousarray(pixels[:, :size, :size])
    labels = photos.pictures.labels[2:6]
    attacked = attack_windows(detector, windows, labels, method, 2)
    assert attacked.dtype == np.uint8
    assert np.abs(attacked.astype(int) - windows).max() == 2
    with torch.no_grad():
        before, after = (detector(torch.from_numpy(one)) for one in (windows, attacked))
    away = torch.from_numpy(labels).float() * -2 + 1
    assert float(((after - before) * away).min()) > 0
    assert (attacked == attack_windows(detector, windows, labels, method, 2)).all()


def test_attacks_are_told_beside_what_was_before(photos: Photos) -> None:
    card = replace(PHOTO_CARD, input=replace(PHOTO_CARD.input, size=32))
    detector = make_detector(32, is_photo=False)
    panel = seat_one(Judge(brightness, card), len(PICTURES))
    rows = attack_photos(photos, panel, [detector], 4)
    assert [(row.method, row.epsilon) for row in rows] == [
        (None, 0),
        *((method, epsilon) for method in Method for epsilon in (1, 2, 4)),
    ]
    assert {row.n for row in rows} == {4}
    assert all(row.auc <= rows[0].auc for row in rows)
    # Each window is called by its own judge's card: one accuses all, the other none.
    accusing, trusting = (
        Judge(brightness, replace(card, calibration=Calibration(0.0, intercept, 9)))
        for intercept in (9.0, -9.0)
    )
    halves = Panel((trusting, accusing), photos.pictures.labels.astype(int))  # the second AI
    rows = attack_photos(photos, halves, [detector, detector], 4)
    assert {(row.recall, row.false_positive_rate) for row in rows} == {(1, 0)}
    windows = photos.pictures.pixels[:4, :32, :32]
    with pytest.raises(ValueError, match="both classes"):
        measure_attacks(
            [detector], np.zeros(4, int), windows, np.ones(4, np.uint8), lambda logits: None
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources a class, so that each fold holds back both."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows = ["path,label,generator,collection,encoding"]
    for number in range(12):
        label, source = ("ai", "real")[number % 2], number // 4
        pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
        made_by = f"g{source}" if label == "ai" else ""
        rows.append(f'{number}.jpg,{label},{made_by},{label}-{source},"jpeg, original"')
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def crossfit(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's weights, with those of its folds beside them."""
    pictures = read_photos(folder)
    run_folder = tmp_path_factory.mktemp("run")
    card = replace(CARD, domain=Domain(32, None, "pictures of tests"), gates=GATES)
    for fold in range(FOLDS):
        torch.manual_seed(fold)
        tensors = build_cnn(4, 1, (8,)).state_dict()
        seen = np.flatnonzero(pictures.folds.training(fold)).tolist()
        sources = list_sources(pictures.origins[index] for index in seen)
        one = replace(card, name=f"fold-{fold}", training={"sources": sources})
        save_model(run_folder / f"fold-{fold}", one, tensors)
    return save_model(run_folder, card, tensors)


def test_photos_on_the_command_line(folder: Path, crossfit: Path) -> None:
    flags = ("evaluate", "--model", crossfit, "--data", folder, "--device", "cpu")
    asked = ("--condition", "blur", "--condition", "jpeg-70")
    told = run(*flags, "--out-of-fold", *asked, "--attack", "4", "--json")
    assert told.code == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["out_of_fold"] is True
    names = [one["name"] for one in document["conditions"]]
    assert names == ["clean", "jpeg-70", "blur", "clean-original-jpeg-only"]
    assert [one["judge"] for one in document["thresholds"]] == ["fold-0", "fold-1", "fold-2"]
    assert document["n"] == {"ai": 6, "real": 6, "confounder": 0}
    assert document["conditions"][0]["gated"]["auc"].keys() == {"value", "low", "high"}
    assert document["conditions"][0]["ungated"]["confounders_called_ai"] is None
    assert len(document["attacks"]) == 7


def test_tables_hold_what_was_measured(
    report: RobustnessReport, capsys: pytest.CaptureFixture[str]
) -> None:
    print_robustness(report)
    shown = capsys.readouterr().out
    for words in ("half-jpeg-75", "worst first", "file size alone", "resamples of sources"):
        assert words in shown
    assert "0.938" in shown  # the area by hand


@pytest.mark.slow
def test_a_report_is_drawn(report: RobustnessReport, tmp_path: Path) -> None:
    draw_robustness(report, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width > 1500


@pytest.mark.parametrize("option", [("--explain",), ("--split", "test")])
def test_options_of_other_folders_are_refused(
    folder: Path, crossfit: Path, option: tuple[str, ...]
) -> None:
    outcome = run("evaluate", "--model", crossfit, "--data", folder, *option)
    assert outcome.code == 2
    assert option[0] in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_an_unknown_condition_is_said(folder: Path, crossfit: Path) -> None:
    flags = ("evaluate", "--model", crossfit, "--data", folder, "--condition", "jpeg-71")
    outcome = run(*flags)
    assert outcome.code == 2
    assert "'jpeg-71'" in outcome.stderr
    assert "jpeg-70" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_what_out_of_fold_needs_is_said(folder: Path, crossfit: Path, tmp_path: Path) -> None:
    weights = tmp_path / crossfit.name
    for suffix in (".safetensors", ".json"):
        weights.with_suffix(suffix).write_bytes(crossfit.with_suffix(suffix).read_bytes())
    missing = run("evaluate", "--model", weights, "--data", folder, "--out-of-fold")
    assert missing.code == 2
    assert "fold-0.safetensors is missing" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1
    unfinished = tmp_path / "unfinished" / crossfit.parent.name
    shutil.copytree(crossfit.parent, unfinished)
    fold = unfinished / "fold-1" / "fold-1.safetensors"
    save_card(fold, replace(read_card(fold.with_suffix(".json")), metrics={"validation": {}}))
    own = run("evaluate", "--model", unfinished / weights.name, "--data", folder, "--out-of-fold")
    assert own.code == 2
    assert "calibrated by their own pictures" in own.stderr
    assert len(own.stderr.splitlines()) == 1
    plain = run("evaluate", "--model", weights, "--data", tmp_path, "--attack", "4")
    assert plain.code == 2
    assert "no index.csv" in plain.stderr
