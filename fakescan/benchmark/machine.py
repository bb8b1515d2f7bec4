"""Where it was measured."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fakescan import __version__

_PACKAGES = (
    *("numpy", "onnxruntime", "openvino", "pillow", "simplejpeg"),
    *("tensorrt", "torch", "torchvision", "transformers"),
)


def describe_machine() -> dict[str, Any]:
    """Processor, cores, system, and the GPU if one took part."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "gpu": _gpu_name(),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu_name() -> str | None:
    torch = sys.modules.get("torch")  # where nothing needed torch, no GPU took part
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def list_versions() -> dict[str, str]:
    """Versions of Python, fakescan, and what installed packages decide speed."""
    versions = {"python": platform.python_version(), "fakescan": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
