from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import CARD, SUFFIXES, declared_ai, noisy, plain
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fakescan.calibration import pick_thresholds, probability
from fakescan.images import crop_positions, cut_crops, decode_image
from fakescan.pipeline import ScanOptions, scan_batch
from fakescan.provenance import read_provenance
from fakescan.records import (
    Crop,
    DecodedImage,
    Evidence,
    Finding,
    Measurement,
    ModelOutput,
    Provenance,
    Reason,
    Says,
    Source,
    Status,
    Tier,
    Unreadable,
    Verdict,
)
from fakescan.sources import sniff_media_type
from fakescan.verdict import Policy
from fakescan.weights import Calibration

# Pillow warns of what damaged files hold, once for every kind of damage.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

# Any bytes


def check_read(data: bytes, name: str) -> None:
    """Bytes give pixels or a status, whatever they are; nothing is raised."""
    result = decode_image(Source(name), data, max_pixels=1_000_000)
    if isinstance(result, DecodedImage):
        height, width = result.pixels.shape[:2]
        assert result.pixels.shape == (height, width, 3)
        assert result.pixels.dtype == np.uint8
        assert 0 < width * height <= 1_000_000
        assert result.alpha is None or result.alpha.shape == (height, width)
        assert 1 <= result.orientation <= 8
        assert result.bit_depth > 0
    else:
        assert isinstance(result, Unreadable)
        assert result.status is not Status.OK and result.status.is_of_content
    assert result.data == data
    (measurement,) = scan_batch([result], [], ScanOptions())
    assert measurement.sha256 == result.sha256 is not None


MAGICS = tuple(plain(suffix=suffix)[:16] for suffix in SUFFIXES)
NAMES = st.sampled_from(("a", "a.jpg", "a.nef", "a.txt"))
DATA = st.builds(bytes.__add__, st.sampled_from((b"", *MAGICS)), st.binary(max_size=300))


@given(DATA, NAMES)
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    check_read(data, name)


SMALL = {
    **{suffix: noisy(1, (24, 16), suffix) for suffix in SUFFIXES},
    "declared": declared_ai(),
}
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.integers(0, 6)),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, changes: list[tuple[float, int, int]]) -> bytes:
    """Bytes changed, doubled, dropped or zeroed, or the file cut, at these parts of it."""
    for place, value, kind in changes:
        at = int(place * len(data))
        edits: tuple[Callable[[], bytes], ...] = (
            lambda d=data, a=at, v=value: d[:a] + bytes((v,)) + d[a + 1 :],
            lambda d=data, a=at, v=value: d[:a] + bytes((v,)) + d[a:],
            lambda d=data, a=at: d[:a] + d[a + 1 :],
            lambda d=data, a=at: d[:a],
            lambda d=data, a=at: d[:a] + bytes(8) + d[a + 8 :],
            lambda d=data, a=at: d[:a] + b"\xff" * 4 + d[a + 4 :],
            lambda d=data, a=at, v=value: d[:a] + d[max(0, a - v) :],
        )
        data = edits[kind]()
    return data


@pytest.mark.parametrize("kind", SMALL)
@given(changes=CHANGES)
@settings(deadline=None, max_examples=60)
def test_damaged_pictures_are_read_or_refused(
    kind: str, changes: list[tuple[float, int, int]]
) -> None:
    check_read(mutate(SMALL[kind], changes), "a.jpg")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", SMALL)
@given(changes=CHANGES)
@settings(deadline=None, max_examples=2000)
def test_many_damaged_pictures_are_read_or_refused(
    kind: str, changes: list[tuple[float, int, int]]
) -> None:
    check_read(mutate(SMALL[kind], changes), "a.jpg")


@given(DATA)
@settings(deadline=None)
def test_any_bytes_have_a_provenance(data: bytes) -> None:
    assert isinstance(read_provenance(data, sniff_media_type(data)), Provenance)


# The crop rule

SIDES = st.integers(1, 700)
SIZES = st.integers(1, 130)
COUNTS = st.integers(1, 64)
SEEDS = st.integers(0, 2**32 - 1)


