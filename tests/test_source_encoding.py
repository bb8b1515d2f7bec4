"""Sources as lines of JSON: what another machine reads is what was found here."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import DARK, plain

from fakescan.records import FakescanError, Source, Status
from fakescan.sources import SourceFinder, decode_source, encode_source
from fakescan.sources.remote import RemoteSource


@pytest.mark.parametrize(
    "source",
    [
        Source("photos/a.jpg", 12, 1_700_000_000_000_000_001),
        Source("/\udcff\n\u2028 ä.png", 0, -1),
        Source("gone.png", problem=Status.NOT_FOUND),
        RemoteSource.at("https://127.0.0.1/a.jpg", 3.0),
    ],
)
def test_a_source_comes_back_as_it_was(source: Source) -> None:
    line = encode_source(source)
    assert decode_source(line) == source
    assert "\n" not in line and json.loads(line)


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_member_comes_back_and_opens(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"photos.{suffix}"
    (tmp_path / "a.png").write_bytes(plain(DARK))
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
            members.write(tmp_path / "a.png", "in/a.png")
    else:
        with tarfile.open(archive, "w") as members_of_tar:
            members_of_tar.add(tmp_path / "a.png", "in/a.png")
    (source,) = SourceFinder([str(archive)])
    found = decode_source(encode_source(source))
    assert found == source
    with found.open() as file:
        assert file.read(1 << 20) == plain(DARK)


def test_secrets_are_not_written_down() -> None:
    source = RemoteSource.at("https://user:hush@127.0.0.1/a.jpg", 3.0)
    with pytest.raises(FakescanError, match="a URL with secrets") as error:
        encode_source(source)
    assert "hush" not in str(error.value)
