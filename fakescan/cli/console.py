"""Standard output, where people read."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from fakescan.records import ExitCode


class ReaderLeftError(SystemExit):
    """Who reads standard output has seen enough: an end without an error, unless it is caught."""


class OutputConsole(Console):
    """Rich's console on standard output, whose reader may leave early: `| head`."""

    def on_broken_pipe(self) -> None:
        """Raise ReaderLeftError. Rich would end with 1, which says here that AI was found."""
        drop_output()
        raise ReaderLeftError(ExitCode.DONE)


def drop_output() -> None:
    """From here on standard output leads nowhere, since nobody reads it any more."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
