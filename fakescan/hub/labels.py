"""Which outputs of a published network mean AI, by their names or as the user says."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files

from fakescan.records import FakescanError
from fakescan.weights import Labels

_RUN = re.compile(r"[A-Za-z0-9]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT = "not "


def find_ai_labels(names: Sequence[str], asked: Sequence[str], model: str) -> Labels:
    """The classes `names`, in the order of the outputs, with those that mean AI.

    `asked` are names of classes as the user gives them, upper and lower case alike; `not NAME`
    stands for all but that one, or for the one output of a network turned around. Without any
    that `model` has, the table in labels.toml tells. Raises FakescanError with the names where it
    doesn't.
    """
    given = _as_asked(names, asked)
    if given is not None:
        ai = tuple(sorted(given))
        if len(names) > 1 and len(ai) in {0, len(names)}:
            raise FakescanError(f"{model}: --ai-label names all of its classes: {_list(names)}")
        return Labels(tuple(names), ai)
    meanings = [means_ai(name) for name in names]
    known = {meaning for meaning in meanings if meaning is not None}
    if None in meanings or (len(names) > 1 and len(known) < 2):
        missing = f"; none is called {', '.join(asked)}" if asked else ""
        raise FakescanError(
            f"{model}: which of its classes means AI? Name it with --ai-label;"
            f" they are {_list(names)}{missing}"
        )
    return Labels(tuple(names), tuple(place for place, is_ai in enumerate(meanings) if is_ai))


def has_ai_label(names: Sequence[str], asked: str) -> bool:
    """Whether `asked` is one of `names`, or `not` one of them."""
    return _as_asked(names, [asked]) is not None


def means_ai(name: str) -> bool | None:
    """Whether a class of this name is AI; None where its words say nothing, or both."""
    words = {word.lower() for word in (*_RUN.findall(name), *_WORD.findall(name))}
    table = _table()
    says_ai, says_real = (not words.isdisjoint(table[key]) for key in ("ai", "real"))
    if not (says_ai or says_real):
        says_real = not words.isdisjoint(table["real_alone"])
    if says_ai == says_real:
        return None
    return says_ai is words.isdisjoint(table["negation"])


def _as_asked(names: Sequence[str], asked: Sequence[str]) -> set[int] | None:
    found: set[int] | None = None
    lowered = [name.lower() for name in names]
    for label in (one.strip().lower() for one in asked):
        # A class may itself be called "not real".
        turned = label.startswith(_NOT) and label not in lowered
        wanted = label.removeprefix(_NOT).strip() if turned else label
        places = {place for place, name in enumerate(lowered) if name == wanted}
        if places:
            found = (found or set()) | (set(range(len(names))) - places if turned else places)
    return found


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


_SHOWN = 20


@functools.cache
def _table() -> dict[str, frozenset[str]]:
    text = files(__package__).joinpath("labels.toml").read_text("utf-8")
    return {key: frozenset(words) for key, words in tomllib.loads(text).items()}
