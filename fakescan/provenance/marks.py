"""The catalogue of marks, and which of them a file's fields carry."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files

from fakescan.provenance.metadata import Field
from fakescan.records import Evidence, Says, Tier

MAX_EVIDENCE_CHARACTERS = 200
# A name that repeats more often is padding: then its first and its last fields are looked at, for
# the statement may stand behind the padding.
_MAX_FIELDS_OF_A_NAME = 16


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
    also: tuple[str, re.Pattern[str]] | None
    edit_beside: frozenset[str]
    weak_beside: frozenset[str]
    strong_beside: frozenset[str]
    whole: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All marks in order, the same by place, and the services behind TC260's producer codes."""

    marks: tuple[Mark, ...]
    by_place: dict[str, tuple[tuple[int, Mark], ...]]
    producers: dict[str, str]
    digest: str


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
            patterns=tuple(_compile(pattern, parsed["lists"]) for pattern in entry["pattern"]),
            says=Says(entry["says"]),
            tier=Tier(entry["tier"]),
            tool=entry.get("tool"),
            version=re.compile(entry["version"]) if "version" in entry else None,
            prompt=entry.get("prompt"),
            within=entry.get("within"),
            also=_also(entry.get("also")),
            edit_beside=frozenset(entry.get("edit_beside", ())),
            weak_beside=frozenset(entry.get("weak_beside", ())),
            strong_beside=frozenset(entry.get("strong_beside", ())),
            whole=entry.get("whole", False),
        )
        for entry in parsed["mark"]
    )
    by_place: defaultdict[str, list[tuple[int, Mark]]] = defaultdict(list)
    for rank, mark in enumerate(marks):
        for place in mark.at:
            by_place[place].append((rank, mark))
    places = {place: tuple(ranked) for place, ranked in by_place.items()}
    return Catalogue(marks, places, parsed["producers"], sha256(text.encode()).hexdigest())


def catalogue_digest() -> str:
    """SHA-256 of marks.toml: findings depend on what it says."""
    return load_catalogue().digest


def _compile(pattern: str, lists: dict[str, list[str]]) -> re.Pattern[str]:
    for name, words in lists.items():
        pattern = pattern.replace(f"(?P>{name})", f"(?:{'|'.join(words)})")
    return re.compile(pattern, re.DOTALL)


def _also(entry: dict[str, str] | None) -> tuple[str, re.Pattern[str]] | None:
    return (entry["at"], re.compile(entry["pattern"], re.DOTALL)) if entry else None


def find_marks(fields: Sequence[Field]) -> list[Hit]:
    """Every mark that `fields` carry, in the catalogue's order; one hit a mark and place."""
    catalogue = load_catalogue()
    ranked: list[tuple[int, Hit]] = []
    for place, same in _by_place(fields).items():
        half = _MAX_FIELDS_OF_A_NAME // 2
        kept = same if len(same) <= _MAX_FIELDS_OF_A_NAME else [*same[:half], *same[-half:]]
        for field in kept:
            for rank, mark in catalogue.by_place[place]:
                hit = _match(mark, field, catalogue.producers)
                if hit is not None and _says_also(mark, fields):
                    ranked.append((rank, hit))
    ranked.sort(key=lambda pair: pair[0])
    found: dict[tuple[str, str], Hit] = {}
    for _, hit in ranked:
        found.setdefault((hit.mark.id, hit.field.location), hit)
    ids = {hit.mark.id for hit in found.values()}
    return [_beside(hit, ids) for hit in found.values()]


def has_unread_fields(fields: Sequence[Field]) -> bool:
    """Whether a name that could speak of AI repeats so often that `find_marks` leaves some out."""
    by_place = load_catalogue().by_place
    return any(
        len(same) > _MAX_FIELDS_OF_A_NAME
        and any(mark.says in {Says.AI, Says.AI_EDIT} for _, mark in by_place[place])
        for place, same in _by_place(fields).items()
    )


def _by_place(fields: Sequence[Field]) -> dict[str, list[Field]]:
    """The fields that any mark looks at."""
    known = load_catalogue().by_place
    found: defaultdict[str, list[Field]] = defaultdict(list)
    for field in fields:
        if (place := _place(field)) in known:
            found[place].append(field)
    return found


def _place(field: Field) -> str:
    return f"{field.signal}:{field.name}" if field.name else field.signal


def _says_also(mark: Mark, fields: Sequence[Field]) -> bool:
    if mark.also is None:
        return True
    place, pattern = mark.also
    return any(_place(field) == place and pattern.search(field.value) for field in fields)


def _beside(hit: Hit, found: Set[str]) -> Hit:
    """The hit, in the light of all marks of the same file."""
    evidence = hit.evidence
    if hit.mark.edit_beside & found:
        evidence = replace(evidence, says=Says.AI_EDIT)
    is_alone = hit.mark.strong_beside and not hit.mark.strong_beside & found
    if is_alone or hit.mark.weak_beside & found:
        evidence = replace(evidence, tier=Tier.WEAK)
    return replace(hit, evidence=evidence)


def _match(mark: Mark, field: Field, producers: dict[str, str]) -> Hit | None:
    if mark.whole and field.is_cut:
        return None
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
        source=_source(mark, text, first.group(first.lastindex or 0), producers),
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
