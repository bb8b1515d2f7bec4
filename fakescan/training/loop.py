"""`train`: the loop, its checkpoints, and the model that comes out of it."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)
from tqdm import tqdm

from fakescan import __version__
from fakescan.interruption import hold_interruptions
from fakescan.model import Detector, build_network
from fakescan.records import FakescanError, Split
from fakescan.sources.temporaries import replacing
from fakescan.training.batches import STEP_SEEDS
from fakescan.training.checkpoint import (
    CHECKPOINT,
    describe_run,
    dice,
    refuse_checkpoint,
    refuse_other_run,
    take_up_dice,
)
from fakescan.training.data import Pictures
from fakescan.training.evaluate import Metrics, compute_metrics, pooled_logits
from fakescan.training.held_out import HeldOut, calibrate_by, measure_held_out
from fakescan.training.initialisation import TENSOR_FILE_ERRORS, TERMS, check_side, initialise
from fakescan.training.machine import describe_machine, pick_precision
from fakescan.training.material import Material
from fakescan.training.optimization import learning_rate, make_optimizer
from fakescan.training.options import TrainingOptions
from fakescan.training.pictures import draw_curves
from fakescan.training.processes import ALONE, Processes
from fakescan.weights import Input, ModelCard, save_model


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Where the model lies, and how it did on each set of pictures, those of validation first."""

    weights: Path
    figures: Mapping[str, Metrics]


@dataclass(slots=True)
class _Progress:
    """How far a run is; what a checkpoint restores beside the tensors.

    `losses` are those of the epoch's steps so far, `rows` the figures of the epochs measured.
    """

    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


CHECKPOINT_SECONDS = 300


def train_on(
    material: Material, options: TrainingOptions, processes: Processes = ALONE
) -> TrainingResult | None:
    """Train a network on `material` and write weights, card, metrics and curves.

    Of several `processes` the first does all but train, and has the result; the others' is None.
    Interrupted, it leaves a checkpoint from which `resume` goes on, at most `CHECKPOINT_SECONDS`
    or one epoch back. Raises FakescanError for unusable options, and where the loss stops being
    a number (the last checkpoint is kept).
    """
    run = _Run(options, material, processes)
    run.start()
    try:
        for row in run.epochs():
            # Measured once more where an interruption falls here: it then is as good, not better.
            run.keep_if_best(row)
            run.progress.rows.append(row)
            run.save_checkpoint()
            run.write_metrics()
            processes.wait_for_first()
    except KeyboardInterrupt:
        run.save_checkpoint()
        raise
    result = run.finish() if processes.is_first else None
    processes.wait_for_first()
    return result


