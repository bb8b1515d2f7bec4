from __future__ import annotations

import io
import json
import math
import os
import shlex
import signal
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import (
    BRIGHT,
    CARD,
    DARK,
    FakeBackend,
    noisy,
    plain,
    run,
    save_tiny_model,
)
from PIL import Image, ImageFilter

from fakescan.backends import Backend, load_backend
from fakescan.images import crop_positions, cut_crops
from fakescan.records import FakescanError, Split
from fakescan.training import evaluate as evaluation_module
from fakescan.training import loop, train
from fakescan.training.augment import augment, warp
from fakescan.training.batches import Augmentation, ShuffledPictures
from fakescan.training.data import (
    Dataset,
    Pictures,
    find_data,
    labelled_files,
    read_dataset,
    source_of,
    split_off,
)
from fakescan.training.evaluate import (
    Evaluation,
    area_under_curve,
    calibration_error,
    compute_metrics,
    pooled_logits,
    read_split,
    reliability,
    roc_curve,
    true_positive_rate,
)
from fakescan.training.optimization import learning_rate, make_optimizer
from fakescan.training.options import Optimizer, Schedule, TrainingOptions
from fakescan.training.pictures import draw_curves, draw_sources
from fakescan.weights import Architecture, Calibration, load_card, load_tensors

REAL, FAKE = 0, 1


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks of a few thousand weights lose time to threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CNN = Architecture("cnn", {"filters": 8, "layers": 2, "dense": (16,)})


def labelled(label: int, seed: int) -> bytes:
    """Noise that is smooth in one class: a difference that a small network finds at once."""
    with Image.open(io.BytesIO(noisy(seed))) as picture:
        if label == FAKE:
            picture = picture.filter(ImageFilter.BoxBlur(2))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
    return stream.getvalue()


def make_set(folder: Path, train_pictures: int = 16, test_pictures: int = 8) -> Path:
    """A small set in CIFAKE's layout, with as many of each class."""
    seed = 0
    for split, count in (("train", train_pictures), ("test", test_pictures)):
        for label, name in ((REAL, "REAL"), (FAKE, "FAKE")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                seed += 1
                path = folder / split / name / f"{number:04} (2).png"
                path.write_bytes(labelled(label, seed))
    return folder


@pytest.fixture(scope="session")
def made_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("sets") / "cifake")


@pytest.fixture
def own_set(tmp_path: Path) -> Path:
    """A set that the test may change."""
    return make_set(tmp_path / "cifake", 4, 2)


def pack_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder.parent))
    return path


def pack_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:" + path.suffix[1:]) as archive:
        archive.add(folder, folder.name)
    return path


def contents(dataset: Dataset) -> dict[str, Any]:
    return {
        split.value: (found.names, found.labels.tolist(), found.pixels.tobytes())
        for split, found in dataset.splits.items()
    }


# Data


def test_folder_and_archives_give_the_same_set(made_set: Path, tmp_path: Path) -> None:
    dataset = read_dataset(made_set)
    assert {split: len(found) for split, found in dataset.splits.items()} == {
        Split.TRAIN: 32,
        Split.TEST: 16,
    }
    assert (dataset.name, dataset.side) == ("cifake", 32)
    assert (dataset.minimum_side, dataset.maximum_side) == (32, 32)
    assert set(dataset.left_out.values()) == {0}
    for archive in (
        pack_zip(made_set, tmp_path / "cifake.zip"),
        pack_tar(made_set, tmp_path / "cifake.tar.gz"),
        pack_tar(made_set, tmp_path / "cifake.tar.xz"),
    ):
        packed = read_dataset(archive)
        assert contents(packed) == contents(dataset)
        assert packed.name == "cifake"


def test_pictures_and_labels_belong_together(made_set: Path) -> None:
    found = read_dataset(made_set).splits[Split.TEST]
    for name, label, pixels in zip(found.names, found.labels, found.pixels, strict=True):
        assert label == (FAKE if "/FAKE/" in name else REAL)
        with Image.open(made_set.parent / name) as picture:
            assert np.array_equal(np.asarray(picture), pixels)


def test_training_files_that_stand_in_another_split_are_left_out(own_set: Path) -> None:
    leaked = own_set / "test/FAKE/0000 (2).png"
    (own_set / "train/FAKE/copy.png").write_bytes(leaked.read_bytes())
    dataset = read_dataset(own_set)
    assert dataset.left_out["also_in_another_split"] == 1
    assert len(dataset.splits[Split.TRAIN]) == 8
    assert len(dataset.splits[Split.TEST]) == 4


def test_unreadable_and_small_pictures_are_left_out_and_counted(own_set: Path) -> None:
    (own_set / "train/REAL/broken.png").write_bytes(plain()[:60])
    (own_set / "train/REAL/small.png").write_bytes(plain(size=(31, 32)))
    (own_set / "train/REAL/notes.txt").write_bytes(b"no picture")
    (own_set / "stray.png").write_bytes(plain())
    dataset = read_dataset(own_set, side=32)
    assert dataset.left_out == {
        "unreadable": 1,
        "smaller_than_side": 1,
        "also_in_another_split": 0,
        "in_both_classes": 0,
    }
    assert len(dataset.splits[Split.TRAIN]) == 8


def test_one_picture_in_both_classes_is_left_out_of_both(own_set: Path) -> None:
    for name in ("train/REAL/z.png", "train/FAKE/z.png", "test/REAL/z.png", "test/FAKE/y.png"):
        (own_set / name).write_bytes(plain(70 if name.endswith("z.png") else 90))
    (own_set / "train/REAL/y.png").write_bytes(plain(90))
    dataset = read_dataset(own_set)
    # Those of train stand in another split too.
    assert dataset.left_out["also_in_another_split"] == 3
    assert dataset.left_out["in_both_classes"] == 2
    assert {split: len(found) for split, found in dataset.splits.items()} == {
        Split.TRAIN: 8,
        Split.TEST: 4,
    }


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (64, "none of the 12 pictures in folders of classes can be used: 12 smaller than 64 px$"),
        (32, "none of the 12 pictures in folders of classes can be used: 12 unreadable$"),
    ],
)
def test_why_no_picture_is_left_is_said(own_set: Path, side: int, words: str) -> None:
    if side == 32:
        for path in own_set.rglob("*.png"):
            path.write_bytes(b"no picture")
    with pytest.raises(FakescanError, match=words):
        read_dataset(own_set, side=side)