def patchy(width: int, height: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 60, (-(-height // 50), -(-width // 50)))
    strength = coarse.repeat(50, axis=0).repeat(50, axis=1)[:height, :width, None]
    levels = 128 + strength * (random.random((height, width, 1)) - 0.5)
    return levels.astype(np.uint8).repeat(3, axis=2)


@given(SIDES, SIDES, SIZES, COUNTS, SEEDS)
@settings(deadline=None)
def test_windows_lie_inside_and_are_no_more_than_asked(
    width: int, height: int, size: int, count: int, seed: int
) -> None:
    assume(min(width, height) >= size)
    pixels = patchy(width, height, seed)
    positions = crop_positions(pixels, size, count)
    assert 1 <= len(positions) <= count
    assert len(set(positions)) == len(positions)
    assert all(0 <= x <= width - size and 0 <= y <= height - size for x, y in positions)
    assert positions == crop_positions(pixels.copy(), size, count)
    # As many of every picture of this size, so that they can be batched.
    assert len(positions) == len(crop_positions(np.zeros_like(pixels), size, count))


@given(SIZES, COUNTS, SEEDS)
def test_a_picture_of_the_windows_size_gives_one(size: int, count: int, seed: int) -> None:
    assert crop_positions(patchy(size, size, seed), size, count) == ((0, 0),)


@given(SIDES, SIDES, COUNTS, SEEDS)
@settings(deadline=None)
def test_windows_begin_where_jpeg_blocks_do(width: int, height: int, count: int, seed: int) -> None:
    assume(min(width, height) >= 64)
    positions = crop_positions(patchy(width, height, seed), 64, count)
    assert all(x % 16 == y % 16 == 0 for x, y in positions)


@given(SIDES, SIDES, COUNTS, SEEDS)
@settings(deadline=None)
def test_windows_are_spread(width: int, height: int, count: int, seed: int) -> None:
    assume(min(width, height) >= 64)
    positions = crop_positions(patchy(width, height, seed), 64, count)
    columns = len({x for x, _ in crop_positions(np.zeros((height, width, 3), np.uint8), 64, count)})
    rows = len(positions) // columns
    # One in every region; a window between two regions counts to where most of it lies.
    regions = sorted(
        (int((y + 32) / height * rows), int((x + 32) / width * columns)) for x, y in positions
    )
    assert regions == [(row, column) for row in range(rows) for column in range(columns)]


@given(st.integers(8, 40), st.integers(8, 40), st.integers(1, 16))
def test_crops_hold_the_pixels_of_their_windows(width: int, height: int, count: int) -> None:
    pixels = np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8)
    pixels = pixels.reshape(height, width, 3)
    positions = crop_positions(pixels, 8, count)
    crops = cut_crops(pixels, 8, positions)
    for crop, (x, y) in zip(crops, positions, strict=True):
        assert np.array_equal(crop, pixels[y : y + 8, x : x + 8])


# Scores and thresholds

LOGITS = st.floats(allow_nan=False)
CALIBRATIONS = st.builds(Calibration, st.floats(0, 100), st.floats(-100, 100), st.just(1000))


@given(LOGITS, LOGITS, CALIBRATIONS)
def test_a_higher_logit_never_scores_lower(
    first: float, second: float, calibration: Calibration
) -> None:
    # Nothing times infinity is no number.
    assume(calibration.slope > 0 or (math.isfinite(first) and math.isfinite(second)))
    low, high = sorted((first, second))
    scores = [probability(logit, calibration) for logit in (low, high)]
    assert 0 <= scores[0] <= scores[1] <= 1


@given(st.floats(0.005, 0.5), st.floats(0.005, 0.5))
def test_a_stricter_rate_never_calls_more_pictures_ai(first: float, second: float) -> None:
    strict, loose = sorted((first, second))
    (_, high), (_, low) = pick_thresholds(CARD, strict), pick_thresholds(CARD, loose)  # type: ignore[misc]
    assert low <= high


# The verdict


def pieces(*says: Says) -> st.SearchStrategy[Evidence]:
    signals = ("c2pa", "png_text", "novelai", "exif")
    return st.sampled_from(
        [
            Evidence(signal, "rule", one, tier, None, "", None, "")
            for signal in signals
            for one in says
            for tier in Tier
        ]
    )


EVIDENCE = pieces(*Says)


def output(logit: float) -> ModelOutput:
    crops = (Crop(0, 0, 32, logit),)
    return ModelOutput(CARD.name, CARD.version, CARD.sha256, "fake", "fp32", logit, crops)


def judge(evidence: list[Evidence], logit: float | None) -> Finding:
    measurement = Measurement(
        Status.OK,
        Provenance(evidence=tuple(evidence)),
        () if logit is None else (output(logit),),
        Reason.NO_MODEL_FOR_SIZE if logit is None else None,
    )
    return Policy([CARD]).judge(Source("a"), measurement)


# How far a verdict goes towards AI made or edited. Proofs that conflict are no step of this scale.
TOWARDS_AI = {Verdict.REAL: 0, Verdict.UNCERTAIN: 1, Verdict.AI_EDIT: 2, Verdict.AI: 3}
MEASURED = st.none() | st.floats(-20, 20)


@given(st.lists(EVIDENCE, max_size=5), pieces(Says.AI), MEASURED)
def test_more_evidence_of_ai_never_leads_away_from_it(
    evidence: list[Evidence], piece: Evidence, logit: float | None
) -> None:
    before, after = judge(evidence, logit), judge([*evidence, piece], logit)
    assert TOWARDS_AI[after.verdict] >= TOWARDS_AI[before.verdict]  # type: ignore[index]


@given(st.lists(EVIDENCE, max_size=5), pieces(Says.AI_EDIT), MEASURED)
def test_more_evidence_of_an_edit_never_leads_away_from_ai(
    evidence: list[Evidence], piece: Evidence, logit: float | None
) -> None:
    # An edit that is stated more firmly than AI made it is the better answer: another property.
    before, after = judge(evidence, logit), judge([*evidence, piece], logit)
    flagged = {Verdict.AI, Verdict.AI_EDIT}
    assert after.verdict in flagged or before.verdict not in flagged


@given(st.lists(EVIDENCE, max_size=5), pieces(Says.CAMERA), MEASURED)
def test_more_evidence_of_a_camera_never_leads_towards_ai(
    evidence: list[Evidence], piece: Evidence, logit: float | None
) -> None:
    before, after = judge(evidence, logit), judge([*evidence, piece], logit)
    assert TOWARDS_AI[after.verdict] <= TOWARDS_AI[before.verdict]  # type: ignore[index]


@given(st.lists(EVIDENCE, max_size=5), MEASURED, st.randoms())
def test_the_order_of_evidence_changes_no_verdict(
    evidence: list[Evidence], logit: float | None, random: object
) -> None:
    shuffled = list(evidence)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = judge(evidence, logit), judge(shuffled, logit)
    assert (after.verdict, after.score) == (before.verdict, before.score)


@given(st.lists(EVIDENCE, max_size=5), st.floats(-20, 20), st.floats(-20, 20))
def test_a_higher_logit_never_leads_away_from_ai(
    evidence: list[Evidence], first: float, second: float
) -> None:
    low, high = (judge(evidence, logit) for logit in sorted((first, second)))
    assert TOWARDS_AI[high.verdict] >= TOWARDS_AI[low.verdict]  # type: ignore[index]


def test_every_combination_is_judged() -> None:
    pairs = list(itertools.product(Tier, Says))
    combinations = [(), *((pair,) for pair in pairs), *itertools.combinations(pairs, 2)]
    abstentions = (Reason.NO_MODEL_FOR_SIZE, Reason.OUTSIDE_DOMAIN, Reason.TOO_DEGRADED)
    policy = Policy([CARD])
    for status, chosen in itertools.product(Status, combinations):
        evidence = tuple(
            Evidence("c2pa", "rule", says, tier, None, "", None, "") for tier, says in chosen
        )
        looks = [((output(logit),), None) for logit in (-9.0, 0.0, 9.0)]
        for given_output, abstention in (*looks, *(((), reason) for reason in abstentions)):
            measurement = Measurement(
                status, Provenance(evidence=evidence), given_output, abstention
            )
            finding = policy.judge(Source("a"), measurement)
            if status is Status.OK:
                assert finding.verdict in Verdict
                assert finding.reason in Reason
                assert (finding.score is None) == (not given_output)
            else:
                assert finding.verdict is finding.reason is finding.score is None
