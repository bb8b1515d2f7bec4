"""`fakescan train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fakescan.cli.options import DeviceOption
from fakescan.memory import is_out_of_memory
from fakescan.records import DEFAULT_MAX_FALSE_POSITIVE_RATE, ExitCode, FakescanError
from fakescan.training.options import Optimizer, Schedule, TrainingOptions
from fakescan.weights import Architecture, ArchitectureName, read_card

_DEFAULTS = TrainingOptions()
_DEFAULT_NETWORK = ArchitectureName(_DEFAULTS.architecture.name)


def train(
    arch: Annotated[ArchitectureName, typer.Option(help="The network.")] = _DEFAULT_NETWORK,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder or archive with real and fake pictures; by default $FAKESCAN_DATA,"
            " then cifake in the cache folder."
        ),
    ] = _DEFAULTS.data,
    output: Annotated[Path, typer.Option(help="Folder for runs.")] = _DEFAULTS.output,
    name: Annotated[str | None, typer.Option(help="Name of run and model.")] = _DEFAULTS.name,
    size: Annotated[
        int | None, typer.Option(min=8, help="Window in pixels, where pictures differ in size.")
    ] = _DEFAULTS.size,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the training pictures.")
    ] = _DEFAULTS.epochs,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Shorten the schedule so that its steps, of all networks, take this time.",
        ),
    ] = _DEFAULTS.max_minutes,
    batch_size: Annotated[
        int, typer.Option(min=2, help="Pictures a step, of all processes together.")
    ] = _DEFAULTS.batch_size,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="The highest.")
    ] = _DEFAULTS.learning_rate,
    weight_decay: Annotated[
        float, typer.Option(min=0.0, help="As the optimiser takes it.")
    ] = _DEFAULTS.weight_decay,
    optimizer: Annotated[
        Optimizer, typer.Option(help="How gradients become steps.")
    ] = _DEFAULTS.optimizer,
    schedule: Annotated[
        Schedule, typer.Option(help="How the learning rate goes.")
    ] = _DEFAULTS.schedule,
    label_smoothing: Annotated[
        float, typer.Option(min=0.0, max=0.4, help="Share taken from each label.")
    ] = _DEFAULTS.label_smoothing,
    ema_decay: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the averaged weights; 0: none are.")
    ] = _DEFAULTS.ema_decay,
    shift: Annotated[
        int, typer.Option(min=0, help="Augmentation: pixels to shift by.")
    ] = _DEFAULTS.shift,
    flip: Annotated[bool, typer.Option(help="Augmentation: mirror images.")] = _DEFAULTS.flip,
    rotation: Annotated[
        float, typer.Option(min=0.0, max=180.0, help="Augmentation: degrees to turn by.")
    ] = _DEFAULTS.rotation,
    zoom: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Augmentation: share to scale by.")
    ] = _DEFAULTS.zoom,
    degrade: Annotated[
        bool, typer.Option("--degrade", help="Augmentation: blur, noise and JPEG.")
    ] = _DEFAULTS.degrade,
    mirror: Annotated[
        bool, typer.Option(help="The model averages a picture's and its mirror image's logits.")
    ] = _DEFAULTS.mirror,
    enlarge: Annotated[
        int | None,
        typer.Option(min=8, help="The model sees pictures at this side in pixels, resized by it."),
    ] = _DEFAULTS.enlarge,
    best_epoch: Annotated[
        bool,
        typer.Option(
            "--best-epoch", help="Keep the weights of the epoch that was best on validation."
        ),
    ] = _DEFAULTS.best_epoch,
    validation_fraction: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Share of train held back where there is no val."),
    ] = _DEFAULTS.validation_fraction,
    fold: Annotated[
        int | None,
        typer.Option(
            min=0, help="photo: hold back this fold of sources only; by default each in turn."
        ),
    ] = _DEFAULTS.fold,
    seed: Annotated[
        int, typer.Option(min=0, help="Of weights, order and what is held back.")
    ] = _DEFAULTS.seed,
    device: DeviceOption = _DEFAULTS.device,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint.")
    ] = _DEFAULTS.resume,
    init: Annotated[
        str | None, typer.Option(help="Begin from the weights of this model or file.")
    ] = _DEFAULTS.init,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="Begin from torchvision's weights: imagenet fetches them (to torch's cache),"
            " anything else is their .pth file."
        ),
    ] = _DEFAULTS.pretrained,
    filters: Annotated[int, typer.Option(min=1, help="cnn: filters a layer.")] = 32,
    layers: Annotated[int, typer.Option(min=1, max=4, help="cnn: convolutional layers.")] = 2,
    dense: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="cnn: units of a dense layer; may be repeated; 64 by default, 0 for none."
        ),
    ] = None,
    convolutions: Annotated[
        int, typer.Option(min=1, max=4, help="cnn: convolutions before each pooling.")
    ] = 1,
    widen: Annotated[
        bool, typer.Option("--widen", help="cnn: double the filters after each pooling.")
    ] = False,
    average: Annotated[
        bool, typer.Option("--average", help="cnn: average over the picture before dense layers.")
    ] = False,
    dropout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="cnn: units left out after each dense layer.")
    ] = 0.0,
    channels: Annotated[
        int, typer.Option(min=8, help="photo: channels of the first stage; 32 costs 0.4 GMAC.")
    ] = 16,
    stem_pool: Annotated[
        bool,
        typer.Option(
            help="resnet, densenet: pool after the stem; without it, slower by four and more"
            " accurate."
        ),
    ] = True,
    wide_stem: Annotated[
        bool,
        typer.Option("--wide-stem", help="resnet, densenet: 7x7 at stride 2, for 224 px."),
    ] = False,
) -> None:
    """Train a detector. Its weights and card are what `scan --model` takes.

    Started by torchrun, several processes share each batch: one a GPU, where statistics of batch
    normalisation are of all shares; on CPUs, where they are of each process's own.
    """
    from fakescan.training import train as run

    choices: dict[str, Any] = {"stem_pool": stem_pool}
    # What is not asked for stands on no card, so that --init takes those from before there was it.
    if wide_stem:
        choices["wide_stem"] = True
    if arch is ArchitectureName.CNN:
        choices = {
            "filters": filters,
            "layers": layers,
            "dense": tuple(units for units in dense or (64,) if units),
            "convolutions": convolutions,
            "widen": widen,
            "average": average,
            **({"dropout": dropout} if dropout else {}),
        }
    elif arch is ArchitectureName.PHOTO:
        choices = {"channels": channels}
    elif arch is ArchitectureName.VGG16_BN:
        choices = {}
    options = TrainingOptions(
        architecture=Architecture(arch.value, choices),
        data=data,
        output=output,
        name=name,
        size=size,
        epochs=epochs,
        max_minutes=max_minutes,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        optimizer=optimizer,
        schedule=schedule,
        label_smoothing=label_smoothing,
        ema_decay=ema_decay,
        shift=shift,
        flip=flip,
        rotation=rotation,
        zoom=zoom,
        degrade=degrade,
        mirror=mirror,
        enlarge=enlarge,
        best_epoch=best_epoch,
        validation_fraction=validation_fraction,
        fold=fold,
        seed=seed,
        device=device,
        resume=resume,
        init=init,
        pretrained=pretrained,
    )
    try:
        result = run(options)
    except KeyboardInterrupt:
        typer.echo("Interrupted; the same command with --resume goes on from here.", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise FakescanError("not enough memory: lower --batch-size") from None
    if result is None:  # another process has it
        return
    from fakescan.cli.evaluating import print_metrics

    for title, metrics in result.figures.items():
        print_metrics(title.replace("_", " "), metrics)
    typer.echo(f"Use it: {_scan_line(result.weights)}")


def _scan_line(weights: Path) -> str:
    thresholds = read_card(weights.with_suffix(".json")).thresholds
    line = f"fakescan scan PICTURES --model {shlex.quote(str(weights))}"
    lowest = min(row.rate for row in thresholds.ai) if thresholds else 0.0
    # Few pictures promise only a rate above the usual one, which scan would refuse.
    return line if lowest <= DEFAULT_MAX_FALSE_POSITIVE_RATE else f"{line} --max-fpr {lowest:g}"
