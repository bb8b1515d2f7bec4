"""The catalogue of marks, and which of them a file's fields carry."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fakescan.provenance.metadata import Field
from fakescan.records import Evidence, Says, Tier

MAX_EVIDENCE_CHARACTERS = 200
_MAX_FIELDS_OF_A_NAME = 4  # a name that repeats more often is padding, not a statement


@dataclass(frozen=True, slots=True)
class Mark:
    """One rule of marks.toml, whose head explains the keys."""

    id: str
    at: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]
    says: Says
    tier: Tier
    tool: str | None
    version: re.Pattern[str] | None
    prompt: str | None
    within: int | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All marks in order, the same by place, and the services behind TC260's producer codes."""

    marks: tuple[Mark, ...]
    by_place: dict[str, tuple[tuple[int, Mark], ...]]
    producers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Hit:
    """A mark found: in which field, where in its value, and the evidence that it makes."""

    mark: Mark
    field: Field
    evidence: Evidence


@cache
def load_catalogue() -> Catalogue:
    """The packaged marks.toml, read once."""
    text = files("fakescan.provenance").joinpath("marks.toml").read_text("utf-8")
    parsed = tomllib.loads(text)
    marks = tuple(
        Mark(
            id=entry["id"],
            at=tuple(entry["at"]),
            patterns=tuple(re.compile(pattern, re.DOTALL) for pattern in entry["pattern"]),
            says=Says(entry["says"]),
            tier=Tier(entry["tier"]),
            tool=entry.get("tool"),
            version=re.compile(entry["version"]) if "version" in entry else None,
            prompt=entry.get("prompt"),
            within=entry.get("within"),
        )
        for entry in parsed["mark"]
    )
    by_place: defaultdict[str, list[tuple[int, Mark]]] = defaultdict(list)
    for rank, mark in enumerate(marks):
        for place in mark.at:
            by_place[place].append((rank, mark))
    places = {place: tuple(ranked) for place, ranked in by_place.items()}
    return Catalogue(marks, places, parsed["producers"])


def find_marks(fields: Iterable[Field]) -> list[Hit]:
    """Every mark that `fields` carry, in the catalogue's order; one hit a mark and place."""
    catalogue = load_catalogue()
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, Hit]] = []
    for field in fields:
        place = f"{field.signal}:{field.name}" if field.name else field.signal
        candidates = catalogue.by_place.get(place, ())
        seen[place] += bool(candidates)
        if seen[place] > _MAX_FIELDS_OF_A_NAME:
            continue
        for rank, mark in candidates:
            hit = _match(mark, field, catalogue.producers)
            if hit is not None:
                ranked.append((rank, hit))
    ranked.sort(key=lambda pair: pair[0])
    found: dict[tuple[str, str], Hit] = {}
    for _, hit in ranked:
        found.setdefault((hit.mark.id, hit.field.location), hit)
    return list(found.values())


def _match(mark: Mark, field: Field, producers: dict[str, str]) -> Hit | None:
    text = field.value[: mark.within]
    matches = [pattern.search(text) for pattern in mark.patterns]
    first = matches[0]
    if first is None or not all(matches):
        return None
    excerpt = field.value[first.start() :].lstrip()[:MAX_EVIDENCE_CHARACTERS]
    evidence = Evidence(
        signal=field.signal,
        rule=mark.id,
        says=mark.says,
        tier=mark.tier,
        source=_source(mark, text, first.group(), producers),
        location=field.location,
        offset=field.offset,
        value=excerpt,
    )
    return Hit(mark, field, evidence)


def _source(mark: Mark, text: str, match: str, producers: dict[str, str]) -> str | None:
    if mark.tool == "{match}":
        return match
    if mark.tool == "{value}":
        return text[:MAX_EVIDENCE_CHARACTERS].strip()
    if mark.tool == "{producer}":
        return next((name for code, name in producers.items() if code in text), None)
    return mark.tool
