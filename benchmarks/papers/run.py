"""Train published systems by our loop and measure them: `run.py --only NAME --data CIFAKE`.

Every recipe of recipes/ that can run here is trained and scored on the official test; what is in
the results already is not run again, and an interrupted training goes on. `--list` tells what
there is. Tables in README.md and pictures in figures/ are made from what was measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image
from recipes import Recipe, read_recipes
from results import RESULTS, Row, add_row, find_row, own_rows, read_rows
from table import PICTURES, README, why_not_run, write_tables

from fakescan import __version__
from fakescan.records import FakescanError, Split

SEED = 0


def main(arguments: Sequence[str]) -> int:
    given = parse(arguments)
    recipes = read_recipes()
    unknown = set(given.only or ()) - recipes.keys()
    if unknown:
        print(f"run.py: no recipe {', '.join(sorted(unknown))}; --list tells all", file=sys.stderr)
        return 2
    chosen = [recipes[name] for name in given.only or recipes]
    if given.list:
        rows = read_rows(given.results)
        for recipe in chosen:
            print(describe(recipe, rows))
        return 0
    try:
        for recipe in () if given.table else chosen:
            run(recipe, given)
    except FakescanError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run.py: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if not given.limit:
        write_tables(given.readme, recipes, read_rows(given.results))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="tell the recipes, and run none")
    parser.add_argument("--table", action="store_true", help="make the tables, and run nothing")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--epochs", type=int, help="fewer than the recipe's are marked so")
    parser.add_argument("--seeds", type=int, nargs="+", default=[SEED])
    parser.add_argument("--max-minutes", type=float, help="for each training")
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="begin from random weights where a recipe asks for ImageNet's; marked so",
    )
    parser.add_argument("--data", type=Path, help="CIFAKE: as for fakescan train")
    parser.add_argument("--faces", type=Path, help="the set of faces, for the recipes of it")
    parser.add_argument(
        "--degrade",
        type=int,
        metavar="N",
        help="recipes with figures of robustness: by N pictures of the test, not by all",
    )
    parser.add_argument(
        "--attack", type=int, metavar="N", help="and attack N of those; 1000 by default"
    )
    parser.add_argument(
        "--limit", type=int, help="train on this many pictures, to try; results are not kept"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/papers"), help="for trainings")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--figures", type=Path, default=PICTURES)
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def describe(recipe: Recipe, rows: Sequence[Row]) -> str:
    """A line on a recipe: what it is, and whether there are figures of it."""
    done = [
        f"{row['epochs_done']:g} of {row['recipe_epochs']} epochs, seed {row['seed']}:"
        f" {100 * row['measured']['accuracy']:.2f} %"
        for row in own_rows(rows, recipe)
    ]
    status = "; ".join(done) if done else why_not_run(recipe)
    return f"{recipe.name}: {recipe.title} ({recipe.source}): {status}"


def run(recipe: Recipe, given: argparse.Namespace) -> None:
    """Train and measure a recipe once for each seed, where it can run and has not."""
    reason = why_impossible(recipe, given)
    if reason is not None:
        print(f"{recipe.name}: not run: {reason}")
        return
    epochs = given.epochs or recipe.epochs
    for seed in given.seeds:
        rows = read_rows(given.results)
        if not given.limit and find_row(rows, recipe, seed, epochs, _unlike(recipe, given)):
            print(f"{recipe.name}: seed {seed} is in {given.results}")
            continue
        row = train_and_measure(recipe, seed, epochs, given)
        print(json.dumps({key: row[key] for key in ("recipe", "seed", "epochs_done", "measured")}))
        if not given.limit:
            add_row(given.results, row)


def why_impossible(recipe: Recipe, given: argparse.Namespace) -> str | None:
    """What this machine or command lacks for a recipe; None where nothing."""
    if recipe.not_run is not None or (recipe.data == "faces" and given.faces is None):
        return why_not_run(recipe)
    if recipe.training.get("pretrained") and not given.from_scratch:
        from fakescan.training.initialisation import read_imagenet

        assert recipe.architecture is not None
        try:
            read_imagenet(recipe.architecture.name, recipe.training["pretrained"])
        except FakescanError as error:
            return str(error)
    return None


def _unlike(recipe: Recipe, given: argparse.Namespace) -> bool:
    # Whether a run begins from random weights where its recipe does not.
    return bool(given.from_scratch and recipe.training.get("pretrained"))


def train_and_measure(recipe: Recipe, seed: int, epochs: int, given: argparse.Namespace) -> Row:
    """The row of one run."""
    from fakescan.backends import BackendName, load_backend
    from fakescan.model import pick_device
    from fakescan.training.data import find_data
    from fakescan.training.evaluate import LabelledSplit, evaluate
    from fakescan.training.loop import train_on
    from fakescan.training.material import make_material
    from fakescan.training.pictures import draw_evaluation

    path = find_data(given.faces if recipe.data == "faces" else given.data)
    if given.limit:
        path = link_some(path, given.limit, given.output / f"limit-{given.limit}")
    unlike = _unlike(recipe, given)
    name = f"{recipe.name}-{recipe.digest}-{epochs}-{seed}{'-scratch' if unlike else ''}"
    options = recipe.options(
        **({"pretrained": None} if unlike else {}),
        epochs=epochs,
        seed=seed,
        data=path,
        name=f"{name}-limit-{given.limit}" if given.limit else name,
        output=given.output,
        device=given.device,
        max_minutes=given.max_minutes,
        resume=True,
    )
    dataset = read(path, options.size)
    if Split.TEST not in dataset.splits:
        raise FakescanError(f"{path}: there is no test split")
    # The test is scored below, once: at 224 px it takes a CPU longer than the training is given.
    material = replace(make_material(path, dataset, options, pick_device(given.device)), test=None)
    result = train_on(material, options)
    assert result is not None  # of several processes only the others have none
    weights = result.weights
    backend = load_backend(weights, backend=BackendName.TORCH, device=given.device)
    card, test = backend.card, dataset.splits[Split.TEST]
    evaluation = evaluate(backend, LabelledSplit(dataset.name, Split.TEST, test))
    draw_evaluation(evaluation, weights.with_name("evaluation.png"))
    lines = weights.with_name("metrics.jsonl").read_text("utf-8").splitlines()
    history = [json.loads(line) for line in lines]
    row: Row = {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": seed,
        "reported": dict(recipe.reported),
        "measured": asdict(evaluation.metrics),
        "validation": card.metrics[Split.VALIDATION.value],
        "epochs": epochs,
        "epochs_done": card.training["epochs"],
        "recipe_epochs": recipe.epochs,
        "max_minutes": given.max_minutes,
        "from_scratch": unlike,
        "seconds": history[-1]["seconds"],
        "parameters": card.training["parameters"],
        "machine": card.training["machine"],
        "precision": card.training["precision"],
        "versions": {"fakescan": __version__, "torch": card.training["torch"]},
        "curves": [
            {key: round(value, 5) for key, value in one.items() if key != "images_per_second"}
            for one in history
        ],
    }
    if recipe.robustness:
        from fakescan.cli.evaluating import measure_robustness
        from fakescan.training.small_robustness import draw

        some = test if given.degrade is None else draw(test, given.degrade)
        conditions = measure_robustness(weights, backend, some, given.attack, given.device)
        row["robustness"] = [asdict(one) for one in conditions]
    if not given.limit:
        given.figures.mkdir(parents=True, exist_ok=True)
        for kind in ("curves", "evaluation"):
            drawn = weights.with_name(f"{kind}.png")
            with Image.open(drawn) as picture:
                # Lines on white need few colours; a hundred figures shouldn't weigh ten megabytes.
                plain = picture.convert("RGB").quantize(32)
                plain.save(given.figures / f"{recipe.name}-{kind}.png", optimize=True)
    return row


@functools.lru_cache(maxsize=1)
def read(path: Path, size: int | None):
    """The set at `path`, read once for all recipes in a row that use it."""
    from fakescan.training.data import read_dataset

    return read_dataset(path, side=size)


def link_some(data: Path, limit: int, folder: Path) -> Path:
    """A folder like the folder `data`, with `limit` training pictures and a fifth for the rest."""
    if not data.is_dir():
        raise FakescanError(f"--limit: {data} is an archive; unpack it first")
    classes = [one for one in sorted(data.glob("*/*")) if one.is_dir()]
    for source in classes:
        is_training = source.parent.name.lower().startswith("train")
        count = limit // 2 if is_training else limit // 10
        target = folder / data.name / source.parent.name / source.name
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(source.iterdir())[: max(2, count)]:
            link = target / file.name
            if not link.is_symlink():
                link.symlink_to(file.resolve())
    return folder / data.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
