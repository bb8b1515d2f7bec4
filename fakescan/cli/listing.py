"""`fakescan models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from fakescan.hub.known import KnownModel
    from fakescan.weights import ModelCard


def models() -> None:
    """List the models here, those you calibrated, and some to be had."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fakescan.cli.console import OutputConsole
    from fakescan.hub.known import list_known_models
    from fakescan.weights import (
        find_models,
        find_user_cards,
        load_card,
        user_models_folder,
        weights_folder,
    )

    console = OutputConsole()
    own = Table("name", "version", "judges", "SHA-256", title=f"here: {weights_folder()}")
    for path in find_models():
        card = load_card(path, as_shipped=True)
        own.add_row(card.name, card.version, card.domain.description, card.sha256[:12])
    console.print(own)
    cards = find_user_cards()
    if cards:
        calibrated = Table(
            *("name", "version", "judges", "least --max-fpr", "SHA-256"),
            title=f"calibrated by you: {user_models_folder()}",
        )
        for card in cards:
            calibrated.add_row(
                *(card.name, card.version, card.domain.description),
                *(_least_rate(card), card.sha256[:12]),
            )
        console.print(calibrated)
    known = Table(box=SIMPLE_HEAD, leading=1)
    known.add_column("published by others; their figures, not measured here", overflow="fold")
    for model in list_known_models():
        known.add_row(_describe(model))
    console.print(known)
    console.print("fakescan scan PICTURES --model NAME fetches one of these (extra hub).")


def _describe(model: KnownModel) -> Text:
    from rich.text import Text

    lines = [(model.name, "bold"), (f"\n{model.source}", "")]
    if model.reported:
        lines.append((f"\n{model.reported} (its authors, {model.read})", ""))
    licence = f"licence {model.licence}" if model.licence else ""
    if about := ", ".join(filter(None, (model.size, licence))):
        lines.append((f"\n{about}", "dim"))
    return Text.assemble(*lines)


def _least_rate(card: ModelCard) -> str:
    if card.thresholds is None:
        return ""
    return f"{min(row.rate for row in card.thresholds.ai):g}"
