"""Several models on one picture: who looks, what the mean is held against, what is told."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import BRIGHT, CARD, FakeBackend, plain, run
from hypothesis import given
from hypothesis import strategies as st

from fakescan.calibration import fit_thresholds, probability
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import (
    FakescanError,
    Finding,
    Measurement,
    ModelOutput,
    Reason,
    Source,
    Status,
    Verdict,
)
from fakescan.reports import to_record
from fakescan.store import Store
from fakescan.verdict import Policy
from fakescan.weights import Calibration, Domain, ModelCard, Threshold, Thresholds

OTHER = replace(
    CARD,
    name="org/other",
    version="c0ffee",
    sha256="0e" * 32,
    calibration=Calibration(slope=2.0, intercept=-1.0, n=900),
    thresholds=Thresholds(
        ai=(Threshold(0.005, 0.99, 800), Threshold(0.01, 0.97, 800), Threshold(0.05, 0.5, 800)),
        real=Threshold(0.05, 0.1, 800),
    ),
)
CARDS = (CARD, OTHER)


def output(card: ModelCard, logit: float) -> ModelOutput:
    return ModelOutput(card.name, card.version, card.sha256, "fake", "fp32", logit, ())


def judge(*logits: float, rate: float = 0.01, cards: tuple[ModelCard, ...] = CARDS) -> Finding:
    outputs = tuple(output(card, logit) for card, logit in zip(cards, logits, strict=False))
    measurement = Measurement(Status.OK, outputs=outputs)
    return Policy(cards, rate, combine=True).judge(Source("a"), measurement)


def test_the_score_is_the_mean_of_calibrated_logits() -> None:
    finding = judge(1.5, 0.25)
    mean = (1.5 + (2 * 0.25 - 1)) / 2
    assert finding.score == round(1 / (1 + math.exp(-mean)), 4)
    assert finding.model is not None
    assert finding.model.output.logit == pytest.approx(mean)
    assert finding.model.output.name == "brightness+org/other"
    assert finding.model.output.version == "1.0.0+c0ffee"


def test_each_member_answers_for_its_part_of_the_rate() -> None:
    finding = judge(0.0, 0.0, rate=0.01)
    assert finding.members is not None and finding.model is not None
    assert [one.threshold_ai for one in finding.members] == [0.95, 0.99]
    assert [one.max_false_positive_rate for one in finding.members] == [0.005, 0.005]
    assert finding.model.threshold_ai == 0.99
    assert finding.model.threshold_real == 0.1
    assert finding.model.max_false_positive_rate == 0.01


@pytest.mark.parametrize(
    ("logits", "verdict"),
    [
        ((5.0, 3.0), Verdict.AI),  # 0.9933: both at 5
        ((4.0, 2.8), Verdict.UNCERTAIN),  # 0.9866: above one's threshold, below the other's
        ((-3.0, -2.0), Verdict.REAL),
        ((-9.0, -0.4), Verdict.UNCERTAIN),  # the mean is low, and one finds no such thing
        ((-0.9, -9.0), Verdict.UNCERTAIN),
    ],
)
def test_the_verdict(logits: tuple[float, float], verdict: Verdict) -> None:
    assert judge(*logits).verdict is verdict


@given(st.floats(-30, 30), st.floats(-30, 30), st.sampled_from([0.01, 0.02, 0.1]))
def test_ai_is_never_said_where_no_member_says_it_at_its_part(
    first: float, second: float, rate: float
) -> None:
    finding = judge(first, second, rate=rate)
    assert finding.members is not None
    scores = [
        probability(one.output.logit, card.calibration)
        for one, card in zip(finding.members, CARDS, strict=True)
        if card.calibration is not None
    ]
    if finding.verdict is Verdict.AI:
        assert any(
            score >= one.threshold_ai
            for score, one in zip(scores, finding.members, strict=True)
            if one.threshold_ai is not None
        )
    if finding.verdict is Verdict.REAL:
        assert all(
            score <= one.threshold_real
            for score, one in zip(scores, finding.members, strict=True)
            if one.threshold_real is not None
        )


def test_one_that_looks_alone_keeps_to_its_part_of_the_rate() -> None:
    alone = judge(2.5)
    by_itself = Policy([CARD], 0.005).judge(Source("a"), alone.measurement)
    assert (alone.verdict, alone.score, alone.model) == (
        *(by_itself.verdict, by_itself.score),
        by_itself.model,
    )
    assert alone.members == (alone.model,)
    assert by_itself.members is None


def test_the_rate_holds_where_one_looks_at_pictures_that_another_does_not() -> None:
    # One looks at all and errs on small pictures only, where the other doesn't look.
    small = np.arange(2000) < 1000
    generator = np.random.default_rng(0)
    scores = np.where(small, generator.random(2000), 0.95).round(4)
    others = np.where(small, 0.01, generator.random(2000)).round(4)
    labels = np.concatenate([np.zeros(2000), np.ones(100)]).astype(np.uint8)
    plain = Calibration(1.0, 0.0, 2000)
    everything, large = (
        replace(
            card,
            calibration=plain,
            thresholds=fit_thresholds(np.concatenate([seen, np.ones(100)]), labels),
        )
        for card, seen in ((CARD, scores), (OTHER, others))
    )
    policy = Policy((everything, large), 0.02, combine=True)
    called = 0
    for one, other, is_small in zip(scores, others, small, strict=True):
        outputs = [output(everything, logit_of(one))]
        if not is_small:
            outputs.append(output(large, logit_of(other)))
        measurement = Measurement(Status.OK, outputs=tuple(outputs))
        called += policy.judge(Source("a"), measurement).verdict is Verdict.AI
    assert called <= 0.02 * 2000


def logit_of(score: float) -> float:
    score = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(score / (1 - score))


def test_the_record_tells_of_each_member() -> None:
    record = to_record(judge(1.5, 0.25))
    assert list(record)[-1] == "models"
    assert record["models"] == [
        {
            "name": card.name,
            "version": card.version,
            "sha256": card.sha256,
            "backend": "fake",
            "precision": "fp32",
            "logit": logit,
            "threshold_real": real,
            "threshold_ai": ai,
        }
        for card, logit, real, ai in ((CARD, 1.5, 0.2, 0.95), (OTHER, 0.25, 0.1, 0.99))
    ]
    assert isinstance(record["model"], dict)
    assert record["model"]["crops"] == []
    assert record["model"]["logit"] == 0.5
    without = Policy([CARD]).judge(Source("a"), Measurement(Status.OK))
    assert to_record(without)["models"] is None


def test_uncalibrated_members_are_refused_in_one_line() -> None:
    bare = replace(OTHER, calibration=None, thresholds=None)
    with pytest.raises(FakescanError, match=r"org/other is not calibrated.*fakescan calibrate"):
        Policy([CARD, bare], combine=True)


def test_a_rate_that_a_part_cannot_promise_is_refused() -> None:
    assert Policy(CARDS, 0.005)
    with pytest.raises(FakescanError, match="--combine of 2"):
        Policy(CARDS, 0.005, combine=True)


@pytest.mark.parametrize("combine", [False, True])
def test_of_two_models_with_the_same_weights_none_is_asked(combine: bool) -> None:
    # Readings go by weights: one's thresholds would decide on the other's scores.
    twin = replace(CARD, name="mine", calibration=OTHER.calibration, thresholds=OTHER.thresholds)
    with pytest.raises(FakescanError, match="models brightness and mine have the same weights"):
        Policy([CARD, OTHER, twin], combine=combine)


# In a scan


def backends() -> tuple[FakeBackend, FakeBackend, FakeBackend]:
    """Two that take small pictures, and one that takes large ones too."""
    large = replace(OTHER, name="large", sha256="1a" * 32, domain=Domain(32, None, "all"))
    return FakeBackend(), FakeBackend(OTHER), FakeBackend(large)


def make_photos(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.png").write_bytes(plain(BRIGHT))
    (folder / "b.png").write_bytes(plain(120, (300, 40)))
    (folder / "c.png").write_bytes(plain(120, (20, 20)))
    (folder / "d.png").write_bytes(b"nothing")
    return folder


def test_all_that_fit_a_picture_look_at_it(tmp_path: Path) -> None:
    options = ScanOptions(combine=True, max_false_positive_rate=0.02, workers=1)
    found = list(scan([make_photos(tmp_path / "in")], options, detectors=backends()))
    assert [[one.name for one in finding.measurement.outputs] for finding in found] == [
        ["brightness", "org/other", "large"],
        ["large"],
        [],
        [],
    ]
    assert [finding.model and finding.model.output.name for finding in found] == [
        "brightness+org/other+large",
        "large",
        None,
        None,
    ]
    assert found[2].reason is Reason.NO_MODEL_FOR_SIZE
    assert found[2].members == ()
    assert found[0].verdict is Verdict.AI
    first = next(scan([tmp_path / "in"], ScanOptions(workers=1), detectors=backends()))
    assert [one.name for one in first.measurement.outputs] == ["brightness"]


@pytest.mark.parametrize("isolate", [False, True])
def test_the_store_gives_the_same_back(tmp_path: Path, isolate: bool) -> None:
    options = ScanOptions(combine=True, max_false_positive_rate=0.02, workers=1, isolate=isolate)
    photos = make_photos(tmp_path / "in")

    def records(detectors: tuple[FakeBackend, ...]) -> list[dict[str, object]]:
        with Store(tmp_path / "store") as store:
            found = scan([photos], options, store=store, detectors=detectors)
            return [to_record(finding) for finding in found]

    first = records(backends())
    again = backends()
    assert records(again) == first
    assert [backend.batches for backend in again] == [[], [], []]
    assert records(backends()[:2]) != first


def test_the_command_line_combines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fakescan.pipeline.load_detectors", lambda options: backends())
    photos = make_photos(tmp_path / "in")
    reports = [tmp_path / "out.html", tmp_path / "out.csv", tmp_path / "out.parquet"]
    flags = [word for report in reports for word in ("--report", report)]
    outcome = run(
        *("scan", photos, "--combine", "--max-fpr", "0.02", "--no-store", "--json"), *flags
    )
    assert outcome.code == 0 or outcome.code == 3, outcome.stderr
    record = json.loads(outcome.stdout.splitlines()[0])
    assert [one["name"] for one in record["models"]] == ["brightness", "org/other", "large"]
    assert "brightness+org/other+large" in reports[1].read_text()
    page = reports[0].read_text()
    assert '"models":[{"name":"brightness"' in page
    outcome = run("inspect", photos / "a.png", "--combine", "--max-fpr", "0.02")
    assert "brightness+org/other+large 1.0.0+c0ffee+c0ffee (fake, fp32) together" in outcome.stdout
    assert "logit 7.6562 on 1 window; real up to 0.1, ai from 0.99" in outcome.stdout
