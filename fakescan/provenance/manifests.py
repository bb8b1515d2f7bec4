"""A C2PA manifest store, as c2pa prints it in JSON, to the manifests that speak of the picture.

C2PA technical specification 2.2. The store comes from strangers: any value may be of any type.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MAX_CHAIN = 16  # manifests from the picture back to its first origin
_MAX_ACTIONS = 64
_TRUSTED = "signingCredential.trusted"

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a manifest; `source_type` is the last path segment of IPTC's URL."""

    name: str
    source_type: str | None
    agent: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest: what it states, who signed it, and how it validated here and now.

    `signer` is the certificate's organization, `signer_unit` its common name: which of the
    organization's products signed.
    """

    signer: str | None
    signer_unit: str | None
    claim_generator: str | None
    actions: tuple[Action, ...]
    assertions: frozenset[str]
    trusted: bool
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ManifestStore:
    """The active manifest and its parents: the picture itself, active first.

    `components` are the direct ingredients that were placed into it. `failures` are all codes.
    """

    state: str
    failures: tuple[str, ...]
    chain: tuple[Manifest, ...]
    components: tuple[Manifest, ...]


def read_store(document: Json) -> ManifestStore:
    """The store in `document`; where something has another type than C2PA says, it is left out."""
    manifests = {
        label: one for label, one in _object(document.get("manifests")).items() if _object(one)
    }
    results = _object(document.get("validation_results"))
    active = _object(results.get("activeManifest"))
    deltas = [
        _object(delta.get("validationDeltas"))
        for delta in _objects(results.get("ingredientDeltas"))
    ]
    state = _text(document.get("validation_state")) or "Invalid"
    chain: list[Manifest] = []
    components: list[Manifest] = []
    seen: set[str] = set()
    label = _text(document.get("active_manifest")) or ""
    failures = tuple(code for code, _ in _codes(active, "failure"))
    trusted = state == "Trusted"
    while label in manifests and label not in seen and len(seen) < _MAX_CHAIN:
        seen.add(label)
        content = _object(manifests[label])
        chain.append(_read_manifest(content, trusted, failures))
        parent = ""
        for ingredient in _objects(content.get("ingredients")):
            other = _text(ingredient.get("active_manifest")) or ""
            if ingredient.get("relationship") == "componentOf" and other in manifests:
                components.append(_read_manifest(_object(manifests[other]), False, ()))
            elif ingredient.get("relationship") == "parentOf" and not parent:
                parent = other
                trusted, failures = _validate_parent(other, ingredient, deltas)
        label = parent
    every = {code for check in (active, *deltas) for code, _ in _codes(check, "failure")}
    return ManifestStore(state, tuple(sorted(every)), tuple(chain), tuple(components))


def _validate_parent(
    label: str, ingredient: Json, deltas: list[Json]
) -> tuple[bool, tuple[str, ...]]:
    """Whether a parent's own signer is trusted, and what fails in it.

    The child's trusted signature says only that the parent was there: a stranger's claim would be
    laundered by any trusted editor that opened it.
    """
    trusted = any(
        code == _TRUSTED and f"/{label}/" in url
        for check in deltas
        for code, url in _codes(check, "success")
    )
    failures = [
        code for check in deltas for code, url in _codes(check, "failure") if f"/{label}" in url
    ]
    # The parent's pixels are gone: whether they matched is known only from when it was opened.
    recorded = _object(_object(ingredient.get("validation_results")).get("activeManifest"))
    opened = [code for code, _ in _codes(recorded, "failure")]
    opened += [str(one.get("code")) for one in _objects(ingredient.get("validation_status"))]
    failures += [code for code in opened if code.endswith(".mismatch")]
    return trusted, tuple(failures)


def _read_manifest(content: Json, trusted: bool, failures: tuple[str, ...]) -> Manifest:
    signature = _object(content.get("signature_info"))
    info = next(iter(_objects(content.get("claim_generator_info"))), {})
    assertions = _objects(content.get("assertions"))
    return Manifest(
        signer=_text(signature.get("issuer")) or _text(signature.get("common_name")),
        signer_unit=_text(signature.get("common_name")),
        claim_generator=_text(content.get("claim_generator")) or _text(info.get("name")),
        actions=tuple(_read_actions(assertions))[:_MAX_ACTIONS],
        assertions=frozenset(_text(one.get("label")) or "" for one in assertions),
        trusted=trusted,
        failures=failures,
    )


def _read_actions(assertions: list[Json]) -> Iterator[Action]:
    for assertion in assertions:
        if not (_text(assertion.get("label")) or "").startswith("c2pa.actions"):
            continue
        for action in _objects(_object(assertion.get("data")).get("actions")):
            agent = action.get("softwareAgent")
            parameters = _object(action.get("parameters"))
            source_type = _text(action.get("digitalSourceType"))
            yield Action(
                name=_text(action.get("action")) or "",
                source_type=source_type.rsplit("/", 1)[-1] if source_type else None,
                agent=_text(_object(agent).get("name")) or _text(agent),
                description=_text(action.get("description"))
                or _text(parameters.get("description"))
                or "",
            )


def _codes(check: Json, kind: str) -> Iterator[tuple[str, str]]:
    for one in _objects(check.get(kind)):
        yield _text(one.get("code")) or "", _text(one.get("url")) or ""


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
