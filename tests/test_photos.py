"""Photographs by source: read, split by component, drawn so that codecs tell no class."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CARD, save_tiny_model
from PIL import Image

from fakescan.gates import PHOTO_GATES
from fakescan.networks import Network
from fakescan.networks.photo import Statistics, _count_by_index, _count_by_products, build_photo
from fakescan.records import FakescanError, Reason
from fakescan.training import crossfit, train
from fakescan.training import material as material_module
from fakescan.training.batches import DegradedWindows
from fakescan.training.calibrate import LEAST
from fakescan.training.crossfit import (
    CONDITIONS,
    calibrate_by_others,
    judge_out_of_fold,
    pool_folds,
    train_photo,
)
from fakescan.training.degradation import DegradationOptions
from fakescan.training.evaluate import area_under_curve
from fakescan.training.folds import FOLDS, assign_folds, find_components, fold_weights
from fakescan.training.held_out import HeldOut, calibrate_by, pool
from fakescan.training.loop import train_on
from fakescan.training.material import held_back, part, photo_material
from fakescan.training.options import TrainingOptions
from fakescan.training.photos import (
    Kind,
    Photos,
    describe_route,
    list_sources,
    read_photos,
    weigh,
)
from fakescan.weights import Architecture, load_tensors, read_card

SIDE = 256  # halved it still holds a window


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sources a class; AI mostly at one quality, real pictures mostly at another."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows = []
    for label in ("ai", "real"):
        for source in range(6):
            for number in range(8):
                pixels = generator.integers(60, 190, (128, 128, 3), dtype=np.uint8)
                picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                usual = number < 6
                quality = 75 if (label == "ai") == usual else 95
                path = f"{label}-{source}-{number}.jpg"
                picture.save(folder / path, quality=quality, subsampling=0 if number % 2 else 2)
                rows.append(
                    {
                        "path": path,
                        "label": label,
                        "generator": f"generator-{source}" if label == "ai" else "",
                        "collection": f"{label}-collection-{source // 2}",
                        "encoding": "jpeg, original (lossless crop)",
                    }
                )
    write_index(folder, rows)
    return folder


def write_index(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def photos(folder: Path) -> Photos:
    return read_photos(folder)


def separability(routes: list[str], labels: np.ndarray) -> float:
    """AUC of telling classes by the route alone: the best score is each route's share of AI."""
    share = {
        route: np.mean([y for one, y in zip(routes, labels, strict=True) if one == route])
        for route in set(routes)
    }
    return area_under_curve(np.array([share[route] for route in routes]), labels)


def test_codecs_tell_the_classes_apart_before_weighing_and_not_after(photos: Photos) -> None:
    labels = photos.pictures.labels
    routes = [origin.route for origin in photos.origins]
    assert separability(routes, labels) > 0.7
    drawn = np.random.default_rng(1).choice(len(labels), 5000, p=weigh(photos))
    after = separability([routes[index] for index in drawn], labels[drawn])
    assert 0.45 < after < 0.55


def test_weights_give_half_to_each_class_and_no_source_its_whole_size(photos: Photos) -> None:
    weights = weigh(photos)
    labels = photos.pictures.labels
    assert weights.sum() == pytest.approx(1)
    assert weights[labels == 1].sum() == pytest.approx(0.5)
    # A source of a quarter of the pictures comes half as often as it would as a whole.
    sources = np.array([origin.source for origin in photos.origins])
    routes = np.array([origin.route for origin in photos.origins])
    few = np.flatnonzero((sources != "generator-0") | (np.arange(len(labels)) % 4 == 0))
    thinned = photos.take(few)
    same = dict(zip(few.tolist(), weigh(thinned).tolist(), strict=True))
    (route,) = {routes[index] for index in few if sources[index] == "generator-0"}
    ones = [same[index] for index in few if sources[index] == "generator-0"]
    others = [
        same[index] for index in few if sources[index] == "generator-1" and routes[index] == route
    ]
    assert np.mean(ones) == pytest.approx(2 * np.mean(others))


