"""C2PA content credentials, validated offline against the trust lists shipped beside this file.

C2PA technical specification 2.2; what an action means follows the C2PA conformance programme's
signals rubric. Needs the extra `c2pa`; loaded only for files that hold a manifest.
"""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import TYPE_CHECKING

from fakescan.provenance.manifests import Action, Manifest, ManifestStore, read_store
from fakescan.records import Credential, Evidence, Says, Tier

if TYPE_CHECKING:
    from c2pa import Context

TRUST_LIST_DATE = "2026-11-20"
MAX_FILE_BYTES = 256 * 1024 * 1024  # hashing more than this takes longer than a second
_UNREADABLE = "A content credential is present, but it cannot be read."
_TIERS = tuple(Tier)  # strongest first
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
# Who lets only a camera sign. Many a trusted signer lets its users state what they like. From the
# C2PA conformance programme's list and the interim list's roots.
_CAMERA_SIGNERS = re.compile(
    r"(?i)(?:leica|sony|nikon|canon|fujifilm|samsung|huawei|truepic)\b"
    r"|.*/(?:pixel|xiaomi|vivo|jovi) camera$|qualcomm.*/snapdragon"
)
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


def read_credential(data: bytes, media_type: str, offset: int) -> CredentialReading:
    """Validate the manifest in `data` that begins near `offset`. Never opens a connection."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError):
        # OSError and RuntimeError: the wheel's library does not load on this system.
        return CredentialReading(
            notes=("A content credential is present; the extra c2pa reads it.",)
        )
    if len(data) > MAX_FILE_BYTES:
        return CredentialReading(
            notes=("A content credential is present; the file is too large to check it.",)
        )
    try:
        reader = c2pa.Reader.try_create(media_type, io.BytesIO(data), context=_context(os.getpid()))
        if reader is None:
            return CredentialReading()
        with reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, RecursionError):
        # Any damage, an unknown algorithm, or a manifest that only a server holds.
        return CredentialReading(notes=(_UNREADABLE,))
    return _interpret(store, offset)


def credential_reader() -> str:
    """What reads credentials here, and by which trust lists: findings depend on both."""
    try:
        return f"c2pa-python {version('c2pa-python')}, trust lists of {TRUST_LIST_DATE}"
    except PackageNotFoundError:
        return "none"


@lru_cache(maxsize=1)
def _context(process: int) -> Context:
    """c2pa's settings, built once a process: a native handle must not cross a fork."""
    import c2pa

    return c2pa.Context.from_dict(
        {
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
            "trust": {
                "trust_anchors": _read_trust_list("C2PA-TRUST-LIST.pem")
                + _read_trust_list("C2PA-TSA-TRUST-LIST.pem")
                + _read_trust_list("itl-anchors.pem"),
                "allowed_list": _read_trust_list("itl-allowed.pem"),
                # Without the key usages, certificates of OpenAI and Microsoft count as invalid.
                "trust_config": _read_trust_list("store.cfg"),
            },
        }
    )


def _read_trust_list(name: str) -> str:
    return files("fakescan.provenance").joinpath("trust", name).read_text("utf-8")


