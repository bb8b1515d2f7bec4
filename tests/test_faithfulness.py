"""Deletion and insertion tell a heat map that shows what counts from one that doesn't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from fakescan.training import faithfulness
from fakescan.training.data import Pictures


class CornerDetector(nn.Module):
    """Says AI by the contrast in the upper left quarter alone."""

    mirror = False

    def forward(self, crops: Tensor) -> Tensor:
        corner = crops[:, :8, :8].float()
        return corner.std(dim=(1, 2, 3)) / 8 - 4


@pytest.fixture
def pictures() -> Pictures:
    pixels = np.random.default_rng(5).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    return Pictures(pixels, np.array([1, 0, 1, 1, 0, 1], dtype=np.uint8), ("",) * 6)


@pytest.fixture(autouse=True)
def corner_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        calibration = None

    monkeypatch.setattr(faithfulness, "load_card", lambda _: Card())
    monkeypatch.setattr(faithfulness, "load_tensors", lambda _: {})
    monkeypatch.setattr(faithfulness, "build_detector", lambda *_: CornerDetector())


def measure(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch, quarter: slice
) -> faithfulness.Faithfulness:
    def heat(_: object, crops: np.ndarray) -> np.ndarray:
        values = np.zeros(crops.shape[:3], dtype=np.float32)
        values[:, quarter, quarter] = 1
        return values

    monkeypatch.setattr(faithfulness, "grad_cam", heat)
    return faithfulness.measure_faithfulness(Path("unused"), pictures)


def test_a_true_map_deletes_fast_and_inserts_fast(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = measure(pictures, monkeypatch, slice(0, 8))
    false = measure(pictures, monkeypatch, slice(8, 16))
    assert true.n == 4
    assert true.deletion < 0.6 * min(true.deletion_random, false.deletion)
    assert true.insertion > max(true.insertion_random, false.insertion) + 0.1


def test_only_ai_counts(pictures: Pictures) -> None:
    real = pictures.take(np.flatnonzero(pictures.labels == 0))
    with pytest.raises(ValueError, match="AI"):
        faithfulness.measure_faithfulness(Path("unused"), real)
