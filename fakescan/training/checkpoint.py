"""What makes a run this one and no other: the options and pictures that decide its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from fakescan.records import FakescanError
from fakescan.training.batches import STEP_SEEDS
from fakescan.training.options import TrainingOptions
from fakescan.training.processes import Processes

CHECKPOINT = "checkpoint.pt"

_UNDECISIVE = frozenset(
    {"resume", "output", "device", "name", "max_minutes", "data", "architecture"}
)
"""Fields of the options that may differ: of `data` the pictures count, of the network its own."""

_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(TrainingOptions)}

Options = Mapping[str, Any]
"""By the names of their flags, as JSON has them."""


def refuse_checkpoint(folder: Path, options: TrainingOptions) -> None:
    """Raise FakescanError where a run in `folder` has begun, and is not to be resumed."""
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not options.resume:
        raise FakescanError(
            f"{checkpoint} is there already: --resume goes on with it, --name begins another run"
        )


def describe_run(
    options: TrainingOptions, ignores: frozenset[str], digest: str
) -> dict[str, Options | str]:
    """What decides a run's result: options, but for what its material `ignores`, and pictures."""
    network = {"arch": options.architecture.name, **options.architecture.options}
    kept = {**_as_json(network), **decisive(asdict(options), ignores)}
    return {"options": kept, "digest": digest}


def refuse_other_run(where: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Raise FakescanError naming what differs between two runs; of None nothing is known."""
    if before is not None:
        refuse_other_options(where, before["options"], now["options"])
        refuse_other_pictures(where, before["digest"], now["digest"])


def decisive(fields: Options, ignores: frozenset[str]) -> Options:
    """The options that decide, of their fields as they are or as a card keeps them."""
    left_out = _UNDECISIVE | ignores
    return {name: value for name, value in _as_json(fields).items() if name not in left_out}


def refuse_other_options(where: Path, before: Options, now: Options) -> None:
    """Raise FakescanError naming an option that was `before` other than it is `now`.

    One that either does not know had its default.
    """
    for name in sorted({*before, *now}):
        default = _as_json({name: _DEFAULTS.get(name)})[name]
        old, new = before.get(name, default), now.get(name, default)
        if old != new:
            raise FakescanError(
                f"{where}: of another run, with {_show(name, old)} and not {_show(name, new)};"
                " resume it with its own options, or begin another run with --name"
            )


def refuse_other_pictures(where: Path, before: str | None, now: str) -> None:
    """Raise FakescanError where a run was on other pictures; None is not known."""
    if before not in {None, now}:
        raise FakescanError(
            f"{where}: of another run, on other pictures; name its own with --data, or begin"
            " another run with --name"
        )


def dice(device: torch.device) -> list[torch.Tensor]:
    """Where torch's own generators stand, of which dropout draws: the processor's, then a GPU's."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def take_up_dice(
    states: list[torch.Tensor] | None, device: torch.device, processes: Processes, seed: int
) -> None:
    """Set torch's generators to `states`, which the first of the `processes` kept, if it did.

    The others draw anew, by a `seed` of the step: what they had drawn was not kept.
    """
    if not processes.is_first:
        torch.manual_seed(seed + STEP_SEEDS * processes.rank)
    if not processes.is_first or states is None:
        return
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)


def _as_json(options: Options) -> dict[str, Any]:
    # A checkpoint is read without code, so that it holds plain values only; tuples become lists.
    plain: dict[str, Any] = json.loads(json.dumps(dict(options), default=str))
    return plain


def _show(name: str, value: object) -> str:
    flag = f"--{name.replace('_', '-')}"
    if value is None:
        return f"no {flag}"
    return f"{flag} {str(value).lower() if isinstance(value, bool) else value}"