class _Run:
    """One training run: networks, optimiser, and the files of its folder."""

    def __init__(self, options: TrainingOptions, material: Material, processes: Processes) -> None:
        self.options = options
        self.material = material
        self.processes = processes
        self.name = options.name or f"{material.name}-{options.architecture.name}"
        self.folder = options.output / self.name
        self.device = processes.pick_device(options.device)
        self.precision = pick_precision(self.device)
        self.progress = _Progress()
        self.input = Input(
            *(material.batches.side, material.mean, material.std, material.mirror),
            enlarge=material.enlarge,
            windows=material.windows,
        )
        torch.manual_seed(options.seed)
        self.network = build_network(options.architecture)
        check_side(self.network, options.architecture.name, self.input.enlarge or self.input.size)
        initialise(self.network, options)
        if not processes.is_first:
            # Dropout would otherwise leave out the same units in every share.
            torch.manual_seed(options.seed + STEP_SEEDS * processes.rank)
        self.detector = Detector(self.network, self.input)
        self.detector.to(self.device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.detector).eval().requires_grad_(False)
        self.joined = processes.join(self.network, self.device)
        self.optimizer = make_optimizer(self.detector, options)
        self.best: dict[str, Any] | None = None

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    def start(self) -> None:
        """Make the folder, or take up the checkpoint in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.checkpoint.exists():
            self.material.prepare(self.network)
            self.average.network.load_state_dict(self.network.state_dict())
        else:
            refuse_checkpoint(self.folder, self.options)
            self._take_up()

    def _take_up(self) -> None:
        try:
            saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            # The first checkpoints told less of their run, and nothing of what was drawn.
            refuse_other_run(self.checkpoint, saved.get("run"), self._describe())
            if saved["material"] != self._material():
                raise ValueError("other pictures")
            self.network.load_state_dict(saved["network"])
            self.average.network.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
            kept = (saved["step"], saved["seconds"], saved["rows"], saved.get("losses", []))
            self.progress = _Progress(*kept)
            self.best = saved["best"]
            seed = self.options.seed + self.progress.step
            take_up_dice(saved.get("dice"), self.device, self.processes, seed)
        except TENSOR_FILE_ERRORS as error:
            raise FakescanError(f"{self.checkpoint}: of another run, or damaged") from error

    def save_checkpoint(self) -> None:
        """Write all that `start` needs, in place of the last, never half."""
        if not self.processes.is_first:
            return
        document = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "material": self._material(),
            "run": self._describe(),
            "dice": dice(self.device),
            **asdict(self.progress),
        }
        with replacing(self.checkpoint) as unfinished:
            torch.save(document, unfinished)

    def _material(self) -> dict[str, int | None]:
        # What tells one run's pictures from another's.
        batches = self.material.batches
        return {"pictures": batches.count, "side": batches.side, "fold": self.options.fold}

    def _describe(self) -> dict[str, Any]:
        options = replace(self.options, size=self.material.batches.side)
        return describe_run(options, self.material.ignores, self.material.digest)

    def keep_if_best(self, row: Mapping[str, float]) -> None:
        """Keep the averaged weights where they are asked for and no epoch's were better."""
        accuracy = row.get("validation_accuracy")
        if not self.options.best_epoch or accuracy is None:
            return
        if self.best is None or accuracy > self.best["accuracy"]:
            weights = copy.deepcopy(self.average.network.state_dict())
            self.best = {"accuracy": accuracy, "epoch": row["epoch"], "weights": weights}

    def write_metrics(self) -> None:
        """One JSON line an epoch, so that others can draw their own curves."""
        if not self.processes.is_first:
            return
        lines = "".join(json.dumps(row) + "\n" for row in self.progress.rows)
        (self.folder / "metrics.jsonl").write_text(lines, "utf-8")

    def is_done(self) -> bool:
        """Whether the schedule is at its end."""
        return self._schedule() >= 1

    def _schedule(self) -> float:
        steps = self.options.epochs * self.material.batches.steps_per_epoch
        done = self.progress.step / steps
        if self.options.max_minutes is not None:
            minutes = self.options.max_minutes * self.material.share
            done = max(done, self.progress.seconds / (60 * minutes))
        return min(done, 1.0)

    def epochs(self) -> Iterator[dict[str, float]]:
        """Train epoch by epoch until the schedule ends; a row of figures after each."""
        saved_at = time.monotonic()
        steps = self.material.batches.steps_per_epoch
        if self._is_unmeasured():
            yield self._measure((self.progress.step - 1) // steps, self.progress.losses)
        while not self.is_done():
            epoch, first = divmod(self.progress.step, steps)
            if first == 0:
                self.progress.losses = []
            started = time.monotonic()
            bar = tqdm(
                range(first, steps),
                desc=f"epoch {epoch + 1}/{self.options.epochs}",
                unit="batch",
                disable=None if self.processes.is_first else True,
            )
            for _ in bar:
                begun = time.monotonic()
                # A checkpoint of half a step would not go on as an unbroken run.
                with hold_interruptions() as held:
                    self.progress.losses.append(self._step())
                    self.progress.step += 1
                    seconds = self.progress.seconds + time.monotonic() - begun
                    self.progress.seconds, stop = self.processes.follow(seconds, bool(held))
                    if stop:
                        raise KeyboardInterrupt
                bar.set_postfix(loss=f"{np.mean(self.progress.losses[-100:]):.4f}", refresh=False)
                if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                    self.save_checkpoint()
                    saved_at = time.monotonic()
                if self.is_done():
                    break
            bar.close()
            pictures = (self.progress.step - epoch * steps - first) * self.options.batch_size
            rate = round(pictures / (time.monotonic() - started), 1)
            yield {"images_per_second": rate, **self._measure(epoch, self.progress.losses)}

    def _is_unmeasured(self) -> bool:
        # Whether an epoch has ended, and an interruption fell before its row.
        step, rows = self.progress.step, self.progress.rows
        has_ended = step % self.material.batches.steps_per_epoch == 0 or self.is_done()
        is_measured = step == (rows[-1]["step"] if rows else 0)
        return has_ended and not is_measured and bool(self.progress.losses)

    def _measure(self, epoch: int, losses: list[float]) -> dict[str, float]:
        row = {
            "epoch": epoch + 1,
            "step": self.progress.step,
            "seconds": round(self.progress.seconds, 3),
            "learning_rate": learning_rate(self.options, self._schedule()),
            "training_loss": float(np.mean(losses)),
        }
        validation = self.material.validation
        if validation is None or not self.processes.is_first:
            return row
        metrics = compute_metrics(self._logits(validation), validation.labels, None)
        return {
            **row,
            "validation_loss": metrics.log_loss,
            "validation_accuracy": metrics.accuracy,
            "validation_auc": metrics.auc,
        }

    def _step(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.options, self._schedule())
        # Drawn and changed whole in each process: dice thrown for a share alone fall otherwise.
        crops, labels = self.material.batches.draw(self.progress.step)
        share = self.processes.share_of(len(labels))
        crops, labels = crops[share], labels[share]
        smoothing = self.options.label_smoothing
        targets = labels.float() * (1 - 2 * smoothing) + smoothing
        self.joined.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            # Through the network, not the detector: the mirror image comes by augmentation.
            images = self.detector.normalise(crops)
            logits = self.joined(images.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(logits.float(), targets)
        value = self.processes.average(float(loss.detach()))
        if not math.isfinite(value):
            raise FakescanError(
                f"the loss is {value} at step {self.progress.step}: training stopped; begin"
                " another run with --name and a lower --learning-rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._update_average()
        return value

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short run would otherwise end on an average of its beginnings.
        step = self.progress.step
        decay = min(self.options.ema_decay, (1 + step) / (10 + step))
        average = list(self.average.network.state_dict().values())
        current = list(self.network.state_dict().values())
        for mean, value in zip(average, current, strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    @torch.no_grad()
    def _logits(self, pictures: Pictures) -> np.ndarray[Any, np.dtype[np.float64]]:
        return pooled_logits(
            lambda crops: self.average(torch.from_numpy(crops).to(self.device)).cpu().numpy(),
            pictures.pixels,
            self.input.size,
        )

    def finish(self) -> TrainingResult:
        """Calibrate on what was held out, report on test, write weights, card and curves."""
        validation, test = self.material.validation, self.material.test
        if self.best is not None:
            self.average.network.load_state_dict(self.best["weights"])
        # Weights are shipped at half precision, so it is these that are calibrated and measured.
        halved = {name: value.half() for name, value in self.average.network.state_dict().items()}
        self.average.network.load_state_dict(halved)
        held_out = dict(self.material.held_out)
        if validation is not None:
            held_out[Split.VALIDATION.value] = HeldOut(self._logits(validation), validation.labels)
        calibration, thresholds = calibrate_by(held_out)
        figures = measure_held_out(held_out, calibration)
        if test is not None:
            logits = self._logits(test)
            figures[Split.TEST.value] = compute_metrics(logits, test.labels, calibration)
        card = ModelCard(
            name=self.name,
            version="1.0.0",
            sha256="",
            architecture=self.options.architecture,
            input=self.input,
            domain=self.material.domain,
            pooling="mean",
            calibration=calibration,
            thresholds=thresholds,
            license="Apache-2.0" if self.options.pretrained is None else f"Apache-2.0; {TERMS}",
            training=self._training_record(max(len(one.labels) for one in held_out.values())),
            metrics={name: asdict(metrics) for name, metrics in figures.items()},
            limits=self.material.limits,
            gates=self.material.gates,
        )
        weights = save_model(self.folder, card, halved)
        # An interruption may have fallen between the last checkpoint and its lines.
        self.write_metrics()
        draw_curves(self.progress.rows, self.folder / "curves.png")
        return TrainingResult(weights, figures)

    def _training_record(self, validation_pictures: int) -> dict[str, Any]:
        options = asdict(replace(self.options, output=Path("runs"), resume=False))
        options = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in options.items()
            if key not in {"architecture", "data", *self.material.ignores}
        }
        return {
            "program": f"fakescan {__version__}",
            "options": options,
            "data": self.material.name,
            "pictures": self.material.batches.count,
            "validation_pictures": validation_pictures,
            "left_out": self.material.left_out,
            "pictures_sha256": self.material.digest,
            **self.material.record,
            "steps": self.progress.step,
            "epochs": round(self.progress.step / self.material.batches.steps_per_epoch, 2),
            **({} if self.best is None else {"best_epoch": self.best["epoch"]}),
            "minutes": round(self.progress.seconds / 60, 1),
            "processes": self.processes.count,
            "machine": describe_machine(self.device),
            "precision": self.precision,
            "torch": torch.__version__,
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }
