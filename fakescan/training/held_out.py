"""What networks say of pictures that they have not seen, and the calibration that this gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fakescan.calibration import (
    fit_calibration,
    fit_thresholds,
    scores_of,
    strictest_thresholds,
)
from fakescan.training.evaluate import Metrics, compute_metrics

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.weights import Calibration, Thresholds


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Logits (N,) of pictures that a network has not seen, with labels (N,), 1 for AI.

    Thresholds hold for all that was held out, probabilities for what `calibrates`.
    """

    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.uint8]
    calibrates: bool = True

    @property
    def least(self) -> int:
        """The pictures of the class that has fewer."""
        return int(np.bincount(self.labels, minlength=2).min())


def pool(parts: Sequence[HeldOut]) -> HeldOut:
    """All of `parts`, at least one, which calibrate or don't together."""
    return HeldOut(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.labels for part in parts]),
        parts[0].calibrates,
    )


def calibrate_by(held_out: Mapping[str, HeldOut]) -> tuple[Calibration, Thresholds | None]:
    """Calibration, and thresholds that keep their promises for each of `held_out`.

    Raises ValueError where what calibrates lacks a class.
    """
    calibrating = pool([one for one in held_out.values() if one.calibrates])
    calibration = fit_calibration(calibrating.logits, calibrating.labels)
    thresholds = strictest_thresholds(
        [
            fit_thresholds(scores_of(one.logits, calibration), one.labels)
            for one in held_out.values()
        ]
    )
    return calibration, thresholds


def measure_held_out(
    held_out: Mapping[str, HeldOut], calibration: Calibration
) -> dict[str, Metrics]:
    """The figures of each of `held_out`."""
    return {
        name: compute_metrics(one.logits, one.labels, calibration) for name, one in held_out.items()
    }
