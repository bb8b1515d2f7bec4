"""C2PA content credentials, validated offline against the trust lists shipped beside this file.

C2PA technical specification 2.2; what an action means follows the C2PA conformance programme's
signals rubric. Needs the extra `c2pa`; loaded only for files that hold a manifest.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fakescan.records import Credential, Evidence, Says, Tier

if TYPE_CHECKING:
    from c2pa import Context

TRUST_LIST_DATE = "2026-11-20"
MAX_FILE_BYTES = 256 * 1024 * 1024  # hashing more than this takes longer than a second
_MAX_CHAIN = 16  # manifests from the picture back to its first origin
_MAX_ACTIONS = 64
_LOCATION = "JUMBF:C2PA"

# Failures of the signer's identity or of time: the content is still what was signed.
_IDENTITY_FAILURES = re.compile(
    r"signingCredential\.(?:untrusted|expired|invalid)$|timeStamp\.|timeOfSigning\."
)
_AI_SOURCES = frozenset({"trainedAlgorithmicMedia", "trainedAlgorithmicData"})
_AI_EDIT_SOURCES = frozenset({"compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"})
_CAPTURE_SOURCES = frozenset({"digitalCapture", "computationalCapture"})
_AI_ASSERTIONS = frozenset({"c2pa.ai_generated_content", "c2pa.ai-disclosure"})
# Microsoft's image creator states no source type, only these words.
_AI_DESCRIPTION = re.compile(r"^AI Generated Image$")
_AI_GENERATORS = re.compile(r"^(?:Microsoft_Responsible_AI|Dreamina)/")
_INCEPTIONS = frozenset({"c2pa.created", "c2pa.opened"})
# Changes of form, not of what the picture shows.
_NON_EDITORIAL = frozenset(
    {
        "c2pa.converted",
        "c2pa.published",
        "c2pa.repackaged",
        "c2pa.transcoded",
        "c2pa.resized.proportional",
        "c2pa.enhanced",
        "c2pa.edited.metadata",
        "c2pa.watermarked",
        "c2pa.watermarked.bound",
        "c2pa.watermarked.unbound",
        "c2pa.redacted",
    }
)


@dataclass(frozen=True, slots=True)
class CredentialReading:
    """What the credential of one file says, and sentences for what it cannot say."""

    credential: Credential | None = None
    evidence: tuple[Evidence, ...] = ()
    generator: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Action:
    """One action of a manifest; `depth` is 0 in the active manifest, then up its parents."""

    name: str
    source_type: str | None
    agent: str | None
    description: str
    depth: int


def read_credential(data: bytes, media_type: str, offset: int) -> CredentialReading:
    """Validate the manifest in `data` that begins near `offset`. Never opens a connection."""
    if find_spec("c2pa") is None:
        return CredentialReading(
            notes=("A content credential is present; install fakescan[c2pa] to read it.",)
        )
    if len(data) > MAX_FILE_BYTES:
        return CredentialReading(
            notes=("A content credential is present; the file is too large to check it.",)
        )
    import c2pa

    try:
        reader = c2pa.Reader.try_create(media_type, io.BytesIO(data), context=_context(os.getpid()))
        if reader is None:
            return CredentialReading()
        with reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, RecursionError):
        # Any damage, an unknown algorithm, or a manifest that only a server holds.
        return CredentialReading(notes=("A content credential is present, but it cannot be read.",))
    return _interpret(store, offset)


@lru_cache(maxsize=1)
def _context(process: int) -> Context:
    """c2pa's settings, built once a process: a native handle must not cross a fork."""
    import c2pa

    def read(name: str) -> str:
        return files("fakescan.provenance").joinpath("trust", name).read_text("utf-8")

    return c2pa.Context.from_dict(
        {
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
            "trust": {
                "trust_anchors": read("C2PA-TRUST-LIST.pem")
                + read("C2PA-TSA-TRUST-LIST.pem")
                + read("itl-anchors.pem"),
                "allowed_list": read("itl-allowed.pem"),
                # Without the key usages, certificates of OpenAI and Microsoft count as invalid.
                "trust_config": read("store.cfg"),
            },
        }
    )


def _interpret(store: dict[str, object], offset: int) -> CredentialReading:
    manifests = _objects(store.get("manifests"))
    active = manifests.get(str(store.get("active_manifest")), {})
    state = str(store.get("validation_state") or "Invalid")
    failures = tuple(sorted(set(_failures(store))))
    chain = list(_chain(manifests, str(store.get("active_manifest"))))
    actions = [action for depth, one in enumerate(chain) for action in _actions(one, depth)]
    signature = _object(active.get("signature_info"))
    signer = _text(signature.get("issuer")) or _text(signature.get("common_name"))
    claim_generator = _claim_generator(active)
    tier = _tier(state, failures)
    finding = _judge(actions, chain)
    evidence: list[Evidence] = []
    notes: list[str] = []

    def find(rule: str, says: Says, tier: Tier, value: str, source: str | None) -> None:
        evidence.append(Evidence("c2pa", rule, says, tier, source, _LOCATION, offset, value[:200]))

    if finding is not None:
        says, action = finding
        value = _show(action, signer)
        # Who captured is stated by the parent's signer, and only the active one is verified here.
        if says is Says.CAMERA and action.depth and tier is Tier.PROOF:
            tier = Tier.STRONG
        source = action.agent or claim_generator
        if says is Says.CAMERA:
            source = claim_generator or signer
        find(f"c2pa-{says.value.replace('_', '-')}", says, tier, value, source)
    if any(not _IDENTITY_FAILURES.match(code) for code in failures):
        find("c2pa-mismatch", Says.EDITED, Tier.WEAK, ", ".join(failures), claim_generator)
        notes.append("The content credential does not match this file.")
    edits = [action for action in actions if _is_edit(action)]
    if edits and (finding is None or finding[0] is Says.CAMERA):
        find("c2pa-edited", Says.EDITED, tier, _show(edits[0], signer), claim_generator)
    if _has_ai_component(manifests, chain):
        value = "an ingredient states AI"
        find("c2pa-ai-component", Says.AI_EDIT, Tier.WEAK, value, claim_generator)
    if any("SynthID" in action.description for action in actions):
        notes.append("It is said to carry a SynthID watermark, which cannot be read offline.")
    source_types = [action.source_type for action in actions if action.source_type]
    stated = finding[1].source_type if finding else None
    credential = Credential(
        validation_state=state,
        failure_codes=failures,
        signer=signer,
        claim_generator=claim_generator,
        digital_source_type=stated or next(iter(source_types), None),
        actions=tuple(action.name for action in actions),
        trust_list_date=TRUST_LIST_DATE,
    )
    generator = None
    if finding and finding[0] in {Says.AI, Says.AI_EDIT}:
        generator = finding[1].agent or claim_generator
    return CredentialReading(credential, tuple(evidence), generator, tuple(notes))


