"""`fakescan evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.backends import BackendName, Precision
from fakescan.cli.options import (
    AiLabelsOption,
    BackendOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    WeightsOption,
)
from fakescan.records import DEFAULT_MAX_FALSE_POSITIVE_RATE, FakescanError, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fakescan.backends import Backend
    from fakescan.hub import LocatedModel
    from fakescan.training.data import Pictures
    from fakescan.training.evaluate import Metrics
    from fakescan.training.faithfulness import Faithfulness
    from fakescan.training.photos import Origin
    from fakescan.training.recompression import Degradation
    from fakescan.training.robustness import RobustnessReport
    from fakescan.training.small_robustness import ConditionRow
    from fakescan.weights import ModelCard


def evaluate(
    model: ModelOption,
    data: Annotated[
        Path | None, typer.Option(help="Folder or archive of labelled pictures; as for train.")
    ] = None,
    weights: WeightsOption = None,
    ai_label: AiLabelsOption = None,
    split: Annotated[
        Split | None, typer.Option(help="By default test, where there is one.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw ROC, confusion and reliability into this PNG; of photos degradations"
            " and sources."
        ),
    ] = None,
    sources_picture: Annotated[
        Path | None,
        typer.Option(help="Draw a bar for each source (subfolder) into this PNG."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Measure the overlays too: deletion and insertion.")
    ] = False,
    out_of_fold: Annotated[
        bool,
        typer.Option(
            "--out-of-fold",
            help="photos: each picture by the network of its run that has not seen its source.",
        ),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Measure degraded (JPEG, noise, blur) and attacked pictures too; photos always"
            " are.",
        ),
    ] = False,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="photos: measure clean and so degraded pictures only; may be repeated. All by"
            " default."
        ),
    ] = None,
    attack: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Attack this many (FGSM, PGD), half of each class; photos: none by default,"
            " --robustness: 1000.",
        ),
    ] = None,
    max_fpr: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="photos: the rate of the card's threshold; 0.01 by default."
        ),
    ] = None,
    json_output: JsonOption = False,
    backend: BackendOption = BackendName.AUTO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
) -> None:
    """Measure a model on labelled pictures. Photos with an index.csv: by source and degraded."""
    from fakescan.hub import PublishedModel, locate_model
    from fakescan.training.data import find_data
    from fakescan.training.photos import is_photo_folder
    from fakescan.training.recompression import pick_degradations

    for target in (picture, sources_picture):
        if target is not None and not target.parent.is_dir():
            raise FakescanError(f"the picture {target}: there is no such folder; create it first")
    path = find_data(data)
    located = locate_model(model, weights=weights or (), ai_labels=ai_label or ())
    if isinstance(located, PublishedModel):
        _refuse(
            "it looks into a network of fakescan's own",
            {"--explain": explain, "--out-of-fold": out_of_fold, "--attack": attack},
        )
    if is_photo_folder(path):
        _refuse(
            f"{path} holds photos by source, which have no splits or folders of classes",
            {
                "--split": split,
                "--sources-picture": sources_picture,
                "--explain": explain,
                "--robustness": robustness,
            },
        )
        report = _evaluate_photos(
            located,
            path,
            out_of_fold,
            pick_degradations(condition or ()),
            attack,
            max_fpr,
            backend,
            device,
            precision,
        )
        _show_report(report, picture, json_output=json_output)
        return
    _refuse(
        f"{path} has no index.csv, so it tells no sources",
        {"--out-of-fold": out_of_fold, "--condition": condition or None, "--max-fpr": max_fpr},
    )
    if attack is not None and not robustness:
        raise FakescanError(
            f"--attack: {path} has no index.csv; other pictures are attacked with --robustness"
        )
    _evaluate_split(
        *(located, path, split, picture, sources_picture, explain, robustness, attack),
        *(json_output, backend, device, precision),
    )


def _refuse(why: str, options: dict[str, object]) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            raise FakescanError(f"{name}: {why}; leave the option out")


def _evaluate_split(
    model: LocatedModel,
    path: Path,
    split: Split | None,
    picture: Path | None,
    sources_picture: Path | None,
    explain: bool,
    robustness: bool,
    attack: int | None,
    json_output: bool,
    backend: BackendName,
    device: str,
    precision: Precision | None,
) -> None:
    from fakescan.backends import load_backend
    from fakescan.training.evaluate import evaluate as run
    from fakescan.training.evaluate import evaluate_logits, read_split
    from fakescan.training.faithfulness import measure_faithfulness
    from fakescan.training.fullsize import measure_labelled
    from fakescan.training.pictures import draw_evaluation, draw_sources

    loaded = load_backend(model, backend=backend, device=device, precision=precision)
    card = loaded.card
    faithfulness = None
    rows: tuple[ConditionRow, ...] = ()
    # Whole pictures go through what a scan does to them: windows, gates, a library's own ways.
    is_of_one_size = isinstance(model, Path) and card.domain.maximum_side == card.input.size
    if not is_of_one_size:
        measured = measure_labelled(path, loaded, card, split=split)
        remark_on_split(measured.found.split)
        _remark_on_left_out(measured.left_out)
        evaluation = evaluate_logits(card, measured.found)
    if isinstance(model, Path) and (is_of_one_size or explain or robustness):
        labelled = read_split(path, card.input.size, split)
        if is_of_one_size:
            remark_on_split(labelled.split)
            evaluation = run(loaded, labelled)
        faithfulness = measure_faithfulness(model, labelled.pictures) if explain else None
        if robustness:
            rows = measure_robustness(model, loaded, labelled.pictures, attack, device)
    if picture is not None:
        draw_evaluation(evaluation, picture)
    if sources_picture is not None and not draw_sources(evaluation, sources_picture):
        raise FakescanError("--sources-picture: the class folders have no folders of sources")
    if json_output:
        about = {"model": evaluation.model, "data": evaluation.data, "split": evaluation.split}
        more: dict[str, object] = {}
        if faithfulness is not None:
            more["faithfulness"] = asdict(faithfulness)
        if rows:
            more["robustness"] = [asdict(row) for row in rows]
        typer.echo(json.dumps({**about, **asdict(evaluation.metrics), **more}))
    else:
        title = f"{evaluation.model} on {evaluation.data}, {evaluation.split}"
        print_metrics(title, evaluation.metrics)
        if faithfulness is not None:
            print_metrics("overlays of AI pictures: area under P(AI)", faithfulness)
        if rows:
            from fakescan.cli.robustness_tables import print_conditions

            print_conditions(rows)


def remark_on_split(split: Split | None) -> None:
    """Say on standard error that pictures of no other split may be those of the training."""
    if split is Split.TRAIN:
        typer.echo(
            "These are the pictures of a train split, or of none: if the model was trained on them,"
            " what follows flatters it.",
            err=True,
        )


def _remark_on_sources(card: ModelCard, origins: Sequence[Origin]) -> None:
    sources = card.training.get("sources", {})
    known = {*sources.get("generators", ()), *sources.get("collections", ())}
    seen = sum(not known.isdisjoint({one.generator, one.collection}) for one in origins)
    if seen:
        typer.echo(
            f"{seen:,} of {len(origins):,} pictures are of sources that the model was trained on,"
            " which flatters it; --out-of-fold judges them by networks that were not.",
            err=True,
        )


def _remark_on_left_out(left_out: Mapping[str, int]) -> None:
    counts = [f"{count:,} {why.replace('_', ' ')}" for why, count in left_out.items() if count]
    if counts:
        typer.echo(f"Left out: {', '.join(counts)}.", err=True)


def measure_robustness(
    weights: Path, loaded: Backend, pictures: Pictures, attack: int | None, device: str
) -> tuple[ConditionRow, ...]:
    """Rows of degraded pictures by `loaded`, and of attacked ones by `weights` in torch."""
    from fakescan.model import build_detector, pick_device
    from fakescan.training.small_robustness import ATTACKED, measure_attacked, measure_conditions
    from fakescan.weights import load_tensors

    card = loaded.card
    rows = measure_conditions(loaded.logits, card, pictures)
    # Gradients need torch, whatever the runtime.
    detector = build_detector(card, load_tensors(weights)).to(pick_device(device))
    return rows + measure_attacked(detector, card, pictures, attack or ATTACKED)


def _evaluate_photos(
    model: LocatedModel,
    path: Path,
    out_of_fold: bool,
    degradations: Mapping[str, Degradation],
    attack: int | None,
    max_fpr: float | None,
    backend: BackendName,
    device: str,
    precision: Precision | None,
) -> RobustnessReport:
    from dataclasses import replace

    from fakescan.backends import card_of
    from fakescan.calibration import pick_thresholds
    from fakescan.training.judges import (
        find_fold_networks,
        load_detectors,
        load_judge,
        seat_by_fold,
        seat_one,
    )
    from fakescan.training.photos import read_photos
    from fakescan.training.robustness import attack_photos, evaluate_photos

    card = card_of(model)
    rate = DEFAULT_MAX_FALSE_POSITIVE_RATE if max_fpr is None else max_fpr
    networks = find_fold_networks(model) if out_of_fold and isinstance(model, Path) else [model]
    judges = tuple(
        load_judge(network, backend=backend, device=device, precision=precision)
        for network in networks
    )
    # A rate that a card can't promise is told before any picture is read.
    for judge in judges:
        pick_thresholds(judge.card, rate)
    photos = read_photos(path)
    if not out_of_fold:
        _remark_on_sources(card, photos.origins)
    if out_of_fold:
        panel = seat_by_fold(judges, photos.folds, photos.origins)
    else:
        panel = seat_one(judges[0], len(photos.origins))
    report = evaluate_photos(
        photos,
        panel,
        card,
        data=path.name,
        degradations=degradations,
        max_false_positive_rate=rate,
    )
    if attack is None:
        return report
    detectors = load_detectors(panel, device)
    attacks = attack_photos(photos, panel, detectors, attack, max_false_positive_rate=rate)
    return replace(report, attacks=attacks)


def _show_report(report: RobustnessReport, picture: Path | None, *, json_output: bool) -> None:
    if picture is not None:
        from fakescan.training.robustness_picture import draw_robustness

        draw_robustness(report, picture)
    if json_output:
        typer.echo(json.dumps(asdict(report), allow_nan=False))
    else:
        from fakescan.cli.robustness_tables import print_robustness

        print_robustness(report)


def print_metrics(title: str, metrics: Metrics | Faithfulness) -> None:
    """A table of figures on standard output."""
    from rich.table import Table

    from fakescan.cli.console import OutputConsole

    table = Table("figure", "value", title=title)
    table.columns[1].justify = "right"
    for name, value in asdict(metrics).items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        table.add_row(name.replace("_", " "), shown)
    OutputConsole().print(table)
