"""Detectors that are known to exist, with what their authors report of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published detector; empty where nothing is known. `read` is the day its page was read."""

    name: str
    source: str
    read: str = ""
    licence: str = ""
    size: str = ""
    reported: str = ""


def list_known_models() -> tuple[KnownModel, ...]:
    """Every model of known.toml, in its order."""
    text = files(__package__).joinpath("known.toml").read_text("utf-8")
    return tuple(KnownModel(**entry) for entry in tomllib.loads(text)["model"])
