"""Content credentials: signed here with keys of our own, judged by what fails and who signed."""

from __future__ import annotations

import datetime
import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image
from test_provenance_container import chunk, jpeg, png, segment, xmp_packet

from fakescan.provenance import credentials, describe, read_provenance
from fakescan.records import Evidence, MetadataStatus, Provenance, Says, Tier

c2pa = pytest.importorskip("c2pa")
DST = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate and a signer under it."""

    root: str
    signer: Any


def make_authority(organization: str) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    def build(common: str, key: Any, issuer: str, is_root: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(2025, 1, 1))
            .not_valid_after(datetime.datetime(2065, 1, 1))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_root,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=is_root,
                    crl_sign=is_root,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False
            )
        )

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = build("Root", root_key, "Root", True).sign(root_key, hashes.SHA256())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = build("Signer", key, "Root", False).add_extension(usage, False)
    certificates = [leaf.sign(root_key, hashes.SHA256()), root]
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = c2pa.C2paSignerInfo(b"es256", chain, private, None)
    root_pem = root.public_bytes(serialization.Encoding.PEM).decode()
    return Authority(root_pem, c2pa.Signer.from_info(info))


@pytest.fixture(scope="module")
def known() -> Authority:
    """Trusted, but not with cameras."""
    return make_authority("Known Ltd")


@pytest.fixture(scope="module")
def camera() -> Authority:
    """Trusted, and signs in cameras alone."""
    return make_authority("Leica Camera AG")


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return make_authority("Stranger Ltd")


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch, known: Authority, camera: Authority) -> Iterator[None]:
    """Adds both to the shipped lists."""
    read = credentials._read_trust_list
    monkeypatch.setattr(
        credentials,
        "_read_trust_list",
        lambda name: (
            read(name) + (known.root + camera.root if name == "C2PA-TRUST-LIST.pem" else "")
        ),
    )
    credentials._context.cache_clear()
    yield
    credentials._context.cache_clear()


def picture(colour: str = "teal") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(stream, "PNG")
    return stream.getvalue()


def action(name: str, source: str | None = None, **more: object) -> dict[str, object]:
    stated = {"digitalSourceType": DST + source} if source else {}
    return {"action": name, **stated, **more}


def sign(
    authority: Authority,
    *actions: dict[str, object],
    component: bytes | None = None,
    parent: bytes | None = None,
) -> bytes:
    """A PNG signed by `authority`; with `parent` its credential is that one's child."""
    stated_actions = {"label": "c2pa.actions", "data": {"actions": list(actions)}}
    manifest = {
        "claim_generator_info": [{"name": "Test Tool", "version": "1"}],
        "assertions": [stated_actions] if actions else [],
    }
    builder = c2pa.Builder(json.dumps(manifest))
    if component is not None:
        stated = json.dumps({"title": "x", "relationship": "componentOf"})
        builder.add_ingredient(stated, "image/png", io.BytesIO(component))
    if parent is not None:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    signed = io.BytesIO()
    builder.sign(authority.signer, "image/png", io.BytesIO(parent or picture()), signed)
    return signed.getvalue()


def read(data: bytes) -> Provenance:
    return read_provenance(data, "image/png")


def rules(provenance: Provenance) -> dict[str, tuple[Says, Tier]]:
    return {one.rule: (one.says, one.tier) for one in provenance.evidence}


CREATED_BY_AI = action("c2pa.created", "trainedAlgorithmicMedia", softwareAgent="Test Model")
CAPTURED = action("c2pa.created", "digitalCapture")


def test_ai_under_a_trusted_signer_is_proof(known: Authority) -> None:
    provenance = read(sign(known, CREATED_BY_AI))
    (evidence,) = provenance.evidence
    assert (evidence.signal, evidence.says, evidence.tier) == ("c2pa", Says.AI, Tier.PROOF)
    assert provenance.credential is not None
    assert provenance.credential.validation_state == "Trusted"
    assert provenance.credential.signer == "Known Ltd"
    assert provenance.credential.actions == ("c2pa.created",)
    assert provenance.credential.trust_list_date == "2026-11-20"
    assert provenance.generator == "Test Model"
    assert provenance.digital_source_type == "trainedAlgorithmicMedia"
    assert describe(provenance) == "Signed by Known Ltd, trusted: made by AI (Test Model)."


