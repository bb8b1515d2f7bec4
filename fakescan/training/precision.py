"""What faster arithmetic changes: verdicts counted on labelled pictures, noted on the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fakescan.backends import MOST_VERDICTS_CHANGED, VERDICTS_CHANGED, Precision
from fakescan.calibration import calls_of, pick_thresholds, scores_of
from fakescan.images import crop_positions, cut_crops
from fakescan.records import DEFAULT_CROPS, DEFAULT_MAX_FALSE_POSITIVE_RATE, FakescanError, Split
from fakescan.training.data import Pictures, read_dataset, split_off
from fakescan.training.judges import Judge, seat_one
from fakescan.training.photos import is_photo_folder, read_photos
from fakescan.weights import ModelCard, load_card, load_tensors, save_card_in_use

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    CallArray = npt.NDArray[np.int8]
    FloatArray = npt.NDArray[np.float64]
    Logits = Callable[[UInt8Array], npt.NDArray[np.float32]]

_RANGE_PICTURES = 256
"""From so many the ranges of int8 come; verdicts are counted on others."""

_MOST_PICTURES = 4000
"""Of these, a share of half a percent is 20 verdicts."""


@dataclass(frozen=True, slots=True)
class VerdictChanges:
    """Of `n` pictures judged, the share whose verdict differs from fp32's."""

    precision: Precision
    share: float
    n: int

    @property
    def is_allowed(self) -> bool:
        """Whether backends will compute in this precision."""
        return self.share <= MOST_VERDICTS_CHANGED


def measure_precision(weights: Path, data: Path, precision: Precision) -> VerdictChanges:
    """Count the verdicts that bf16 or int8 changes on pictures of `data`, and note it on the card.

    `data` is what `evaluate` takes; of class folders the validation split counts,
    never the test split. For int8 the graph is made beside the weights from some
    of the pictures, and stays only where few enough verdicts of the others change.

    Raises FakescanError for unusable data, or a model without thresholds.
    """
    card = load_card(weights)
    if card.thresholds is None:
        raise FakescanError(f"model {card.name} has no thresholds, so no verdicts that may change")
    size = card.input.size
    pixels = _read_pictures(data, card)
    if len(pixels) <= _RANGE_PICTURES:
        raise FakescanError(f"{data}: {len(pixels)} pictures, {_RANGE_PICTURES + 1} are the least")
    exact = _in_torch(card, weights, Precision.FP32)
    graph: Path | None = None
    if precision == Precision.INT8:
        from fakescan.backends.onnx import open_onnxruntime
        from fakescan.backends.quantization import quantize_graph

        windows = [
            cut_crops(picture, size, crop_positions(picture, size, DEFAULT_CROPS))
            for picture in pixels[:_RANGE_PICTURES]
        ]
        graph = quantize_graph(weights, np.concatenate(windows))
        faster: Logits = open_onnxruntime(graph)
    else:
        faster = _in_torch(card, weights, precision)
    changes = _count(card, pixels[_RANGE_PICTURES:], exact, faster, precision)
    records = card.metrics.get(VERDICTS_CHANGED) or {}
    changed = {**records, precision.value: round(changes.share, 5)}
    save_card_in_use(weights, replace(card, metrics={**card.metrics, VERDICTS_CHANGED: changed}))
    if graph is not None and not changes.is_allowed:
        graph.unlink()
    return changes


def _read_pictures(data: Path, card: ModelCard) -> UInt8Array:
    """At most some thousand pictures (N, S, S, 3), in an order that has nothing to do with class.

    Of class folders without validation split it is the part that training held back.
    """
    is_photo = is_photo_folder(data)
    pictures = read_photos(data).pictures if is_photo else _pick_validation(data, card)
    order = np.random.default_rng(0).permutation(len(pictures))
    return pictures.pixels[order[: _RANGE_PICTURES + _MOST_PICTURES]]


def _pick_validation(data: Path, card: ModelCard) -> Pictures:
    splits = read_dataset(data, side=card.input.size).splits
    if Split.VALIDATION in splits:
        return splits[Split.VALIDATION]
    if Split.TRAIN not in splits:
        raise FakescanError(
            f"{data}: a test split alone, which is not for measuring precisions; name a folder with"
            " a val or train split"
        )
    options = card.training.get("options")
    if options is None:
        return splits[Split.TRAIN]
    if "validation_fraction" not in options:
        raise FakescanError(
            f"{data}: model {card.name} held back no share of class folders; name a folder with a"
            " val split, or one of photos with their index.csv"
        )
    return split_off(splits[Split.TRAIN], options["validation_fraction"], seed=options["seed"])[1]


def _in_torch(card: ModelCard, weights: Path, precision: Precision) -> Logits:
    import torch

    from fakescan.model import build_detector

    detector = build_detector(card, load_tensors(weights))
    if precision == Precision.BF16:
        detector = detector.compute_in(torch.bfloat16)

    def logits(crops: UInt8Array) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = detector(torch.from_numpy(crops)).float().numpy()
        return found

    return logits


def _count(
    card: ModelCard, pixels: UInt8Array, exact: Logits, faster: Logits, precision: Precision
) -> VerdictChanges:
    verdicts = []
    for name, logits in (("fp32", exact), (precision.value, faster)):
        panel = seat_one(Judge(logits, card), len(pixels))
        places = np.arange(len(pixels))
        judged = panel.judge(pixels, places, lambda picture: picture, card.gates, name)
        if judged is None:
            raise FakescanError(f"the pictures are smaller than {card.input.size} px")
        found, refusals = judged
        kept = found[[reason is None for reason in refusals]]
        verdicts.append(_call(card, kept))
    if not len(verdicts[0]):
        raise FakescanError("the model's gates refuse every one of these pictures")
    return VerdictChanges(precision, float(np.mean(verdicts[0] != verdicts[1])), len(verdicts[0]))


def _call(card: ModelCard, logits: FloatArray) -> CallArray:
    """As `calls_of`, at the usual false-positive rate or the least."""
    assert card.calibration is not None and card.thresholds is not None
    least = min(row.rate for row in card.thresholds.ai)
    thresholds = pick_thresholds(card, max(least, DEFAULT_MAX_FALSE_POSITIVE_RATE))
    assert thresholds is not None
    return calls_of(scores_of(logits, card.calibration), thresholds)
