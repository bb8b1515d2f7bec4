"""Decision trees as layers of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Trees(nn.Module):
    """A sum of decision trees over features: (N, F) to (N,).

    As products of matrices, which every runtime computes (the GEMM strategy of Nakandala et al.
    2020, "A Tensor Compiler for Unified Machine Learning Prediction Serving"): for each of T trees
    the S splits are decided all at once, and the leaf is the one of L that agrees with every
    split on its path. Nothing here has a gradient. As made, all trees say 0.
    """

    feature: Tensor
    threshold: Tensor
    path: Tensor
    value: Tensor

    def __init__(self, trees: int, leaves: int) -> None:
        super().__init__()
        splits = leaves - 1
        # (T, S): a sample goes right where its feature is above the threshold.
        self.register_buffer("feature", torch.zeros(trees, splits, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, splits))
        # (T, S, L): 1 where the leaf is to the right of the split, -1 to its left, else 0.
        self.register_buffer("path", torch.zeros(trees, splits, leaves))
        self.register_buffer("value", torch.zeros(trees, leaves))

    def forward(self, features: Tensor) -> Tensor:
        """What the trees' leaves add up to."""
        trees, splits = self.feature.shape
        asked = features.index_select(1, self.feature.flatten()).view(-1, trees, splits)
        turns = torch.where(asked > self.threshold, 1.0, -1.0).to(self.path.dtype)
        agreeing = turns.transpose(0, 1) @ self.path
        reached = agreeing == self.path.abs().sum(dim=1)[:, None]
        return (reached.to(self.value.dtype) * self.value[:, None]).sum(dim=(0, 2))
