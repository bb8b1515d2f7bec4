"""Pictures of a training run and of an evaluation, sized for a paper, readable in grey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fakescan.training.evaluate import Evaluation, reliability, roc_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 200

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
# Okabe & Ito's blue and vermilion: told apart by colour-blind readers, and in grey by lightness.
DARK, LIGHT = "#0072B2", "#E69F00"


def draw_curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Loss and accuracy by epoch, as a PNG; `rows` are a run's metrics. No rows, no picture.

    Accuracy is drawn where the run had pictures to validate on.
    """
    if not rows:
        return
    epochs = [row["epoch"] for row in rows]
    is_validated = "validation_loss" in rows[0]
    figure, axes = make_figure(1 + is_validated, width=3.25 * (1 + is_validated), height=2.6)
    loss = axes[0]
    _line(loss, epochs, [row["training_loss"] for row in rows], "training", LIGHT, "--")
    loss.set(xlabel="epoch", ylabel="cross-entropy (nats)", title="Loss")
    if is_validated:
        _line(loss, epochs, [row["validation_loss"] for row in rows], "validation", DARK, "-")
        _draw_accuracy(axes[1], epochs, [100 * row["validation_accuracy"] for row in rows])
    loss.legend()
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_accuracy(axes: Axes, epochs: list[float], values: list[float]) -> None:
    _line(axes, epochs, values, "validation", DARK, "-")
    axes.annotate(
        f"{values[-1]:.2f} %",
        (epochs[-1], values[-1]),
        (-4, -12),
        textcoords="offset points",
        ha="right",
    )
    axes.set(xlabel="epoch", ylabel="%", title="Validation accuracy")


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """ROC curve, confusion matrix and reliability diagram side by side, as a PNG."""
    figure, (roc, confusion, calibration) = make_figure(3, width=9, height=3)
    _draw_roc(roc, evaluation)
    _draw_confusion(confusion, evaluation)
    _draw_reliability(calibration, evaluation)
    figure.suptitle(
        f"{evaluation.model} on {evaluation.data}/{evaluation.split} (n = {evaluation.metrics.n:,})"
    )
    figure.savefig(path, dpi=DOTS_PER_INCH)


def draw_sources(evaluation: Evaluation, path: Path) -> bool:
    """A bar for each generator and collection: the share called AI. Whether there was any."""
    rows = evaluation.called_ai_by_source()
    if not rows:
        return False
    figure, (axes,) = make_figure(1, width=6.5, height=0.7 + 0.22 * len(rows))
    colors = [DARK if is_ai else LIGHT for _, is_ai, _, _ in rows]
    # Hatching keeps the classes apart in print.
    axes.barh(
        [f"{source} (n = {count})" for source, _, _, count in rows],
        [100 * share for _, _, share, _ in rows],
        color=colors,
        hatch=["" if is_ai else "///" for _, is_ai, _, _ in rows],
        edgecolor="white",
    )
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(0, 100), xlabel="% called AI at one half; real: hatched")
    axes.set_title(f"{evaluation.model} on {evaluation.data}/{evaluation.split}, by source")
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return True


def _draw_roc(axes: Axes, evaluation: Evaluation) -> None:
    false_positive, true_positive = roc_curve(evaluation.probabilities, evaluation.labels)
    floor = 1 / max(1, int((evaluation.labels == 0).sum()))
    # Where false accusations are rare is where it counts: the axis is logarithmic.
    _line(axes, np.maximum(false_positive, floor), true_positive, "", DARK, "-", marker="")
    axes.set(xscale="log", xlim=(floor, 1), ylim=(0, 1.01), title="ROC")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.text(0.95, 0.08, f"AUC {evaluation.metrics.auc:.4f}", ha="right", transform=axes.transAxes)


def _draw_confusion(axes: Axes, evaluation: Evaluation) -> None:
    metrics = evaluation.metrics
    counts = np.array(
        [
            [metrics.true_negatives, metrics.false_positives],
            [metrics.false_negatives, metrics.true_positives],
        ]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{count:,}\n{100 * share:.1f} %",
            ha="center",
            va="center",
            color="white" if share > 0.5 else "black",
        )
    axes.set(xticks=[0, 1], xticklabels=["real", "AI"], xlabel="called")
    axes.set(yticks=[0, 1], yticklabels=["real", "AI"], ylabel="is")
    axes.set_title("Confusion at one half")
    axes.grid(visible=False)


def _draw_reliability(axes: Axes, evaluation: Evaluation) -> None:
    rows = reliability(evaluation.probabilities, evaluation.labels)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    _line(axes, [row[0] for row in rows], [row[1] for row in rows], "", DARK, "-")
    error = evaluation.metrics.expected_calibration_error
    axes.text(0.95, 0.08, f"ECE {error:.4f}", ha="right", transform=axes.transAxes)
    axes.set(xlabel="probability of AI", ylabel="share that is AI", title="Reliability")
    axes.set(xlim=(0, 1), ylim=(0, 1))


def make_figure(columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `width` by `height` inches in the common style, and its axes side by side."""
    # The object interface, not pyplot: pyplot keeps figures and picks a window system.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _line(
    axes: Axes, x: Any, y: Any, label: str, color: str, style: str, marker: str = "o"
) -> None:
    axes.plot(x, y, label=label, color=color, linestyle=style, marker=marker, markersize=3)