def test_a_sweep_shows_every_picture_alike_often_with_its_weight(photos: Photos) -> None:
    batches = DegradedWindows(photos, 128, 40, DegradationOptions(), 0, torch.device("cpu"))
    windows, labels, weights = map(torch.cat, zip(*batches.sweep(2, 0.5), strict=True))
    expected = weigh(photos).astype(np.float32)
    drawn = np.flatnonzero(expected)
    assert len(windows) == 2 * len(drawn)
    assert labels.tolist() == 2 * photos.pictures.labels[drawn].tolist()
    assert weights.tolist() == 2 * expected[drawn].tolist()
    assert not torch.equal(windows[: len(drawn)], windows[len(drawn) :])


@pytest.mark.parametrize("untouched", [0.0, 1.0])
def test_a_sweep_leaves_the_asked_share_untouched(photos: Photos, untouched: float) -> None:
    pictures = replace(photos.pictures, pixels=np.full_like(photos.pictures.pixels, 90))
    even = replace(photos, pictures=pictures)
    batches = DegradedWindows(even, 128, 96, DegradationOptions(noise=1), 0, torch.device("cpu"))
    windows = torch.cat([windows for windows, _, _ in batches.sweep(1, untouched)])
    unchanged = (windows == 90).all(dim=(1, 2, 3))
    assert unchanged.all() if untouched else not unchanged.all()


def test_components_join_what_shares_a_generator_or_a_collection() -> None:
    pairs = [("a", "x"), ("a", "y"), ("b", "y"), ("c", "z"), ("", "z"), ("", "w")]
    assert find_components(pairs).tolist() == [0, 0, 0, 1, 1, 2]


def test_folds_keep_components_whole_and_hold_both_classes(photos: Photos) -> None:
    pairs = [(origin.generator, origin.collection) for origin in photos.origins]
    components = find_components(pairs)
    for component in set(components.tolist()):
        assert len(np.unique(photos.folds.touches[components == component], axis=0)) == 1
    for fold in range(FOLDS):
        held_back = photos.folds.validation(fold)
        assert set(photos.pictures.labels[held_back].tolist()) == {0, 1}
        assert not (held_back & photos.folds.training(fold)).any()


def test_a_picture_of_two_families_validates_nowhere_and_trains_where_both_may_be_seen() -> None:
    pairs = [
        ("gpt-4o", ""),
        ("nano-banana", ""),
        ("gpt-4o_or_nano-banana_unlabelled", ""),
        ("sd1.5", ""),
    ]
    folds = assign_folds(pairs, [Kind.AI] * 4)
    trains = [folds.training(fold).tolist() for fold in range(FOLDS)]
    assert trains == [
        [False, True, False, True],
        [True, False, False, True],
        [True, True, True, False],
    ]
    validates = [folds.validation(fold).tolist() for fold in range(FOLDS)]
    assert validates == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, False, True],
    ]


def test_routes_differ_by_quality_chroma_and_way(folder: Path) -> None:
    low = (folder / "ai-0-0.jpg").read_bytes()
    high = (folder / "real-0-1.jpg").read_bytes()
    assert describe_route(low, "jpeg, original") == "original q1 4:2:0"
    assert describe_route(high, "jpeg, borrowed tables (from png)") == "borrowed q3 4:4:4"
    assert describe_route(b"RIFF", "lossless, shrunk to 0.5") == "shrunk lossless"


def test_what_cannot_be_validated_by_source_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match=r"index\.csv"):
        read_photos(tmp_path)
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    one_source = [row for row in rows if row["label"] == "real" or row["generator"][-1] == "0"]
    write_index(tmp_path, one_source)
    for row in one_source:
        shutil.copy(folder / row["path"], tmp_path)
    with pytest.raises(FakescanError, match="ai has 1 sources"):
        train_photo(read_photos(tmp_path), make_options(None, tmp_path))
    write_index(tmp_path, [row for row in rows if row["label"] == "real"])
    with pytest.raises(FakescanError, match="names no ai picture"):
        read_photos(tmp_path)