def test_why_a_class_is_missing_is_said(own_set: Path) -> None:
    for path in own_set.rglob("FAKE/*.png"):
        path.write_bytes(plain(size=(16, 16)))
    (own_set / "train/FAKE/broken.png").write_bytes(b"no picture")
    words = "no pictures of class FAKE in its train split; left out: 4 smaller than 32 px, 1 unread"
    with pytest.raises(FakescanError, match=words):
        read_dataset(own_set, side=32)


def make_tree(root: Path, *folders: str) -> Path:
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.png").write_bytes(plain(10 + number))
    return root


@pytest.mark.parametrize(
    ("root", "real", "fake", "beside"),
    [
        ("set", ("REAL/x",), ("FAKE/nature", "FAKE/human", "FAKE/photos/real"), ()),
        ("set", ("photos/real", "nature/x"), ("photos/fake", "human/ai/camera"), ()),
        ("photos", ("real",), ("fake",), ("midjourney",)),
        ("fake", ("real/x",), ("ai",), ("x",)),
    ],
)
def test_the_outermost_class_folder_counts_and_never_the_root(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
    real: tuple[str, ...],
    fake: tuple[str, ...],
    beside: tuple[str, ...],
) -> None:
    folder = make_tree(tmp_path / root, *real, *fake, *beside)
    expected = {f"{root}/{name}/a.png": REAL for name in real}
    expected |= {f"{root}/{name}/a.png": FAKE for name in fake}
    monkeypatch.chdir(folder)
    packed = pack_zip(folder, tmp_path / "packed.zip"), pack_tar(folder, tmp_path / "packed.tar.gz")
    for path in (folder, Path("."), *packed):
        found = read_dataset(path).splits[Split.TRAIN]
        assert dict(zip(found.names, found.labels.tolist(), strict=True)) == expected
        split, files = labelled_files(path, None)
        assert split == Split.TRAIN
        read = {name: (label, data()) for name, label, data in files}
        assert {name: label for name, (label, _) in read.items()} == expected
        assert all(data.startswith(b"\x89PNG") for _, data in read.values())


def test_an_archive_of_the_classes_themselves_is_read(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "real", "REAL/canon", "FAKE/nature")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    with tarfile.open(tmp_path / "inner.tar", "w") as tar:
        tar.add(folder, ".")
    for path in (tmp_path / "inner.zip", tmp_path / "inner.tar"):
        found = read_dataset(path).splits[Split.TRAIN]
        assert [source_of(name) for name in found.names] == ["nature", "canon"]
        assert found.labels.tolist() == [FAKE, REAL]


def test_the_root_may_be_a_split(own_set: Path) -> None:
    assert set(read_dataset(own_set / "test").splits) == {Split.TEST}


def test_larger_pictures_give_their_most_textured_window(own_set: Path) -> None:
    picture = Image.new("RGB", (96, 64), "black")
    texture = np.random.default_rng(0).integers(100, 130, (32, 32, 3), np.uint8)
    picture.paste(Image.fromarray(texture), (32, 16))
    picture.save(own_set / "train/REAL/zz.png")
    dataset = read_dataset(own_set, side=32)
    assert (dataset.minimum_side, dataset.maximum_side) == (32, 96)
    found = dataset.splits[Split.TRAIN]
    last = found.names.index("cifake/train/REAL/zz.png")
    assert np.array_equal(found.pixels[last], texture)


@pytest.mark.parametrize(
    ("real", "fake"),
    [("real", "ai"), ("0_real", "1_fake"), ("nature", "ai"), ("photos", "generated")],
)
def test_usual_names_of_classes_and_splits(tmp_path: Path, real: str, fake: str) -> None:
    for split in ("train", "val", "test"):
        for name, level in ((real, 10), (fake, 200)):
            (tmp_path / "x" / split / name / "deeper").mkdir(parents=True)
            offset = len(split)
            path = tmp_path / "x" / split / name / "deeper" / "a.png"
            path.write_bytes(plain(level + offset))
    splits = read_dataset(tmp_path / "x").splits
    assert set(splits) <= set(Split)
    for found in splits.values():
        assert dict(zip(found.labels.tolist(), found.pixels[:, 0, 0, 0] > 100, strict=True)) == {
            REAL: False,
            FAKE: True,
        }


def test_classes_without_splits_are_for_training(tmp_path: Path) -> None:
    for name, level in (("REAL", 1), ("FAKE", 2)):
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / "a.png").write_bytes(plain(level))
    assert set(read_dataset(tmp_path / "x").splits) == {Split.TRAIN}


