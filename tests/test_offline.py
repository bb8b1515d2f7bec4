"""A scan opens no connection, and writes nothing but what it was asked to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import (
    CHECKOUT,
    declared_ai,
    noisy,
    png_chunk,
    png_with_chunks,
    save_tiny_model,
)
from test_provenance_container import jpeg, segment, xmp_packet

# Has the kernel end this process, and all that it starts, at any call that opens a socket: from
# Python, from Rust or from C. seccomp(2): allow all system calls but one.
_FORBID_SOCKETS = """
import ctypes, os, struct, sys
number = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
filter = b"".join(struct.pack("HBBI", *one) for one in (
    (0x20, 0, 0, 0),            # load the number of the call
    (0x15, 0, 1, number),       # is it that of socket?
    (0x06, 0, 0, 0x80000000),   # then end the process
    (0x06, 0, 0, 0x7FFF0000),   # else allow it
))
buffer = ctypes.create_string_buffer(filter)
program = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
refused = libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0)
sys.exit(77) if refused else None
"""

_SCAN = """
import runpy
sys.argv[0] = "fakescan"
runpy.run_module("fakescan", run_name="__main__")
"""

_SIGSYS = 31


def run_without_sockets(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "aarch64"}:
        pytest.skip("forbids sockets with Linux's seccomp")
    command = [sys.executable, "-c", _FORBID_SOCKETS + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("seccomp is not allowed here")
    return done


def test_a_socket_would_be_noticed() -> None:
    script = "import socket; socket.socket(); print('opened')"
    done = run_without_sockets(script)
    assert (done.returncode, done.stdout) == (-_SIGSYS, "")


@pytest.mark.parametrize("flag", ["--model", "--isolate"])
def test_a_scan_opens_no_socket(tmp_path: Path, flag: str) -> None:
    shutil.copytree(CHECKOUT / "tests" / "pictures", tmp_path / "photos")
    # One manifest that is there and broken, so that the validator is loaded, and one elsewhere.
    broken = png_with_chunks(png_chunk(b"caBX", b"manifest"))
    (tmp_path / "photos" / "broken-credential.png").write_bytes(broken)
    packet = xmp_packet(attributes='dcterms:provenance="http://127.0.0.1:9/manifest.c2pa"')
    remote = jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    (tmp_path / "photos" / "remote-credential.jpg").write_bytes(remote)
    (tmp_path / "photos" / "a.heic").write_bytes(noisy(suffix=".heic"))
    flags = ("--model", save_tiny_model(tmp_path)) if flag == "--model" else (flag,)
    arguments = (tmp_path / "photos", "--json", "--no-store", *flags)
    done = run_without_sockets(_SCAN, "scan", *arguments)
    assert done.returncode == 3, done.stderr
    assert len(done.stdout.splitlines()) == 15
    assert "A content credential is present, but it cannot be read." in done.stdout
    assert "Its content credential is kept online and was not fetched." in done.stdout


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_runtimes_tell_their_makers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CI", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    model = CHECKOUT / "weights" / "photo.safetensors"
    pictures = CHECKOUT / "tests" / "pictures"
    arguments = (pictures, "--json", "--no-store", "--model", model, "--backend", runtime)
    done = run_without_sockets(_SCAN, "scan", *arguments)
    assert done.returncode == 3, done.stderr
    assert f'"backend":"{runtime}"' in done.stdout
    # Not even an identifier to be told by.
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_nothing_is_written_but_reports_overlays_and_the_store(
    tmp_path: Path, tiny_model: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(CHECKOUT / "tests" / "pictures", photos)
    (photos / "flagged.png").write_bytes(declared_ai())
    places = {name: tmp_path / name for name in ("home", "tmp", "cwd", "out")}
    for place in places.values():
        place.mkdir()
    inherited = {key: value for key, value in os.environ.items() if "CACHE" not in key}
    environment = {
        **inherited,
        "HOME": str(places["home"]),
        "TMPDIR": str(places["tmp"]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("MPLCONFIGDIR")
    before = describe_tree(tmp_path)
    command = [sys.executable, "-m", "fakescan", "scan", str(photos), "--model", str(tiny_model)]
    command += ["--report", "../out/out.csv", "--report", "../out/out.jsonl", "--isolate"]
    command += ["--overlay", "../out/overlays", "--overlay-all", "--store", "../out/store"]
    done = subprocess.run(command, cwd=places["cwd"], env=environment, capture_output=True)
    assert done.returncode == 3, done.stderr.decode()
    written = describe_tree(tmp_path).items() - before.items()
    # Elsewhere torch and matplotlib make themselves folders for caches, which stay empty.
    names = {name for name, state in written if state is not None or name.startswith("photos")}
    overlays = {name for name in names if name.startswith("out/overlays/")}
    assert overlays
    assert names - overlays == {"out/out.csv", "out/out.jsonl", "out/store"}


def describe_tree(top: Path) -> dict[str, tuple[bytes, int] | None]:
    """Every file's bytes and modification time, by its path under `top`; None for folders."""
    return {
        str(path.relative_to(top)): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else None
        for path in top.rglob("*")
    }
