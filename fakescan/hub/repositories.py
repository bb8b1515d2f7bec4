"""Repositories of the Hugging Face Hub: fetched once, then read from huggingface_hub's cache."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakescan.hub.published import CONFIG, INDEX, PREPROCESSOR, WEIGHTS, find_weights
from fakescan.processing import require_library
from fakescan.records import FakescanError

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


def fetch_repository(name: str) -> tuple[Path, str]:
    """The folder with the model ORG/NAME, and its commit; fetched where it isn't here yet.

    Only its settings and safetensors are asked for. What is fetched, and under which licence, is
    logged as a warning before it begins. Raises FakescanError where there is no such model, or it
    can't be had.
    """
    if not _NAME.fullmatch(name):
        raise FakescanError(f"hf:{name}: the name of a repository is ORG/NAME")
    require_library("huggingface_hub")
    folder = _find_cached(name) or _fetch(name)
    return folder, folder.name


def _find_cached(name: str) -> Path | None:
    """The newest commit here, if it is whole; asked without a connection."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(name, local_files_only=True, allow_patterns=[CONFIG, PREPROCESSOR])
        )
        find_weights(folder)
        is_timm = "architecture" in json.loads((folder / CONFIG).read_text("utf-8"))
    except (LocalEntryNotFoundError, FakescanError, OSError, ValueError):
        return None
    return folder if is_timm or (folder / PREPROCESSOR).is_file() else None


def _fetch(name: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if constants.HF_HUB_OFFLINE:
        raise FakescanError(
            f"hf:{name} is not in the cache, and HF_HUB_OFFLINE forbids fetching it: unset it once"
        )
    try:
        about = HfApi().model_info(name, files_metadata=True)
        wanted = _choose_files(name, about)
        _announce(name, about, wanted)
        # Not by its commit, or the cache would not know which one is the newest.
        return Path(snapshot_download(name, allow_patterns=wanted, tqdm_class=_terminal_bar()))
    except GatedRepoError as error:
        raise FakescanError(
            f"hf:{name} is gated: accept its terms at https://huggingface.co/{name}, then log in:"
            " hf auth login"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FakescanError(
            f"hf:{name}: the Hub has no such repository, or it is private"
        ) from error
    except HfHubHTTPError as error:
        code = getattr(error.response, "status_code", "an error")
        raise FakescanError(f"hf:{name}: the Hub answers {code}; try again later") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise FakescanError(
            f"hf:{name} can't be fetched: there is no connection to the Hub, or no room for it"
        ) from error


def _terminal_bar() -> type[Any]:
    from tqdm import tqdm

    class TerminalBar(tqdm):  # type: ignore[type-arg]
        """Progress for people alone."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **{**settings, "disable": None})

    return TerminalBar


def _choose_files(name: str, about: ModelInfo) -> list[str]:
    """The settings and weights to fetch, of all files that the repository lists."""
    files = {file.rfilename for file in about.siblings or ()}
    if CONFIG not in files:
        raise FakescanError(f"hf:{name} has no {CONFIG}: no model of transformers or timm")
    if WEIGHTS in files:
        weights = [WEIGHTS]
    elif INDEX in files:
        shards = (file for file in files if re.fullmatch(r"model-\d+-of-\d+\.safetensors", file))
        weights = [INDEX, *sorted(shards)]
    else:
        pickles = sorted(file for file in files if file.endswith(_PICKLES))
        has = f"has its weights only as {pickles[0]}" if pickles else "has no weights"
        raise FakescanError(
            f"hf:{name} {has}: only {WEIGHTS} is read, since other formats may run code"
        )
    # README.md names the licence.
    return [*(file for file in (CONFIG, PREPROCESSOR, "README.md") if file in files), *weights]


def _announce(name: str, about: ModelInfo, wanted: list[str]) -> None:
    licence = getattr(about.card_data, "license", None)
    sizes = [file.size or 0 for file in about.siblings or () if file.rfilename in wanted]
    said = str(licence) if licence else "unknown: its card names none"
    _log.warning("hf:%s: licence %s; fetching %.0f MB", name, said, sum(sizes) / 1e6)
