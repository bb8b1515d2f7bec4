"""What a file says of itself: metadata, content credentials, and marks written into pixels."""

from __future__ import annotations

import re
from dataclasses import replace

from fakescan.provenance.camera import read_camera
from fakescan.provenance.container import read_metadata
from fakescan.provenance.credentials import CredentialReading, credential_reader, read_credential
from fakescan.provenance.hints import describe
from fakescan.provenance.marks import Hit, catalogue_digest, find_marks, has_unread_fields
from fakescan.provenance.metadata import Metadata
from fakescan.provenance.names import read_name
from fakescan.provenance.pixel_marks import read_pixel_marks
from fakescan.provenance.prompts import find_prompt
from fakescan.records import Evidence, MetadataStatus, Provenance, Says, Tier

__all__ = [
    "catalogue_digest",
    "credential_reader",
    "describe",
    "read_name",
    "read_pixel_marks",
    "read_provenance",
    "with_evidence",
]

_NAMING = {Says.AI, Says.AI_EDIT}
_TIERS = {tier: rank for rank, tier in enumerate(Tier)}


def read_provenance(data: bytes, media_type: str | None) -> Provenance:
    """All that the bytes of a file say of its origin, without decoding a pixel.

    `media_type` is what `sniff_media_type` says; None leaves the metadata unread. Never raises,
    whatever the bytes. Evidence comes strongest first.
    """
    if media_type is None:
        return Provenance(metadata_status=MetadataStatus.UNREAD)
    metadata = read_metadata(data, media_type)
    camera = read_camera(metadata)
    hits = find_marks(metadata.fields)
    metadata.limit_reached |= has_unread_fields(metadata.fields)
    reading = CredentialReading()
    if metadata.manifest_offset is not None and not metadata.is_overcrowded:
        # c2pa knows the RAW formats built on TIFF only by that name.
        carrier = "image/tiff" if data[:2] in {b"II", b"MM"} else media_type
        reading = read_credential(data, carrier, metadata.manifest_offset)
    evidence = (*reading.evidence, *(hit.evidence for hit in hits), *camera.evidence)
    naming = [
        one for one in hits if one.evidence.says in _NAMING and one.evidence.tier is Tier.STRONG
    ]
    return Provenance(
        metadata_status=_status(metadata),
        evidence=tuple(sorted(evidence, key=lambda one: _TIERS[one.tier])),
        credential=reading.credential,
        generator=reading.generator
        or next((hit.evidence.source for hit in naming if hit.evidence.source), None),
        generator_version=_version(naming),
        prompt=_prompt(naming),
        digital_source_type=_digital_source_type(metadata, reading),
        camera_make=camera.make,
        camera_model=camera.model,
        lens_model=camera.lens_model,
        date_time_original=camera.date_time_original,
        software=camera.software,
        has_gps=camera.has_gps,
        notes=_notes(metadata, reading),
    )


def with_evidence(provenance: Provenance, evidence: tuple[Evidence, ...]) -> Provenance:
    """`provenance` with the evidence of pixels or of a name added, strongest first."""
    if not evidence:
        return provenance
    merged = sorted((*provenance.evidence, *evidence), key=lambda one: _TIERS[one.tier])
    named = next(
        (
            one.source
            for one in evidence
            if one.says in _NAMING and one.tier is not Tier.WEAK and one.source
        ),
        None,
    )
    return replace(provenance, evidence=tuple(merged), generator=provenance.generator or named)


def _status(metadata: Metadata) -> MetadataStatus:
    if metadata.limit_reached:
        return MetadataStatus.LIMIT_REACHED
    return MetadataStatus.MALFORMED if metadata.malformed else MetadataStatus.OK


def _version(hits: list[Hit]) -> str | None:
    for hit in hits:
        found = hit.mark.version.search(hit.field.value) if hit.mark.version else None
        if found:
            return found.group(1)
    for hit in hits:
        if hit.field.name == "Iptc4xmpExt:AISystemVersionUsed":
            return hit.evidence.value
    return None


def _prompt(hits: list[Hit]) -> str | None:
    prompts = (find_prompt(hit.mark.prompt, hit.field) for hit in hits if hit.mark.prompt)
    return next((prompt for prompt in prompts if prompt), None)


def _digital_source_type(metadata: Metadata, reading: CredentialReading) -> str | None:
    if reading.credential and reading.credential.digital_source_type:
        return reading.credential.digital_source_type
    for field in metadata.fields:
        if field.name in {
            "Iptc4xmpExt:DigitalSourceType",
            "Iptc4xmpExt:DigitalSourceFileType",
        }:
            return re.split("[/#:]", field.value.strip().rstrip("/"))[-1]
    return None


def _notes(metadata: Metadata, reading: CredentialReading) -> tuple[str, ...]:
    notes = reading.notes
    if metadata.manifest_offset is not None and metadata.is_overcrowded:
        notes += ("A content credential is present; the file has too many parts to check it.",)
    if metadata.manifest_offset is None and any(
        field.name == "dcterms:provenance" for field in metadata.fields
    ):
        notes += ("Its content credential is kept online and was not fetched.",)
    return notes
