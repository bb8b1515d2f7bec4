"""Whether a heat map shows what the model really used: deletion and insertion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fakescan.explain import grad_cam
from fakescan.model import Detector, build_detector
from fakescan.training.data import AI, Pictures
from fakescan.training.evaluate import probabilities_of
from fakescan.weights import Calibration, load_card, load_tensors

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

STEPS = 16
_BLUR_RADIUS = 4


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Areas under the probability curve, in [0, 1], of `n` AI pictures, and of random orders.

    Petsiuk et al. 2018, "RISE": as the most telling pixels are blurred away first, the probability
    of AI should fall fast (a small deletion area); as they are put back into a blurred picture
    first, it should rise fast (a large insertion area).
    """

    n: int
    deletion: float
    insertion: float
    deletion_random: float
    insertion_random: float


def measure_faithfulness(weights: Path, pictures: Pictures, *, most: int = 200) -> Faithfulness:
    """Deletion and insertion of Grad-CAM on the first `most` AI pictures, beside chance.

    `pictures` are of the model's size. Raises ValueError where there is no AI among them.
    """
    card = load_card(weights)
    detector = build_detector(card, load_tensors(weights))
    crops = pictures.pixels[pictures.labels == AI][:most]
    if not len(crops):
        raise ValueError("faithfulness needs AI pictures")
    blurred = _blur(crops)
    telling = grad_cam(detector, crops).reshape(len(crops), -1)
    chance = np.random.default_rng(0).random(telling.shape)

    def area(
        importance: npt.NDArray[np.floating[Any]], before: UInt8Array, after: UInt8Array
    ) -> float:
        order = np.argsort(-importance, axis=1, kind="stable")
        return _area(detector, card.calibration, order, before, after)

    return Faithfulness(
        n=len(crops),
        deletion=area(telling, crops, blurred),
        insertion=area(telling, blurred, crops),
        deletion_random=area(chance, crops, blurred),
        insertion_random=area(chance, blurred, crops),
    )


def _area(
    detector: Detector,
    calibration: Calibration | None,
    order: npt.NDArray[np.intp],
    before: UInt8Array,
    after: UInt8Array,
) -> float:
    # From `before` to `after`, pixel by pixel in `order`, in equal steps.
    count, places = order.shape
    current = before.reshape(count, places, 3).copy()
    goal = after.reshape(count, places, 3)
    rows = np.arange(count)[:, None]
    means = []
    for step in range(STEPS + 1):
        if step:
            moved = order[:, places * (step - 1) // STEPS : places * step // STEPS]
            current[rows, moved] = goal[rows, moved]
        with torch.inference_mode():
            logits = detector(torch.from_numpy(current.reshape(before.shape)))
        means.append(float(probabilities_of(logits.double().numpy(), calibration).mean()))
    return float(np.trapezoid(means) / STEPS)


def _blur(crops: UInt8Array) -> UInt8Array:
    # A blurred picture keeps its colours, so that its edges are not what the model reacts to.
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    size = 2 * _BLUR_RADIUS + 1
    padded = torch.nn.functional.pad(images, (_BLUR_RADIUS,) * 4, mode="replicate")
    blurred = torch.nn.functional.avg_pool2d(padded, size, stride=1)
    result: UInt8Array = blurred.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return result
