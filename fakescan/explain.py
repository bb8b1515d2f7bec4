"""Grad-CAM: where in a picture a model saw what speaks for AI, and the overlay that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin
from torch import Tensor

from fakescan.hub import LocatedModel
from fakescan.images import cut_crops, decode_image, read_bytes, upright
from fakescan.memory import is_out_of_memory
from fakescan.model import Detector, build_detector
from fakescan.records import DecodedImage, FakescanError, Finding, ModelOutput, Verdict
from fakescan.sources.formats import OVERLAY_SOFTWARE
from fakescan.sources.temporaries import replacing
from fakescan.weights import load_card, load_tensors

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float32]

LONGEST_SIDE = 1024
SHORTEST_SIDE = 256
"""Pixels of an overlay's sides: larger pictures are shrunk, thumbnails grown."""

_LINE_HEIGHT = 16
_COLORS = "inferno"
"""Perceptually uniform, and still in order when printed in grey (Smith & van der Walt 2015)."""

_WINDOWS_A_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Where a model looked and what spoke for AI there.

    `values` is float32 (H, W) in [0, 1], 1 where it spoke loudest in this picture; `seen` is bool
    (H, W). Both in stored order.
    """

    values: FloatArray
    seen: npt.NDArray[np.bool_]


class Explainer:
    """Draws overlays for pictures that the given models judged, whatever runtime did it.

    Published models among them get none: where their networks part is theirs to know.

    Gradients need torch, so it loads each model again, when the first picture asks for it.
    """

    def __init__(self, models: Iterable[LocatedModel]) -> None:
        own = [model for model in models if isinstance(model, Path)]
        self._weights: Mapping[str, Path] = {load_card(path).sha256: path for path in own}
        self._detectors: dict[str, Detector] = {}

    def explain(self, image: DecodedImage, output: ModelOutput) -> Heatmap:
        """The heat map of `image` over the very windows that `output` tells of."""
        size = output.crops[0].size
        positions = tuple((crop.x, crop.y) for crop in output.crops)
        crops = cut_crops(image.pixels, size, positions)
        maps = grad_cam(self._detector(output.sha256), crops)
        return stitch(maps, positions, image.width, image.height)

    def _detector(self, sha256: str) -> Detector:
        if sha256 not in self._detectors:
            weights = self._weights.get(sha256)
            if weights is None:
                raise FakescanError("the model that judged this picture is not among those named")
            self._detectors[sha256] = build_detector(load_card(weights), load_tensors(weights))
        return self._detectors[sha256]


class OverlayFolder:
    """Writes an overlay for each finding that is flagged, or with `every` for each judged one."""

    def __init__(self, folder: Path, explainer: Explainer, *, max_pixels: int, every: bool) -> None:
        self._folder = folder
        self._explainer = explainer
        self._max_pixels = max_pixels
        self._every = every
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FakescanError(f"--overlay {folder}: {error.strerror}") from error

    def add(self, finding: Finding) -> Finding:
        """The finding with the path of its overlay, which is now there; or as it was.

        Raises FakescanError when the overlay can't be written.
        """
        if not (self._every or is_flagged(finding)):
            return finding
        path = self._folder / overlay_name(finding)
        return explain_finding(finding, self._explainer, path, max_pixels=self._max_pixels)


def explain_finding(
    finding: Finding, explainer: Explainer, path: Path, *, max_pixels: int
) -> Finding:
    """Draw the overlay of a finding into the PNG `path`; the finding with that path, or as it was.

    The file is read again, so that a finding from the store gets its overlay too; one that has
    changed since it was measured gets none, nor does one that no model of ours judged, or that is
    too large for the memory. Raises FakescanError when the overlay can't be written.
    """
    output = next(filter(can_explain, finding.measurement.outputs), None)
    if output is None:
        return finding
    data = read_bytes(finding.source, max_pixels=max_pixels)
    if not isinstance(data, bytes):
        return finding
    image = decode_image(finding.source, data, max_pixels=max_pixels)
    if not isinstance(image, DecodedImage) or image.sha256 != finding.measurement.sha256:
        return finding
    try:
        overlay = draw_overlay(image, explainer.explain(image, output), caption(finding))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return finding
    _save(overlay, path)
    return replace(finding, overlay=str(path))


def _save(overlay: Image.Image, path: Path) -> None:
    # Its name is known beforehand, so somebody may have put a link there: it is replaced.
    try:
        with replacing(path) as temporary, temporary.open("xb") as file:
            overlay.save(file, "PNG", pnginfo=_own_mark())
    except OSError as error:
        raise FakescanError(f"the overlay {path} can't be written: {error.strerror}") from error


def _own_mark() -> PngImagePlugin.PngInfo:
    # By which a scan of the same folder knows it again.
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", OVERLAY_SOFTWARE)
    return mark


def can_explain(output: ModelOutput) -> bool:
    """Whether an overlay can tell of it: published models are shown the picture as a whole."""
    return bool(output.crops)


def is_flagged(finding: Finding) -> bool:
    """Whether the verdict speaks of AI."""
    return finding.verdict in {Verdict.AI, Verdict.AI_EDIT}


def overlay_name(finding: Finding) -> str:
    """STEM-SHA.png: two files of one name don't collide, and no name leads elsewhere.

    `sources.is_overlay_name` knows it by that.
    """
    stem = Path(finding.source.name).stem
    safe = "".join(
        letter if letter.isprintable() and letter not in "/;" else "_" for letter in stem
    )
    # File systems count bytes: 255 of them.
    short = safe[:80].encode()[:200].decode(errors="ignore").lstrip(".")
    return f"{short or 'picture'}-{(finding.measurement.sha256 or '')[:12]}.png"


def caption(finding: Finding) -> tuple[str, str]:
    """The lines under an overlay: the model's score, and the verdict with what decided it.

    The picture may travel without its report, and a score below the threshold beside a verdict of
    `ai` would speak for a model that said no such thing.
    """
    assert finding.model is not None and finding.reason is not None
    output, threshold = finding.model.output, finding.model.threshold_ai
    score = f"score {finding.score:.4f} by {output.name} {output.version}"
    ai = f", ai from {threshold:.4f}" if threshold is not None else ""
    return f"{score}{ai}", f"verdict {finding.verdict}: {finding.reason.value}"


def grad_cam(detector: Detector, crops: UInt8Array) -> FloatArray:
    """Grad-CAM of crops uint8 (N, S, S, 3): float32 (N, S, S), at least 0, higher for AI.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization": the gradient of the logit by the last feature maps, averaged over place,
    weighs those maps; what is left above zero is shown. Exact, since the network is cut into
    `features` and `head`. Where the detector averages mirror images, so does this.
    """
    maps = []
    for batch in torch.split(torch.from_numpy(crops), _WINDOWS_A_BATCH):
        images = detector.normalise(batch)
        heat = _activation_map(detector, images)
        if detector.mirror:
            heat = (heat + _activation_map(detector, images.flip(3)).flip(2)) / 2
        grown = torch.nn.functional.interpolate(
            heat[:, None], size=crops.shape[1:3], mode="bilinear", align_corners=False
        )
        maps.append(grown[:, 0])
    result: FloatArray = torch.cat(maps).numpy()
    return result


def _activation_map(detector: Detector, images: Tensor) -> Tensor:
    with torch.no_grad():
        features = detector.network.features(images)
    features.requires_grad_()
    with torch.enable_grad():
        logit = detector.network.head(features).sum()
    (gradient,) = torch.autograd.grad(logit, features)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat: Tensor = (weights * features.detach()).sum(dim=1).clamp(min=0)
    return heat


def stitch(
    maps: FloatArray, positions: tuple[tuple[int, int], ...], width: int, height: int
) -> Heatmap:
    """Maps (N, S, S) at `positions` as one of the whole picture; the mean where windows overlap."""
    size = maps.shape[1]
    total = np.zeros((height, width), dtype=np.float32)
    count = np.zeros((height, width), dtype=np.uint8)  # MAX_CROPS fit
    for heat, (x, y) in zip(maps, positions, strict=True):
        total[y : y + size, x : x + size] += heat
        count[y : y + size, x : x + size] += 1
    total /= np.maximum(count, 1)
    total /= float(total.max()) or 1.0
    return Heatmap(total, count > 0)


def draw_overlay(image: DecodedImage, heatmap: Heatmap, caption: tuple[str, ...]) -> Image.Image:
    """The picture, upright, under its heat map, with a legend below.

    What the model did not look at is shown faint. `caption` is lines of plain text.
    """
    from matplotlib import colormaps

    # Shrunk first: blending takes some eighty bytes a pixel.
    pixels = _shrunk(image.pixels, Image.Resampling.BICUBIC)
    values = _shrunk(heatmap.values, Image.Resampling.BILINEAR)
    was_seen = _shrunk(heatmap.seen.view(np.uint8), Image.Resampling.NEAREST) > 0
    heat = (colormaps[_COLORS](values)[:, :, :3] * 255).astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    # Faint where nothing spoke for AI, so that the picture stays readable there.
    weight = (0.25 + 0.45 * values)[:, :, None]
    seen = (1 - weight) * grey + weight * heat
    unseen = 0.35 * grey + 0.65 * 255
    blended = np.where(was_seen[:, :, None], seen, unseen).astype(np.uint8)
    picture = Image.fromarray(upright(blended, image.orientation))
    lines = caption if heatmap.seen.all() else (*caption, "faint: not looked at")
    return _with_legend(_grown(picture), lines)


def _shrunk(values: npt.NDArray[Any], method: Image.Resampling) -> npt.NDArray[Any]:
    picture = Image.fromarray(values)
    if max(picture.size) <= LONGEST_SIDE:
        return values
    return np.asarray(ImageOps.contain(picture, (LONGEST_SIDE, LONGEST_SIDE), method))


def _grown(picture: Image.Image) -> Image.Image:
    longest = max(picture.size)
    if longest < SHORTEST_SIDE:
        # A thumbnail's own pixels stay visible.
        factor = -(-SHORTEST_SIDE // longest)
        return picture.resize(
            (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
        )
    return picture


def _with_legend(picture: Image.Image, lines: tuple[str, ...]) -> Image.Image:
    from matplotlib import colormaps

    width = max(picture.width, SHORTEST_SIDE)
    canvas = Image.new("RGB", (width, picture.height + _LINE_HEIGHT * (len(lines) + 1)), "white")
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=11)
    top = picture.height + 3
    for line in lines:
        draw.text((6, top), line, fill="black", font=font)
        top += _LINE_HEIGHT
    ramp = (colormaps[_COLORS](np.linspace(0, 1, 80))[:, :3] * 255).astype(np.uint8)
    canvas.paste(Image.fromarray(np.repeat(ramp[None], 8, axis=0)), (6, top + 3))
    draw.text((92, top), "less to more that speaks for AI", fill="black", font=font)
    return canvas
