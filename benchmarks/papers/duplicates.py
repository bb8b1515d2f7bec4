"""CIFAKE's own repeats, and what they do to a figure: `duplicates.py MODEL CIFAKE`.

Some test files stand in train, byte for byte. Accuracy of all test pictures, of those that stand in
test alone, and of the others. `fakescan train` leaves such files out of its training. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fakescan.backends import load_backend
from fakescan.records import FakescanError, Split
from fakescan.sources import has_image_suffix
from fakescan.training.evaluate import evaluate, read_split
from fakescan.weights import locate


def measure(model: str, data: Path, device: str = "auto") -> dict[str, Any]:
    """Counts of repeats by split, and the accuracies. Raises FakescanError for unusable data."""
    if not data.is_dir():
        raise FakescanError(f"{data} is no folder: unpack the archive first")
    digests = {split: digest_files(data, split) for split in (Split.TRAIN, Split.TEST)}
    in_train = set(digests[Split.TRAIN].values())
    leaked = {name for name, digest in digests[Split.TEST].items() if digest in in_train}
    backend = load_backend(locate(model), device=device)
    labelled = read_split(data, backend.card.input.size, Split.TEST)
    evaluation = evaluate(backend, labelled)
    is_right = (evaluation.probabilities >= 0.5) == (evaluation.labels == 1)
    is_leaked = np.array([name in leaked for name in labelled.pictures.names])
    return {
        "model": evaluation.model,
        "test_files_in_train": len(leaked),
        "repeats_inside": {
            split.value: len(found) - len(set(found.values())) for split, found in digests.items()
        },
        "accuracy": {
            "all": share(is_right),
            "without_those_in_train": share(is_right[~is_leaked]),
            "those_in_train": share(is_right[is_leaked]),
        },
    }


def digest_files(data: Path, split: Split) -> dict[str, bytes]:
    """SHA-256 of every picture of a split, by the name that `fakescan train` gives it."""
    return {
        path.relative_to(data.parent).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted((data / split.value).rglob("*"))
        if has_image_suffix(path.name)
    }


def share(values: np.ndarray) -> float | None:
    """The share that is true, or None of nothing."""
    return float(values.mean()) if len(values) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name or .safetensors file")
    parser.add_argument("data", type=Path, help="CIFAKE's folder")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    try:
        found = measure(given.model, given.data, given.device)
    except FakescanError as error:
        sys.exit(f"duplicates.py: {error}")
    inside = Counter(found["repeats_inside"])
    print(f"{found['test_files_in_train']} test files stand in train too;")
    print(f"{inside['train']} files repeat others inside train, {inside['test']} inside test")
    for name, accuracy in found["accuracy"].items():
        shown = "none" if accuracy is None else f"{100 * accuracy:.2f} %"
        print(f"accuracy, {name.replace('_', ' ')}: {shown}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
