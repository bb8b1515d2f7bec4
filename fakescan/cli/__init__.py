"""The command line: parse, call one function, print, exit."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Annotated, NoReturn

import typer

from fakescan import __version__
from fakescan.cli import (
    benching,
    calibrating,
    evaluating,
    exporting,
    inspecting,
    listing,
    scanning,
    training,
)
from fakescan.cli.streams import drop_output
from fakescan.records import ExitCode, FakescanError

app = typer.Typer(
    name="fakescan",
    help="Tell AI-generated images from camera photographs, a folder at a time, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Rich's help costs a tenth of a second before anything else happens.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if not asked:
        return
    from fakescan.weights import find_models, read_card

    cards = [read_card(path.with_suffix(".json")) for path in find_models()]
    models = ", ".join(f"{card.name} {card.version}" for card in cards)
    typer.echo(f"fakescan {__version__} (models: {models or 'none'})")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print program and models."
        ),
    ] = False,
) -> None:
    pass


app.command("scan", epilog=scanning.EXIT_CODES)(scanning.scan)
app.command("inspect")(inspecting.inspect)
app.command("train")(training.train)
app.command("evaluate")(evaluating.evaluate)
app.command("calibrate")(calibrating.calibrate)
app.command("bench")(benching.bench)
app.command("export")(exporting.export)
app.command("models")(listing.models)


def main() -> None:
    """Run the program; the one place where a user's mistake becomes a line and an exit code."""
    stopped: list[int] = []
    with _stop_as_interruption(stopped):
        try:
            _run()
        except SystemExit as ending:
            if stopped and ending.code == ExitCode.INTERRUPTED:
                sys.exit(_BY_SIGNAL + stopped[0])
            raise
        finally:
            # All is said and done: an interruption of the interpreter's own ending would only turn
            # the exit code into a signal's.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run() -> None:
    try:
        # Decoders warn of what hostile files hold; a row with a status says what a user needs.
        warnings.filterwarnings("ignore", module="PIL")
        _fill_closed_streams()
        app()
    except FakescanError as error:
        _end(str(error), ExitCode.DID_NOT_RUN)
    except Exception as error:  # noqa: BLE001
        if isinstance(error.__cause__, KeyboardInterrupt):  # in the middle of an import
            _end("interrupted", ExitCode.INTERRUPTED)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _end("no space is left where the output goes", ExitCode.DID_NOT_RUN)
        # A mistake of ours. Python's own exit code for it, 1, would say that AI was found.
        _say(traceback.format_exc())
        sys.exit(ExitCode.DID_NOT_RUN)
    except SystemExit as ending:
        # Typer makes an exit of Ctrl-C, without a word; commands that have more to say about it
        # catch it first.
        if ending.__context__ and isinstance(ending.__context__.__cause__, KeyboardInterrupt):
            _end("interrupted", ExitCode.INTERRUPTED)
        # And 1, which says here that AI was found, of a reader that left: `--help | head`.
        if isinstance(ending.__context__, BrokenPipeError):
            drop_output()
            sys.exit(ExitCode.DONE)
        raise
    except KeyboardInterrupt:  # before typer took over, or after it let go
        _end("interrupted", ExitCode.INTERRUPTED)


@contextmanager
def _stop_as_interruption(stopped: list[int]) -> Iterator[None]:
    """Let other requests to end do as Ctrl-C does, which tidies up; `stopped` gets their numbers.

    Who ignores one, as nohup has it, goes on ignoring it.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a fork's, which has nothing to tidy up
            os._exit(_BY_SIGNAL + number)
        stopped.append(number)
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP") if current_thread() is main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _end(message: str, code: int) -> NoReturn:
    _say(f"fakescan: {message}\n")
    sys.exit(code)


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # nobody reads it, or there is no room for it
        drop_output(sys.stderr)


def _fill_closed_streams() -> None:
    # The next file opened would get a closed stream's number, and what others write to it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)
    # Progress and paths take these for granted. That results have nowhere to go is said instead.
    if sys.stdin is None:
        sys.stdin = os.fdopen(0)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STANDARD_ERROR, "w")


_STANDARD_ERROR = 2

_BY_SIGNAL = 128
"""What shells add to the number of the signal that ended a program."""
