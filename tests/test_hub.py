"""Published networks: what they are shown and say is what their own libraries would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import CARD, CHECKOUT, FakeBackend, encode, plain, run, save_tiny_model

pytest.importorskip("transformers")
pytest.importorskip("timm")

import published_models as published
from hub_server import COMMIT, serve
from test_offline import _SCAN, run_without_sockets

from fakescan.backends import BackendName, load_backend
from fakescan.hub import PublishedModel, locate_model
from fakescan.pipeline import ScanOptions, load_detectors, scan, settings_key
from fakescan.processing import process
from fakescan.records import FakescanError, Reason, Verdict
from fakescan.reports import to_record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FOLDERS = ("vit", "swin", "resnet", "timm")
SIZES = ((64, 48), (40, 90), (200, 33), (32, 32))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models."""
    top = tmp_path_factory.mktemp("published")
    published.save_vit(top / "vit")
    published.save_swin(top / "swin")
    published.save_resnet(top / "resnet")
    published.save_timm(top / "timm")
    return top


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes, one turned by EXIF, one with transparency, and one broken."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        picture = Image.fromarray(pixels)
        (folder / f"{number}.png").write_bytes(encode(picture, ".png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    (folder / "turned.jpg").write_bytes(encode(picture, ".jpg", exif=exif, quality=95))
    clear = Image.fromarray(random.integers(0, 256, (48, 64, 4), dtype=np.uint8))
    (folder / "transparent.png").write_bytes(encode(clear, ".png"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return folder


def opened(path: Path) -> Any:
    """As transformers' own pipeline opens pictures."""
    from PIL import Image, ImageOps

    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def theirs(folder: Path, path: Path) -> tuple[npt.NDArray[np.float32], float]:
    """Prepared pixels and logit of AI by the library alone."""
    import torch

    if folder.name == "timm":
        import timm
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text())
        network = timm.create_model(
            published.TIMM,
            num_classes=2,
            pretrained_cfg=config["pretrained_cfg"],
            **published.TIMM_SIZES,
        )
        network.load_state_dict(load_file(folder / "model.safetensors"))
        data_config = timm.data.resolve_model_data_config(network)
        pixels = timm.data.create_transform(**data_config, is_training=False)(opened(path))[None]
        with torch.inference_mode():
            outputs = network.eval()(pixels)[0]
        return pixels.numpy()[0], float(outputs[0] - outputs[1])
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(folder)
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    pixels = processor(images=opened(path), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        chances = network(pixels).logits[0].double().softmax(0)
    ai = {"vit": [0], "swin": [1], "resnet": [1, 2]}[folder.name]
    others = [place for place in range(len(chances)) if place not in ai]
    return pixels.numpy()[0], float(chances[ai].sum().log() - chances[others].sum().log())


def options(folder: Path | str, **changes: Any) -> ScanOptions:
    return ScanOptions(
        models=(str(folder),), backend=BackendName.TORCH, device="cpu", workers=2, **changes
    )


def logits_of(photos: Path, settings: ScanOptions) -> dict[str, float]:
    return {
        Path(finding.source.path).name: finding.measurement.outputs[0].logit
        for finding in scan([photos], settings)
        if finding.measurement.outputs
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_pictures_are_prepared_and_judged_as_by_the_library(
    models: Path, photos: Path, name: str
) -> None:
    import numpy as np

    model = locate_model(str(models / name))
    assert isinstance(model, PublishedModel)
    processor = model.card.input.processor
    assert processor is not None
    found = logits_of(photos, options(models / name))
    assert len(found) == len(SIZES) + 2
    assert np.std(list(found.values())) > 0.01
    for picture, logit in found.items():
        pixels, wanted = theirs(models / name, photos / picture)
        ours = process(np.asarray(opened(photos / picture)), processor)
        assert ours is not None and ours.dtype == np.float32
        np.testing.assert_allclose(ours, pixels, atol=1e-5)
        assert logit == pytest.approx(wanted, abs=1e-4)


def test_a_card_holds_all_that_a_worker_needs(models: Path, tmp_path: Path) -> None:
    from fakescan.weights import read_card

    model = locate_model(str(models / "timm"))
    assert isinstance(model, PublishedModel)
    path = tmp_path / "card.json"
    path.write_text(model.card.to_json())
    assert read_card(path) == model.card


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1},
        {"batch_size": 3},
        # Each worker loads its library anew.
        pytest.param({"isolate": True}, marks=pytest.mark.slow),
    ],
)
def test_batches_and_workers_change_no_finding(
    models: Path, photos: Path, changes: dict[str, Any]
) -> None:
    def records(settings: ScanOptions) -> list[dict[str, Any]]:
        found = [to_record(finding) for finding in scan([photos], settings)]
        for record in found:
            if isinstance(record["model"], dict):
                record["logit"] = record["model"].pop("logit")
                record.pop("score")
        return found

    usual = records(options(models / "vit"))
    other = records(options(models / "vit", **changes))
    assert sum(record["model"] is not None for record in usual) == len(SIZES) + 2
    for one, two in zip(usual, other, strict=True):
        assert one.pop("logit", 0) == pytest.approx(two.pop("logit", 0), abs=1e-3)
        assert one == two


def test_pictures_that_stay_of_many_sizes_are_judged_one_size_at_a_time(
    tmp_path: Path, photos: Path
) -> None:
    folder = published.save_resnet(tmp_path / "resnet")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"image_processor_type": "ViTImageProcessor", "do_resize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    found = logits_of(photos, options(folder))
    assert len(found) == len(SIZES) + 2
    for picture, logit in found.items():
        assert logit == pytest.approx(theirs(folder, photos / picture)[1], abs=1e-4)
    outcome = run("export", "--model", folder)
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert "many sizes" in outcome.stderr


def test_pictures_far_too_long_are_not_judged(models: Path, tmp_path: Path) -> None:
    (tmp_path / "strip.png").write_bytes(plain(9, (20, 1300)))
    (finding,) = scan([tmp_path], options(models / "resnet"))
    assert finding.reason is Reason.OUTSIDE_DOMAIN


def test_timm_inside_transformers_is_the_same(models: Path, photos: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models / "timm", tmp_path / "timm")
    tensors = load_file(folder / "model.safetensors")
    wrapped = {f"timm_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(wrapped, folder / "model.safetensors")
    assert logits_of(photos, options(folder)) == logits_of(photos, options(models / "timm"))


def test_sharded_weights_are_the_same_model(models: Path, photos: Path, tmp_path: Path) -> None:
    folder = published.save_vit(tmp_path / "vit", max_shard_size="10KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert logits_of(photos, options(folder)) == pytest.approx(
        logits_of(photos, options(models / "vit"))
    )
    missing = sorted(folder.glob("*.safetensors"))[1]
    missing.unlink()
    with pytest.raises(FakescanError, match=f"{missing.name} is missing"):
        locate_model(str(folder))


@pytest.mark.parametrize(("label", "sign"), [("fake", 1), ("real", -1)])
def test_a_single_output_is_its_own_logit(
    tmp_path: Path, photos: Path, label: str, sign: int
) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder = published.save_vit(tmp_path / "one", {0: label})
    found = logits_of(photos, options(folder))["0.png"]
    pixels = AutoImageProcessor.from_pretrained(folder)(
        images=opened(photos / "0.png"), return_tensors="pt"
    )["pixel_values"]
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert found == pytest.approx(sign * network(pixels).logits[0, 0].item(), abs=1e-4)


def test_timm_by_name_with_weights(tmp_path: Path, photos: Path) -> None:
    import timm
    import torch
    from safetensors.torch import load_file

    weights = published.save_timm_weights(tmp_path / "own.safetensors")
    name = f"timm:{published.TIMM_FILE}"
    with pytest.raises(FakescanError, match="LABEL_0, LABEL_1"):
        locate_model(name, weights=[str(weights)])
    settings = options(name, weights=(str(weights),), ai_labels=("LABEL_1",))
    found = logits_of(photos, settings)["0.png"]
    network = timm.create_model(published.TIMM_FILE, num_classes=2).eval()
    network.load_state_dict(load_file(weights))
    data_config = timm.data.resolve_model_data_config(network)
    pixels = timm.data.create_transform(**data_config)(opened(photos / "0.png"))[None]
    with torch.inference_mode():
        outputs = network(pixels)[0]
    assert found == pytest.approx(float(outputs[1] - outputs[0]), abs=1e-4)


# What is refused


def expect_refusal(folder: Path | str, *words: str) -> None:
    outcome = run("scan", ".", "--no-store", "--model", folder)
    assert outcome.code == 2, outcome.stderr
    assert outcome.stderr.count("\n") == 1
    for word in words:
        assert word in outcome.stderr


def test_pickles_alone_are_refused(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "vit", tmp_path / "vit")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    expect_refusal(folder, "no model.safetensors", "may run code")


def test_a_head_that_was_never_trained_is_refused(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name, head in (("vit", "classifier.weight"), ("timm", "head.weight")):
        folder = shutil.copytree(models / name, tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        del tensors[head]
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        expect_refusal(folder, head, "never trained")


def test_weights_of_another_shape_are_refused(models: Path, tmp_path: Path) -> None:
    folder = published.save_vit(tmp_path / "vit", {0: "real", 1: "fake", 2: "ai"})
    shutil.copy(models / "vit" / "model.safetensors", folder)
    outcome = run("scan", ".", "--no-store", "--model", folder)
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)


def test_code_that_comes_along_is_never_run(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "vit", tmp_path / "vit")
    marker = tmp_path / "ran"
    (folder / "theirs.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "unheard_of",
        "auto_map": {
            "AutoConfig": "theirs.Config",
            "AutoModelForImageClassification": "theirs.Model",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    expect_refusal(folder, "code that comes with it", "never run")
    assert not marker.exists()


@pytest.mark.parametrize(
    "arguments", [{"checkpoint_path": "weights.pt"}, {"pretrained": True}, {"pretrained_cfg": {}}]
)
def test_settings_that_would_read_other_weights_are_refused(
    models: Path, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    folder = shutil.copytree(models / "timm", tmp_path / "timm")
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= arguments
    (folder / "config.json").write_text(json.dumps(config))
    expect_refusal(folder, "model_args")


def test_shards_outside_the_folder_are_refused(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "vit", tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    expect_refusal(folder, "names no shards")


def test_mistakes_are_one_line(models: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    expect_refusal(tmp_path / "empty", "no config.json")
    expect_refusal("timm:vit_tiny_patch16_224", "--weights")
    expect_refusal("hf:no-organisation", "ORG/NAME")
    expect_refusal("hf:org/no--name", "no such repository")
    folder = published.save_vit(tmp_path / "vit", {0: "LABEL_0", 1: "LABEL_1"})
    expect_refusal(folder, "--ai-label", "LABEL_0, LABEL_1")
    outcome = run("scan", ".", "--no-store", "--model", models / "vit", "--ai-label", "cat")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    weights = published.save_timm_weights(tmp_path / "own.safetensors")
    arguments = ("--model", "timm:resnet10t", "--weights", weights, "--ai-label", "LABEL_1")
    outcome = run("scan", ".", "--no-store", *arguments)
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    arguments = ("--model", "timm:no_such_network", "--weights", weights)
    outcome = run("scan", ".", "--no-store", *arguments)
    assert "timm has no network" in outcome.stderr


def test_a_missing_library_is_one_line(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fakescan.processing.find_spec", lambda name: None)
    expect_refusal(models / "vit", "pip install '.[hub]'")
    expect_refusal("hf:org/name", "huggingface_hub is not installed")


# The Hub


def fetch(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Have this process ask `endpoint`, whatever the user's settings are."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def spawn(endpoint: str, home: Path, offline: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fakescan", "inspect", str(CHECKOUT / "docs" / "overlay.png")]
    environment = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": str(int(offline)),
    }
    flags = ["--model", "hf:org/name", "--device", "cpu", "--json"]
    return subprocess.run([*command, *flags], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_a_repository_is_fetched_once_with_its_licence_said(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "vit", tmp_path / "repository")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-3.0\n---\n# A detector\n")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit'\ntR.")
    (folder / "model.fp16.safetensors").write_bytes(b"of no use")
    with serve(folder, "cc-by-nc-3.0") as served:
        first = spawn(served.endpoint, tmp_path / "hf")
        again = spawn(served.endpoint, tmp_path / "hf", offline=True)
    assert first.stderr == "hf:org/name: licence cc-by-nc-3.0; fetching 0 MB\n"
    assert again.stderr == ""
    record = json.loads(first.stdout)
    assert record == json.loads(again.stdout)
    assert (record["model"]["name"], record["model"]["version"]) == ("org/name", COMMIT[:12])
    wanted = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(served.fetched) == wanted


def test_offline_nothing_is_asked_for(tmp_path: Path) -> None:
    done = spawn("http://127.0.0.1:9", tmp_path, offline=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr


def test_no_connection_is_one_line(tmp_path: Path) -> None:
    done = spawn("http://127.0.0.1:9", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no connection" in done.stderr


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (403, "GatedRepo", "is gated"),
        (401, "RepoNotFound", "no such repository"),
        (404, "RepoNotFound", "no such repository"),
        (418, "", "answers 418"),
    ],
)
def test_a_repository_that_is_not_for_us_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: str, words: str
) -> None:
    with serve(tmp_path, "") as served:
        fetch(monkeypatch, served.endpoint, tmp_path / "cache")
        served.refusal = (code, error)
        expect_refusal("hf:org/name", words)


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(models / "vit", tmp_path / "repository")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with serve(folder, "") as served:
        fetch(monkeypatch, served.endpoint, tmp_path / "cache")
        expect_refusal("hf:org/name", "only as pytorch_model.bin", "may run code")
        assert served.fetched == []


def test_a_licence_stands_on_the_card(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "vit", tmp_path / "vit")
    for text, licence in (("---\nlicense: mit\n---\n", "mit"), ("# None\n", ""), ("---\n[\n", "")):
        (folder / "README.md").write_text(text)
        model = locate_model(str(folder))
        assert isinstance(model, PublishedModel)
        assert model.card.license == licence


def test_a_local_model_opens_no_socket(models: Path, photos: Path) -> None:
    arguments = ("scan", photos, "--json", "--no-store", "--device", "cpu", "--model")
    done = run_without_sockets(_SCAN, *arguments, models / "vit")
    assert done.returncode == 3, done.stderr
    # The summary in two lines, the broken file, and nobody else's warnings.
    assert done.stderr.count("\n") == 3, done.stderr
    assert len(done.stdout.splitlines()) == len(SIZES) + 3


# The rest of the program


def test_uncalibrated_models_give_scores_and_decide_nothing(models: Path, photos: Path) -> None:
    findings = [one for one in scan([photos], options(models / "swin")) if one.score is not None]
    assert len(findings) == len(SIZES) + 2
    for finding in findings:
        assert finding.verdict is Verdict.UNCERTAIN
        assert finding.reason is Reason.UNCALIBRATED_MODEL


def test_the_store_tells_labels_and_preparation_apart(models: Path, tmp_path: Path) -> None:
    def key(folder: Path, **changes: Any) -> str:
        settings = options(folder, **changes)
        return settings_key(load_detectors(settings), settings)

    usual = key(models / "vit")
    assert usual == key(models / "vit")
    assert usual != key(models / "vit", ai_labels=("human",))
    assert usual != key(models / "vit", combine=True)
    folder = shutil.copytree(models / "vit", tmp_path / "vit")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["image_mean"] = [0.4, 0.4, 0.4]
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    assert usual != key(folder)


def test_a_small_model_of_ours_still_judges_what_it_knows(models: Path, photos: Path) -> None:
    """The first whose domain admits the picture judges."""
    ours = FakeBackend(replace(CARD, domain=replace(CARD.domain, maximum_side=64)))
    theirs = load_backend(locate_model(str(models / "vit")), device="cpu")
    found = {
        Path(finding.source.path).name: finding.measurement.outputs[0].name
        for finding in scan([photos], ScanOptions(), detectors=[ours, theirs])
        if finding.measurement.outputs
    }
    assert found["0.png"] == found["3.png"] == "brightness"
    assert found["1.png"] == found["2.png"] == "vit"


def test_the_command_line_end_to_end(models: Path, photos: Path, tmp_path: Path) -> None:
    reports = [tmp_path / f"out{suffix}" for suffix in (".csv", ".json", ".html", ".parquet")]
    flags = [word for report in reports for word in ("--report", report)]
    outcome = run(
        *("scan", photos, "--model", models / "vit", "--device", "cpu"),
        *("--store", tmp_path / "store", "--overlay", tmp_path / "overlays", "--overlay-all"),
        *flags,
    )
    assert outcome.code == 3, outcome.stderr
    assert "Overlays are drawn for fakescan's own models only" in outcome.stderr
    assert list((tmp_path / "overlays").iterdir()) == []
    rows = json.loads(reports[1].read_text())["findings"]
    models_named = {row["model"]["name"] for row in rows if row["model"]}
    assert models_named == {"vit"}
    assert all(row["model"]["crops"] == [] for row in rows if row["model"])
    assert "vit" in reports[0].read_text() and reports[3].stat().st_size > 0
    again = run(
        *("scan", photos, "--model", models / "vit", "--device", "cpu"),
        *("--store", tmp_path / "store", "--json"),
    )
    assert [json.loads(line)["score"] for line in again.stdout.splitlines()] == [
        row["score"] for row in rows
    ]


def test_inspect_tells_of_the_whole_picture(models: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("inspect", photos / "0.png", "--model", models / "vit", "--device", "cpu")
    outcome = run(*arguments)
    assert "on the whole picture; uncalibrated" in outcome.stdout
    outcome = run(*arguments, "--overlay", tmp_path / "overlay.png")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert "own models only" in outcome.stderr


def test_models_lists_what_is_known() -> None:
    outcome = run("models")
    assert outcome.code == 0
    assert "hf:Organika/sdxl-detector" in outcome.stdout
    assert "https://huggingface.co/umm-maybe/AI-image-detector" in outcome.stdout
    assert "fakescan scan PICTURES --model NAME" in outcome.stdout


@pytest.mark.parametrize("name", FOLDERS)
def test_graphs_agree_with_torch(models: Path, photos: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    outcome = run("export", "--model", models / name)
    assert outcome.code == 0, outcome.stderr
    assert not list((models / name).glob("*.onnx"))
    by_torch = logits_of(photos, options(models / name))
    by_onnx = logits_of(photos, replace(options(models / name), backend=BackendName.ONNX))
    assert by_onnx == pytest.approx(by_torch, abs=1e-3)
    automatic = replace(options(models / name), backend=BackendName.AUTO)
    assert load_detectors(automatic)[0].name == "onnx"


def test_a_network_that_does_not_export_is_one_line(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    import torch

    def refuse(*arguments: Any, **settings: Any) -> None:
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    outcome = run("scan", ".", "--no-store", "--model", models / "vit", "--backend", "onnx")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert "--backend torch" in outcome.stderr


def test_tensorrt_is_for_our_own(models: Path) -> None:
    with pytest.raises(FakescanError, match="own models"):
        load_backend(locate_model(str(models / "vit")), backend=BackendName.TENSORRT)


@pytest.mark.slow
def test_bench_measures_a_published_model(models: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "0.png", tmp_path)
    shutil.copy(photos / "1.png", tmp_path)
    outcome = run(
        *("bench", tmp_path, "--model", models / "vit", "--ai-label", "artificial"),
        *("--device", "cpu", "--repeats", "1", "--json"),
    )
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["model"] == "vit"
    assert result["images_per_second"]["scan"] > 0


def test_a_folder_of_the_same_name_hides_no_model_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = save_tiny_model(tmp_path / "weights")
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "brightness").mkdir()
    assert locate_model("brightness") == weights


def test_our_own_models_need_no_library(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakescan.processing.find_spec", lambda name: None)
    weights = save_tiny_model(tmp_path)
    assert len(logits_of(photos, options(weights))) == len(SIZES) + 2