def damage(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def overwrite(place: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = int(place * len(data))
        return data[:at] + b"\x55" * 64 + data[at + 64 :]

    return change


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "change",
    [overwrite(0.3), overwrite(0.5), overwrite(0.7), cut],
    ids=["early", "middle", "late", "cut"],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_damaged_archive_is_one_line(
    made_set: Path, tmp_path: Path, suffix: str, change: Callable[[bytes], bytes]
) -> None:
    pack = pack_zip if suffix == ".zip" else pack_tar
    path = damage(pack(made_set, tmp_path / f"cifake{suffix}"), change)
    with pytest.raises(FakescanError, match=r"archive is damaged|neither a folder nor"):
        read_dataset(path)


def test_a_damaged_header_is_not_taken_for_the_end(made_set: Path, tmp_path: Path) -> None:
    # Without compression there is no checksum over the whole.
    path = tmp_path / "cifake.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(made_set, "cifake")
    with tarfile.open(path) as archive:
        header = archive.getmembers()[20].offset
    data = path.read_bytes()
    path.write_bytes(data[:header] + b"x" * 512 + data[header + 512 :])
    with pytest.raises(FakescanError, match="archive is damaged"):
        read_dataset(path)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.mkdir(), "no pictures in folders named REAL and FAKE"),
        (lambda path: path.write_bytes(b"junk"), "neither a folder nor"),
    ],
)
def test_unusable_data_is_one_line(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(tmp_path / "x")
    with pytest.raises(FakescanError, match=message):
        read_dataset(tmp_path / "x")


@pytest.mark.parametrize(("kept", "missing"), [("REAL", "FAKE"), ("FAKE", "REAL")])
def test_a_missing_class_is_named(own_set: Path, kept: str, missing: str) -> None:
    for path in (own_set / "train" / missing).iterdir():
        path.unlink()
    message = f"no pictures of class {missing} in its train split"
    with pytest.raises(FakescanError, match=message):
        read_dataset(own_set)


def test_a_missing_class_of_a_set_without_splits_is_named(own_set: Path) -> None:
    make_tree(own_set / "one", "REAL")
    with pytest.raises(FakescanError, match=r"no pictures of class FAKE$"):
        read_dataset(own_set / "one")
    with pytest.raises(FakescanError, match="no pictures in folders named REAL and FAKE"):
        read_dataset(own_set / "train" / "REAL")


@pytest.mark.parametrize("size", [(40, 32), (40, 40), (16, 16), (300, 300)])
@pytest.mark.parametrize("name", ["0.png", "z.png"])
def test_pictures_of_several_sizes_need_a_size(
    own_set: Path, name: str, size: tuple[int, int]
) -> None:
    (own_set / "train/FAKE" / name).write_bytes(plain(size=size))
    with pytest.raises(FakescanError, match="differ in size; name one with --size"):
        read_dataset(own_set)


@pytest.mark.timeout(20)
def test_pipes_and_dead_links_beside_pictures_are_passed_over(own_set: Path) -> None:
    os.mkfifo(own_set / "train/REAL/pipe")
    os.mkfifo(own_set / "train/REAL/pipe.png")
    (own_set / "train/REAL/dead.png").symlink_to("gone.png")
    dataset = read_dataset(own_set)
    assert len(dataset.splits[Split.TRAIN]) == 8
    assert dataset.left_out["unreadable"] == 2


def test_where_data_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match=r"kaggle\.com/datasets/birdy654") as missing:
        find_data(None)
    assert "\n" not in str(missing.value)
    cached = Path(os.environ["XDG_CACHE_HOME"], "fakescan", "cifake")
    cached.mkdir(parents=True)
    assert find_data(None) == cached
    monkeypatch.setenv("FAKESCAN_DATA", str(tmp_path))
    assert find_data(None) == tmp_path
    assert find_data(cached) == cached
    with pytest.raises(FakescanError, match="--data gone: there is no such"):
        find_data(Path("gone"))
    monkeypatch.setenv("FAKESCAN_DATA", "nowhere")
    with pytest.raises(FakescanError, match=r"\$FAKESCAN_DATA nowhere: there is no such"):
        find_data(None)


def test_a_class_of_one_picture_cannot_be_split() -> None:
    labels = np.array([REAL, REAL, FAKE], dtype=np.uint8)
    pictures = Pictures(np.zeros((3, 8, 8, 3), dtype=np.uint8), labels, ("a", "b", "c"))
    with pytest.raises(FakescanError, match="single picture"):
        split_off(pictures, 0.1, seed=0)


def test_a_split_is_drawn_by_class_and_by_seed(made_set: Path) -> None:
    pictures = read_dataset(made_set).splits[Split.TRAIN]
    training, validation = split_off(pictures, 0.25, seed=3)
    assert len(training) == 24
    assert np.bincount(validation.labels).tolist() == [4, 4]
    assert not set(training.names) & set(validation.names)
    assert split_off(pictures, 0.25, seed=3)[1].names == validation.names
    assert split_off(pictures, 0.25, seed=4)[1].names != validation.names


def test_copies_stay_on_one_side_of_a_split(own_set: Path) -> None:
    def split(seed: int) -> tuple[Pictures, Pictures]:
        return split_off(read_dataset(own_set).splits[Split.TRAIN], 0.5, seed=seed)

    before = [split(seed)[1].names for seed in range(5)]
    first = own_set / "train/REAL/0000 (2).png"
    for number in range(3):
        (own_set / f"train/REAL/copy {number}.png").write_bytes(first.read_bytes())
    for seed in range(20):
        training, validation = split(seed)
        copies = [name for name in training.names if "copy" in name or "REAL/0000" in name]
        assert len(copies) == 4
        # Of seven real pictures, half would be four: three are no copies.
        assert np.bincount(validation.labels).tolist() == [3, 2]
    for path in own_set.rglob("copy*"):
        path.unlink()
    assert [split(seed)[1].names for seed in range(5)] == before
    for path in sorted((own_set / "train/REAL").iterdir())[1:]:
        path.write_bytes(first.read_bytes())
    with pytest.raises(FakescanError, match="a class has copies only"):
        split(0)


# Augmentation


def test_augmentation_shifts_mirrors_and_resamples_nothing() -> None:
    pictures = torch.arange(6 * 6, dtype=torch.uint8).view(1, 6, 6, 1).repeat(200, 1, 1, 3)
    changed = augment(pictures, 1, torch.Generator().manual_seed(0))
    assert changed.shape == pictures.shape and changed.dtype == torch.uint8
    # Nine shifts, each with its mirror image; reflected at the edges as numpy does it.
    wide = np.pad(pictures[0].numpy(), ((1, 1), (1, 1), (0, 0)), "reflect")
    shifted = [wide[y : y + 6, x : x + 6] for y in range(3) for x in range(3)]
    allowed = {window.tobytes() for window in (*shifted, *(w[:, ::-1] for w in shifted))}
    assert {picture.numpy().tobytes() for picture in changed} == allowed


