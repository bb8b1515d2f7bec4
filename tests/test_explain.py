"""Overlays: exact Grad-CAM, stitched over the picture, that never changes a score."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fakescan import explain
from fakescan.images import decode_image, read_bytes, upright
from fakescan.model import build_detector, build_network
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import DecodedImage, Reason, Source, Verdict
from fakescan.sources import is_overlay_name
from fakescan.weights import (
    Architecture,
    Calibration,
    Domain,
    Input,
    ModelCard,
    Threshold,
    Thresholds,
    load_card,
    load_tensors,
    save_model,
)

SIDE = 32


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A random network of 32 px windows that judges pictures of any larger size."""
    torch.manual_seed(3)
    architecture = Architecture("cnn", {"filters": 8, "layers": 2, "dense": [16]})
    card = ModelCard(
        name="tiny",
        version="0.0.1",
        sha256="",
        architecture=architecture,
        input=Input(SIDE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), mirror=True),
        domain=Domain(SIDE, None, "anything"),
        pooling="mean",
        calibration=Calibration(1.0, 0.0, 1000),
        # Everything is flagged, so that everything gets an overlay.
        thresholds=Thresholds((Threshold(0.01, 0.0, 1000),), Threshold(0.05, -1.0, 1000)),
        license="Apache-2.0",
        training={},
        metrics={},
        limits=(),
    )
    return save_model(tmp_path / "models", card, build_network(architecture).state_dict())


def save_picture(path: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def decode(path: Path) -> DecodedImage:
    data = read_bytes(Source(str(path)))
    assert isinstance(data, bytes)
    image = decode_image(Source(str(path)), data)
    assert isinstance(image, DecodedImage)
    return image


def test_gradients_are_those_of_finite_differences(weights: Path) -> None:
    """Grad-CAM's channel weights, checked against nudging every map by a little."""
    detector = build_detector(load_card(weights), load_tensors(weights)).double()
    crops = torch.rand(1, SIDE, SIDE, 3, dtype=torch.float64) * 255
    with torch.no_grad():
        features = detector.network.features(detector.normalise(crops))
        before = detector.network.head(features)
        step = 1e-4
        slopes = []
        for channel in range(features.shape[1]):
            nudged = features.clone()
            nudged[:, channel] += step
            slopes.append((detector.network.head(nudged) - before).item() / step)
        places = features.shape[2] * features.shape[3]
        expected = (torch.tensor(slopes).view(1, -1, 1, 1) / places * features).sum(1).clamp(min=0)
        expected = torch.nn.functional.interpolate(
            expected[:, None].float(), size=(SIDE, SIDE), mode="bilinear"
        )[:, 0]
    detector.mirror = False
    heat = explain.grad_cam(detector, crops.numpy())  # type: ignore[arg-type]
    assert expected.max() > 0
    np.testing.assert_allclose(heat, expected.numpy(), rtol=1e-3, atol=1e-6)


def test_other_weights_give_another_map(weights: Path) -> None:
    """The sanity check of Adebayo et al. 2018: a map that ignores the weights explains nothing."""
    crops = np.random.default_rng(1).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    trained = build_detector(load_card(weights), load_tensors(weights))
    first = explain.grad_cam(trained, crops)
    torch.manual_seed(99)
    other = build_network(load_card(weights).architecture).state_dict()
    second = explain.grad_cam(build_detector(load_card(weights), other), crops)
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert abs(correlation) < 0.9


def test_a_model_that_enlarges_has_maps_of_its_windows(weights: Path) -> None:
    options = {"filters": 8, "layers": 2, "dense": [], "average": True}
    architecture = Architecture("cnn", options)
    card = dataclasses.replace(load_card(weights), architecture=architecture)
    enlarging = dataclasses.replace(card, input=dataclasses.replace(card.input, enlarge=2 * SIDE))
    tensors = build_network(architecture).state_dict()
    crops = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    maps = explain.grad_cam(build_detector(enlarging, tensors), crops)
    assert maps.shape == (2, SIDE, SIDE)
    assert not np.allclose(maps, explain.grad_cam(build_detector(card, tensors), crops))


def test_windows_are_stitched_where_they_lie() -> None:
    maps = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 3.0)]).astype(np.float32)
    heatmap = explain.stitch(maps, ((0, 0), (1, 0)), width=4, height=2)
    np.testing.assert_allclose(heatmap.values[0], np.array([1, 2, 3, 0]) / 3, rtol=1e-6)
    assert heatmap.seen[0].tolist() == [True, True, True, False]


