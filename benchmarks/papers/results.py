"""What the recipes gave: a JSON list of rows, one for each recipe, seed and number of epochs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes import Recipe

RESULTS = Path(__file__).parent.parent / "results" / "papers.json"

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows at `path`; none where there is no such file."""
    if not path.is_file():
        return []
    rows: list[Row] = json.loads(path.read_text("utf-8"))
    return rows


def add_row(path: Path, row: Row) -> None:
    """Write `row` beside those that are there, whole or not at all."""
    rows = [*read_rows(path), row]
    rows.sort(key=lambda one: (one["recipe"], one["seed"], one["epochs"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    unfinished.replace(path)


def find_row(
    rows: Sequence[Row], recipe: Recipe, seed: int, epochs: int, from_scratch: bool = False
) -> Row | None:
    """The row of this very recipe, as it stands now, with this seed and as many epochs.

    `from_scratch`: of those that began from random weights where the recipe doesn't.
    """
    for row in own_rows(rows, recipe):
        if (row["seed"], row["epochs"], row["from_scratch"]) == (seed, epochs, from_scratch):
            return row
    return None


def own_rows(rows: Sequence[Row], recipe: Recipe) -> list[Row]:
    """All rows of this very recipe; those from before it was changed are another's."""
    if recipe.architecture is None:
        return []
    return [
        row
        for row in rows
        if row["recipe"] == recipe.name and row["recipe_digest"] == recipe.digest
    ]
