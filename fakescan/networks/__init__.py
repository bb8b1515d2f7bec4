"""The networks, each as features and head."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """A classifier cut in two: `features` keeps places, `head` pools them into one logit.

    Grad-CAM needs no more than this cut, and no hooks. Input (N, 3, S, S), output (N,).
    """

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N,) of normalised images (N, 3, S, S); positive speaks for AI."""
        logits: Tensor = self.head(self.features(images))
        return logits.squeeze(1)