def _interpret(document: dict[str, object], offset: int) -> CredentialReading:
    store = read_store(document)
    if not store.chain:
        return CredentialReading(notes=(_UNREADABLE,))
    active = store.chain[0]
    evidence: list[Evidence] = []
    notes: list[str] = []

    def find(rule: str, says: Says, tier: Tier, source: str | None, value: str) -> None:
        evidence.append(Evidence("c2pa", rule, says, tier, source, _LOCATION, offset, value[:200]))

    statement = _find_statement(store.chain)
    if statement is not None:
        says, action, depth = statement
        tier = max((_tier(one) for one in store.chain[: depth + 1]), key=_TIERS.index)
        if says is Says.CAMERA and tier is Tier.PROOF and not _is_untouched(store, depth):
            tier = Tier.STRONG
        source = (says is not Says.CAMERA and action.agent) or store.chain[depth].claim_generator
        find(
            f"c2pa-{says.replace('_', '-')}", says, tier, source, _show(action, store.chain[depth])
        )
    if any(not _IDENTITY_FAILURES.match(code) for code in active.failures):
        codes = ", ".join(active.failures)
        find("c2pa-mismatch", Says.EDITED, Tier.WEAK, active.claim_generator, codes)
        notes.append("The content credential does not match this file.")
    edit = next(((a, one) for one in store.chain for a in one.actions if _is_edit(a)), None)
    if edit and (statement is None or statement[0] is Says.CAMERA):
        find("c2pa-edited", Says.EDITED, _tier(edit[1]), edit[1].claim_generator, _show(*edit))
    if _has_ai_component(store):
        value = "an ingredient placed into the picture states AI"
        find("c2pa-ai-component", Says.AI_EDIT, Tier.WEAK, active.claim_generator, value)
    actions = [action for one in store.chain for action in one.actions]
    if any("SynthID" in action.description for action in actions):
        notes.append("It is said to carry a SynthID watermark, which cannot be read offline.")
    types = [statement[1].source_type if statement else None]
    types += [action.source_type for action in actions]
    credential = Credential(
        validation_state=store.state,
        failure_codes=store.failures,
        signer=active.signer,
        claim_generator=active.claim_generator,
        digital_source_type=next((one for one in types if one), None),
        actions=tuple(action.name for action in actions),
        trust_list_date=TRUST_LIST_DATE,
    )
    names_generator = statement is not None and statement[0] is not Says.CAMERA
    generator = evidence[0].source if names_generator else None
    return CredentialReading(credential, tuple(evidence), generator, tuple(notes))


def _tier(manifest: Manifest) -> Tier:
    """By the failure codes: `validation_state` alone calls an expired certificate invalid."""
    if any(not _IDENTITY_FAILURES.match(code) for code in manifest.failures):
        return Tier.WEAK
    return Tier.PROOF if manifest.trusted and not manifest.failures else Tier.STRONG


def _is_untouched(store: ManifestStore, depth: int) -> bool:
    """Whether a capture stated at `depth` still is the whole picture, as a camera signed it.

    Of a parent's capture the pixels are gone, and an edit or something placed into the picture may
    have replaced them all.
    """
    active = store.chain[0]
    is_edited = any(_is_edit(action) for action in active.actions)
    return not (depth or is_edited or _has_ai_component(store)) and _is_camera(active)


def _has_ai_component(store: ManifestStore) -> bool:
    return any(
        action.source_type in _AI_SOURCES for one in store.components for action in one.actions
    )


def _is_camera(manifest: Manifest) -> bool:
    return bool(_CAMERA_SIGNERS.match(f"{manifest.signer}/{manifest.signer_unit}"))


def _find_statement(chain: tuple[Manifest, ...]) -> tuple[Says, Action, int] | None:
    """What the picture's own manifests state, and at which depth of the chain.

    AI outranks an AI edit, and both outrank a capture.
    """
    actions = [(action, depth) for depth, one in enumerate(chain) for action in one.actions]
    for action, depth in actions:
        is_ai = action.source_type in _AI_SOURCES or _AI_DESCRIPTION.match(action.description)
        if action.name in _INCEPTIONS and is_ai:
            return Says.AI, action, depth
    for action, depth in actions:
        if action.source_type in _AI_SOURCES | _AI_EDIT_SOURCES:
            return Says.AI_EDIT, action, depth
    for depth, manifest in enumerate(chain):
        generator = manifest.claim_generator or ""
        if manifest.assertions & _AI_ASSERTIONS or _AI_GENERATORS.match(generator):
            return Says.AI, Action("c2pa.created", None, None, "stated without an action"), depth
    for action, depth in actions:
        if action.name == "c2pa.created" and action.source_type in _CAPTURE_SOURCES:
            return Says.CAMERA, action, depth
    return None


def _is_edit(action: Action) -> bool:
    return action.name not in _INCEPTIONS and action.name not in _NON_EDITORIAL


def _show(action: Action, manifest: Manifest) -> str:
    parts = (action.name, action.source_type, action.agent, action.description)
    stated = ", ".join(part for part in parts if part)
    return f"{stated}; signed by {manifest.signer or 'nobody named'}"
