"""The `hints` column: what a file says of itself, in a sentence or two for anyone."""

from __future__ import annotations

from fakescan.provenance.camera import full_name
from fakescan.records import Evidence, Provenance, Says, Tier

_MAX_NAME = 60  # characters of a name from the file that a sentence can bear
_SETTINGS_SIGNALS = frozenset({"png_text", "jpeg_comment", "gif_comment", "pixel_lsb"})
_SETTINGS_TAGS = frozenset({"EXIF:UserComment", "EXIF:Make", "EXIF:Model", "EXIF:ImageDescription"})


def describe(provenance: Provenance) -> str:
    """One sentence, at most two, with the strongest statement first; empty if there is none."""
    sentences = [
        sentence
        for sentence in (_declaration(provenance), _origin(provenance), *provenance.notes)
        if sentence
    ]
    return " ".join(sentences[:2])


def _declaration(provenance: Provenance) -> str | None:
    """What the most trustworthy statement about AI says."""
    for tier in Tier:
        for says in (Says.AI, Says.AI_EDIT):
            found = _first(provenance, says, tier)
            if found is not None:
                return _speak(provenance, found)
    return None


def _speak(provenance: Provenance, found: Evidence) -> str:
    name = _short(found.source or provenance.generator)
    with_name = f" ({name})" if name else ""
    deed = "edited with AI" if found.says is Says.AI_EDIT else "made by AI"
    if found.signal == "c2pa":
        return _speak_credential(provenance, found, deed, with_name)
    if found.tier is Tier.PROOF:
        return f"Signed by {name or 'an AI generator'}: {deed}; the signature was verified."
    if found.tier is Tier.WEAK:
        return f"A faint trace of AI{with_name}; it decides nothing."
    if found.signal == "watermark":
        return f"The watermark of {name or 'an AI generator'} is in the pixels."
    is_settings = found.signal in _SETTINGS_SIGNALS or found.location in _SETTINGS_TAGS
    if found.says is Says.AI and is_settings and name:
        return f"Generation settings of {name}; unsigned, easy to forge."
    return f"The file declares that it was {deed}{with_name}; unsigned, easy to forge."


def _speak_credential(provenance: Provenance, found: Evidence, deed: str, with_name: str) -> str:
    signer = _short(provenance.credential.signer if provenance.credential else None)
    if found.tier is Tier.PROOF:
        return f"Signed by {signer or 'a trusted signer'}, trusted: {deed}{with_name}."
    if found.tier is Tier.STRONG:
        return f"A signed claim says {deed}{with_name}; the signer could not be verified."
    return f"A content credential that does not fit this file says {deed}{with_name}."


def _origin(provenance: Provenance) -> str | None:
    """Camera, editing or a platform: the first of them that the file speaks of."""
    signer = _short(provenance.credential.signer if provenance.credential else None)
    for one in provenance.evidence:
        if one.signal == "c2pa" and one.says is Says.CAMERA:
            if one.tier is Tier.PROOF:
                return f"Signed by {signer or 'a camera'}, trusted: captured by a camera."
            return "A signed claim says captured by a camera; it could not be verified to the end."
    camera = full_name(provenance.camera_make, provenance.camera_model)
    if camera is not None:
        taken = provenance.date_time_original
        when = f", taken {taken[:10]}" if taken else ""
        editor = _first(provenance, Says.EDITED, Tier.STRONG)
        edited = f", edited with {_short(editor.source)}" if editor and editor.source else ""
        return f"{camera}{when}{edited}; camera metadata can be forged."
    for tier in (Tier.PROOF, Tier.STRONG):
        edited_by = _first(provenance, Says.EDITED, tier)
        if edited_by is not None:
            return f"Edited with {_short(edited_by.source) or 'software'}; that is no sign of AI."
    stripped = _first(provenance, Says.STRIPPED, Tier.STRONG)
    if stripped is not None:
        return f"{stripped.source} took the file's own metadata away."
    return None


def _first(provenance: Provenance, says: Says, tier: Tier) -> Evidence | None:
    return next((one for one in provenance.evidence if one.says is says and one.tier is tier), None)


def _short(name: str | None) -> str | None:
    """A name from the file, made fit for a sentence: printable, and not too long."""
    if name is None:
        return None
    printable = "".join(letter if letter.isprintable() else " " for letter in name).strip()
    return printable if len(printable) <= _MAX_NAME else printable[: _MAX_NAME - 1] + "…"
