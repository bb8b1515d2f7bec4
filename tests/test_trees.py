"""The trees beside the photo network: boosted by LightGBM, computed as products of matrices."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import lightgbm
import numpy as np
import pytest
import torch

from fakescan.networks.photo import PhotoFeatures, PhotoHead, Statistics, build_photo
from fakescan.networks.trees import Trees
from fakescan.records import FakescanError
from fakescan.training.boosting import boost, fit_trees


def corners(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points whose class is whether two of their four coordinates agree in sign."""
    points = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    return points, (points[:, 0] * points[:, 1] > 0).astype(np.uint8)


def even(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), 0.01, np.float32)


def test_trees_say_what_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    boosters = []
    train = lightgbm.train

    def keep(*given: object, **named: object) -> object:
        boosters.append(train(*given, **named))
        return boosters[-1]

    monkeypatch.setattr(lightgbm, "train", keep)
    points, labels = corners(2000)
    trees = Trees(60, 7)
    trees.load_state_dict(boost(points, labels, even(labels), trees, seed=0))
    said = trees(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(said, boosters[0].predict(points, raw_score=True), atol=1e-4)
    # No single coordinate tells them apart: this needs more than one split on a path.
    assert ((said > 0) == labels).mean() > 0.9


def test_trees_as_made_say_nothing() -> None:
    assert torch.equal(Trees(5, 4)(torch.randn(3, 2)), torch.zeros(3))


def test_a_tree_without_splits_says_its_one_value() -> None:
    # Too few points to split any more: each tree is a leaf.
    points, labels = corners(30)
    trees = Trees(3, 4)
    trees.load_state_dict(boost(points, labels, even(labels), trees, seed=0))
    said = trees(torch.from_numpy(points))
    assert torch.equal(said, said[:1].expand(30))
    odds = labels.mean() / (1 - labels.mean())
    assert float(said[0]) == pytest.approx(np.log(odds), abs=1e-3)


def striped(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of noise, AI's with every other column twice as bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) % 2).to(torch.uint8)
    crops = torch.randint(0, 100, (count, 128, 128, 3), generator=generator).float()
    crops[labels == 1, :, ::2] *= 2
    return crops, labels


class StripedWindows:
    """Sweeps of such windows; two thirds are labelled wrongly, and hardly weigh."""

    def sweep(self, times: int, untouched: float) -> Iterator[tuple[torch.Tensor, ...]]:
        for index in range(24 * times):
            crops, labels = striped(6, index)
            wrong = torch.arange(6) < 4
            yield crops, torch.where(wrong, 1 - labels, labels), torch.where(wrong, 1e-6, 1.0)


def test_a_network_is_given_trees_of_its_own_statistics() -> None:
    network = build_photo(channels=8, trees=20, leaves=4)
    fit_trees(network, StripedWindows(), seed=0)
    crops, labels = striped(16, 999)
    images = crops.permute(0, 3, 1, 2)
    features, head = network.features, network.head
    assert isinstance(features, PhotoFeatures)
    assert isinstance(head, PhotoHead)
    trees = head.trees
    with torch.inference_mode():
        said = trees(features.statistics(images))
        assert (said[labels == 1] > 0).all()
        assert (said[labels == 0] < 0).all()
        # In training the linear layer stands alone; in use both are added up.
        network.eval()
        maps = features(images)
        seen = maps[:, : head.linear[0].num_features]
        both = network(images)
        torch.testing.assert_close(both, head.linear(seen.mean(dim=(2, 3)))[:, 0] + said)
        head.training = True
        torch.testing.assert_close(network(images), both - said)


def test_statistics_are_of_three_scales() -> None:
    images = striped(2, 0)[0].permute(0, 3, 1, 2)
    features = build_photo(channels=8).features
    assert isinstance(features, PhotoFeatures)
    found = features.statistics(images)
    for index, scale in enumerate((1, 2, 4)):
        shrunk = torch.nn.functional.avg_pool2d(images, scale)
        wanted = Statistics()(shrunk).mean(dim=(2, 3))
        torch.testing.assert_close(found[:, index * 426 : (index + 1) * 426], wanted)
    assert found.shape == (2, 3 * 426)


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    points, labels = corners(30)
    with pytest.raises(FakescanError, match=r"'\.\[train\]'"):
        boost(points, labels, even(labels), Trees(3, 4), seed=0)
