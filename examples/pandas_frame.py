"""A folder's findings as a pandas frame: what is flagged, by generator.

Usage: python examples/pandas_frame.py FOLDER
"""

from __future__ import annotations

import sys

import pandas as pd

from fakescan import ScanOptions, Store, scan, to_record
from fakescan.store import default_store_path


def scan_to_frame(*paths: str, options: ScanOptions | None = None) -> pd.DataFrame:
    """One row a file, with the columns of a JSON record; what was scanned before is not again."""
    with Store(default_store_path()) as store:
        return pd.DataFrame([to_record(finding) for finding in scan(paths, options, store=store)])


def main() -> None:
    """Print how many files of each generator were flagged, and how many could not be read."""
    frame = scan_to_frame(*sys.argv[1:])
    flagged = frame[frame["verdict"].isin(["ai", "ai_edit"])]
    print(flagged.groupby("generator", dropna=False).size().sort_values(ascending=False))
    print(f"{(frame['status'] != 'ok').sum()} of {len(frame)} files could not be read")


if __name__ == "__main__":
    main()
