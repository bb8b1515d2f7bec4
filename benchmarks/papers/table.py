"""The tables in README.md, made from recipes and results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes import FIGURES, Recipe
from results import Row, own_rows

README = Path(__file__).parent / "README.md"
PICTURES = Path(__file__).parent / "figures"
BEGIN, END = "<!-- made by run.py: begin -->", "<!-- made by run.py: end -->"

_TITLES = ("accuracy", "precision", "recall", "F1", "AUC")
"""Of recipes.FIGURES, for people."""

_NOTHING = "-"


def write_tables(path: Path, recipes: Mapping[str, Recipe], rows: Sequence[Row]) -> None:
    """Put the tables between the markers of the file at `path`. Raises ValueError without them."""
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: the markers for the tables are missing")
    path.write_text(f"{before}{BEGIN}\n\n{make_tables(recipes, rows)}\n{END}{after}", "utf-8")


def make_tables(recipes: Mapping[str, Recipe], rows: Sequence[Row]) -> str:
    """Theirs beside ours, what differs, how ours holds up, and what was not run."""
    run = {name: _longest(own_rows(rows, recipe)) for name, recipe in recipes.items()}
    done = {name: own for name, own in run.items() if own}
    machines = sorted({row["machine"] for own in done.values() for row in own})
    letters = {machine: chr(ord("A") + index) for index, machine in enumerate(machines)}
    parts = []
    if done:
        parts += [
            _comparison(recipes, done, letters),
            *(f"Machine {letter}: {machine}." for machine, letter in letters.items()),
            _count_touches(recipes, rows),
        ]
        if record := _tell_record(recipes, done):
            parts.append(record)
        if any("robustness" in row for own in done.values() for row in own):
            parts.append(_robustness(done))
        parts.append(_differences(recipes, done))
    waiting = {name: recipe for name, recipe in recipes.items() if name not in done}
    if waiting:
        parts.append(_not_run(waiting))
    return "\n\n".join(parts) + "\n"


def why_not_run(recipe: Recipe) -> str:
    """Why there are no figures of ours."""
    if recipe.not_run is not None:
        return recipe.not_run
    if recipe.training.get("pretrained"):
        return "needs torchvision's weights for ImageNet"
    if recipe.data == "faces":
        return "needs the set of faces (`--faces FOLDER`)"
    return "not yet"


def _longest(rows: list[Row]) -> list[Row]:
    # Of one recipe, the runs that came nearest to what it asks for; minutes may have cut them.
    rows = [row for row in rows if not row["from_scratch"]] or rows
    most = max(rows, key=lambda row: row["epochs_done"], default=None)
    return [row for row in rows if most is not None and row["epochs"] == most["epochs"]]


def _comparison(
    recipes: Mapping[str, Recipe], done: Mapping[str, list[Row]], letters: Mapping[str, str]
) -> str:
    titles = [f"{name}, theirs / ours" for name in _TITLES]
    lines = [
        _line(
            *("recipe", "system", *titles, "TP, TN, FP, FN", "weights", "epochs", "training"),
        ),
        _line(*(["---"] * 2), *(["---:"] * 9)),
    ]
    for name, own in done.items():
        recipe = recipes[name]
        pairs = [
            f"{_show_reported(recipe.reported.get(key))} / {_show_measured(own, key)}"
            for key in FIGURES
        ]
        lines.append(
            _line(
                _link(name),
                _system(recipe),
                *pairs,
                _show_counts(own[0]["measured"]),
                f"{own[0]['parameters']:,}",
                _show_epochs(own),
                _show_time(own, letters),
            )
        )
    return "\n".join(lines)


def _count_touches(recipes: Mapping[str, Recipe], rows: Sequence[Row]) -> str:
    scored = [row for row in rows if row["recipe"] in recipes]
    count = len({row["recipe"] for row in scored})
    return (
        f"{count} recipes in {len(scored)} runs have been scored on the official test. It chose"
        " nothing: epochs and recipes are chosen on validation pictures out of train."
    )


def _tell_record(recipes: Mapping[str, Recipe], done: Mapping[str, list[Row]]) -> str | None:
    competing = {name: own for name, own in done.items() if recipes[name].record}
    if not competing:
        return None
    best = max(
        competing,
        key=lambda name: statistics.mean(row["validation"]["accuracy"] for row in competing[name]),
    )
    own = competing[best]
    runs = f"{len(own)} seeds" if len(own) > 1 else "one seed"
    return (
        f"Best on validation of those that compete: {best}, {_show_values(own, 'accuracy')} %"
        f" on the test ({runs}; validation"
        f" {_show_values(own, 'accuracy', 'validation')} %)."
    )


def _robustness(done: Mapping[str, list[Row]]) -> str:
    measured = {
        name: [row["robustness"] for row in own if "robustness" in row]
        for name, own in done.items()
    }
    measured = {name: found for name, found in measured.items() if found}
    names = list(measured)
    conditions = [row["condition"] for row in measured[names[0]][0]]
    lines = [
        "Accuracy in %, degraded / attacked (steps of 255 levels), of so many pictures of the test"
        " as stand beside the name, half of each class:\n",
        _line("condition", "published", *(_count_pictures(name, measured) for name in names)),
        _line("---", *(["---:"] * (1 + len(names)))),
    ]
    for index, condition in enumerate(conditions):
        published = measured[names[0]][0][index]["published"]
        cells = [
            f"{100 * statistics.mean(run[index]['accuracy'] for run in measured[name]):.2f}"
            for name in names
        ]
        lines.append(_line(condition, _show_reported(published), *cells))
    return "\n".join(lines)


def _count_pictures(name: str, measured: Mapping[str, list[Any]]) -> str:
    # The first condition is of those that are degraded, the last of those that are attacked.
    first, last = measured[name][0][0], measured[name][0][-1]
    return f"{name} ({first['n']:,} / {last['n']:,})"


def _differences(recipes: Mapping[str, Recipe], done: Mapping[str, list[Row]]) -> str:
    names: dict[str, list[str]] = {}
    for name in done:
        names.setdefault(recipes[name].differs, []).append(name)
    lines = ["What differs:\n"]
    for differs, own in names.items():
        shown = own[0] if len(own) == 1 else f"{own[0]} to {own[-1]}"
        lines.append(f"- {shown}: {differs}")
    return "\n".join(lines)


def _not_run(waiting: Mapping[str, Recipe]) -> str:
    lines = [
        "Not run:\n",
        _line("recipe", "system", *_TITLES, "why not"),
        _line(*(["---"] * 2), *(["---:"] * len(_TITLES)), "---"),
    ]
    # Variants have no figures of their own.
    groups: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in waiting.values():
        groups.setdefault((_system(recipe), why_not_run(recipe)), []).append(recipe)
    for group in groups.values():
        first, last = group[0], group[-1]
        named = first.name if first is last else f"{first.name} to {last.name} ({len(group)})"
        figures = [_show_reported(first.reported.get(key)) for key in FIGURES]
        lines.append(_line(named, _system(first), *figures, why_not_run(first)))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _system(recipe: Recipe) -> str:
    note = recipe.reported.get("note")
    return f"{recipe.title} ({recipe.source}{f'; theirs: {note}' if note else ''})"


def _link(name: str) -> str:
    pictures = [
        f"[{kind}](figures/{name}-{kind}.png)"
        for kind in ("curves", "evaluation")
        if (PICTURES / f"{name}-{kind}.png").is_file()
    ]
    return f"{name} ({', '.join(pictures)})" if pictures else name


def _show_reported(value: Any) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, list):
        return f"{100 * value[0]:.2f} to {100 * value[1]:.2f}"
    return f"{100 * value:.2f}"


def _show_measured(rows: Sequence[Row], key: str) -> str:
    shown = _show_values(rows, key)
    return shown if _is_whole(rows) else f"{shown}*"


def _show_values(rows: Sequence[Row], key: str, of: str = "measured") -> str:
    values = [100 * row[of][key] for row in rows]
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def _show_counts(measured: Mapping[str, Any]) -> str:
    kinds = ("true_positives", "true_negatives", "false_positives", "false_negatives")
    return ", ".join(str(measured[kind]) for kind in kinds)


def _is_whole(rows: Sequence[Row]) -> bool:
    return all(row["epochs_done"] >= row["recipe_epochs"] for row in rows)


def _show_epochs(rows: Sequence[Row]) -> str:
    whole = rows[0]["recipe_epochs"]
    shown = str(whole)
    if not _is_whole(rows):
        done = [row["epochs_done"] for row in rows]
        least, most = f"{min(done):g}", f"{max(done):g}"
        shown = f"**{least if least == most else f'{least} to {most}'} of {whole}***"
    return f"{shown}, **from random weights**" if rows[0]["from_scratch"] else shown


def _show_time(rows: Sequence[Row], letters: Mapping[str, str]) -> str:
    minutes = statistics.mean(row["seconds"] for row in rows) / 60
    on = ", ".join(sorted({letters[row["machine"]] for row in rows}))
    return f"{minutes:.1f} min ({on})"