def test_without_shift_only_mirror_images_are_left() -> None:
    pictures = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8)
    changed = augment(pictures, 0, torch.Generator().manual_seed(0))
    same = [torch.equal(a, b) for a, b in zip(pictures, changed, strict=True)]
    mirrored = [torch.equal(a.flip(1), b) for a, b in zip(pictures, changed, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 10 < sum(same) < 40


def test_without_flips_nothing_is_mirrored() -> None:
    pictures = torch.randint(0, 256, (50, 8, 8, 3), dtype=torch.uint8)
    changed = augment(pictures, 0, torch.Generator().manual_seed(0), flip=False)
    assert torch.equal(changed, pictures)


def ring(side: int = 33) -> torch.Tensor:
    """One white pixel, straight above the middle of a black picture."""
    picture = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    picture[0, 6, side // 2] = 255
    return picture


def brightest(pictures: torch.Tensor) -> torch.Tensor:
    """Where each picture's light lies from its middle: (N, 2), down and right."""
    light = pictures[..., 0].float()
    place = torch.arange(light.shape[1]) - light.shape[1] // 2
    total = light.sum(dim=(1, 2))
    down = (light.sum(dim=2) * place).sum(dim=1) / total
    right = (light.sum(dim=1) * place).sum(dim=1) / total
    return torch.stack([down, right], dim=1)


def test_rotation_turns_about_the_middle_and_within_its_bounds() -> None:
    turned = warp(ring().repeat(200, 1, 1, 1), 20, 0, torch.Generator().manual_seed(0))
    assert turned.dtype == torch.uint8
    places = brightest(turned)
    assert places.norm(dim=1).numpy() == pytest.approx(10, abs=0.3)
    angles = torch.rad2deg(torch.atan2(places[:, 1], -places[:, 0]))
    assert angles.abs().max() <= 21
    assert angles.min() < -15 and angles.max() > 15


def test_zoom_scales_within_its_bounds() -> None:
    scaled = warp(ring().repeat(200, 1, 1, 1), 0, 0.2, torch.Generator().manual_seed(0))
    places = brightest(scaled)
    assert places[:, 1].abs().max() < 0.3
    distances = -places[:, 0]
    assert 7.7 < distances.min() < 8.7 and 11.3 < distances.max() < 12.3


def test_a_warp_of_nothing_changes_nothing() -> None:
    pictures = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)
    assert torch.equal(warp(pictures, 0, 0, torch.Generator()), pictures)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(shift=0, flip=False, rotation=10),
        Augmentation(shift=0, flip=False, zoom=0.1),
        Augmentation(shift=0, flip=False, degrade=True),
    ],
)
def test_batches_are_augmented_and_drawn_by_their_step(augmentation: Augmentation) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    pictures = Pictures(pixels, np.array([0, 1] * 6, np.uint8), ("",) * 12)
    batches = ShuffledPictures(pictures, 6, augmentation, 3, torch.device("cpu"))
    crops, labels = batches.draw(1)
    assert crops.shape == (6, 32, 32, 3) and labels.shape == (6,)
    plain_ones = ShuffledPictures(
        pictures, 6, Augmentation(shift=0, flip=False), 3, torch.device("cpu")
    )
    assert not torch.equal(crops.float(), plain_ones.draw(1)[0].float())
    assert torch.equal(crops, batches.draw(1)[0])