def _tier(state: str, failures: tuple[str, ...]) -> Tier:
    """By the failure codes: `validation_state` alone calls an expired certificate invalid."""
    if state == "Trusted" and not failures:
        return Tier.PROOF
    if all(_IDENTITY_FAILURES.match(code) for code in failures):
        return Tier.STRONG
    return Tier.WEAK


def _judge(actions: list[_Action], chain: list[dict[str, object]]) -> tuple[Says, _Action] | None:
    """What the picture's own manifests state; AI outranks an AI edit, and that a capture."""
    created = [action for action in actions if action.name in _INCEPTIONS]
    for action in created:
        if action.source_type in _AI_SOURCES or _AI_DESCRIPTION.match(action.description):
            return Says.AI, action
    for action in actions:
        if action.source_type in _AI_SOURCES | _AI_EDIT_SOURCES:
            return Says.AI_EDIT, action
    for depth, manifest in enumerate(chain):
        labels = {str(_object(one).get("label")) for one in _list(manifest.get("assertions"))}
        generator = _claim_generator(manifest) or ""
        if labels & _AI_ASSERTIONS or _AI_GENERATORS.match(generator):
            return Says.AI, _Action("c2pa.created", None, None, "", depth)
    for action in created:
        if action.name == "c2pa.created" and action.source_type in _CAPTURE_SOURCES:
            return Says.CAMERA, action
    return None


def _is_edit(action: _Action) -> bool:
    return action.name not in _INCEPTIONS and action.name not in _NON_EDITORIAL


def _show(action: _Action, signer: str | None) -> str:
    parts = (action.name, action.source_type, action.agent, action.description)
    stated = ", ".join(part for part in parts if part)
    return f"{stated}; signed by {signer or 'nobody named'}"


def _chain(manifests: dict[str, dict[str, object]], label: str) -> Iterator[dict[str, object]]:
    """The active manifest and its parents: the picture itself, not what was placed into it."""
    seen: set[str] = set()
    while label in manifests and label not in seen and len(seen) < _MAX_CHAIN:
        seen.add(label)
        yield manifests[label]
        parents = [
            str(ingredient.get("active_manifest"))
            for ingredient in map(_object, _list(manifests[label].get("ingredients")))
            if ingredient.get("relationship") == "parentOf"
        ]
        label = parents[0] if parents else ""


def _has_ai_component(
    manifests: dict[str, dict[str, object]], chain: list[dict[str, object]]
) -> bool:
    for manifest in chain:
        for ingredient in map(_object, _list(manifest.get("ingredients"))):
            if ingredient.get("relationship") == "componentOf":
                part = manifests.get(str(ingredient.get("active_manifest")), {})
                if any(action.source_type in _AI_SOURCES for action in _actions(part, 0)):
                    return True
    return False


def _actions(manifest: dict[str, object], depth: int) -> Iterator[_Action]:
    for assertion in map(_object, _list(manifest.get("assertions"))):
        if not str(assertion.get("label")).startswith("c2pa.actions"):
            continue
        data = _object(assertion.get("data"))
        for action in map(_object, _list(data.get("actions"))[:_MAX_ACTIONS]):
            agent = action.get("softwareAgent")
            parameters = _object(action.get("parameters"))
            description = action.get("description") or parameters.get("description")
            source_type = _text(action.get("digitalSourceType"))
            yield _Action(
                name=str(action.get("action")),
                source_type=source_type.rsplit("/", 1)[-1] if source_type else None,
                agent=_text(_object(agent).get("name")) or _text(agent),
                description=_text(description) or "",
                depth=depth,
            )


def _failures(store: dict[str, object]) -> Iterator[str]:
    """Failure codes of the active manifest and of its ingredients as they validate today."""
    results = _object(store.get("validation_results"))
    checks = [_object(results.get("activeManifest"))]
    checks += [
        _object(_object(delta).get("validationDeltas"))
        for delta in _list(results.get("ingredientDeltas"))
    ]
    for check in checks:
        for failure in map(_object, _list(check.get("failure"))):
            yield str(failure.get("code"))


def _claim_generator(manifest: dict[str, object]) -> str | None:
    stated = _text(manifest.get("claim_generator"))
    if stated:
        return stated
    info = next(iter(_list(manifest.get("claim_generator_info"))), None)
    return _text(_object(info).get("name"))


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> dict[str, dict[str, object]]:
    return {key: one for key, one in _object(value).items() if isinstance(one, dict)}