def test_folds_that_hold_back_too_little_are_said_before_training(
    photos: Photos, tmp_path: Path
) -> None:
    options = make_options(None, tmp_path)
    # Of AI, the two folds of four sources are left: the third has nothing to be validated by.
    kept = np.flatnonzero((photos.pictures.labels == 0) | ~photos.folds.validation(2))
    few = photos.take(kept)
    with pytest.raises(FakescanError, match="fold 2 holds back no ai picture"):
        train_photo(few, options)
    with pytest.raises(FakescanError, match="fold 2 holds back no ai picture"):
        train_photo(few, replace(options, fold=2))
    with pytest.raises(FakescanError, match="folds 0 to 2"):
        train_photo(photos, replace(options, fold=FOLDS))
    assert not list(tmp_path.iterdir())


def test_confounders_fill_no_fold_of_real_pictures() -> None:
    pairs, kinds = [], []
    for kind, generator, collection, count in (
        *((Kind.AI, f"g{number}", f"a{number}", 10) for number in range(FOLDS)),
        *((Kind.REAL, "", f"r{number}", 10) for number in range(FOLDS)),
        (Kind.CONFOUNDER, "", "scans", 50),
    ):
        pairs += [(generator, collection)] * count
        kinds += [kind] * count
    folds = assign_folds(pairs, kinds)
    for fold in range(FOLDS):
        held = np.flatnonzero(folds.validation(fold))
        assert {Kind.AI, Kind.REAL} <= {kinds[index] for index in held.tolist()}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"best_epoch": True, "fold": 0}, "--best-epoch"),
        ({"size": 241, "fold": 0}, "crops of 272 px"),
        ({"init": "photo"}, "--init"),
        ({"enlarge": 224, "fold": 0}, "--enlarge"),
    ],
)
def test_what_would_mislead_or_cannot_be_is_refused_before_training(
    photos: Photos, tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    with pytest.raises(FakescanError, match=words):
        train_photo(photos, replace(make_options(None, tmp_path), **changed))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_run_is_refused(photos: Photos, tmp_path: Path) -> None:
    options = replace(make_options(None, tmp_path), name="one", max_minutes=0.001)
    held_out = {"one": make_judged(20)[0]["out_of_fold_clean"]}
    for fold, count in ((0, 0), (None, 1), (1, 2)):
        one = replace(options, fold=fold, resume=count > 0)
        material = photo_material(photos, one, torch.device("cpu"), held_out)
        material = replace(material, validation=None, prepare=lambda network: None)
        if count == 0:
            train_on(material, one)
        else:
            with pytest.raises(FakescanError, match="of another run"):
                train_on(material, one)
    with pytest.raises(FakescanError, match="--name begins another run"):
        train_photo(photos, options)


def test_kept_folds_of_other_pictures_are_refused(photos: Photos, tmp_path: Path) -> None:
    options = replace(make_options(None, tmp_path), resume=True)
    seen = np.flatnonzero(photos.folds.training(0))
    sources = list_sources(photos.origins[index] for index in seen.tolist())
    architecture = options.architecture
    for sides, named in ((136, sources), (128, {**sources, "collections": []}), (128, None)):
        save_tiny_model(
            tmp_path / "photo" / "fold-0",
            replace(
                CARD,
                name="fold-0",
                architecture=architecture,
                input=replace(CARD.input, size=sides),
                training={"sources": named},
            ),
        )
        with pytest.raises(FakescanError, match="of another run, or of other pictures"):
            train_photo(photos, options)


@pytest.mark.parametrize(
    ("kept", "digest", "words"),
    [
        ({"seed": 1}, None, "with --seed 1 and not --seed 0"),
        ({"learning_rate": 0.5}, None, "with --learning-rate 0.5 and not"),
        ({}, "0" * 64, "on other pictures"),
        # What is ignored, and what a card from before tells nothing of, is no difference.
        ({"shift": 9, "max_minutes": 3.0, "size": None, "name": "fold-0"}, None, "gates"),
    ],
)
def test_kept_folds_of_other_options_are_refused(
    photos: Photos,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: dict[str, object],
    digest: str | None,
    words: str,
) -> None:
    options = replace(make_options(None, tmp_path), resume=True)
    training: dict[str, object] = {
        "sources": list_sources(part(photos, 0)[0].origins),
        "options": {"seed": 0, "epochs": 20, "batch_size": 16, "fold": 0, **kept},
    }
    if digest is not None:
        training["pictures_sha256"] = digest
    size = replace(CARD.input, size=128)
    card = replace(CARD, name="fold-0", architecture=options.architecture, input=size)
    save_tiny_model(tmp_path / "photo" / "fold-0", replace(card, training=training))
    real = {name: replace(one, labels=0 * one.labels) for name, one in make_judged(40)[0].items()}
    monkeypatch.setattr(crossfit, "train_on", lambda *_: None)
    monkeypatch.setattr(crossfit, "judge_out_of_fold", lambda *_: (real,) * FOLDS)
    with pytest.raises(FakescanError, match=words):
        train_photo(photos, options)


def test_an_index_may_begin_with_a_mark_and_must_name_path_and_label(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    index = tmp_path / "copy" / "index.csv"
    text = index.read_text("utf-8")
    index.write_text(text, "utf-8-sig")
    assert len(read_photos(tmp_path / "copy").origins) == 96
    for short in ("ai-0-0.jpg", ",ai", "ai-0-0.jpg,drawing"):
        index.write_text(f"{text}{short}\n", "utf-8")
        with pytest.raises(FakescanError, match="row 97 lacks a path, or a label of ai, real"):
            read_photos(tmp_path / "copy")
    # What is empty in it may be left out at its end.
    index.write_text(f"{text}real-0-0.jpg,real,,a\n", "utf-8")
    assert len(read_photos(tmp_path / "copy").origins) == 97
    index.write_text(text.replace("collection", "set", 1), "utf-8")
    with pytest.raises(FakescanError, match="no usable"):
        read_photos(tmp_path / "copy")


def test_a_listed_generator_of_a_collection_that_is_not_listed_is_held_back_with_it() -> None:
    pairs = [("sd1.5", "new"), ("", "new"), ("gpt-4o", ""), ("", "other"), ("dalle-3", "")]
    kinds = [Kind.AI, Kind.REAL, Kind.AI, Kind.REAL, Kind.AI]
    folds = assign_folds(pairs, kinds)
    assert (folds.touches[0] == folds.touches[1]).all()
    # By the list alone the second picture would be nobody's, and train in every fold.
    assert (folds.touches.sum(axis=1) == 1).all()
    mixed = assign_folds([("sd1.5", "new"), ("gpt-4o", "new")], [Kind.AI] * 2)
    assert (mixed.touches[0] == mixed.touches[1]).all()


def test_network_stays_within_its_budget() -> None:
    """At most 0.4 GMAC a window of 128 px, and any larger size at all."""
    network = build_photo().eval()
    operations = 0

    def count(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal operations
        operations += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 128, 128)).shape == (1,)
        assert operations <= 0.4e9
        assert network(torch.zeros(1, 3, 160, 200)).shape == (1,)


def test_statistics_count_triples_of_neighbouring_differences() -> None:
    statistics = Statistics()
    flat = torch.full((1, 3, 64, 96), 77.0)
    found = statistics(flat)
    assert found.shape == (1, statistics.channels, 2, 3)
    groups = found[0, : 6 * 39].reshape(6, 39, 2, 3)
    # Nothing differs: one triple, of zeros, has all the frequency.
    assert torch.equal(groups.amax(dim=1), torch.ones(6, 2, 3))
    assert torch.equal(groups.sum(dim=1), torch.ones(6, 2, 3))
    # In the transform only the mean is not nothing, and only of luma, the differences being none.
    transform = found[0, 6 * 39 :].reshape(3, 64, 2, 3).exp() - 0.1
    assert transform[0, 0].allclose(torch.tensor(77.0 * 8), rtol=1e-3)
    assert transform[0, 1:].abs().max() < 1e-2
    assert transform[1:].abs().max() < 1e-2


def test_statistics_of_a_ramp_are_of_its_slope() -> None:
    statistics = Statistics()
    # Values rise by 3 a pixel along rows: by two steps of 3 between the neighbours of a pixel.
    ramp = (3.0 * torch.arange(64)).clamp(max=250).repeat(1, 3, 64, 1)
    luma = statistics(ramp)[0, :39, 0, 0] ** 2
    # Along columns all is flat; the two directions count alike.
    assert sorted(luma.tolist())[-2:] == pytest.approx([0.5, 0.5], abs=0.05)
    assert luma.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("side", [128, 136])
def test_trees_are_fitted_on_what_they_are_shown(side: int) -> None:
    network = build_photo(channels=8).eval()
    # Half flat, so that no two blocks are alike.
    images = torch.randint(0, 256, (1, 3, side, side)).float()
    images[:, :, side // 2 :] = 90.0
    fitted = network.features.statistics(images)
    shown = network.features(images)[:, -fitted.shape[1] :].mean(dim=(2, 3))
    assert shown.allclose(fitted, atol=1e-5)


def test_statistics_are_counted_alike_by_index_and_by_products() -> None:
    # Exported graphs and GPUs multiply, processors look up.
    pairs = torch.randint(0, 25, (7, 60)).float()
    thirds = torch.randint(0, 5, (7, 60)).float()
    by_index = _count_by_index(pairs, thirds, 5)
    assert torch.equal(by_index, _count_by_products(pairs, thirds, 5))
    assert torch.equal(by_index.sum(dim=1), torch.full((7,), 60.0))


def test_statistics_see_a_mirror_image_alike() -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mirrored = Statistics()(pixels.flip(3))[:, : 6 * 39].mean(dim=(2, 3))
    assert mirrored.allclose(Statistics()(pixels)[:, : 6 * 39].mean(dim=(2, 3)), atol=0.05)


def make_options(data: Path | None, output: Path) -> TrainingOptions:
    return TrainingOptions(
        architecture=Architecture("photo", {"channels": 8}),
        data=data,
        output=output,
        size=128,
        max_minutes=0.04,
        batch_size=16,
    )


def test_photo_trains_and_says_where_it_fails(folder: Path, photos: Photos, tmp_path: Path) -> None:
    result = train(replace(make_options(folder, tmp_path), size=136, max_minutes=0.02, fold=2))
    card = json.loads(result.weights.with_suffix(".json").read_text())
    assert card["input"]["size"] == 136
    assert card["domain"]["minimum_side"] == 136
    assert card["training"]["options"]["fold"] == 2
    assert "shift" not in card["training"]["options"]
    held = {
        photos.origins[index].source
        for index in np.flatnonzero(photos.folds.validation(2)).tolist()
    }
    seen = {*card["training"]["sources"]["generators"], *card["training"]["sources"]["collections"]}
    assert held
    assert not held & seen
    assert 0 < card["training"]["left_out"]["held_back"] < 96
    assert any("Drawings" in limit for limit in card["limits"])


@pytest.mark.slow
def test_photo_is_calibrated_by_networks_that_have_not_seen_what_they_judge(
    folder: Path, tmp_path: Path
) -> None:
    options = make_options(folder, tmp_path)
    result = train(options)
    assert result.weights == tmp_path / "photo" / "photo.safetensors"
    card = read_card(result.weights.with_suffix(".json"))
    assert set(card.metrics) == {f"out_of_fold_{name}" for name in CONDITIONS}
    assert card.training["options"]["max_minutes"] == options.max_minutes
    assert card.training["left_out"] == {"held_back": 0}
    assert card.gates == PHOTO_GATES
    folds = [read_card(fold_weights(tmp_path / "photo", k).with_suffix(".json")) for k in range(3)]
    assert all(fold.training["left_out"]["held_back"] for fold in folds)
    assert all("out_of_fold_clean" in fold.metrics for fold in folds)
    # Each by the two others, so that no two are alike, and none is as that of all.
    assert len({one.calibration for one in (card, *folds)}) == FOLDS + 1

    made = [fold_weights(tmp_path / "photo", fold).stat().st_mtime_ns for fold in range(FOLDS)]
    train(replace(options, resume=True))
    again = [fold_weights(tmp_path / "photo", fold).stat().st_mtime_ns for fold in range(FOLDS)]
    assert again == made


def test_conditions_that_do_not_calibrate_bind_the_thresholds_all_the_same(
    photos: Photos, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.uint8([0, 1]), 300)
    clear = HeldOut(generator.normal(2.0 * labels - 1, 1.0), labels)
    # All lower by three: less is called AI, and much of the AI looks real.
    dim = replace(clear, logits=clear.logits - 3)
    cards = []
    for name, held_out in {
        "clear": {"clear": clear},
        "both": {"clear": clear, "dim": replace(dim, calibrates=False)},
        "pooled": {"clear": clear, "dim": dim},
    }.items():
        options = replace(make_options(None, tmp_path), name=name, max_minutes=0.001)
        material = photo_material(photos, options, torch.device("cpu"), held_out)
        result = train_on(replace(material, prepare=lambda network: None), options)
        cards.append(read_card(result.weights.with_suffix(".json")))
    alone, both, pooled = cards
    assert both.calibration == alone.calibration != pooled.calibration
    assert both.thresholds.ai == alone.thresholds.ai
    assert both.thresholds.real.score < alone.thresholds.real.score
    assert set(both.metrics) == {"clear", "dim"}


@pytest.mark.parametrize(
    ("refused", "left"),
    [((), 0), (("blur",), LEAST // FOLDS), (("blur",), LEAST // FOLDS - 1), (("clean",), 0)],
)
def test_a_condition_that_the_gates_leave_too_little_of_binds_nothing(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...], left: int
) -> None:
    labels = photos.pictures.labels

    class Panel:
        """Judges by brightness; where `refused`, its gates pass `left` of the AI pictures."""

        def judge(
            self, pixels: np.ndarray, indices: np.ndarray, _: object, __: object, name: str
        ) -> tuple[np.ndarray, tuple[Reason | None, ...]]:
            is_ai = labels[indices] == 1
            away = is_ai & (is_ai.cumsum() > left) & (name in refused)
            reasons = tuple(Reason.TOO_DEGRADED if one else None for one in away)
            return pixels[indices].mean(axis=(1, 2, 3)), reasons

    monkeypatch.setattr(crossfit, "load_judge", lambda path, **_: path)
    monkeypatch.setattr(crossfit, "seat_one", lambda judge, count: Panel())
    judged = judge_out_of_fold(photos, [Path()] * FOLDS, "cpu")
    sizes = [len(held_out["out_of_fold_jpeg-70"].labels) for held_out in judged]
    assert sizes == [len(held_back(photos, fold)) for fold in range(FOLDS)]
    found = pool_folds(judged)
    missing = set(refused) if FOLDS * left < LEAST else set()
    assert set(found) == {f"out_of_fold_{name}" for name in set(CONDITIONS) - missing}
    calibrating = {name for name, one in found.items() if one.calibrates}
    usual = {f"out_of_fold_{name}" for name in ("clean", "jpeg-70", "half-jpeg-75")}
    assert calibrating == usual - {f"out_of_fold_{name}" for name in refused}


def make_judged(count: int) -> list[dict[str, HeldOut]]:
    """Three folds, clean and blurred, `count` of each class; each fold's logits lie elsewhere."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.uint8([0, 1]), count)
    return [
        {
            f"out_of_fold_{name}": HeldOut(
                generator.normal(2.0 * labels - 1 + fold - less, 1.0), labels, name == "clean"
            )
            for name, less in (("clean", 0), ("blur", 2))
        }
        for fold in range(FOLDS)
    ]


def test_a_fold_is_calibrated_by_the_others_and_measured_by_its_own(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path)
    before = read_card(weights.with_suffix(".json"))
    judged = make_judged(200)
    calibrate_by_others(weights, judged, 1)
    card = read_card(weights.with_suffix(".json"))
    others = {name: pool([judged[0][name], judged[2][name]]) for name in judged[0]}
    assert (card.calibration, card.thresholds) == calibrate_by(others)
    assert card.thresholds is not None
    assert card.thresholds.ai[0].n == 400
    assert set(card.metrics) == set(judged[1])
    own = judged[1]["out_of_fold_clean"]
    assert card.metrics["out_of_fold_clean"]["n"] == 400
    assert card.metrics["out_of_fold_clean"]["auc"] == area_under_curve(own.logits, own.labels)
    assert replace(card, calibration=None, thresholds=None, metrics={}) == replace(
        before, calibration=None, thresholds=None, metrics={}
    )


def test_a_fold_without_others_of_both_classes_calls_nothing(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path)
    judged = make_judged(40)
    for fold in (0, 2):
        judged[fold] = {
            name: replace(one, logits=one.logits[:40], labels=one.labels[:40])
            for name, one in judged[fold].items()
        }
    calibrate_by_others(weights, judged, 1)
    card = read_card(weights.with_suffix(".json"))
    assert card.calibration is card.thresholds is None
    assert card.metrics == {}


def test_training_ends_where_the_gates_leave_no_class(
    photos: Photos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = {name: replace(one, labels=0 * one.labels) for name, one in make_judged(40)[0].items()}
    monkeypatch.setattr(crossfit, "train_on", lambda *_: None)
    monkeypatch.setattr(crossfit, "judge_out_of_fold", lambda *_: (real,) * FOLDS)
    with pytest.raises(FakescanError, match="refuse all"):
        train_photo(photos, make_options(None, tmp_path))


def test_what_is_prepared_is_shipped_and_prepared_once(photos: Photos, tmp_path: Path) -> None:
    options = replace(make_options(None, tmp_path), name="one", max_minutes=0.001)
    logits = np.random.default_rng(0).normal(size=60)
    held_out = {"one": HeldOut(logits, np.repeat(np.uint8([0, 1]), 30))}
    asked = []

    def prepare(network: Network) -> None:
        asked.append(network)
        network.head.trees.value.fill_(0.25)

    material = photo_material(photos, options, torch.device("cpu"), held_out)
    for resume in (False, True):
        result = train_on(replace(material, prepare=prepare), replace(options, resume=resume))
        assert (load_tensors(result.weights)["head.trees.value"] == 0.25).all()
    assert len(asked) == 1


def test_a_photo_network_is_prepared_by_fitting_its_trees(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []
    monkeypatch.setattr(
        material_module, "fit_trees", lambda *given, **named: fitted.append((given, named))
    )
    options = make_options(None, tmp_path)
    material = photo_material(photos, options, torch.device("cpu"), {})
    network = build_photo(channels=8)
    material.prepare(network)
    assert fitted == [((network,), {"batches": material.batches, "seed": options.seed})]


def test_confounders_are_held_back_from_calibration(folder: Path, tmp_path: Path) -> None:
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[-8:]:
        row["label"] = "confounder"
    for row in rows:
        row["path"] = str(folder / row["path"])
    write_index(tmp_path, rows)
    photos = read_photos(tmp_path)
    found = np.concatenate([held_back(photos, fold) for fold in range(FOLDS)])
    kinds = [photos.origins[place].kind for place in found.tolist()]
    assert len(kinds) == len(rows) - 8
    assert Kind.CONFOUNDER not in kinds