def test_augmentation_is_drawn_by_its_generator() -> None:
    pictures = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8)
    first, same, other = (
        augment(pictures, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


# Metrics, against values worked out by hand

LOGITS = np.array([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0])
LABELS = np.array([0, 1, 0, 1, 0, 1], np.uint8)


def test_area_under_the_curve_counts_ties_half() -> None:
    # Of nine pairs: AI at -1 beats one real, at 0 beats one and ties one, at 2 beats three.
    assert area_under_curve(LOGITS, LABELS) == pytest.approx((1 + 1.5 + 3) / 9)
    assert area_under_curve(np.zeros(6), LABELS) == pytest.approx(0.5)
    assert area_under_curve(LABELS.astype(float), LABELS) == 1
    assert area_under_curve(-LABELS.astype(float), LABELS) == 0


def test_the_curve_passes_its_corners_and_takes_ties_at_once() -> None:
    false_positive, true_positive = roc_curve(LOGITS, LABELS)
    assert false_positive == pytest.approx(np.array([0, 0, 1, 2, 2, 3]) / 3)
    assert true_positive == pytest.approx(np.array([0, 1, 1, 2, 3, 3]) / 3)


@pytest.mark.parametrize(("allowed", "rate"), [(0.0, 1 / 3), (0.5, 1 / 3), (0.67, 1), (1, 1)])
def test_true_positive_rate_at_a_false_positive_rate(allowed: float, rate: float) -> None:
    assert true_positive_rate(LOGITS, LABELS, allowed) == pytest.approx(rate)


def test_calibration_error_and_its_bins() -> None:
    p = np.array([0.1, 0.15, 0.9, 0.95, 1.0])
    labels = np.array([0, 1, 1, 1, 1], np.uint8)
    assert reliability(p, labels, 5) == [
        (pytest.approx(0.125), 0.5, 2),
        (pytest.approx(0.95), 1.0, 3),
    ]
    assert calibration_error(p, labels, 5) == pytest.approx(0.4 * 0.375 + 0.6 * 0.05)
    sure = np.array([0.0, 0.0, 1.0, 1.0])
    assert calibration_error(sure, np.array([0, 0, 1, 1], np.uint8)) == 0
    assert calibration_error(sure, np.array([1, 1, 0, 0], np.uint8)) == 1


def test_counts_and_what_follows_from_them() -> None:
    metrics = compute_metrics(LOGITS, LABELS, None)
    # Called AI from a probability of one half on: 0, 0, 1 and 2.
    assert (metrics.true_positives, metrics.false_positives) == (2, 2)
    assert (metrics.true_negatives, metrics.false_negatives) == (1, 1)
    assert metrics.n == 6
    assert metrics.accuracy == pytest.approx(3 / 6)
    assert metrics.precision == pytest.approx(2 / 4)
    assert metrics.recall == pytest.approx(2 / 3)
    assert metrics.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    # Softplus of each logit, of its negative where it is AI.
    losses = [math.log1p(math.exp(x)) for x in (-2, 1, 0, 0, 1, -2)]
    assert metrics.log_loss == pytest.approx(sum(losses) / 6)
    assert metrics.tpr_at_1_percent_fpr == pytest.approx(1 / 3)


def test_calibration_moves_what_is_called_and_not_the_ranking() -> None:
    shifted = compute_metrics(LOGITS, LABELS, Calibration(1.0, -10.0, 6))
    assert (shifted.true_positives, shifted.false_positives) == (0, 0)
    assert (shifted.precision, shifted.f1) == (0, 0)
    assert shifted.auc == compute_metrics(LOGITS, LABELS, None).auc


def test_metrics_need_both_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        compute_metrics(LOGITS, np.ones(6, np.uint8), None)


# Evaluation


def evaluate(backend: Backend, data: Path, split: Split | None = None) -> Evaluation:
    labelled = read_split(data, backend.card.input.size, split)
    return evaluation_module.evaluate(backend, labelled)


@pytest.fixture
def bright_and_dark(tmp_path: Path) -> Path:
    """A set that the brightness model tells apart, but for one picture of each class."""
    levels = {"REAL": [DARK, DARK + 1, BRIGHT + 2], "FAKE": [BRIGHT, BRIGHT + 1, DARK + 2]}
    for name, chosen in levels.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for number, level in enumerate(chosen):
            (tmp_path / "set" / name / f"{number}.png").write_bytes(plain(level))
    return tmp_path / "set"


def test_evaluation_is_of_the_card_and_the_split(bright_and_dark: Path) -> None:
    backend = FakeBackend()
    evaluation = evaluate(backend, bright_and_dark)
    assert (evaluation.model, evaluation.data, evaluation.split) == (
        "brightness 1.0.0",
        "set",
        "train",
    )
    metrics = evaluation.metrics
    assert (metrics.true_positives, metrics.false_positives) == (2, 1)
    assert (metrics.true_negatives, metrics.false_negatives) == (2, 1)
    inverted = replace(CARD, calibration=Calibration(-1.0, 0.0, 1))
    assert evaluate(FakeBackend(inverted), bright_and_dark).metrics.true_positives == 1
    with pytest.raises(FakescanError, match="there is no test split"):
        evaluate(backend, bright_and_dark, split=Split.TEST)


@pytest.mark.parametrize("side", [32, 48, 64, 100])
def test_pictures_are_measured_on_the_windows_that_a_scan_cuts(side: int) -> None:
    random = np.random.default_rng(side)
    # More pictures than a batch, and in each its texture elsewhere.
    pixels = random.integers(100, 130, (300, side, side, 3)).astype(np.uint8)
    for picture, (x, y) in zip(pixels, random.integers(0, side, (300, 2)), strict=True):
        picture[y : y + side // 2, x : x + side // 2] = random.integers(0, 256)
    backend = FakeBackend()
    pooled = pooled_logits(backend.logits, pixels, 32)
    expected = [
        backend.logits(cut_crops(picture, 32, crop_positions(picture, 32, 8))).mean()
        for picture in pixels
    ]
    assert pooled == pytest.approx(expected, abs=1e-4)


def test_evaluation_prefers_the_test_split(made_set: Path) -> None:
    assert evaluate(FakeBackend(), made_set).split == "test"
    assert evaluate(FakeBackend(), made_set, split=Split.TRAIN).metrics.n == 32


def test_evaluate_on_the_command_line(
    bright_and_dark: Path, tmp_path: Path, tiny_model: Path
) -> None:
    picture = tmp_path / "figure.png"
    flags = ("--model", tiny_model, "--data", bright_and_dark, "--device", "cpu")
    outcome = run("evaluate", *flags, "--json", "--picture", picture)
    assert outcome.code == 0
    document = json.loads(outcome.stdout)
    assert document["n"] == 6
    assert document["split"] == "train"
    assert {"accuracy", "precision", "recall", "f1", "auc", "log_loss"} < set(document)
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = run("evaluate", *flags)
    assert "expected calibration error" in table.stdout


def test_a_picture_in_a_missing_folder_is_said_before_measuring(
    bright_and_dark: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakescan.training.evaluate.evaluate", lambda *a, **k: pytest.fail("ran"))
    picture = tmp_path / "gone" / "figure.png"
    flags = ("--model", tiny_model, "--data", bright_and_dark, "--picture", picture)
    outcome = run("evaluate", *flags)
    assert outcome.code == 2
    assert len(outcome.stderr.splitlines()) == 1


# The loop


def options(data: Path, output: Path, **changes: Any) -> TrainingOptions:
    """A run of seconds: small network, few steps."""
    start = TrainingOptions(
        architecture=CNN,
        data=data,
        output=output,
        name="run",
        epochs=3,
        batch_size=8,
        learning_rate=5e-3,
        validation_fraction=0.25,
        shift=1,
        device="cpu",
    )
    return replace(start, **changes)


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    return load_tensors(output / "run" / "run.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def unbroken(made_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    output = tmp_path_factory.mktemp("unbroken")
    train(options(made_set, output))
    return output


def test_a_run_leaves_weights_card_metrics_and_curves(unbroken: Path) -> None:
    assert {path.name for path in (unbroken / "run").iterdir()} == {
        "checkpoint.pt",
        "curves.png",
        "metrics.jsonl",
        "run.json",
        "run.safetensors",
    }
    rows = [json.loads(line) for line in (unbroken / "run/metrics.jsonl").open()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    # Of 32 pictures a quarter is for validation: three batches of eight an epoch.
    assert [row["step"] for row in rows] == [3, 6, 9]


def test_the_card_tells_what_was_seen(unbroken: Path) -> None:
    card = load_card(unbroken / "run/run.safetensors")
    assert (card.domain.minimum_side, card.domain.maximum_side) == (32, 32)
    assert card.input.size == 32 and card.input.mirror
    assert card.architecture.name == "cnn"
    assert card.training["data"] == "cifake"
    assert (card.training["pictures"], card.training["validation_pictures"]) == (24, 8)
    assert card.training["left_out"]["also_in_another_split"] == 0
    assert card.training["steps"] == 9
    assert card.calibration is not None and card.calibration.n == 8
    # Four real pictures promise no rate at all.
    assert card.thresholds is None
    assert card.metrics["test"]["n"] == 16
    assert "data" not in card.training["options"]


def test_seeds_decide(made_set: Path, tmp_path: Path, unbroken: Path) -> None:
    train(options(made_set, tmp_path / "same"))
    assert_same_weights(tmp_path / "same", unbroken)
    train(options(made_set, tmp_path / "other", seed=1, epochs=1))
    name = next(iter(weights_of(unbroken)))
    assert not torch.equal(weights_of(tmp_path / "other")[name], weights_of(unbroken)[name])


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_a_resumed_run_ends_as_an_unbroken_one(
    made_set: Path, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    taken = 0
    plain_step = torch.optim.AdamW.step

    def interrupted(self: torch.optim.AdamW, *arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == step:
            # In the middle of a step, where nearly every interruption falls.
            os.kill(os.getpid(), signal.SIGINT)
        return plain_step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        train(options(made_set, tmp_path))
    assert taken == step
    assert not (tmp_path / "run/run.safetensors").exists()
    train(options(made_set, tmp_path, resume=True))
    assert_same_weights(tmp_path, unbroken)


def test_a_killed_run_goes_on_from_its_last_epoch(
    made_set: Path, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    steps = iter(range(100))
    plain_step = torch.optim.AdamW.step

    def killed(self: torch.optim.AdamW, *arguments: Any) -> Any:
        if next(steps) == 4:
            raise Killed
        return plain_step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(torch.optim.AdamW, "step", killed)
        train(options(made_set, tmp_path))
    train(options(made_set, tmp_path, resume=True))
    assert_same_weights(tmp_path, unbroken)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_a_finished_run_is_not_overwritten(made_set: Path, unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match="--resume goes on with it"):
        train(options(made_set, unbroken))


def test_resuming_without_a_checkpoint_begins(made_set: Path, tmp_path: Path) -> None:
    train(options(made_set, tmp_path, epochs=1, resume=True))
    assert (tmp_path / "run/run.safetensors").exists()


@pytest.mark.parametrize("data", [b"", b"junk" * 50, b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_one_line(made_set: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes(data)
    with pytest.raises(FakescanError, match="of another run, or damaged"):
        train(options(made_set, tmp_path, resume=True))


def test_a_checkpoint_of_another_network_is_one_line(
    made_set: Path, tmp_path: Path, unbroken: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes((unbroken / "run/checkpoint.pt").read_bytes())
    other = Architecture("cnn", {"filters": 4, "layers": 1, "dense": (8,)})
    with pytest.raises(FakescanError, match=r"of another run, with --dense \[16\] and not"):
        train(options(made_set, tmp_path, resume=True, architecture=other))
    # One from before options were kept.
    saved = torch.load(tmp_path / "run/checkpoint.pt")
    torch.save(saved | {"run": None}, tmp_path / "run/checkpoint.pt")
    with pytest.raises(FakescanError, match="of another run, or damaged"):
        train(options(made_set, tmp_path, resume=True, architecture=other))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "--seed 0 and not --seed 1;"),
        ({"learning_rate": 1e-3}, "--learning-rate 0.005 and not --learning-rate 0.001;"),
        ({"optimizer": Optimizer.SGD}, "--optimizer adamw and not --optimizer sgd;"),
        ({"flip": False}, "--flip true and not --flip false;"),
        ({"init": "x"}, "no --init and not --init x;"),
        (
            {"architecture": Architecture("cnn", {**CNN.options, "average": True})},
            "no --average and not --average true;",
        ),
    ],
)
def test_a_run_is_resumed_with_its_own_options(
    made_set: Path,
    tmp_path: Path,
    unbroken: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setattr(loop, "initialise", lambda *_: None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes((unbroken / "run/checkpoint.pt").read_bytes())
    with pytest.raises(FakescanError, match=words) as refused:
        train(options(made_set, tmp_path, resume=True, **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("what", ["pixels", "name", "labels"])
def test_a_run_is_resumed_on_its_own_pictures(tmp_path: Path, what: str) -> None:
    data = make_set(tmp_path / "cifake")
    train(options(data, tmp_path, epochs=1))
    folder = data / "train/REAL"
    last = sorted(folder.iterdir())[-1]
    if what == "pixels":
        last.write_bytes(labelled(REAL, 999))
    elif what == "name":
        last.rename(folder / "other.png")
    else:
        (data / "train/REAL").rename(data / "train/other")
        (data / "train/FAKE").rename(data / "train/REAL")
        (data / "train/other").rename(data / "train/FAKE")
    with pytest.raises(FakescanError, match="of another run, on other pictures; name its own"):
        train(options(data, tmp_path, epochs=1, resume=True))


def test_what_decides_nothing_may_change_and_old_checkpoints_are_taken_up(
    made_set: Path, tmp_path: Path, unbroken: Path
) -> None:
    (tmp_path / "run").mkdir()
    saved = torch.load(unbroken / "run/checkpoint.pt", weights_only=True)
    for name in ("run", "dice", "losses"):
        del saved[name]
    for kept in (saved, torch.load(unbroken / "run/checkpoint.pt", weights_only=True)):
        torch.save(kept, tmp_path / "run/checkpoint.pt")
        packed = pack_zip(made_set, tmp_path / "cifake.zip")
        train(options(packed, tmp_path, resume=True, size=32, max_minutes=5.0))
        assert_same_weights(tmp_path, unbroken)


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_epoch_interrupted_while_it_is_measured_has_its_row(
    made_set: Path, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    measured = loop._Run._measure

    def interrupted(self: loop._Run, at: int, losses: list[float]) -> dict[str, float]:
        if at + 1 == epoch:
            raise KeyboardInterrupt
        return measured(self, at, losses)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Run, "_measure", interrupted)
        train(options(made_set, tmp_path))
    train(options(made_set, tmp_path, resume=True))
    assert_same_weights(tmp_path, unbroken)

    def rows(folder: Path) -> list[dict[str, float]]:
        found = [json.loads(line) for line in (folder / "run/metrics.jsonl").open()]
        return [
            {k: row[k] for k in row if k not in {"seconds", "images_per_second"}} for row in found
        ]

    assert rows(tmp_path) == rows(unbroken)


def test_lines_of_metrics_that_an_interruption_left_out_are_written(
    made_set: Path, tmp_path: Path, unbroken: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes((unbroken / "run/checkpoint.pt").read_bytes())
    train(options(made_set, tmp_path, resume=True))
    lines = (unbroken / "run/metrics.jsonl").read_text()
    assert (tmp_path / "run/metrics.jsonl").read_text() == lines


def test_a_resumed_run_leaves_out_the_units_that_an_unbroken_one_does(
    made_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Architecture("cnn", {**CNN.options, "dropout": 0.5})
    train(options(made_set, tmp_path / "whole", architecture=network))
    steps = iter(range(100))
    plain_step = torch.optim.AdamW.step

    def interrupted(self: torch.optim.AdamW, *arguments: Any) -> Any:
        if next(steps) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain_step(self, *arguments)

    broken = options(made_set, tmp_path / "broken", architecture=network)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        train(broken)
    train(replace(broken, resume=True))
    assert_same_weights(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"optimizer": Optimizer.ADAM}, torch.optim.Adam),
        ({"optimizer": Optimizer.SGD}, torch.optim.SGD),
        ({"optimizer": Optimizer.ADAMW}, torch.optim.AdamW),
    ],
)
def test_optimisers_by_name(changes: dict[str, Any], kind: type[torch.optim.Optimizer]) -> None:
    made = make_optimizer(torch.nn.Linear(3, 2), TrainingOptions(weight_decay=0.1, **changes))
    assert type(made) is kind
    # The bias has no decay.
    assert [group["weight_decay"] for group in made.param_groups] == [0.1, 0.0]


def test_schedules_by_name() -> None:
    rates = {
        schedule: [
            learning_rate(TrainingOptions(learning_rate=1.0, schedule=schedule), done)
            for done in (0.0, 0.1, 0.5, 1.0)
        ]
        for schedule in Schedule
    }
    assert rates[Schedule.CONSTANT] == [1.0] * 4
    assert rates[Schedule.COSINE] == pytest.approx([1.0, 0.9755, 0.5, 0.0], abs=1e-4)
    assert rates[Schedule.ONE_CYCLE] == pytest.approx([0.05, 1.0, 0.5868, 0.0], abs=1e-4)


def test_the_best_epoch_is_kept(
    made_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.6, 0.9, 0.7])
    kept: list[dict[str, torch.Tensor]] = []
    measured = loop._Run._measure

    def measure(self: loop._Run, epoch: int, losses: list[float]) -> dict[str, float]:
        kept.append({k: v.half() for k, v in self.average.network.state_dict().items()})
        accuracy = next(accuracies)
        return {**measured(self, epoch, losses), "validation_accuracy": accuracy}

    monkeypatch.setattr(loop._Run, "_measure", measure)
    train(options(made_set, tmp_path, best_epoch=True))
    found = weights_of(tmp_path)
    assert all(torch.equal(found[name], kept[1][name]) for name in found)
    assert not all(torch.equal(found[name], kept[2][name]) for name in found)
    assert load_card(tmp_path / "run/run.safetensors").training["best_epoch"] == 2


def test_a_resumed_run_remembers_its_best_epoch(
    made_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = loop._Run._measure

    def falling(self: loop._Run, epoch: int, losses: list[float]) -> dict[str, float]:
        return {**measured(self, epoch, losses), "validation_accuracy": 0.9 - epoch / 10}

    monkeypatch.setattr(loop._Run, "_measure", falling)
    train(options(made_set, tmp_path / "whole", best_epoch=True))
    plain_step = torch.optim.AdamW.step
    steps = iter(range(100))

    def interrupted(self: torch.optim.AdamW, *arguments: Any) -> Any:
        if next(steps) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain_step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        train(options(made_set, tmp_path / "broken", best_epoch=True))
    train(options(made_set, tmp_path / "broken", best_epoch=True, resume=True))
    assert_same_weights(tmp_path / "broken", tmp_path / "whole")


def test_a_model_that_enlarges_is_trained_as_it_is_run(made_set: Path, tmp_path: Path) -> None:
    pooled = Architecture("cnn", {"filters": 4, "layers": 2, "dense": (), "average": True})
    result = train(
        options(made_set, tmp_path, epochs=1, architecture=pooled, enlarge=48, mirror=False)
    )
    card = load_card(result.weights)
    assert (card.input.size, card.input.enlarge, card.input.mirror) == (32, 48, False)
    judged = evaluation_module.evaluate(
        load_backend(result.weights, device="cpu"), read_split(made_set, 32)
    )
    assert judged.metrics.auc == pytest.approx(result.figures["test"].auc, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "side"),
    [({"enlarge": 48}, 48), ({"size": 16}, 16), ({"size": 8, "enlarge": 12}, 12)],
)
def test_a_network_for_other_pictures_is_one_line(
    made_set: Path, tmp_path: Path, changes: dict[str, int], side: int
) -> None:
    with pytest.raises(FakescanError, match=f"--arch cnn: not for pictures of {side} px"):
        train(options(made_set, tmp_path, **changes))


def test_a_loss_that_is_no_number_stops_with_one_line(made_set: Path, tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match="the loss is nan") as stopped:
        train(options(made_set, tmp_path, learning_rate=math.inf))
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "run/run.safetensors").exists()


def test_a_small_network_learns_a_small_set(made_set: Path, tmp_path: Path) -> None:
    changes = {"epochs": 20, "learning_rate": 2e-2, "ema_decay": 0.9, "label_smoothing": 0.0}
    train(options(made_set, tmp_path, shift=0, **changes))
    backend = load_backend(tmp_path / "run/run.safetensors", device="cpu")
    metrics = evaluate(backend, made_set, split=Split.TRAIN).metrics
    assert metrics.auc > 0.97
    # It was calibrated on eight pictures: where one half lies is not quite settled.
    assert metrics.accuracy > 0.9


def test_weights_to_begin_from(made_set: Path, tmp_path: Path, unbroken: Path) -> None:
    start = str(unbroken / "run/run.safetensors")
    train(options(made_set, tmp_path, epochs=1, learning_rate=0.0, init=start))
    begun, after = weights_of(unbroken), weights_of(tmp_path)
    name = next(name for name in begun if name.endswith("weight") and begun[name].ndim == 4)
    # A learning rate of nothing moves no weight; only batch statistics change.
    assert torch.equal(begun[name], after[name])


def test_weights_of_another_network_to_begin_from(made_set: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path)
    with pytest.raises(FakescanError, match=r"--init .*: its architecture is"):
        train(options(made_set, tmp_path, init=str(other)))


def test_a_time_limit_shortens_the_schedule(made_set: Path, tmp_path: Path) -> None:
    result = train(options(made_set, tmp_path, epochs=10_000, max_minutes=0.01))
    card = load_card(result.weights)
    assert 1 <= card.training["steps"] < 30_000


def test_the_schedule_rises_and_falls(
    made_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    plain_step = torch.optim.AdamW.step

    def note(self: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return plain_step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    train(options(made_set, tmp_path, epochs=10))
    peak = rates.index(max(rates))
    assert 0 < peak < 6
    assert max(rates) == pytest.approx(5e-3)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


def test_a_validation_split_of_the_data_is_used(own_set: Path, tmp_path: Path) -> None:
    for name in ("REAL", "FAKE"):
        (own_set / "val" / name).mkdir(parents=True)
        for number in range(3):
            label = FAKE if name == "FAKE" else REAL
            path = own_set / "val" / name / f"{number}.png"
            path.write_bytes(labelled(label, 500 + number))
    result = train(options(own_set, tmp_path / "runs", epochs=1, batch_size=4))
    assert {name: metrics.n for name, metrics in result.figures.items()} == {
        "validation": 6,
        "test": 4,
    }


# The command


def test_train_ends_with_a_scan_line_that_works(tmp_path: Path, made_set: Path) -> None:
    folder = tmp_path / "a set"
    make_set(folder, 40, 2)
    flags = ("--filters", "4", "--layers", "1", "--dense", "8", "--dense", "4")
    outcome = run(
        *("train", "--arch", "cnn", "--data", folder, "--output", tmp_path / "my runs"),
        *("--epochs", "1", "--batch-size", "8", "--validation-fraction", "0.5"),
        *("--device", "cpu", *flags),
    )
    assert outcome.code == 0, outcome.stderr
    program, *line = shlex.split(outcome.stdout.splitlines()[-1].removeprefix("Use it: "))
    assert program == "fakescan"
    assert "validation" in outcome.stdout and "test" in outcome.stdout
    picture = made_set / "test/FAKE/0000 (2).png"
    line[line.index("PICTURES")] = str(picture)
    scanned = run(*line, "--json", "--device", "cpu")
    assert scanned.code == 0, scanned.stderr
    row = json.loads(scanned.stdout)
    assert 0 <= row["score"] <= 1
    assert row["model"]["name"] == "a set-cnn"
    card = load_card(Path(line[line.index("--model") + 1]))
    options = {"filters": 4, "layers": 1, "dense": [8, 4]}
    assert options.items() <= card.architecture.options.items()


def test_a_model_of_few_pictures_scans_and_decides_nothing(made_set: Path, unbroken: Path) -> None:
    picture = made_set / "test/FAKE/0000 (2).png"
    weights = unbroken / "run/run.safetensors"
    outcome = run("scan", picture, "--model", weights, "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.stderr
    row = json.loads(outcome.stdout)
    assert row["score"] is not None
    assert (row["verdict"], row["reason"]) == ("uncertain", "uncalibrated_model")


def test_train_without_data_is_one_line() -> None:
    outcome = run("train")
    assert outcome.code == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert "fetch CIFAKE" in outcome.stderr


def test_an_interrupted_training_says_how_to_go_on(
    made_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "_step", interrupted)
    outcome = run(
        *("train", "--arch", "cnn", "--data", made_set, "--output", tmp_path, "--device", "cpu")
    )
    assert outcome.code == 130
    assert "--resume goes on from here" in outcome.stderr


@pytest.mark.parametrize(
    ("error", "last"),
    [
        (MemoryError(), "fakescan: not enough memory: lower --batch-size"),
        (RuntimeError("CUDA out of memory."), "fakescan: not enough memory: lower --batch-size"),
        (RuntimeError("a bug"), "RuntimeError: a bug"),
    ],
)
def test_want_of_memory_is_one_line(
    made_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    last: str,
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(loop._Run, "_step", fail)
    arguments = ("train", "--arch", "cnn", "--data", made_set, "--output", tmp_path)
    outcome = run(*arguments, "--device", "cpu")
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-1] == last


def test_sources_are_the_folders_below_the_classes(tmp_path: Path) -> None:
    assert source_of("set/ai/kolors/a.png") == "kolors"
    assert source_of("set/test/REAL/canon/2019/a.png") == "canon"
    assert source_of("set/REAL/a.png") is None
    assert source_of("photos/a.png") is None
    sources = ("kolors", "kolors", "canon", None, "chroma")
    evaluation = Evaluation(
        model="m",
        data="d",
        split="test",
        metrics=compute_metrics(np.array([2.0, -1, -1, 1, 3]), np.array([1, 1, 0, 0, 1]), None),
        probabilities=np.array([0.9, 0.2, 0.6, 0.7, 0.95]),
        labels=np.array([1, 1, 0, 0, 1], dtype=np.uint8),
        sources=sources,
    )
    assert evaluation.called_ai_by_source() == [
        ("chroma", True, 1.0, 1),
        ("kolors", True, 0.5, 2),
        ("canon", False, 1.0, 1),
    ]
    assert draw_sources(evaluation, tmp_path / "sources.png")
    assert Image.open(tmp_path / "sources.png").width > 1000
    assert not draw_sources(replace(evaluation, sources=(None,) * 5), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_curves_are_drawn_with_validation_and_without(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "training_loss": 0.7 / epoch} for epoch in (1.0, 2.0)]
    draw_curves(rows, tmp_path / "loss.png")
    validated = [{**row, "validation_loss": 0.6, "validation_accuracy": 0.7} for row in rows]
    draw_curves(validated, tmp_path / "both.png")
    draw_curves([], tmp_path / "none.png")
    with Image.open(tmp_path / "loss.png") as loss, Image.open(tmp_path / "both.png") as both:
        assert both.width == 2 * loss.width
    assert not (tmp_path / "none.png").exists()
