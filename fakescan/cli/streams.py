"""Standard output, whose reader may leave early: `| head`."""

from __future__ import annotations

import os
import sys


class ReaderLeftError(SystemExit):
    """Who reads standard output has seen enough: an end without an error, unless it is caught."""


def drop_output() -> None:
    """From here on standard output leads nowhere, since nobody reads it any more."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
