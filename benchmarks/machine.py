"""What a figure depends on besides the program."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import fakescan


def describe_machine() -> dict[str, object]:
    """The machine and the versions of what was measured, for a result's file."""
    names = ("numpy", "pillow", "pillow-heif", "c2pa-python")
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {"fakescan": fakescan.__version__, **{name: version(name) for name in names}},
    }
