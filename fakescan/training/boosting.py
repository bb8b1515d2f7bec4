"""Gradient-boosted trees on a network's handcrafted statistics (Friedman 2001), by LightGBM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fakescan.networks.photo import PhotoFeatures, PhotoHead
from fakescan.networks.trees import Trees
from fakescan.records import FakescanError, how_to_install

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.networks import Network
    from fakescan.training.batches import DegradedWindows

    Path = tuple[tuple[Mapping[str, Any], int], ...]

# The degradation of a window is drawn by lot: more of them tell more of what it does.
_WINDOWS_A_PICTURE = 4
# Trees do better on what most scanned pictures are, whose last encoding lies before the scan; on
# what is degraded once more the network does.
_UNTOUCHED = 0.4

# Small trees of few features each, for sources are few and all of their statistics alike.
_SETTINGS: Mapping[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "feature_fraction_bynode": 0.1,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "min_data_in_leaf": 100,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def fit_trees(network: Network, batches: DegradedWindows, seed: int) -> None:
    """Fit the trees of a photo network to the statistics of windows of every picture.

    Raises FakescanError without LightGBM.
    """
    features, head = network.features, network.head
    assert isinstance(features, PhotoFeatures)
    assert isinstance(head, PhotoHead)
    found = []
    sweep = batches.sweep(_WINDOWS_A_PICTURE, _UNTOUCHED)
    windows = tqdm(sweep, desc="statistics for trees", unit="batch", disable=None)
    with torch.no_grad():
        for crops, labels, weights in windows:
            # Half of the memory, and finer than a tree's bins.
            statistics = features.statistics(crops.permute(0, 3, 1, 2).float()).half()
            found.append((statistics.cpu(), labels.cpu(), weights.cpu()))
    statistics, labels, weights = map(torch.cat, zip(*found, strict=True))
    head.trees.load_state_dict(
        boost(statistics.float().numpy(), labels.numpy(), weights.numpy(), head.trees, seed)
    )


def boost(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint8],
    weights: npt.NDArray[np.float32],
    trees: Trees,
    seed: int,
) -> dict[str, Tensor]:
    """The state of `trees` boosted on features (N, F), labels (N,), 1 for AI, and weights (N,).

    Raises FakescanError without LightGBM.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise FakescanError(
            f"the photo network's trees need LightGBM: {how_to_install('train')}"
        ) from error
    count, leaves = trees.value.shape
    booster = lightgbm.train(
        {**_SETTINGS, "num_leaves": leaves, "seed": seed},
        lightgbm.Dataset(
            features,
            labels.astype(np.float32),
            weight=weights / weights.mean(),
            free_raw_data=True,
        ),
        num_boost_round=count,
    )
    state = {name: torch.zeros_like(value) for name, value in trees.state_dict().items()}
    for index, tree in enumerate(booster.dump_model()["tree_info"]):
        for leaf, path in _leaves(tree["tree_structure"], ()):
            place = leaf.get("leaf_index", 0)  # a tree of one leaf doesn't number it
            state["value"][index, place] = leaf["leaf_value"]
            for split, side in path:
                node = split["split_index"]
                state["feature"][index, node] = split["split_feature"]
                state["threshold"][index, node] = split["threshold"]
                state["path"][index, node, place] = side
    return state


def _leaves(node: Mapping[str, Any], path: Path) -> Iterator[tuple[Mapping[str, Any], Path]]:
    # Each leaf with the splits on the way to it: left, where the feature is not above, is -1.
    if "leaf_value" in node:
        yield node, path
        return
    yield from _leaves(node["left_child"], (*path, (node, -1)))
    yield from _leaves(node["right_child"], (*path, (node, 1)))