def test_ai_under_a_stranger_is_a_strong_claim_and_no_proof(stranger: Authority) -> None:
    provenance = read(sign(stranger, CREATED_BY_AI))
    assert rules(provenance) == {"c2pa-ai": (Says.AI, Tier.STRONG)}
    assert provenance.credential is not None
    assert provenance.credential.failure_codes == ("signingCredential.untrusted",)
    assert "could not be verified" in describe(provenance)


def test_a_credential_that_does_not_match_is_weak(known: Authority) -> None:
    signed = sign(known, CREATED_BY_AI)
    position = signed.rindex(b"IDAT") + 8
    tampered = signed[:position] + bytes([signed[position] ^ 1]) + signed[position + 1 :]
    provenance = read(tampered)
    assert rules(provenance) == {
        "c2pa-ai": (Says.AI, Tier.WEAK),
        "c2pa-mismatch": (Says.EDITED, Tier.WEAK),
    }


def test_a_trusted_cameras_capture_is_the_proof_of_a_photograph(camera: Authority) -> None:
    provenance = read(sign(camera, CAPTURED))
    assert rules(provenance) == {"c2pa-camera": (Says.CAMERA, Tier.PROOF)}
    assert describe(provenance) == "Signed by Leica Camera AG, trusted: captured by a camera."


def test_who_is_trusted_but_makes_no_camera_proves_no_capture(known: Authority) -> None:
    assert rules(read(sign(known, CAPTURED))) == {"c2pa-camera": (Says.CAMERA, Tier.STRONG)}


def test_a_strangers_capture_proves_nothing(stranger: Authority) -> None:
    assert rules(read(sign(stranger, CAPTURED))) == {"c2pa-camera": (Says.CAMERA, Tier.STRONG)}


def test_an_ai_edit_of_a_capture_is_an_edit_and_no_capture(camera: Authority) -> None:
    edit = action("c2pa.edited", "compositeWithTrainedAlgorithmicMedia")
    assert rules(read(sign(camera, CAPTURED, edit))) == {"c2pa-ai-edit": (Says.AI_EDIT, Tier.PROOF)}


def test_human_edits_of_a_capture_are_told(camera: Authority) -> None:
    assert rules(read(sign(camera, CAPTURED, action("c2pa.cropped")))) == {
        # What an edit has left of the capture is not signed.
        "c2pa-camera": (Says.CAMERA, Tier.STRONG),
        "c2pa-edited": (Says.EDITED, Tier.PROOF),
    }
    assert rules(read(sign(camera, CAPTURED, action("c2pa.transcoded")))) == {
        "c2pa-camera": (Says.CAMERA, Tier.PROOF)
    }


def test_ai_stated_by_a_trusted_parent_is_proof(known: Authority) -> None:
    parent = sign(known, CREATED_BY_AI)
    child = sign(known, parent=parent)
    provenance = read(child)
    assert rules(provenance)["c2pa-ai"] == (Says.AI, Tier.PROOF)


@pytest.mark.parametrize("claim", [CREATED_BY_AI, CAPTURED], ids=["ai", "capture"])
def test_a_strangers_parent_is_not_laundered_by_a_trusted_child(
    known: Authority, stranger: Authority, claim: dict[str, object]
) -> None:
    parent = sign(stranger, claim)
    child = sign(known, parent=parent)
    tiers = {one.tier for one in read(child).evidence if one.says in {Says.AI, Says.CAMERA}}
    assert tiers == {Tier.STRONG}


def test_a_capture_known_only_from_the_parent_is_no_proof(camera: Authority) -> None:
    child = sign(camera, parent=sign(camera, CAPTURED))
    assert rules(read(child))["c2pa-camera"] == (Says.CAMERA, Tier.STRONG)


