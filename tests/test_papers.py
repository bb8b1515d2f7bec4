"""benchmarks/papers: recipes that build, results that last, tables that hide nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CHECKOUT, noisy, plain, save_tiny_model
from PIL import Image
from test_training import make_set

from fakescan.model import Detector, build_network
from fakescan.records import FakescanError, Split
from fakescan.training.data import AI, REAL, read_dataset
from fakescan.training.options import Optimizer, Schedule
from fakescan.weights import Architecture, Input

sys.path.insert(0, str(CHECKOUT / "benchmarks" / "papers"))
pytest.importorskip("recipes", reason="the recipes are in the checkout")

import duplicates
import grid
import recipes
import results
import run
import table

RECIPES = recipes.read_recipes()
TINY = recipes.Recipe(
    name="tiny",
    title="A tiny CNN",
    source="nobody",
    differs="Everything.",
    reported={"accuracy": 0.9, "f1": [0.8, 0.95]},
    architecture=Architecture("cnn", {"filters": 8, "layers": 2, "dense": [8]}),
    training={
        "batch_size": 8,
        "epochs": 3,
        "validation_fraction": 0.25,
        "optimizer": "adamw",
        "schedule": "cosine",
    },
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Recipes


RUNNABLE = [recipe for recipe in RECIPES.values() if recipe.architecture is not None]


@pytest.mark.parametrize("recipe", RUNNABLE, ids=lambda recipe: recipe.name)
def test_every_recipe_builds_and_takes_its_pictures(recipe: recipes.Recipe) -> None:
    options = recipe.options()
    assert isinstance(options.optimizer, Optimizer) and isinstance(options.schedule, Schedule)
    side = options.size or 32
    given = Input(side, (0.5,) * 3, (0.25,) * 3, mirror=options.mirror, enlarge=options.enlarge)
    # On no device: shapes are checked, nothing is computed.
    with torch.device("meta"):
        detector = Detector(build_network(options.architecture), given).eval()
        assert detector(torch.empty(2, side, side, 3, dtype=torch.uint8)).shape == (2,)


def test_the_systems_that_were_published_are_there() -> None:
    topologies = {name for name in RECIPES if name.startswith("bird-lotfi-")}
    assert len(topologies) == 36
    assert {"bird-lotfi-32x2", "bird-lotfi-128x3", "bird-lotfi-dense-4096x3"} <= topologies
    wide = RECIPES["bird-lotfi-dense-4096x3"].architecture
    assert wide is not None and wide.options["dense"] == [4096] * 3
    small = RECIPES["small-vgg"].architecture
    assert small is not None
    assert round(sum(p.numel() for p in build_network(small).parameters()), -3) == 288_000
    assert RECIPES["vit-b16"].not_run is not None


def test_counts_become_figures() -> None:
    fine_tuned, custom = RECIPES["mmu-resnet18"].reported, RECIPES["mmu-cnn"].reported
    assert fine_tuned["accuracy"] == pytest.approx(0.9658)
    assert fine_tuned["precision"] == pytest.approx(4703 / 4791)
    assert fine_tuned["recall"] == pytest.approx(4703 / 4957)
    assert custom["accuracy"] == pytest.approx(0.9511)


def test_a_digest_is_of_what_is_trained() -> None:
    assert TINY.digest == replace(TINY, title="Another", differs="").digest
    assert TINY.digest != replace(TINY, training={**TINY.training, "epochs": 4}).digest
    assert TINY.digest != replace(TINY, architecture=Architecture("cnn")).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrong = 1", "unknown keys"),
        ("[training]\nlearning = 1", "train has no options"),
        ("[training]\nseed = 1", "train has no options"),
    ],
)
def test_keys_that_mean_nothing_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        recipes.read_recipes(tmp_path)


# Running


@pytest.fixture
def only_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = replace(TINY, name="tiny-faces", data="faces")
    fetched = replace(
        TINY,
        name="fetched",
        architecture=Architecture("resnet18"),
        training={**TINY.training, "pretrained": "imagenet"},
    )
    listed = {one.name: one for one in (TINY, faces, fetched)}
    monkeypatch.setattr(run, "read_recipes", lambda: listed)

    def load(*arguments: object, **options: object) -> None:
        raise OSError

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    run.read.cache_clear()


def flags(folder: Path, *more: str | Path) -> list[str]:
    readme = folder / "README.md"
    if not readme.exists():
        readme.write_text(f"Before.\n{table.BEGIN}\n{table.END}\nAfter.\n")
    given = {"--output": "runs", "--results": "papers.json", "--readme": "README.md"}
    named = [str(part) for flag, name in given.items() for part in (flag, folder / name)]
    named += ["--figures", str(folder / "figures"), "--device", "cpu"]
    return [*named, *map(str, more)]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("papers") / "cifake")


def test_a_recipe_is_run_once_and_its_row_tells_all(
    only_tiny: None, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = flags(tmp_path, "--data", small_set, "--only", "tiny", "--epochs", "2")
    assert run.main(arguments) == 0
    (row,) = json.loads((tmp_path / "papers.json").read_text())
    assert (row["recipe"], row["seed"], row["epochs"]) == ("tiny", 0, 2)
    assert (row["epochs_done"], row["recipe_epochs"]) == (2.0, 3)
    assert row["reported"] == {"accuracy": 0.9, "f1": [0.8, 0.95]}
    assert row["measured"]["n"] == 16 and row["validation"]["n"] == 8
    assert row["parameters"] == sum(
        p.numel()
        for p in build_network(TINY.architecture).parameters()  # type: ignore[arg-type]
    )
    assert row["seconds"] > 0 and "thread" in row["machine"]
    assert [one["epoch"] for one in row["curves"]] == [1, 2]
    for kind in ("curves", "evaluation"):
        assert (tmp_path / f"figures/tiny-{kind}.png").stat().st_size > 1000
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("Before.") and text.endswith("After.\n")
    assert "**2 of 3***" in text

    with monkeypatch.context() as patch:
        patch.setattr(run, "train_and_measure", lambda *a: pytest.fail("ran again"))
        assert run.main(arguments) == 0
    # Other epochs and other seeds are other rows.
    assert run.main([*arguments, "--epochs", "1", "--seeds", "0", "1"]) == 0
    rows = json.loads((tmp_path / "papers.json").read_text())
    assert [(one["epochs"], one["seed"]) for one in rows] == [(1, 0), (2, 0), (1, 1)]


def test_robustness_may_be_of_fewer_pictures(
    only_tiny: None, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robust = replace(TINY, name="robust", robustness=True)
    monkeypatch.setattr(run, "read_recipes", lambda: {"robust": robust})
    arguments = flags(tmp_path, "--data", small_set, "--epochs", "1", "--degrade", "8")
    assert run.main([*arguments, "--attack", "4"]) == 0
    (row,) = json.loads((tmp_path / "papers.json").read_text())
    counts = {one["condition"]: one["n"] for one in row["robustness"]}
    assert (counts["clean"], counts["jpeg-40"]) == (8, 8)
    assert (counts["not-attacked"], counts["pgd-4"]) == (4, 4)
    # The figure of the recipe is of the whole test all the same.
    assert row["measured"]["n"] == 16


def test_an_interrupted_training_goes_on(
    only_tiny: None, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = flags(tmp_path, "--data", small_set, "--only", "tiny")
    plain_step = torch.optim.AdamW.step
    taken: list[int] = []

    def interrupted(self: torch.optim.AdamW, *given: Any) -> Any:
        taken.append(1)
        if len(taken) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain_step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    assert run.main(arguments) == 130
    assert not (tmp_path / "papers.json").exists()
    assert run.main(arguments) == 0
    # Nine steps in all: none was taken twice.
    assert len(taken) == 9
    (row,) = json.loads((tmp_path / "papers.json").read_text())
    assert row["epochs_done"] == 3.0


def test_a_trial_leaves_no_result(only_tiny: None, small_set: Path, tmp_path: Path) -> None:
    arguments = flags(tmp_path, "--data", small_set, "--only", "tiny", "--limit", "20")
    assert run.main([*arguments, "--epochs", "1"]) == 0
    assert not (tmp_path / "papers.json").exists() and not (tmp_path / "figures").exists()
    linked = read_dataset(tmp_path / "runs/limit-20/cifake")
    assert {split: len(found) for split, found in linked.splits.items()} == {
        Split.TRAIN: 20,
        Split.TEST: 4,
    }


def test_what_cannot_run_is_told_and_not_filled_in(
    only_tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(flags(tmp_path, "--only", "tiny-faces", "--only", "fetched")) == 0
    told = capsys.readouterr().out
    assert "tiny-faces: not run: needs the set of faces" in told
    assert "fetched: not run: --pretrained imagenet: https://" in told
    text = (tmp_path / "README.md").read_text()
    assert "needs torchvision's weights for ImageNet" in text and "not yet" in text
    assert not (tmp_path / "papers.json").exists()


def test_what_cannot_be_fetched_can_begin_from_random_weights(
    only_tiny: None, small_set: Path, tmp_path: Path
) -> None:
    arguments = flags(tmp_path, "--data", small_set, "--only", "fetched", "--epochs", "1")
    assert run.main([*arguments, "--from-scratch"]) == 0
    (row,) = json.loads((tmp_path / "papers.json").read_text())
    assert (row["recipe"], row["from_scratch"]) == ("fetched", True)
    assert "**1 of 3***, **from random weights**" in (tmp_path / "README.md").read_text()
    # It stands in for nothing: the recipe itself is still to be run.
    assert run.main(arguments) == 0
    assert len(json.loads((tmp_path / "papers.json").read_text())) == 1


def test_the_list_tells_every_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run.main(["--list", "--results", str(tmp_path / "none.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(RECIPES)


def test_a_recipe_that_does_not_exist_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "nothing"]) == 2
    assert capsys.readouterr().err == "run.py: no recipe nothing; --list tells all\n"


# Faces


def make_faces(folder: Path, side: int = 224) -> Path:
    """The layout in which the set of faces is distributed, with made pictures."""
    seed = 0
    for split, count in (("Train", 8), ("Validation", 4), ("Test", 4)):
        for name in ("Real", "Fake"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                seed += 1
                picture = noisy(seed, (side, side), ".jpg")
                (folder / split / name / f"{name.lower()}_{number}.jpg").write_bytes(picture)
    return folder


def test_faces_are_read_as_they_are_distributed(tmp_path: Path) -> None:
    dataset = read_dataset(make_faces(tmp_path / "faces"), side=224)
    counts = {split: len(found) for split, found in dataset.splits.items()}
    assert counts == {Split.TRAIN: 16, Split.VALIDATION: 8, Split.TEST: 8}
    for found in dataset.splits.values():
        assert found.pixels.shape[1:] == (224, 224, 3)
        expected = [AI if "/Fake/" in name else REAL for name in found.names]
        assert found.labels.tolist() == expected


def test_faces_validate_on_their_own_split(only_tiny: None, tmp_path: Path) -> None:
    faces = make_faces(tmp_path / "faces", side=32)
    arguments = flags(tmp_path, "--faces", faces, "--only", "tiny-faces", "--epochs", "1")
    assert run.main(arguments) == 0
    (row,) = json.loads((tmp_path / "papers.json").read_text())
    assert (row["validation"]["n"], row["measured"]["n"]) == (8, 8)


# Tables


def row(recipe: recipes.Recipe = TINY, **changes: Any) -> dict[str, Any]:
    counts = ("true_positives", "true_negatives", "false_positives", "false_negatives")
    measured = dict.fromkeys(recipes.FIGURES, 0.875) | dict.fromkeys(counts, 4)
    made = {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": 0,
        "measured": measured,
        "validation": {"accuracy": 0.8},
        "epochs": 3,
        "epochs_done": 3.0,
        "recipe_epochs": 3,
        "seconds": 90.0,
        "parameters": 12345,
        "machine": "a processor, 2 threads",
        "from_scratch": False,
    }
    return {**made, **changes}


def tables(*rows: dict[str, Any], listed: tuple[recipes.Recipe, ...] = (TINY,)) -> str:
    return table.make_tables({one.name: one for one in listed}, rows)


def test_theirs_stands_beside_ours() -> None:
    text = tables(row())
    assert "| tiny | A tiny CNN (nobody) | 90.00 / 87.50 | - / 87.50 |" in text
    assert "80.00 to 95.00 / 87.50" in text
    assert "| 4, 4, 4, 4 | 12,345 | 3 | 1.5 min (A) |" in text
    assert "Machine A: a processor, 2 threads." in text
    assert "- tiny: Everything." in text
    assert "*" not in text


def test_notes_on_their_figures_are_told() -> None:
    noted = replace(TINY, reported={"accuracy": 0.9, "note": "of the best"})
    assert "A tiny CNN (nobody; theirs: of the best)" in tables(row(), listed=(noted,))
    assert "A tiny CNN (nobody; theirs: of the best)" in tables(listed=(noted,))


def test_fewer_epochs_are_marked() -> None:
    text = tables(row(epochs=1, epochs_done=1.0))
    assert "90.00 / 87.50*" in text and "**1 of 3***" in text
    cut_short = tables(row(epochs_done=2.4))
    assert "**2.4 of 3***" in cut_short
    # What came nearer is what is shown.
    assert "*" not in tables(row(epochs=1, epochs_done=1.0), row())


def test_other_beginnings_are_marked() -> None:
    scratch = row(from_scratch=True)
    assert "| 3, **from random weights** |" in tables(scratch)
    # What began as the recipe does is what is shown, whatever its epochs.
    assert "random" not in tables(scratch, row(epochs=1, epochs_done=1.0))


def test_seeds_give_mean_and_deviation() -> None:
    other = row(seed=1)
    other["measured"] = {**other["measured"], "accuracy": 0.9}
    assert "90.00 / 88.75 ± 1.77" in tables(row(), other)


def test_scorings_on_the_test_are_counted() -> None:
    former = row(recipe_digest="0" * 12)
    text = tables(row(), row(seed=1), former)
    # A recipe that was changed since has seen the test all the same.
    assert "1 recipes in 3 runs have been scored on the official test" in text
    assert "87.50 ± 0.00" in text


def test_the_record_is_chosen_on_validation() -> None:
    first = replace(TINY, name="first", record=True)
    second = replace(TINY, name="second", record=True)
    better_on_test = row(first, validation={"accuracy": 0.7})
    better_on_validation = row(second, validation={"accuracy": 0.9})
    better_on_validation["measured"] = {**better_on_validation["measured"], "accuracy": 0.5}
    text = tables(better_on_test, better_on_validation, listed=(first, second))
    assert "Best on validation of those that compete: second, 50.00 % on the test" in text


def test_robustness_has_a_table() -> None:
    measured = [
        {"condition": "clean", "n": 2000, "accuracy": 0.9, "published": 0.973},
        {"condition": "pgd-1", "n": 100, "accuracy": 0.6, "published": None},
    ]
    text = tables(row(robustness=measured))
    assert "| condition | published | tiny (2,000 / 100) |" in text
    assert "| clean | 97.30 | 90.00 |" in text and "| pgd-1 | - | 60.00 |" in text


def test_a_changed_recipe_has_no_figures_yet() -> None:
    text = tables(row(recipe_digest="0" * 12))
    assert "87.50" not in text and "| tiny | A tiny CNN (nobody) | 90.00 |" in text
    assert text.rstrip().endswith("| not yet |")


def test_tables_need_their_markers(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match="markers"):
        table.write_tables(tmp_path / "README.md", RECIPES, [])


def test_the_committed_tables_are_of_the_committed_results(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(table.README.read_text("utf-8"), "utf-8")
    table.write_tables(copy, RECIPES, results.read_rows(results.RESULTS))
    assert copy.read_text("utf-8") == table.README.read_text("utf-8")


# CIFAKE itself


def test_repeats_are_found_and_figures_told_without_them(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "cifake", 4, 4)
    fake = folder / "train/FAKE"
    (fake / "again.png").write_bytes((fake / "0000 (2).png").read_bytes())
    for number in (0, 1):
        leaked = folder / f"test/FAKE/000{number} (2).png"
        (fake / f"leaked {number}.png").write_bytes(leaked.read_bytes())
    weights = save_tiny_model(tmp_path / "models")
    found = duplicates.measure(str(weights), folder, "cpu")
    assert found["test_files_in_train"] == 2
    assert found["repeats_inside"] == {"train": 1, "test": 0}
    accuracy = found["accuracy"]
    whole = (6 * accuracy["without_those_in_train"] + 2 * accuracy["those_in_train"]) / 8
    assert accuracy["all"] == pytest.approx(whole)


def test_without_repeats_there_is_no_figure_of_them(small_set: Path, tmp_path: Path) -> None:
    found = duplicates.measure(str(save_tiny_model(tmp_path)), small_set, "cpu")
    assert found["test_files_in_train"] == 0
    assert found["accuracy"]["those_in_train"] is None
    assert found["accuracy"]["all"] == found["accuracy"]["without_those_in_train"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifake/test/REAL/0017.jpg", "airplane"),
        ("cifake/test/FAKE/17 (2).jpg", "automobile"),
        ("cifake/test/FAKE/0999 (10).jpg", "truck"),
    ],
)
def test_classes_follow_from_names(name: str, expected: str) -> None:
    assert grid.class_of(name) == expected


def test_the_grid_shows_each_class_real_and_fake(tmp_path: Path) -> None:
    folder = tmp_path / "cifake"
    suffixes = ["", *(f" ({number})" for number in range(2, 11))]
    for name in ("REAL", "FAKE"):
        (folder / "test" / name).mkdir(parents=True)
        for number, suffix in enumerate(suffixes):
            picture = noisy(number) if name == "REAL" else plain(20 * number + 10)
            (folder / "test" / name / f"0001{suffix}.png").write_bytes(picture)
    output = tmp_path / "grid.png"
    grid.draw(str(save_tiny_model(tmp_path)), folder, output)
    with Image.open(output) as drawn:
        assert drawn.size == (1950, 840)
    pictures = read_dataset(folder).splits[Split.TEST]
    chosen = grid.choose(pictures, 0)
    assert [[grid.class_of(pictures.names[index]) for index in line] for line in chosen] == [
        list(grid.CLASSES),
        list(grid.CLASSES),
    ]
    assert (pictures.labels[chosen] == [[REAL], [AI]]).all()
    with pytest.raises(FakescanError, match="no real picture of class airplane"):
        grid.choose(pictures.take(np.flatnonzero(pictures.labels == AI)), 0)


def test_a_limit_of_an_archive_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match="unpack it first"):
        run.link_some(tmp_path / "cifake.zip", 20, tmp_path)
