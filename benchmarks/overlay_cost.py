"""What an overlay costs beside the scoring of the same picture: `overlay_cost.py MODEL FOLDER`.

Scoring is reading, decoding, metadata and the network, as a scan does it file by file on one
thread; the overlay is all that `--overlay-all` adds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from machine import describe_machine

from fakescan.explain import Explainer, OverlayFolder
from fakescan.pipeline import ScanOptions, load_detectors, locate_models, scan

FILES = 50
REPEATS = 3


def main(model: str, folder: str) -> None:
    options = ScanOptions(models=(model,), workers=1, batch_size=1, max_false_positive_rate=0.05)
    detectors = load_detectors(options)
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())[:FILES]
    scoring, drawing = [], []
    with tempfile.TemporaryDirectory() as temporary:
        overlays = OverlayFolder(
            Path(temporary), Explainer(locate_models(options)), max_pixels=10**9, every=True
        )
        for repeat in range(REPEATS + 1):
            for file in files:
                begun = time.perf_counter()
                (finding,) = scan([file], options, detectors=detectors)
                scored = time.perf_counter()
                drawn = overlays.add(finding)
                ended = time.perf_counter()
                if repeat and drawn.overlay is not None:  # the first round warms up
                    scoring.append(scored - begun)
                    drawing.append(ended - scored)
    result = {
        "model": detectors[0].card.name,
        "pictures": len(scoring) // REPEATS,
        "scoring_ms": round(1000 * statistics.median(scoring), 2),
        "overlay_ms": round(1000 * statistics.median(drawing), 2),
        "ratio": round(statistics.median(drawing) / statistics.median(scoring), 2),
        **describe_machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("folder")
    given = parser.parse_args()
    main(given.model, given.folder)
