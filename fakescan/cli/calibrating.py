"""`fakescan calibrate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.backends import BackendName
from fakescan.cli.options import (
    AiLabelsOption,
    BackendOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    WeightsOption,
)
from fakescan.records import Split

if TYPE_CHECKING:
    from fakescan.training.calibrate import CalibrationFigures
    from fakescan.weights import ModelCard


def calibrate(
    model: ModelOption,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder or archive of labelled pictures; as for evaluate."),
    ] = None,
    weights: WeightsOption = None,
    ai_label: AiLabelsOption = None,
    split: Annotated[
        Split | None, typer.Option(help="By default test, where there is one.")
    ] = None,
    json_output: JsonOption = False,
    backend: BackendOption = BackendName.AUTO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
) -> None:
    """Fit a model to labelled pictures. Its probabilities and thresholds go on a card."""
    from fakescan.backends import card_of, load_backend
    from fakescan.cli.evaluating import remark_on_split
    from fakescan.hub import locate_model
    from fakescan.training.calibrate import calibrate_card
    from fakescan.training.data import find_data
    from fakescan.training.fullsize import measure_labelled
    from fakescan.weights import save_user_card

    path = find_data(data)
    located = locate_model(model, weights=weights or (), ai_labels=ai_label or (), as_shipped=True)
    shipped = card_of(located, as_shipped=True)
    loaded = load_backend(located, backend=backend, device=device, precision=precision)
    measured = measure_labelled(path, loaded, shipped, split=split)
    card, figures = calibrate_card(shipped, measured)
    remark_on_split(measured.found.split)
    kept = save_user_card(card)
    if json_output:
        typer.echo(json.dumps({"model": card.name, "card": str(kept), **asdict(figures)}))
    else:
        _print(card, figures, kept)


def _print(card: ModelCard, figures: CalibrationFigures, kept: Path) -> None:
    from rich.table import Table

    from fakescan.cli.console import OutputConsole

    table = Table("figure", "value", title=f"{card.name} on {figures.data}")
    table.columns[1].justify = "right"
    table.add_row("real pictures", f"{figures.real:,}")
    if figures.confounders:
        table.add_row("… of them confounders", f"{figures.confounders:,}")
    table.add_row("AI pictures", f"{figures.ai:,}")
    for why, count in figures.left_out.items():
        table.add_row(f"left out, {why.replace('_', ' ')}", f"{count:,}")
    table.add_row("sides", f"{figures.shortest_side} to {figures.longest_side} px")
    table.add_row("AUC", f"{figures.auc:.4f}")
    table.add_row("calibration error before", f"{figures.error_before:.4f}")
    table.add_row(f"… after, {figures.folds}-fold cross-fitted", f"{figures.error_after:.4f}")
    if card.thresholds is not None:
        for row in card.thresholds.ai:
            table.add_row(f"ai from, --max-fpr {row.rate:g}", f"{row.score:.4f}")
        table.add_row("real up to", f"{card.thresholds.real.score:.4f}")
    console = OutputConsole()
    console.print(table)
    console.print(
        f"Kept as {kept}; every scan with these weights goes by it.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
