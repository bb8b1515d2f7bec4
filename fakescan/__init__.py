"""fakescan tells AI-generated images from camera photographs, with evidence."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fakescan.options import ScanOptions as ScanOptions
    from fakescan.pipeline import Scan as Scan
    from fakescan.pipeline import scan as scan
    from fakescan.records import Evidence as Evidence
    from fakescan.records import FakescanError as FakescanError
    from fakescan.records import Finding as Finding
    from fakescan.records import Verdict as Verdict
    from fakescan.reports import to_record as to_record
    from fakescan.store import Store as Store

__version__ = "0.1.0"

# Loaded when first asked for: `import fakescan` must not cost an import of torch.
_HOMES = {
    "Evidence": "records",
    "FakescanError": "records",
    "Finding": "records",
    "Scan": "pipeline",
    "ScanOptions": "options",
    "Store": "store",
    "Verdict": "records",
    "scan": "pipeline",
    "to_record": "reports",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
