from __future__ import annotations

import pytest

from fakescan.hub.labels import find_ai_labels, has_ai_label, means_ai
from fakescan.records import FakescanError


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("artificial", True),
        ("FAKE", True),
        ("DeepFake", True),
        ("AIGenerated", True),
        ("ai_generated", True),
        ("Stable Diffusion 1.4", True),
        ("DALL-E 3", True),
        ("1_fake", True),
        ("ai photo", True),
        ("Real", False),
        ("human", False),
        ("hum", False),
        ("natural image", False),
        ("photo", False),
        ("not AI", False),
        ("non-generated", False),
        ("not real", True),
        ("LABEL_0", None),
        ("unreal", None),
        ("said", None),
        ("real_vs_fake", None),
        ("human generated", None),
        ("", None),
    ],
)
def test_names_are_read_by_whole_words(name: str, meaning: bool | None) -> None:
    assert means_ai(name) is meaning


def test_all_generators_are_ai() -> None:
    labels = find_ai_labels(["real", "midjourney", "sdxl", "StyleGAN2"], (), "m")
    assert labels.ai == (1, 2, 3)
    assert labels.names == ("real", "midjourney", "sdxl", "StyleGAN2")


@pytest.mark.parametrize(
    "names",
    [
        ["LABEL_0", "LABEL_1"],
        ["real", "other"],
        ["real", "human"],
        ["fake", "synthetic"],
        ["score"],
    ],
)
def test_what_names_do_not_tell_is_asked_for_in_one_line(names: list[str]) -> None:
    with pytest.raises(FakescanError) as error:
        find_ai_labels(names, (), "ORG/NAME")
    assert "--ai-label" in str(error.value) and "ORG/NAME" in str(error.value)
    assert ", ".join(names) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "ai"),
    [
        (["label_1"], (1,)),
        (["LABEL_0", "LABEL_2"], (0, 2)),
        (["not LABEL_1"], (0, 2)),
        (["LABEL_1", "another model's"], (1,)),
    ],
)
def test_classes_may_be_named(asked: list[str], ai: tuple[int, ...]) -> None:
    assert find_ai_labels(["LABEL_0", "LABEL_1", "LABEL_2"], asked, "m").ai == ai


def test_what_is_asked_for_goes_before_the_table() -> None:
    assert find_ai_labels(["fake", "real"], ["real"], "m").ai == (1,)


def test_all_classes_cannot_be_ai() -> None:
    with pytest.raises(FakescanError, match="all of its classes"):
        find_ai_labels(["a", "b"], ["a", "b"], "m")


def test_a_class_that_is_not_there_is_said() -> None:
    with pytest.raises(FakescanError, match="none is called c"):
        find_ai_labels(["a", "b"], ["c"], "m")


@pytest.mark.parametrize(
    ("name", "asked", "ai"),
    [
        ("fake", [], (0,)),
        ("real", [], ()),
        ("LABEL_0", ["LABEL_0"], (0,)),
        ("LABEL_0", ["not LABEL_0"], ()),
    ],
)
def test_a_single_output_has_a_direction(name: str, asked: list[str], ai: tuple[int, ...]) -> None:
    assert find_ai_labels([name], asked, "m").ai == ai


def test_whether_a_label_is_there() -> None:
    assert has_ai_label(["Fake", "Real"], "fake")
    assert has_ai_label(["Fake", "Real"], "not real")
    assert not has_ai_label(["Fake", "Real"], "generated")
