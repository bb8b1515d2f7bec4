"""Where a model sees AI, class by class: `grid.py MODEL CIFAKE --output grid.png`.

Ten columns, one for each class of CIFAR-10; a real picture and its Grad-CAM above a fake one and
its own, as Bird & Lotfi (2024) show them. The picture shows the set's pictures: it is yours to
look at, and not part of this project.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fakescan.explain import grad_cam
from fakescan.model import build_detector
from fakescan.records import FakescanError, Split
from fakescan.training.data import AI, REAL, Pictures
from fakescan.training.evaluate import pooled_logits, probabilities_of, read_split
from fakescan.weights import load_card, load_tensors, locate

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

_NUMBERED = re.compile(r"\((\d+)\)\.\w+$")


def class_of(name: str) -> str:
    """The class of a CIFAKE file: its name ends in (2) for the second one, and so on."""
    found = _NUMBERED.search(name)
    return CLASSES[int(found.group(1)) - 1 if found else 0]


def choose(pictures: Pictures, seed: int) -> np.ndarray:
    """Indices (2, 10) of a real and a fake picture of each class, drawn by `seed`.

    Raises FakescanError where a class has none.
    """
    generator = np.random.default_rng(seed)
    classes = np.array([class_of(name) for name in pictures.names])
    chosen = []
    for label in (REAL, AI):
        for wanted in CLASSES:
            own = np.flatnonzero((classes == wanted) & (pictures.labels == label))
            if not len(own):
                kind = "fake" if label == AI else "real"
                raise FakescanError(f"there is no {kind} picture of class {wanted}")
            chosen.append(int(generator.choice(own)))
    return np.array(chosen).reshape(2, len(CLASSES))


def draw(model: str, data: Path, output: Path, seed: int = 0) -> None:
    """Write the grid of test pictures as a PNG. Raises FakescanError for unusable data."""
    weights = locate(model)
    card = load_card(weights)
    detector = build_detector(card, load_tensors(weights))
    pictures = read_split(data, card.input.size, Split.TEST).pictures
    chosen = choose(pictures, seed)
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    axes = figure.subplots(4, len(CLASSES))
    for row, (kind, indices) in enumerate(zip(("real", "fake"), chosen, strict=True)):
        pixels = pictures.pixels[indices]
        maps = grad_cam(detector, pixels)
        logits = pooled_logits(lambda crops: logits_of(detector, crops), pixels, card.input.size)
        scores = probabilities_of(logits, card.calibration)
        for column, name in enumerate(CLASSES):
            above, below = axes[2 * row, column], axes[2 * row + 1, column]
            above.imshow(pixels[column])
            above.set_title(name if row == 0 else "", fontsize=9)
            below.imshow(pixels[column].mean(axis=2), cmap="gray", vmin=0, vmax=255)
            loudest = float(maps[column].max()) or 1.0
            below.imshow(maps[column] / loudest, cmap="inferno", vmin=0, vmax=1, alpha=0.55)
            below.set_xlabel(f"{scores[column]:.3f}", fontsize=8)
            for one in (above, below):
                one.set(xticks=[], yticks=[])
        axes[2 * row, 0].set_ylabel(kind)
        axes[2 * row + 1, 0].set_ylabel("speaks for AI")
    figure.suptitle(f"{card.name} {card.version}: Grad-CAM and probability of AI")
    figure.savefig(output, dpi=150)


def logits_of(detector, crops: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return detector(torch.from_numpy(crops)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name or .safetensors file")
    parser.add_argument("data", type=Path, help="CIFAKE's folder or archive")
    parser.add_argument("--output", type=Path, required=True, help="a .png file")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        draw(given.model, given.data, given.output, given.seed)
    except FakescanError as error:
        sys.exit(f"grid.py: {error}")


if __name__ == "__main__":
    main()
