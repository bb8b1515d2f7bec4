"""Standard output, where people read."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from fakescan.records import ExitCode


class OutputConsole(Console):
    """Rich's console on standard output, whose reader may leave early: `| head`."""

    def on_broken_pipe(self) -> None:
        """End without an error. Rich would end with 1, which says here that AI was found."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.DONE)
