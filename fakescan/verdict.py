"""The policy: evidence and score to verdict and reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fakescan.calibration import calibrated_logit, pick_thresholds, probability, to_score
from fakescan.provenance import describe
from fakescan.records import (
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    Evidence,
    FakescanError,
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
    """How one model's logits are read; thresholds (real, ai) at the model's part of the rate."""

    calibration: Calibration | None
    thresholds: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Look:
    """What models made of one picture; `all_are_low`: each finds no sign of AI by itself."""

    score: float | None = None
    model: JudgedModel | None = None
    members: tuple[JudgedModel, ...] = ()
    all_are_low: bool = False


@dataclass(frozen=True, slots=True)
class _Decision:
    verdict: Verdict
    reason: Reason
    decided_by: str | None


class Policy:
    """Thresholds of the models in use, for one wanted false-positive rate.

    With `combine`, all models that looked at a picture judge it together: the mean of their
    calibrated logits is held against the highest of their thresholds, each taken at its equal part
    of the rate, whether or not the others looked too: a member's false alarms may all lie where no
    other looks. A mean that high needs one member that high, so that by the union bound the rate
    holds for them together. `real` needs all of them, and the mean, to be as low as each says it.

    Raises FakescanError where a model can't promise that rate, for two with the same weights, and
    combining one without calibration.
    """

    def __init__(
        self,
        cards: Iterable[ModelCard],
        max_false_positive_rate: float = DEFAULT_MAX_FALSE_POSITIVE_RATE,
        *,
        combine: bool = False,
    ) -> None:
        cards = tuple(cards)
        self._max_false_positive_rate = max_false_positive_rate
        self._combine = combine
        self._parts = max(1, len(cards)) if combine else 1
        _check_models(cards, combine=combine)
        self._readings: Mapping[str, _Reading] = {
            card.sha256: _Reading(card.calibration, self._thresholds(card)) for card in cards
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
        look = self._look(measurement.outputs)
        decision = decide_by_evidence(measurement.provenance.evidence) or self._decide_by_score(
            measurement, look
        )
        return Finding(
            source=source,
            measurement=measurement,
            verdict=decision.verdict,
            score=look.score,
            reason=decision.reason,
            decided_by=decision.decided_by,
            hints=self._hints(measurement),
            model=look.model,
            members=look.members if self._combine else None,
        )

    def _thresholds(self, card: ModelCard) -> tuple[float, float] | None:
        try:
            return pick_thresholds(card, self._max_false_positive_rate / self._parts)
        except FakescanError as error:
            if self._parts == 1:
                raise
            asked = f"--combine of {self._parts} asks each for its part"
            raise FakescanError(f"{error}; {asked}") from error

    def _look(self, outputs: Sequence[ModelOutput]) -> _Look:
        if not outputs:
            return _Look()
        members = tuple(map(self._hold, outputs))
        scores = [probability(one.logit, self._calibration(one)) for one in outputs]
        all_are_low = all(map(_is_low, scores, members))
        if len(members) == 1:
            return _Look(scores[0], members[0], members, all_are_low)
        logit = sum(calibrated_logit(one.logit, self._calibration(one)) for one in outputs)
        combined = _combine(members, logit / len(outputs), self._max_false_positive_rate)
        return _Look(to_score(combined.output.logit), combined, members, all_are_low)

    def _hold(self, output: ModelOutput) -> JudgedModel:
        threshold_real, threshold_ai = self._readings[output.sha256].thresholds or (None, None)
        rate = self._max_false_positive_rate / self._parts
        return JudgedModel(output, threshold_real, threshold_ai, rate)

    def _calibration(self, output: ModelOutput) -> Calibration:
        # An uncalibrated logit is still worth showing; it decides nothing.
        return self._readings[output.sha256].calibration or Calibration(1.0, 0.0, 0)

    @staticmethod
    def _decide_by_score(measurement: Measurement, look: _Look) -> _Decision:
        score, model = look.score, look.model
        if score is None or model is None:
            reason = measurement.abstention or Reason.NO_MODEL_FOR_SIZE
            return _Decision(Verdict.UNCERTAIN, reason, None)
        if model.threshold_ai is None or model.threshold_real is None:
            return _Decision(Verdict.UNCERTAIN, Reason.UNCALIBRATED_MODEL, MODEL)
        if score >= model.threshold_ai:
            return _Decision(Verdict.AI, Reason.SCORE_ABOVE_THRESHOLD, MODEL)
        if look.all_are_low and score <= model.threshold_real:
            return _Decision(Verdict.REAL, Reason.SCORE_BELOW_THRESHOLD, MODEL)
        return _Decision(Verdict.UNCERTAIN, Reason.SCORE_BETWEEN_THRESHOLDS, MODEL)

    @staticmethod
    def _hints(measurement: Measurement) -> str:
        hints = describe(measurement.provenance)
        more = _MORE_FRAMES if measurement.has_more_frames else ""
        return " ".join(part for part in (hints, more) if part)


def _check_models(cards: Sequence[ModelCard], *, combine: bool) -> None:
    for number, card in enumerate(cards):
        twins = (one.name for one in cards[:number] if one.sha256 == card.sha256)
        if (twin := next(twins, None)) is not None:
            raise FakescanError(f"models {twin} and {card.name} have the same weights: name one")
        if combine and (card.calibration is None or card.thresholds is None):
            raise FakescanError(
                f"--combine: model {card.name} is not calibrated; calibrate it first:"
                " fakescan calibrate --model … --data FOLDER"
            )


def _is_low(score: float, model: JudgedModel) -> bool:
    return model.threshold_real is not None and score <= model.threshold_real


def _combine(members: Sequence[JudgedModel], logit: float, rate: float) -> JudgedModel:
    """The members as one model. All are calibrated."""
    outputs = [member.output for member in members]
    output = ModelOutput(
        name="+".join(one.name for one in outputs),
        version="+".join(one.version for one in outputs),
        sha256=hashlib.sha256("".join(one.sha256 for one in outputs).encode()).hexdigest(),
        backend="+".join(dict.fromkeys(one.backend for one in outputs)),
        precision="+".join(dict.fromkeys(one.precision for one in outputs)),
        logit=logit,
        crops=(),
    )
    return JudgedModel(
        output,
        min(member.threshold_real for member in members if member.threshold_real is not None),
        max(member.threshold_ai for member in members if member.threshold_ai is not None),
        rate,
    )


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
