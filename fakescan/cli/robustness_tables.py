"""Robustness for people: degradations by figures, sources the worst first, attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from fakescan.training.figures import Condition, Figures
    from fakescan.training.resampling import Estimate
    from fakescan.training.robustness import RobustnessReport
    from fakescan.training.small_robustness import ConditionRow

_NOTHING = "-"


def print_robustness(report: RobustnessReport) -> None:
    """Tables of `report` on standard output."""
    from fakescan.cli.console import OutputConsole

    console = OutputConsole()
    how = ", out of fold" if report.out_of_fold else ""
    console.print(f"{report.model} on {report.data}{how}", highlight=False, markup=False)
    for line in _remarks(report):
        console.print(line, highlight=False, markup=False)
    console.print(_ranking_table(report))
    if report.thresholds:
        console.print(_calls_table(report))
    if any(condition.abstentions for condition in report.conditions):
        console.print(_abstentions_table(report))
    console.print(_sources_table(report))
    if report.attacks:
        console.print(_attacks_table(report))


def print_conditions(rows: Iterable[ConditionRow]) -> None:
    """A table of small pictures' figures, degraded and attacked, on standard output."""
    from fakescan.cli.console import OutputConsole

    table = _table(
        "degraded and attacked, at one half; published: accuracy on CIFAKE to beat",
        ["condition", "n", "accuracy", "AUC", "AI called AI", "real called AI", "published"],
    )
    for row in rows:
        table.add_row(
            *(row.condition, f"{row.n:,}"),
            *(_show(value) for value in (row.accuracy, row.auc, row.recall)),
            *(_show(value) for value in (row.false_positive_rate, row.published)),
        )
    OutputConsole().print(table)


def _table(title: str, names: list[str], text_columns: int = 1) -> Table:
    from rich.table import Table

    table = Table(*names, title=title)
    for column in table.columns[text_columns:]:
        column.justify = "right"
    return table


def _ranking_table(report: RobustnessReport) -> Table:
    return _figures_table(
        report,
        "telling AI from real, whatever the threshold",
        {
            "AUC": lambda figures: _show_estimate(figures.auc),
            "TPR at 1 % FPR": lambda figures: _show_estimate(figures.tpr_at_1_percent_fpr),
            "TPR at 5 % FPR": lambda figures: _show_estimate(figures.tpr_at_5_percent_fpr),
            "ECE": lambda figures: _show(figures.expected_calibration_error),
        },
    )


def _calls_table(report: RobustnessReport) -> Table:
    return _figures_table(
        report,
        "at the thresholds",
        {
            "balanced accuracy": lambda figures: _show_estimate(figures.balanced_accuracy),
            "real called ai": lambda figures: _show_estimate(figures.real_called_ai),
            "real called real": lambda figures: _show_estimate(figures.real_called_real),
            "AI called ai": lambda figures: _show_estimate(figures.ai_called_ai),
            "AI called real": lambda figures: _show_estimate(figures.ai_called_real),
            "confounders called ai": lambda figures: _show_estimate(figures.confounders_called_ai),
        },
    )


def _figures_table(
    report: RobustnessReport, title: str, columns: Mapping[str, Callable[[Figures], str]]
) -> Table:
    table = _table(title, ["condition", "gate", *columns], text_columns=2)
    for condition in report.conditions:
        gated = [("", "on", condition.gated)] if condition.gated is not None else []
        for name, gate, figures in [(condition.name, "off", condition.ungated), *gated]:
            table.add_row(name, gate, *(show(figures) for show in columns.values()))
    return table


def _remarks(report: RobustnessReport) -> list[str]:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in report.n.items())
    lines = [f"{counts}; 95 % intervals from {report.resamples:,} resamples of sources."]
    if report.left_out:
        lines.append(f"{report.left_out:,} left out: no fold alone holds back their sources.")
    if report.too_small:
        lines.append(f"Too small for a window after: {', '.join(report.too_small)}.")
    if not report.thresholds:
        lines.append("The model has no thresholds, so nothing is called.")
    for one in report.thresholds:
        lines.append(
            f"{one.judge}: ai from {one.ai:g}, real up to {one.real:g}"
            f" (false-positive rate {report.max_false_positive_rate:g})."
        )
    if report.out_of_fold and report.thresholds:
        lines.append("Each fold's thresholds and calibration come from the other folds' pictures.")
    for baseline in report.baselines:
        name = baseline.name.replace("_", " ")
        lines.append(
            f"AUC of the {name} alone: {_show(baseline.auc)}, of original JPEG only:"
            f" {_show(baseline.auc_original_jpeg_only)}."
        )
    return lines


def _abstentions_table(report: RobustnessReport) -> Table:
    kinds = [kind for kind, count in report.n.items() if count]
    table = _table("refused by the gate", ["condition", "reason", *kinds], text_columns=2)
    for condition in report.conditions:
        for number, reason in enumerate(_reasons(condition)):
            abstentions = condition.abstentions or {}
            shares = [abstentions.get(kind, {}).get(reason) for kind in kinds]
            name = condition.name if number == 0 else ""
            table.add_row(name, reason.replace("_", " "), *(_show(share) for share in shares))
    return table


def _reasons(condition: Condition) -> list[str]:
    every = (condition.abstentions or {}).values()
    return sorted({reason for reasons in every for reason in reasons})


def _sources_table(report: RobustnessReport) -> Table:
    shown = list(report.sources[0].conditions) if report.sources else []
    columns = [f"{what}, {name}" for name in shown for what in ("AUC", "called ai")]
    table = _table("by source, the worst first", ["kind", "source", "n", *columns], text_columns=2)
    for row in report.sources:
        cells = []
        for name in shown:
            figures = row.conditions[name]
            cells += [_show(figures.auc), _show(figures.called_ai)]
        table.add_row(row.kind, f"{row.level} {row.name}", f"{row.n:,}", *cells)
    return table


def _attacks_table(report: RobustnessReport) -> Table:
    table = _table(
        f"attacked, {report.attacks[0].n:,} windows",
        ["attack", "levels of 255", "AUC", "AI called ai", "real called ai"],
    )
    for row in report.attacks:
        table.add_row(
            row.method.value if row.method else "none",
            str(row.epsilon),
            _show(row.auc),
            _show(row.recall),
            _show(row.false_positive_rate),
        )
    return table


def _show_estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return _NOTHING
    # On one line they would not fit a terminal of usual width.
    return f"{estimate.value:.3f}\n{estimate.low:.2f} to {estimate.high:.2f}"


def _show(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"
