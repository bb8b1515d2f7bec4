from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import CARD

from fakescan.records import (
    Crop,
    Evidence,
    FakescanError,
    Finding,
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
from fakescan.verdict import Policy

SOURCE = Source("a.png", 1, 1)
EVEN_ODDS_LOGIT = 0.0
AI_LOGIT, UNCERTAIN_LOGIT, REAL_LOGIT = 5.0, 0.5, -5.0


def evidence(tier: Tier, says: Says, signal: str = "png_text") -> Evidence:
    return Evidence(signal, "rule", says, tier, None, "PNG", 1, "value")


def measure(*found: Evidence, logit: float | None = None, **changes: object) -> Measurement:
    output = logit is not None and ModelOutput(
        CARD.name, CARD.version, CARD.sha256, "fake", "fp32", logit, (Crop(0, 0, 32, logit),)
    )
    return Measurement(
        status=Status.OK,
        provenance=Provenance(evidence=found),
        outputs=(output,) if output else (),
        abstention=None if output else Reason.NO_MODEL_FOR_SIZE,
        **changes,  # type: ignore[arg-type]
    )


def judge(measurement: Measurement, max_fpr: float = 0.01) -> Finding:
    return Policy([CARD], max_fpr).judge(SOURCE, measurement)


def outcome(finding: Finding) -> tuple[Verdict | None, Reason | None, str | None]:
    return finding.verdict, finding.reason, finding.decided_by


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            [(Tier.PROOF, Says.AI, "c2pa")],
            (Verdict.AI, Reason.VERIFIED_CREDENTIAL, "c2pa"),
        ),
        (
            [(Tier.PROOF, Says.AI_EDIT, "c2pa")],
            (Verdict.AI_EDIT, Reason.VERIFIED_CREDENTIAL, "c2pa"),
        ),
        (
            [(Tier.PROOF, Says.AI, "novelai")],
            (Verdict.AI, Reason.VERIFIED_SIGNATURE, "novelai"),
        ),
        (
            [(Tier.PROOF, Says.CAMERA, "c2pa")],
            (Verdict.REAL, Reason.VERIFIED_CAPTURE, "c2pa"),
        ),
        (
            [(Tier.PROOF, Says.CAMERA, "c2pa"), (Tier.PROOF, Says.AI, "novelai")],
            (Verdict.UNCERTAIN, Reason.CONFLICTING_EVIDENCE, None),
        ),
        (
            [(Tier.PROOF, Says.CAMERA, "c2pa"), (Tier.PROOF, Says.AI_EDIT, "c2pa")],
            (Verdict.UNCERTAIN, Reason.CONFLICTING_EVIDENCE, None),
        ),
        (
            [(Tier.PROOF, Says.CAMERA, "c2pa"), (Tier.STRONG, Says.AI, "png_text")],
            (Verdict.REAL, Reason.VERIFIED_CAPTURE, "c2pa"),
        ),
        (
            [(Tier.STRONG, Says.AI_EDIT, "xmp"), (Tier.STRONG, Says.AI, "png_text")],
            (Verdict.AI, Reason.DECLARED_AI, "png_text"),
        ),
        (
            [(Tier.STRONG, Says.AI_EDIT, "xmp")],
            (Verdict.AI_EDIT, Reason.DECLARED_AI_EDIT, "xmp"),
        ),
        (
            [(Tier.PROOF, Says.AI_EDIT, "c2pa"), (Tier.STRONG, Says.AI, "png_text")],
            (Verdict.AI_EDIT, Reason.VERIFIED_CREDENTIAL, "c2pa"),
        ),
    ],
)
@pytest.mark.parametrize("logit", [None, AI_LOGIT, REAL_LOGIT])
def test_what_the_file_states_goes_before_the_score(
    found: list[tuple[Tier, Says, str]],
    expected: tuple[Verdict, Reason, str | None],
    logit: float | None,
) -> None:
    pieces = [evidence(*one) for one in found]
    for order in (pieces, pieces[::-1]):
        assert outcome(judge(measure(*order, logit=logit))) == expected


