"""Which pictures are held back together: whole families of generators, whole collections."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    BoolArray = npt.NDArray[np.bool_]

FOLDS = 3
"""As many as there are families large enough to stand for a generator never seen."""

_LIST = Path(__file__).with_name("folds.toml")


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """`touches` (N, FOLDS): of which folds a picture has a generator or a collection.

    A picture trains where nothing of it is held back, and validates where all of it is. One that
    touches several folds therefore validates nowhere.
    """

    touches: BoolArray

    def training(self, fold: int) -> BoolArray:
        """Which pictures (N,) train while `fold` is held back."""
        return ~self.touches[:, fold]

    def validation(self, fold: int) -> BoolArray:
        """Which pictures (N,) `fold` holds back."""
        found: BoolArray = self.touches[:, fold] & (self.touches.sum(axis=1) == 1)
        return found


def assign_folds(pairs: Sequence[tuple[str, str]], kinds: Sequence[str]) -> Folds:
    """The folds of pictures with these (generator, collection) pairs; either may be empty.

    Where every generator and collection stands on the committed list, folds.toml, they get its
    folds. Others are assigned
    by connected components, the largest first, each to the fold with the least of the kind that
    most of its pictures are of; `kinds` are the pictures' own.
    """
    generators, collections = _read_list()
    if all(
        (generator or collection)
        and (not generator or generator in generators)
        and (not collection or collection in collections)
        for generator, collection in pairs
    ):
        touches = np.zeros((len(pairs), FOLDS), dtype=np.bool_)
        for index, (generator, collection) in enumerate(pairs):
            touched = {*generators.get(generator, ()), *collections.get(collection, ())}
            touches[index, sorted(touched)] = True
        return Folds(touches)
    components = find_components(pairs)
    sizes = Counter(components.tolist())
    filled = {kind: np.zeros(FOLDS, dtype=np.int64) for kind in kinds}
    touches = np.zeros((len(pairs), FOLDS), dtype=np.bool_)
    for component in sorted(sizes, key=lambda one: (-sizes[one], one)):
        members = components == component
        own = Counter(kinds[member] for member in np.flatnonzero(members).tolist())
        filled_so_far = filled[own.most_common(1)[0][0]]
        fold = int(filled_so_far.argmin())
        touches[members, fold] = True
        filled_so_far[fold] += sizes[component]
    return Folds(touches)


@cache
def _read_list() -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    document = tomllib.loads(_LIST.read_text("utf-8"))
    return document["generators"], document["collections"]


def fold_weights(folder: Path, fold: int) -> Path:
    """Where in a run's folder the network lies that has not seen `fold`."""
    return folder / f"fold-{fold}" / f"fold-{fold}.safetensors"


def find_components(pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.int64]:
    """Number the connected components of (generator, collection) pairs; either may be empty."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            node = parent[node]
        return node

    for generator, collection in pairs:
        nodes = [("generator", generator)] * bool(generator)
        nodes += [("collection", collection)] * bool(collection)
        for node in nodes[1:]:
            parent[root(node)] = root(nodes[0])
    numbers: dict[tuple[str, str], int] = {}
    components = [
        root(("generator", generator) if generator else ("collection", collection))
        for generator, collection in pairs
    ]
    return np.array([numbers.setdefault(one, len(numbers)) for one in components])
