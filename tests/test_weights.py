from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CARD, run, save_tiny_model

from fakescan.records import FakescanError, Reason
from fakescan.weights import (
    Domain,
    Gates,
    ModelCard,
    default_models,
    file_sha256,
    find_models,
    load_card,
    load_tensors,
    locate,
    read_card,
    save_model,
    weights_folder,
)

GATES = Gates(
    minimum_textured_share=0.1,
    minimum_sharpness=0.01,
    maximum_blocking=2.0,
    maximum_paper_share=0.6,
    maximum_drawn_share=0.2,
)


def edit_card(weights: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = weights.with_suffix(".json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


# Cards


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        replace(CARD, calibration=None, thresholds=None),
        replace(CARD, gates=GATES),
        replace(CARD, input=replace(CARD.input, enlarge=224)),
    ],
    ids=["full", "uncalibrated", "gated", "enlarging"],
)
def test_a_card_reads_back_as_it_was_written(tmp_path: Path, card: ModelCard) -> None:
    weights = save_model(tmp_path, card, {"w": torch.arange(3.0)})
    read = load_card(weights)
    written = replace(card, sha256=file_sha256(weights))
    assert json.loads(read.to_json()) == json.loads(written.to_json())
    # JSON has no tuples: options are the one place where that shows.
    options = {**written.architecture.options, "dense": [8]}
    architecture = replace(written.architecture, options=options)
    assert read == replace(written, architecture=architecture)


def test_a_card_from_before_there_were_gates(tiny_model: Path) -> None:
    path = edit_card(tiny_model, lambda card: card.pop("gates"))
    assert read_card(path).gates is None


def test_a_card_from_before_anything_was_enlarged(tiny_model: Path) -> None:
    path = edit_card(tiny_model, lambda card: card["input"].pop("enlarge"))
    assert read_card(path).input.enlarge is None


@pytest.mark.parametrize("gates", [{}, {"minimum_sharpness": 0.1}, {"other": 1}, [1], "x"])
def test_gates_are_whole_or_none(tiny_model: Path, gates: object) -> None:
    path = edit_card(tiny_model, lambda card: card.update(gates=gates))
    with pytest.raises(FakescanError, match="not a model card"):
        read_card(path)


def test_the_card_is_of_the_weights_on_disk(tmp_path: Path) -> None:
    weights = save_model(tmp_path, CARD, {"w": torch.arange(3.0)})
    assert load_card(weights).sha256 == file_sha256(weights) != CARD.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "brightness.json",
        "brightness.safetensors",
    ]


def test_weights_of_another_sha256_are_refused(tiny_model: Path) -> None:
    with tiny_model.open("ab") as file:
        file.write(b"x")
    with pytest.raises(FakescanError, match=r"SHA-256 [0-9a-f]{12}… is not the card's"):
        load_card(tiny_model)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{",
        '{"card_version": 1}',
        '{"name": "x"}',
        "\udcff",
    ],
)
def test_what_is_no_card(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FakescanError, match="not a model card"):
        read_card(path)


def test_a_missing_card(tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match="not a model card"):
        read_card(tmp_path / "none.json")


def test_a_card_of_a_later_kind_says_so(tiny_model: Path) -> None:
    path = edit_card(tiny_model, lambda card: card.update(card_version=2))
    with pytest.raises(FakescanError, match="newer fakescan"):
        read_card(path)


@pytest.mark.parametrize("key", ["architecture", "input", "domain", "thresholds", "limits"])
def test_every_part_of_a_card_is_needed(tiny_model: Path, key: str) -> None:
    path = edit_card(tiny_model, lambda card: card.pop(key))
    with pytest.raises(FakescanError, match="not a model card"):
        read_card(path)


# Places


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path))
    assert weights_folder() == tmp_path
    monkeypatch.delenv("FAKESCAN_WEIGHTS")
    assert weights_folder().name in {"weights", "_weights"}


def test_the_model_for_photographs_judges_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path))
    assert find_models() == ()
    for name in ("zebra", "photo", "cifake"):
        save_tiny_model(tmp_path, replace(CARD, name=name))
    assert [path.stem for path in find_models()] == ["photo", "cifake", "zebra"]


def test_a_model_that_would_never_be_asked_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path))
    domains = {
        "photo": Domain(128, None, "large"),
        "apart": Domain(32, 32, "small"),
        "beside": Domain(32, 32, "small too"),
        "larger": Domain(300, 900, "some of the large"),
        "wider": Domain(32, 200, "more than either"),
    }
    for name, domain in domains.items():
        save_tiny_model(tmp_path, replace(CARD, name=name, domain=domain))
    assert [path.stem for path in find_models()] == [*domains]
    assert [path.stem for path in default_models()] == ["photo", "apart", "wider"]


def test_what_knows_one_set_judges_only_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FAKESCAN_WEIGHTS", raising=False)
    assert [path.stem for path in default_models()] == ["photo"]
    assert {"cifake-cnn", "cifake-resnet18"} <= {path.stem for path in find_models()}
    thumbnail = Path(__file__).with_name("pictures") / "plain" / "thumbnail-32.png"
    by_default, by_name = (
        json.loads(run("scan", thumbnail, "--json", "--no-store", *named).stdout)
        for named in ((), ("--model", "cifake-cnn"))
    )
    assert (by_default["verdict"], by_default["score"]) == ("uncertain", None)
    assert by_default["reason"] == Reason.NO_MODEL_FOR_SIZE.value
    assert by_name["model"]["name"] == "cifake-cnn"


def test_a_model_is_named_by_file_or_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = save_tiny_model(tmp_path)
    assert locate(str(weights)) == weights
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path))
    assert locate("brightness") == weights


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone.safetensors", "no such weights file"),
        ("gone", "known: none"),
        ("../gone", "known: none"),
        ("", "known: none"),
    ],
)
def test_a_model_that_is_nowhere(model: str, message: str) -> None:
    with pytest.raises(FakescanError, match=message):
        locate(model)


def test_a_file_that_is_no_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"junk" * 100)
    with pytest.raises(FakescanError, match="not a safetensors file"):
        load_tensors(path)


# Domains


@pytest.mark.parametrize(
    ("minimum", "maximum", "size", "admitted"),
    [
        (32, 32, (32, 32), True),
        (32, 32, (31, 32), False),
        (32, 32, (32, 33), False),
        (32, None, (32, 100_000), True),
        (32, None, (1, 20_000), False),
        (16, 64, (64, 16), True),
        (16, 64, (65, 16), False),
    ],
)
def test_which_sizes_are_judged(
    minimum: int, maximum: int | None, size: tuple[int, int], admitted: bool
) -> None:
    refusal = Domain(minimum, maximum, "").refuse(*size)
    assert refusal is (None if admitted else Reason.NO_MODEL_FOR_SIZE)
