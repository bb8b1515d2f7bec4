"""`fakescan models`."""

from __future__ import annotations


def models() -> None:
    """List the models that come with the program."""
    from rich.table import Table

    from fakescan.cli.console import OutputConsole
    from fakescan.weights import find_models, load_card, weights_folder

    table = Table("name", "version", "judges", "SHA-256", title=str(weights_folder()))
    for path in find_models():
        card = load_card(path)
        table.add_row(card.name, card.version, card.domain.description, card.sha256[:12])
    OutputConsole().print(table)
