"""`fakescan scan`."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan import __version__
from fakescan.backends import BackendName
from fakescan.cli.distributing import (
    Distribution,
    EngineName,
    EngineOption,
    ManifestSizeOption,
    PartsOption,
    RayAddressOption,
)
from fakescan.cli.inputs import Inputs, check_remote_seconds
from fakescan.cli.options import (
    AiLabelsOption,
    BackendOption,
    CropsOption,
    DecodeOption,
    DeviceOption,
    MaxFprOption,
    ModelsOption,
    PrecisionOption,
    RemoteOption,
    RemoteSecondsOption,
    WeightsOption,
)
from fakescan.cli.outputs import Outputs, store_files
from fakescan.isolation import LONGEST_SECONDS
from fakescan.records import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_CROPS,
    DEFAULT_DECODE_MEMORY,
    DEFAULT_DECODE_SECONDS,
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    DEFAULT_MAX_PIXELS,
    DEFAULT_REMOTE_SECONDS,
    MIN_DECODE_MEMORY,
    MIN_DECODE_SECONDS,
    DecoderName,
    ExitCode,
    FakescanError,
    Finding,
    Verdict,
)

if TYPE_CHECKING:
    from rich.console import Console
    from tqdm import tqdm

    from fakescan.distributed import DistributedScan
    from fakescan.options import ScanOptions
    from fakescan.pipeline import Scan
    from fakescan.reports import Report, Summary
    from fakescan.store import Store

EXIT_CODES = (
    "Exit codes: 0 done; 1 --fail-on-ai and AI was found; 2 did not run;"
    " 3 done, but some files were unreadable; 130 interrupted."
)


def scan(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, archives, URLs; - reads paths from standard input."),
    ] = None,
    path_list: Annotated[
        list[Path] | None,
        typer.Option("--list", help="A file of paths to scan, one a line; may be repeated."),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write FILE.csv, .json, .jsonl, .html or .parquet; may be repeated."),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Write JSON Lines to standard output.")
    ] = False,
    model: ModelsOption = None,
    weights: WeightsOption = None,
    ai_label: AiLabelsOption = None,
    combine: Annotated[
        bool,
        typer.Option("--combine", help="All models that fit a picture judge it together."),
    ] = False,
    backend: BackendOption = BackendName.AUTO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    decode: DecodeOption = DecoderName.CPU,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a batch.")] = DEFAULT_BATCH_SIZE,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that read and decode; by default one a core, up to 16; 16 with --remote.",
        ),
    ] = None,
    crops: CropsOption = DEFAULT_CROPS,
    watermarks: Annotated[
        bool,
        typer.Option("--watermarks", help="Look for open watermarks of generators: slow."),
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Pictures with more pixels are not decoded.")
    ] = DEFAULT_MAX_PIXELS,
    max_fpr: MaxFprOption = DEFAULT_MAX_FALSE_POSITIVE_RATE,
    fail_on_ai: Annotated[bool, typer.Option(help="Exit with 1 if a verdict is ai.")] = False,
    hidden: Annotated[bool, typer.Option(help="Look at hidden files and folders too.")] = False,
    follow_links: Annotated[bool, typer.Option(help="Enter linked folders.")] = False,
    null_separated: Annotated[
        bool, typer.Option("-0", help="Paths read from a list end in NUL, not at the line's end.")
    ] = False,
    overlay: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of where the model looked, for what was flagged."),
    ] = None,
    overlay_all: Annotated[
        bool, typer.Option("--overlay-all", help="With --overlay: for every picture judged.")
    ] = False,
    rescan: Annotated[bool, typer.Option(help="Measure again what the store knows.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="Where measurements are kept between scans.")
    ] = None,
    no_store: Annotated[
        bool, typer.Option("--no-store", help="Keep nothing between scans.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only this part of the files, by their paths."),
    ] = None,
    remote: RemoteOption = False,
    remote_seconds: RemoteSecondsOption = DEFAULT_REMOTE_SECONDS,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Decode in processes that hostile files may crash.")
    ] = False,
    decode_seconds: Annotated[
        float | None,
        typer.Option(
            min=MIN_DECODE_SECONDS, help="With --isolate: time for each file; 30 by default."
        ),
    ] = None,
    decode_memory: Annotated[
        int | None,
        typer.Option(
            min=MIN_DECODE_MEMORY,
            help="With --isolate: MiB for each process; 4096 by default; Linux only.",
        ),
    ] = None,
    engine: EngineOption = EngineName.LOCAL,
    parts: PartsOption = None,
    manifest_size: ManifestSizeOption = None,
    ray_address: RayAddressOption = None,
) -> None:
    """Scan files and folders: which pictures did AI make?"""
    from fakescan import pipeline
    from fakescan.options import ScanOptions
    from fakescan.store import Store, default_store_path

    distribution = Distribution(engine, parts, manifest_size, ray_address)
    distribution.check(store)
    outputs = Outputs(tuple(report or ()), json_lines, overlay, overlay_all, fail_on_ai)
    inputs = Inputs(tuple(paths or ()), tuple(path_list or ()), null_separated)
    inputs.check(remote_seconds if remote else None)
    outputs.check(inputs, store)
    check_remote_seconds(context, remote)
    if no_store and store is not None:
        raise FakescanError("--store and --no-store contradict each other; leave one out.")
    if no_store and rescan:
        raise FakescanError("--rescan is of what a store knows; leave it or --no-store out.")
    if not isolate and (decode_seconds, decode_memory) != (None, None):
        raise FakescanError("--decode-seconds and --decode-memory need --isolate.")
    store = None if no_store else store or default_store_path()
    written = (*outputs.reports, *store_files(store))
    options = ScanOptions(
        models=tuple(model or ()),
        weights=tuple(weights or ()),
        ai_labels=tuple(ai_label or ()),
        combine=combine,
        backend=backend,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        crops=crops,
        watermarks=watermarks,
        decode=decode,
        max_pixels=max_pixels,
        max_false_positive_rate=max_fpr,
        hidden=hidden,
        follow_links=follow_links,
        excluded=tuple(os.path.realpath(path) for path in written),
        overlays=None if overlay is None else os.path.realpath(overlay),
        rescan=rescan,
        shard=shard,
        remote=remote,
        remote_seconds=remote_seconds,
        isolate=isolate,
        decode_seconds=min(decode_seconds or DEFAULT_DECODE_SECONDS, LONGEST_SECONDS),
        decode_memory=decode_memory or DEFAULT_DECODE_MEMORY,
    )
    with ExitStack() as stack:
        if engine is EngineName.RAY:
            key = (*inputs.paths, *map(str, inputs.lists))
            measured = distribution.measure(inputs.expand(), key, options, keep=not no_store)
            summary = _scan(stack.enter_context(measured), inputs, options, outputs, None)
        else:
            kept = None if store is None else stack.enter_context(Store(store))
            found = pipeline.scan(inputs.expand(), options, store=kept)
            summary = _scan(found, inputs, options, outputs, kept)
    if fail_on_ai and summary.verdicts[Verdict.AI]:
        raise typer.Exit(ExitCode.FOUND_AI)
    raise typer.Exit(ExitCode.SOME_UNREADABLE if summary.unreadable else ExitCode.DONE)


def _scan(
    scan: Scan | DistributedScan,
    inputs: Inputs,
    options: ScanOptions,
    outputs: Outputs,
    store: Store | None,
) -> Summary:
    from fakescan import pipeline
    from fakescan.cli.console import ErrorConsole
    from fakescan.options import describe_settings
    from fakescan.reports import ReportHeader, Summary, open_report, to_record
    from fakescan.reports.terminal import print_summary

    errors = ErrorConsole()
    summary = Summary()
    header = ReportHeader(
        program={"name": "fakescan", "version": __version__},
        models=pipeline.describe_models(scan.cards),
        settings=describe_settings(options),
    )
    if not scan.cards:
        errors.print("No model is installed: only metadata decides.", highlight=False)
    with ExitStack() as stack:
        stack.callback(scan.close)
        sinks: list[Report] = [open_report(path, header, summary) for path in outputs.reports]
        sinks += outputs.open_standard()
        for sink in sinks:
            stack.enter_context(sink)
        add_overlay = outputs.overlays(options, errors)
        try:
            for finding in map(add_overlay, _with_progress(scan, inputs, options)):
                summary.add(finding)
                record = to_record(finding)
                for sink in sinks:
                    sink.write(finding, record)
        except KeyboardInterrupt:
            _notify(errors, store)
            is_remembered = store is not None and store.notice is None and not options.rescan
            is_kept = is_remembered or not isinstance(scan, pipeline.Scan)
            kept = "; the same command goes on from here" if is_kept else ""
            errors.print(f"Interrupted after {summary.files:,} files{kept}.", highlight=False)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        summary.other_files = scan.other_files
    _notify(errors, store)
    print_summary(summary, errors)
    _suggest(errors, summary, bool(outputs.reports) or outputs.json_lines)
    return summary


def _notify(errors: Console, store: Store | None) -> None:
    if store is not None and store.notice is not None:
        errors.print(store.notice, highlight=False, markup=False, soft_wrap=True)


def _with_progress(
    scan: Scan | DistributedScan, inputs: Inputs, options: ScanOptions
) -> Iterator[Finding]:
    from tqdm import tqdm

    from fakescan import pipeline

    total = None if isinstance(scan, pipeline.Scan) else scan.files
    with tqdm(
        scan, total=total, unit=" files", disable=None, dynamic_ncols=True, leave=False
    ) as bar:
        if total is None and not bar.disable and inputs.can_repeat and not options.remote:
            # Counting goes on beside the scan, so that the time left is known soon. Listing a
            # bucket twice would cost as many requests again.
            threading.Thread(target=_count, args=(bar, inputs, options), daemon=True).start()
        yield from bar


def _count(bar: tqdm[Finding], inputs: Inputs, options: ScanOptions) -> None:
    from fakescan.pipeline import find_sources

    with contextlib.suppress(FakescanError):  # the scan says it
        bar.total = sum(1 for _ in find_sources(inputs.expand(), options))
    with contextlib.suppress(ValueError):  # the scan may have closed the bar by now
        bar.refresh()


def _suggest(console: Console, summary: Summary, has_output: bool) -> None:
    if has_output or summary.unreadable == summary.files:
        return
    console.print(
        "Next: --report out.csv for a row of every file; fakescan inspect FILE for all that is"
        " known of one.",
        highlight=False,
    )