def test_a_capture_with_an_ai_ingredient_is_no_proof(known: Authority, camera: Authority) -> None:
    found = rules(read(sign(camera, CAPTURED, component=sign(known, CREATED_BY_AI))))
    assert found["c2pa-camera"] == (Says.CAMERA, Tier.STRONG)
    found = rules(read(sign(camera, CAPTURED, component=sign(camera, CAPTURED))))
    assert found["c2pa-camera"] == (Says.CAMERA, Tier.PROOF)


def test_an_ai_ingredient_alone_does_not_make_the_picture_ai(known: Authority) -> None:
    part = sign(known, CREATED_BY_AI)
    whole = sign(known, CAPTURED, component=part)
    found = rules(read(whole))
    assert found["c2pa-ai-component"] == (Says.AI_EDIT, Tier.WEAK)
    assert "c2pa-ai" not in found


def store(state: str, *manifests: dict[str, object], codes: tuple[str, ...] = ()) -> dict[str, Any]:
    """A manifest store as c2pa prints it: each manifest the parent of the one before, trusted."""
    labels = [f"urn:{index}" for index in range(len(manifests))]
    linked = {}
    for index, manifest in enumerate(manifests):
        parents = [
            {"relationship": "parentOf", "active_manifest": one} for one in labels[index + 1 :][:1]
        ]
        linked[labels[index]] = {"ingredients": parents, **manifest}
    failures = [{"code": code} for code in codes]
    trusted = [
        {"code": "signingCredential.trusted", "url": f"self#jumbf=/c2pa/{label}/c2pa.signature"}
        for label in labels[1:]
    ]
    return {
        "active_manifest": labels[0],
        "manifests": linked,
        "validation_state": state,
        "validation_results": {
            "activeManifest": {"failure": failures},
            "ingredientDeltas": [{"validationDeltas": {"success": trusted}}],
        },
    }


def manifest(*actions: dict[str, object], generator: str = "x", label: str = "") -> dict[str, Any]:
    assertions: list[dict[str, object]] = [
        {"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}
    ]
    if label:
        assertions.append({"label": label, "data": {}})
    return {
        "claim_generator": generator,
        "assertions": assertions,
        "signature_info": {"issuer": "S"},
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # Microsoft names no source type.
        (
            store("Trusted", manifest(
                action("c2pa.created", description="AI Generated Image"),
                generator="Microsoft_Responsible_AI/1.0")),
            (Says.AI, Tier.PROOF),
        ),
        # OpenAI states it in the parent, and its certificates of 2025 have run out.
        (
            store("Invalid", manifest(action("c2pa.opened")), manifest(CREATED_BY_AI),
                  codes=("signingCredential.expired",)),
            (Says.AI, Tier.STRONG),
        ),
        # Google's active manifest only adds the visible mark.
        (
            store("Trusted", manifest(action("c2pa.opened"), action("c2pa.edited", "composite")),
                  manifest(CREATED_BY_AI)),
            (Says.AI, Tier.PROOF),
        ),
        (
            store("Valid", manifest(label="c2pa.ai_generated_content"),
                  codes=("signingCredential.untrusted",)),
            (Says.AI, Tier.STRONG),
        ),
        (store("Invalid", manifest(CREATED_BY_AI), codes=("claimSignature.mismatch",)),
         (Says.AI, Tier.WEAK)),
        (store("Trusted", manifest(action("c2pa.created", "algorithmicMedia"))), None),
        (store("Trusted", manifest(action("c2pa.opened"), action("c2pa.transcoded"))), None),
        ({}, None),
    ],
)  # fmt: skip
def test_what_generators_write_is_understood(
    document: dict[str, Any], expected: tuple[Says, Tier] | None
) -> None:
    reading = credentials._interpret(document, 7)
    found = [(one.says, one.tier) for one in reading.evidence if one.says is Says.AI]
    assert found == ([expected] if expected else [])
    assert all(one.offset == 7 for one in reading.evidence)


@pytest.mark.parametrize("odd", [None, 7, "x", [], [7], {"actions": 7}, {"a": {"b": []}}])
def test_odd_stores_are_survived(odd: object) -> None:
    for key in ("manifests", "active_manifest", "validation_results", "validation_state"):
        document = store("Trusted", manifest(CREATED_BY_AI))
        document[key] = odd
        credentials._interpret(document, 0)
    for key in ("assertions", "ingredients", "signature_info", "claim_generator"):
        credentials._interpret(store("Trusted", {**manifest(CREATED_BY_AI), key: odd}), 0)