def test_overlays_are_written_named_and_change_no_score(weights: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save_picture(tmp_path / folder / "same.png", 100 if folder == "one" else 101, 70)
    options = ScanOptions(models=(str(weights),))
    plain = list(scan([tmp_path / "one", tmp_path / "two"], options))
    folder = explain.OverlayFolder(
        tmp_path / "overlays", explain.Explainer([weights]), max_pixels=10**6, every=False
    )
    drawn = [folder.add(finding) for finding in plain]
    names = sorted(path.name for path in (tmp_path / "overlays").iterdir())
    assert names == sorted(f"same-{f.measurement.sha256[:12]}.png" for f in plain)  # type: ignore[index]
    assert [dataclasses.replace(finding, overlay=None) for finding in drawn] == plain
    for finding in drawn:
        with Image.open(str(finding.overlay)) as overlay:
            assert overlay.width >= explain.SHORTEST_SIDE


def test_an_overlay_replaces_a_link_and_nothing_that_it_leads_to(
    weights: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"mine")
    path = save_picture(tmp_path / "a.png", 100, 70)
    (finding,) = scan([path], ScanOptions(models=(str(weights),)))
    folder = explain.OverlayFolder(
        tmp_path / "overlays", explain.Explainer([weights]), max_pixels=10**6, every=True
    )
    place = tmp_path / "overlays" / explain.overlay_name(finding)
    place.symlink_to(precious)
    assert folder.add(finding).overlay == str(place)
    assert precious.read_bytes() == b"mine"
    assert not place.is_symlink()
    assert list(place.parent.iterdir()) == [place]


def test_a_file_that_changed_since_gets_no_overlay(weights: Path, tmp_path: Path) -> None:
    path = save_picture(tmp_path / "picture.png", 64, 64)
    (finding,) = scan([path], ScanOptions(models=(str(weights),)))
    save_picture(path, 65, 64)
    folder = explain.OverlayFolder(
        tmp_path / "overlays", explain.Explainer([weights]), max_pixels=10**6, every=True
    )
    assert folder.add(finding).overlay is None
    assert list((tmp_path / "overlays").iterdir()) == []


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("draw_overlay", MemoryError()),
        ("grad_cam", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
    ],
)
def test_an_overlay_that_the_memory_has_no_room_for_is_left_out(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    (finding,) = scan(
        [save_picture(tmp_path / "picture.png", 64, 64)], ScanOptions(models=(str(weights),))
    )

    def fail(*arguments: object) -> None:
        raise error

    folder = explain.OverlayFolder(
        tmp_path / "overlays", explain.Explainer([weights]), max_pixels=10**6, every=True
    )
    monkeypatch.setattr(explain, step, fail)
    assert folder.add(finding) == finding
    error = RuntimeError("a mistake of ours")
    with pytest.raises(RuntimeError, match="of ours"):
        folder.add(finding)


def test_an_overlay_takes_little_more_than_the_picture() -> None:
    pixels = np.zeros((3000, 4000, 3), dtype=np.uint8)
    image = DecodedImage(
        source=Source("x"),
        data=b"",
        sha256="",
        media_type="image/png",
        pixels=pixels,
        alpha=None,
        bit_depth=8,
        orientation=1,
        has_more_frames=False,
    )
    tracemalloc.start()
    heatmap = explain.stitch(np.ones((1, 64, 64), dtype=np.float32), ((9, 9),), 4000, 3000)
    overlay = explain.draw_overlay(image, heatmap, ("caption",))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(overlay.size) == explain.LONGEST_SIDE
    # Bytes a pixel: of a picture of 256 megapixels it would be some gigabytes otherwise.
    assert most < 12 * 3000 * 4000


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "..png", "a\nb.png", "x" * 300 + ".png", "写" * 90, "a;=1.png"]
)
def test_no_name_leads_out_of_the_folder(name: str, weights: Path, tmp_path: Path) -> None:
    (finding,) = scan(
        [save_picture(tmp_path / "picture.png", 64, 64)], ScanOptions(models=(str(weights),))
    )
    named = dataclasses.replace(finding, source=Source(name))
    overlay = explain.overlay_name(named)
    assert Path(overlay).name == overlay
    assert not overlay.startswith(".")
    assert overlay.isprintable() and ";" not in overlay
    assert len(overlay.encode()) < 220
    assert is_overlay_name(overlay)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_agrees_with_pillow(orientation: int) -> None:
    from PIL import ImageOps

    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(upright(pixels, orientation), expected)


def test_what_was_not_looked_at_is_faint(weights: Path, tmp_path: Path) -> None:
    image = decode(save_picture(tmp_path / "wide.png", 400, 300))
    seen = np.zeros((300, 400), dtype=bool)
    seen[:150] = True
    heatmap = explain.Heatmap(np.zeros((300, 400), dtype=np.float32), seen)
    overlay = np.asarray(explain.draw_overlay(image, heatmap, ("caption",)))
    assert overlay[160:290].mean() > overlay[:150].mean() + 60


def test_a_caption_tells_the_score_apart_from_the_verdict(weights: Path, tmp_path: Path) -> None:
    save_picture(tmp_path / "picture.png", 64, 64)
    (finding,) = scan([tmp_path], ScanOptions(models=(str(weights),)))
    assert finding.model is not None
    declared = dataclasses.replace(
        finding, score=0.25, verdict=Verdict.AI, reason=Reason.DECLARED_AI, decided_by="webui"
    )
    output = finding.model.output
    assert explain.caption(declared) == (
        f"score 0.2500 by {output.name} {output.version}, ai from {finding.model.threshold_ai:.4f}",
        "verdict ai: declared_ai",
    )
