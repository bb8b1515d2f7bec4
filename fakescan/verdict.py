"""The policy: evidence and score to verdict and reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fakescan.calibration import pick_thresholds, probability
from fakescan.provenance import describe
from fakescan.records import (
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    Evidence,
    Finding,
    JudgedModel,
    Measurement,
    ModelOutput,
    Reason,
    Says,
    Source,
    Status,
    Tier,
    Verdict,
)
from fakescan.weights import Calibration, ModelCard

MODEL = "model"
"""What `decided_by` says where no evidence decided but the score."""

_MORE_FRAMES = "Only the first of several frames was judged."


@dataclass(frozen=True, slots=True)
class _Reading:
    """How one model's logits are read."""

    calibration: Calibration | None
    thresholds: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Decision:
    verdict: Verdict
    reason: Reason
    decided_by: str | None


class Policy:
    """Thresholds of the models in use, for one wanted false-positive rate.

    Raises FakescanError where a model can't promise that rate.
    """

    def __init__(
        self,
        cards: Iterable[ModelCard],
        max_false_positive_rate: float = DEFAULT_MAX_FALSE_POSITIVE_RATE,
    ) -> None:
        self._max_false_positive_rate = max_false_positive_rate
        self._readings: Mapping[str, _Reading] = {
            card.sha256: _Reading(card.calibration, pick_thresholds(card, max_false_positive_rate))
            for card in cards
        }

    def judge(self, source: Source, measurement: Measurement) -> Finding:
        """The finding for one measurement. Pure: the same in, the same out.

        Proofs come first, then strong declarations, then the score; each kind of evidence only
        ever adds to its own side, and metadata never changes the score.
        """
        if measurement.status != Status.OK:
            return Finding(
                source=source,
                measurement=measurement,
                verdict=None,
                score=None,
                reason=None,
                decided_by=None,
                hints=self._hints(measurement),
                model=None,
            )
        score, model = self._score(measurement.output)
        decision = decide_by_evidence(measurement.provenance.evidence) or self._decide_by_score(
            measurement, score, model
        )
        return Finding(
            source=source,
            measurement=measurement,
            verdict=decision.verdict,
            score=score,
            reason=decision.reason,
            decided_by=decision.decided_by,
            hints=self._hints(measurement),
            model=model,
        )

    def _score(self, output: ModelOutput | None) -> tuple[float | None, JudgedModel | None]:
        if output is None:
            return None, None
        reading = self._readings[output.sha256]
        # An uncalibrated logit is still worth showing; it decides nothing.
        calibration = reading.calibration or Calibration(slope=1.0, intercept=0.0, n=0)
        threshold_real, threshold_ai = reading.thresholds or (None, None)
        judged = JudgedModel(output, threshold_real, threshold_ai, self._max_false_positive_rate)
        return probability(output.logit, calibration), judged

    @staticmethod
    def _decide_by_score(
        measurement: Measurement, score: float | None, model: JudgedModel | None
    ) -> _Decision:
        if score is None or model is None:
            reason = measurement.abstention or Reason.NO_MODEL_FOR_SIZE
            return _Decision(Verdict.UNCERTAIN, reason, None)
        if model.threshold_ai is None or model.threshold_real is None:
            return _Decision(Verdict.UNCERTAIN, Reason.UNCALIBRATED_MODEL, MODEL)
        if score >= model.threshold_ai:
            return _Decision(Verdict.AI, Reason.SCORE_ABOVE_THRESHOLD, MODEL)
        if score <= model.threshold_real:
            return _Decision(Verdict.REAL, Reason.SCORE_BELOW_THRESHOLD, MODEL)
        return _Decision(Verdict.UNCERTAIN, Reason.SCORE_BETWEEN_THRESHOLDS, MODEL)

    @staticmethod
    def _hints(measurement: Measurement) -> str:
        hints = describe(measurement.provenance)
        more = _MORE_FRAMES if measurement.has_more_frames else ""
        return " ".join(part for part in (hints, more) if part)


def decide_by_evidence(evidence: Iterable[Evidence]) -> _Decision | None:
    """What the file's own statements decide; None where they decide nothing.

    A camera's unsigned metadata decides nothing, since it can be forged: only a verified capture
    credential speaks for a photograph.
    """
    found: dict[tuple[Tier, Says], str] = {}
    for piece in evidence:
        found.setdefault((piece.tier, piece.says), piece.signal)
    proof_of_ai = found.get((Tier.PROOF, Says.AI)) or found.get((Tier.PROOF, Says.AI_EDIT))
    proof_of_capture = found.get((Tier.PROOF, Says.CAMERA))
    if proof_of_ai and proof_of_capture:
        return _Decision(Verdict.UNCERTAIN, Reason.CONFLICTING_EVIDENCE, None)
    for says, verdict in ((Says.AI, Verdict.AI), (Says.AI_EDIT, Verdict.AI_EDIT)):
        if signal := found.get((Tier.PROOF, says)):
            signed = signal == "c2pa"
            reason = Reason.VERIFIED_CREDENTIAL if signed else Reason.VERIFIED_SIGNATURE
            return _Decision(verdict, reason, signal)
    if proof_of_capture:
        return _Decision(Verdict.REAL, Reason.VERIFIED_CAPTURE, proof_of_capture)
    if signal := found.get((Tier.STRONG, Says.AI)):
        return _Decision(Verdict.AI, Reason.DECLARED_AI, signal)
    if signal := found.get((Tier.STRONG, Says.AI_EDIT)):
        return _Decision(Verdict.AI_EDIT, Reason.DECLARED_AI_EDIT, signal)
    return None
