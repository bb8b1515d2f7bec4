"""`fakescan inspect`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.cli.inputs import check_remote_seconds, real_input
from fakescan.cli.options import (
    AiLabelsOption,
    DeviceOption,
    JsonOption,
    MaxFprOption,
    ModelsOption,
    RemoteOption,
    RemoteSecondsOption,
    WeightsOption,
)
from fakescan.records import (
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    DEFAULT_REMOTE_SECONDS,
    ExitCode,
    FakescanError,
    MetadataStatus,
    Status,
)

if TYPE_CHECKING:
    from rich.console import Console

    from fakescan.options import ScanOptions
    from fakescan.records import Finding, JudgedModel, ModelOutput, Provenance


def inspect(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="One picture.")],
    model: ModelsOption = None,
    weights: WeightsOption = None,
    ai_label: AiLabelsOption = None,
    combine: Annotated[bool, typer.Option("--combine", help="As for scan.")] = False,
    device: DeviceOption = "auto",
    max_fpr: MaxFprOption = DEFAULT_MAX_FALSE_POSITIVE_RATE,
    overlay: Annotated[
        Path | None, typer.Option(help="Draw where the model looked into this PNG.")
    ] = None,
    remote: RemoteOption = False,
    remote_seconds: RemoteSecondsOption = DEFAULT_REMOTE_SECONDS,
    json_output: JsonOption = False,
) -> None:
    """Show all that is known of one file, and where its marks are."""
    import json

    from fakescan.cli.console import OutputConsole
    from fakescan.options import ScanOptions
    from fakescan.pipeline import scan
    from fakescan.reports import to_record
    from fakescan.sources import check_path, is_archive

    if os.path.isdir(file):
        raise FakescanError(f"{file} is a folder: fakescan scan {file}")
    check_remote_seconds(context, remote)
    check_path(file, remote_seconds if remote else None)
    if overlay is not None and os.path.realpath(overlay) == real_input(file):
        raise FakescanError(f"--overlay {overlay} is the file to inspect; name another.")
    if is_archive(file):
        raise FakescanError("An archive holds many files: fakescan scan it, or name a member.")
    options = ScanOptions(
        models=tuple(model or ()),
        weights=tuple(weights or ()),
        ai_labels=tuple(ai_label or ()),
        combine=combine,
        device=device,
        max_false_positive_rate=max_fpr,
        watermarks=True,
        workers=1,
        remote=remote,
        remote_seconds=remote_seconds,
    )
    for finding in scan([file], options):
        if overlay is not None:
            finding = _draw(finding, overlay, options)
        if json_output:
            # JSON is UTF-8, whatever the terminal's encoding is.
            typer.echo(json.dumps(to_record(finding), indent=1, ensure_ascii=False).encode())
        else:
            _print(finding, OutputConsole())
        if finding.status != Status.OK:
            raise typer.Exit(ExitCode.SOME_UNREADABLE)


def _draw(finding: Finding, path: Path, options: ScanOptions) -> Finding:
    from fakescan.explain import Explainer, can_explain, explain_finding
    from fakescan.pipeline import locate_models

    outputs = finding.measurement.outputs
    if outputs and not any(map(can_explain, outputs)):
        raise FakescanError("--overlay is for fakescan's own models only; leave the option out")
    explainer = Explainer(locate_models(options))
    return explain_finding(finding, explainer, path, max_pixels=options.max_pixels)


def _print(finding: Finding, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from fakescan.reports.terminal import make_printable

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(finding):
        facts.add_row(name, Text(make_printable(value)))
    console.print(facts)
    provenance = finding.measurement.provenance
    evidence = provenance.evidence
    if not evidence:
        # Of what was not read, nothing can be missing.
        if provenance.metadata_status is not MetadataStatus.UNREAD:
            console.print("\nNo mark of origin was found. That is evidence of nothing.")
        return
    table = Table("says", "trust", "rule", "where (exiftool's name @ byte)", "value")
    for piece in evidence:
        place = piece.location if piece.offset is None else f"{piece.location} @ {piece.offset}"
        cells = (piece.says.value, piece.tier.value, piece.rule, place, piece.value)
        table.add_row(*(Text(make_printable(cell), overflow="fold") for cell in cells))
    console.print()
    console.print(table)


def _facts(finding: Finding) -> Iterator[tuple[str, str]]:
    measurement = finding.measurement
    yield "file", finding.source.path
    if finding.reason is None:
        yield "status", measurement.status.sentence
    if finding.verdict is not None and finding.reason is not None:
        yield "verdict", f"{finding.verdict.value}: {finding.reason.sentence}"
    if finding.score is not None and finding.model is not None:
        is_combined = len(finding.members or ()) > 1
        yield "score", _describe_score(finding.score, finding.model, is_combined=is_combined)
    for member in finding.members or ():
        output = member.output
        looked = f"logit {output.logit:.4f} {_describe_view(output)}"
        yield output.name, f"{looked}; {_describe_thresholds(member)}"
    if finding.overlay is not None:
        yield "overlay", finding.overlay
    if finding.hints:
        yield "hints", finding.hints
    if measurement.width is not None:
        shape = f"{measurement.width} x {measurement.height}, {measurement.media_type}"
        yield "picture", shape
    yield from _describe_provenance(measurement.provenance)
    if measurement.sha256 is not None:
        yield "SHA-256", measurement.sha256


def _describe_score(score: float, model: JudgedModel, *, is_combined: bool) -> str:
    output = model.output
    by = f"{output.name} {output.version} ({output.backend}, {output.precision})"
    looked = "together" if is_combined else _describe_view(output)
    return f"{score:.4f} by {by} {looked}; {_describe_thresholds(model)}"


def _describe_view(output: ModelOutput) -> str:
    if not output.crops:
        return "on the whole picture"
    return f"on {len(output.crops)} {'window' if len(output.crops) == 1 else 'windows'}"


def _describe_thresholds(model: JudgedModel) -> str:
    if model.threshold_ai is None:
        return "uncalibrated"
    return f"real up to {model.threshold_real}, ai from {model.threshold_ai}"


def _describe_provenance(provenance: Provenance) -> Iterator[tuple[str, str]]:
    yield "metadata", provenance.metadata_status.value
    named = {
        "generator": provenance.generator,
        "generator version": provenance.generator_version,
        "prompt": provenance.prompt,
        "digital source type": provenance.digital_source_type,
        "camera make": provenance.camera_make,
        "camera model": provenance.camera_model,
        "lens": provenance.lens_model,
        "taken": provenance.date_time_original,
        "software": provenance.software,
        "GPS": "yes" if provenance.has_gps else None,
    }
    yield from ((name, value) for name, value in named.items() if value)
    if (credential := provenance.credential) is not None:
        signer = credential.signer or "an unknown signer"
        failures = ", ".join(credential.failure_codes) or "no failures"
        yield "credential", f"{credential.validation_state}, {signer}; {failures}"
        yield "trust list", credential.trust_list_date
    for note in provenance.notes:
        yield "note", note
