"""`fakescan models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakescan.weights import ModelCard


def models() -> None:
    """List the models that come with the program, those you calibrated, and some to be had."""
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
    known = Table(
        *("name", "licence", "size", "its authors report", "read"),
        title="published by others; their figures, not measured here",
    )
    for model in list_known_models():
        known.add_row(model.name, model.licence, model.size, model.reported, model.read)
    console.print(known)
    for model in list_known_models():
        console.print(f"{model.command}  # {model.source}", highlight=False, soft_wrap=True)


def _least_rate(card: ModelCard) -> str:
    if card.thresholds is None:
        return ""
    return f"{min(row.rate for row in card.thresholds.ai):g}"