def test_a_broken_manifest_is_only_a_note() -> None:
    provenance = read(png(chunk(b"caBX", b"\0\0\0\x10jumbrubbish!")))
    assert provenance.credential is None
    assert provenance.evidence == ()
    assert provenance.notes == ("A content credential is present, but it cannot be read.",)


def test_without_the_extra_the_credential_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    (note,) = read(png(chunk(b"caBX", b"x"))).notes
    assert "extra c2pa" in note


def test_no_connection_is_opened_for_a_remote_manifest() -> None:
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        packet = xmp_packet(attributes=f'dcterms:provenance="{address}"')
        data = jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))

        def accept() -> None:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                return
            connections.append(connection)
            connection.close()

        def watch(act: Any) -> int:
            connections.clear()
            thread = threading.Thread(target=accept)
            thread.start()
            act()
            thread.join()
            return len(connections)

        def read_carelessly() -> None:
            with pytest.raises(c2pa.C2paError):
                c2pa.Reader("image/jpeg", io.BytesIO(data))

        assert watch(read_carelessly) == 1, "the watch itself sees nothing"
        assert watch(lambda: read_provenance(data, "image/jpeg")) == 0
        assert watch(lambda: credentials.read_credential(data, "image/jpeg", 0)) == 0
    provenance = read_provenance(data, "image/jpeg")
    assert provenance.notes == ("Its content credential is kept online and was not fetched.",)


def test_a_fat_prompt_does_not_hide_the_credential(known: Authority) -> None:
    signed = sign(known, CREATED_BY_AI)
    position = signed.index(b"IDAT") - 4
    fat = signed[:position] + chunk(b"tEXt", b"x\0" + b"y" * 100_000) + signed[position:]
    provenance = read(fat)
    assert provenance.metadata_status is MetadataStatus.LIMIT_REACHED
    assert provenance.credential is not None


def test_a_crowded_file_is_not_given_to_the_validator(known: Authority) -> None:
    signed = sign(known, CREATED_BY_AI)
    position = signed.index(b"IDAT") - 4
    crowd = chunk(b"tEXt", b"x\0y") * 5_000
    provenance = read(signed[:position] + crowd + signed[position:])
    assert provenance.credential is None
    assert "too many parts" in provenance.notes[0]


def test_evidence_points_at_the_manifest(known: Authority) -> None:
    data = sign(known, CREATED_BY_AI)
    (evidence,) = read(data).evidence
    assert isinstance(evidence, Evidence)
    assert evidence.offset is not None
    assert data[evidence.offset + 4 :].startswith(b"caBX")


def test_the_shipped_lists_are_whole() -> None:
    counts = {
        name: credentials._read_trust_list(name).count("BEGIN CERTIFICATE")
        for name in ("C2PA-TSA-TRUST-LIST.pem", "itl-anchors.pem", "itl-allowed.pem")
    }
    assert counts == {
        "C2PA-TSA-TRUST-LIST.pem": 22,
        "itl-anchors.pem": 18,
        "itl-allowed.pem": 86,
    }


@pytest.mark.parametrize(
    ("signer", "unit", "expected"),
    [
        ("Google LLC", "Pixel Camera", True),
        ("Google LLC", "Google Photos", False),
        ("vivo Mobile Communication Co., Ltd.", "JOVI Camera", True),
        ("Xiaomi Communications Co., Ltd", "Xiaomi MediaEditor", False),
        ("NIKON CORPORATION", "", True),
        ("Canonical Ltd", "", False),
        ("Adobe Inc.", "Adobe Camera", False),
    ],
)
def test_only_cameras_count_as_cameras(signer: str, unit: str, expected: bool) -> None:
    document = store("Trusted", {
        **manifest(CAPTURED), "signature_info": {"issuer": signer, "common_name": unit}
    })  # fmt: skip
    (evidence,) = credentials._interpret(document, 0).evidence
    assert (evidence.tier is Tier.PROOF) is expected
