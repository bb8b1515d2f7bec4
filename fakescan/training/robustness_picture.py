"""The picture of a robustness report: what degradations cost, and which sources fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fakescan.training.photos import Kind
from fakescan.training.pictures import DARK, DOTS_PER_INCH, LIGHT, make_figure
from fakescan.training.recompression import CLEAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fakescan.training.figures import Figures, SourceRow
    from fakescan.training.robustness import RobustnessReport

_GREY = "0.6"
_COLORS = {Kind.AI.value: DARK, Kind.REAL.value: LIGHT, Kind.CONFOUNDER.value: _GREY}
# Hatching keeps the classes apart in print.
_HATCHES = {Kind.AI.value: "", Kind.REAL.value: "///", Kind.CONFOUNDER.value: "..."}


def draw_robustness(report: RobustnessReport, path: Path) -> None:
    """AUC of each condition with its interval, and a bar a source: the share called AI, clean.

    A PNG. Without thresholds there is nothing to call: the bars are then mean scores.
    """
    rows = sorted(report.sources, key=lambda row: (row.kind, -_length(row), row.name))
    height = 1.2 + 0.19 * max(len(rows), 2 * len(report.conditions))
    figure, (areas, bars) = make_figure(2, width=9.5, height=height)
    _draw_areas(areas, report)
    _draw_bars(bars, rows, is_called=bool(report.thresholds))
    judged = "out of fold" if report.out_of_fold else f"n = {sum(report.n.values()):,}"
    figure.suptitle(f"{report.model} on {report.data} ({judged})")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_areas(axes: Axes, report: RobustnessReport) -> None:
    columns: list[tuple[str, str, str, list[Figures | None]]] = [
        ("gate off", LIGHT, "o", [condition.ungated for condition in report.conditions]),
        ("gate on", DARK, "s", [condition.gated for condition in report.conditions]),
    ]
    for offset, (label, color, marker, figures) in zip((-0.13, 0.13), columns, strict=True):
        known = [
            (place + offset, one.auc)
            for place, one in enumerate(figures)
            if one is not None and one.auc is not None
        ]
        if not known:
            continue
        places = [place for place, _ in known]
        values = [auc.value for _, auc in known]
        # The interval of percentiles needn't hold the value.
        reaches = [
            [max(0.0, auc.value - auc.low) for _, auc in known],
            [max(0.0, auc.high - auc.value) for _, auc in known],
        ]
        axes.errorbar(
            values, places, xerr=reaches, fmt=marker, color=color, markersize=4, label=label
        )
    axes.set_yticks(range(len(report.conditions)), [one.name for one in report.conditions])
    axes.invert_yaxis()
    axes.axvline(0.5, color=_GREY, linewidth=1, linestyle=":")
    axes.set(xlabel="AUC, 95 % interval over sources", title="By degradation")
    axes.legend(loc="lower left")


def _draw_bars(axes: Axes, rows: list[SourceRow], *, is_called: bool) -> None:
    places = range(len(rows))
    axes.barh(
        places,
        [100 * _length(row) for row in rows],
        color=[_COLORS[row.kind] for row in rows],
        hatch=[_HATCHES[row.kind] for row in rows],
        edgecolor="white",
    )
    # By place: a generator and a collection may have one name.
    axes.set_yticks(places, [f"{row.name} (n = {row.n})" for row in rows], fontsize=6)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, 100), title="By source, clean")
    what = "% called AI" if is_called else "mean score in %"
    axes.set_xlabel(f"{what}; AI: full, real: hatched, confounders: grey")


def _length(row: SourceRow) -> float:
    clean = row.conditions[CLEAN]
    return clean.mean_score if clean.called_ai is None else clean.called_ai
