"""Standard output, where people read."""

from __future__ import annotations

from rich.console import Console

from fakescan.cli.streams import ReaderLeftError, drop_output
from fakescan.records import ExitCode


class OutputConsole(Console):
    """Rich's console on standard output, whose reader may leave early: `| head`."""

    def on_broken_pipe(self) -> None:
        """Raise ReaderLeftError. Rich would end with 1, which says here that AI was found."""
        drop_output()
        raise ReaderLeftError(ExitCode.DONE)
