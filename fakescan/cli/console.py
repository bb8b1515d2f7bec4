"""Standard output and error, where people read."""

from __future__ import annotations

import io
import sys

from rich.console import Console

from fakescan.cli.streams import ReaderLeftError, drop_output
from fakescan.records import ExitCode


class OutputConsole(Console):
    """Rich's console on standard output, whose reader may leave early: `| head`."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A name may have letters that the terminal's encoding hasn't.
            sys.stdout.reconfigure(errors="replace")
        super().__init__()

    def on_broken_pipe(self) -> None:
        """Raise ReaderLeftError. Rich would end with 1, which says here that AI was found."""
        drop_output()
        raise ReaderLeftError(ExitCode.DONE)


class ErrorConsole(Console):
    """Rich's on standard error. Where nothing can be written, all is said to nobody."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Go on: the exit code is still what the scan found."""
        drop_output(sys.stderr)

    def _check_buffer(self) -> None:
        # Rich knows of readers that left, and of no full disks.
        try:
            super()._check_buffer()
        except OSError:
            drop_output(sys.stderr)