@pytest.mark.parametrize(
    "piece",
    [
        evidence(Tier.STRONG, Says.CAMERA, "exif"),
        evidence(Tier.WEAK, Says.CAMERA, "exif"),
        evidence(Tier.WEAK, Says.AI),
        evidence(Tier.WEAK, Says.AI_EDIT),
        evidence(Tier.STRONG, Says.EDITED),
        evidence(Tier.STRONG, Says.STRIPPED),
    ],
)
@pytest.mark.parametrize("logit", [None, AI_LOGIT, UNCERTAIN_LOGIT, REAL_LOGIT])
def test_what_can_be_forged_or_means_little_decides_nothing(
    piece: Evidence, logit: float | None
) -> None:
    with_it, without = judge(measure(piece, logit=logit)), judge(measure(logit=logit))
    assert outcome(with_it) == outcome(without)
    assert with_it.score == without.score


@pytest.mark.parametrize(
    ("logit", "expected"),
    [
        (AI_LOGIT, (Verdict.AI, Reason.SCORE_ABOVE_THRESHOLD, "model")),
        (UNCERTAIN_LOGIT, (Verdict.UNCERTAIN, Reason.SCORE_BETWEEN_THRESHOLDS, "model")),
        (REAL_LOGIT, (Verdict.REAL, Reason.SCORE_BELOW_THRESHOLD, "model")),
        # Exactly at a threshold, after rounding to what the report shows: 0.9 and 0.2.
        (2.19722, (Verdict.AI, Reason.SCORE_ABOVE_THRESHOLD, "model")),
        (-1.38629, (Verdict.REAL, Reason.SCORE_BELOW_THRESHOLD, "model")),
        (2.1961, (Verdict.UNCERTAIN, Reason.SCORE_BETWEEN_THRESHOLDS, "model")),
        (-1.3857, (Verdict.UNCERTAIN, Reason.SCORE_BETWEEN_THRESHOLDS, "model")),
    ],
)
def test_the_score_against_its_thresholds(
    logit: float, expected: tuple[Verdict, Reason, str]
) -> None:
    assert outcome(judge(measure(logit=logit))) == expected


def test_the_finding_tells_its_thresholds() -> None:
    finding = judge(measure(logit=EVEN_ODDS_LOGIT), max_fpr=0.02)
    assert finding.score == 0.5
    assert finding.model is not None
    assert (finding.model.threshold_real, finding.model.threshold_ai) == (0.2, 0.9)
    assert finding.model.max_false_positive_rate == 0.02


def test_a_looser_rate_calls_more_pictures_ai() -> None:
    between = measure(logit=1.0)  # 0.7311
    assert judge(between, 0.01).verdict is Verdict.UNCERTAIN
    assert judge(between, 0.05).verdict is Verdict.AI


def test_metadata_never_changes_the_score() -> None:
    scores = {
        judge(measure(*found, logit=1.0)).score
        for found in ((), (evidence(Tier.PROOF, Says.AI),), (evidence(Tier.PROOF, Says.CAMERA),))
    }
    assert scores == {0.7311}


@pytest.mark.parametrize("reason", [Reason.NO_MODEL_FOR_SIZE, Reason.OUTSIDE_DOMAIN])
def test_without_a_model_the_reason_says_why(reason: Reason) -> None:
    finding = judge(replace(measure(), abstention=reason))
    assert outcome(finding) == (Verdict.UNCERTAIN, reason, None)
    assert finding.score is None
    assert finding.model is None


def test_an_uncalibrated_model_shows_a_score_that_decides_nothing() -> None:
    card = replace(CARD, calibration=None, thresholds=None)
    finding = Policy([card]).judge(SOURCE, measure(logit=AI_LOGIT))
    assert outcome(finding) == (Verdict.UNCERTAIN, Reason.UNCALIBRATED_MODEL, "model")
    assert finding.score == 0.9933
    assert finding.model is not None
    assert finding.model.threshold_ai is None


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_an_unreadable_file_has_no_verdict_and_keeps_its_evidence(status: Status) -> None:
    measurement = replace(measure(evidence(Tier.PROOF, Says.AI)), status=status, abstention=None)
    finding = judge(measurement)
    assert outcome(finding) == (None, None, None)
    assert finding.score is None
    assert finding.measurement.provenance.evidence


def test_a_rate_that_a_model_cannot_promise_is_refused_at_once() -> None:
    with pytest.raises(FakescanError, match=r"--max-fpr 0\.001"):
        Policy([CARD], 0.001)


def test_further_frames_are_said() -> None:
    assert "Only the first of several frames" in judge(measure(has_more_frames=True)).hints
    assert judge(measure()).hints == ""


def test_every_closed_set_has_a_sentence_for_each_member() -> None:
    sentences = [member.sentence for member in (*Status, *Reason)]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)
