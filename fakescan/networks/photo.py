"""The network for photographs: what is learned beside handcrafted statistics."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from fakescan.networks import Network
from fakescan.networks.trees import Trees


class Residuals(nn.Module):
    """A picture beside what its neighbours don't foretell: (N, 3, H, W) to (N, 9, H, W).

    Fixed high-pass filters, for content is what a detector must not learn: the second difference
    over rows and columns, and the 3x3 kernel of the spatial rich model (Fridrich & Kodovsky
    2012), each of every channel, beside the channels themselves.
    """

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.zeros(3, 3)
        across[1] = torch.tensor([1.0, -2.0, 1.0]) / 2
        rich = torch.tensor([[-1.0, 2.0, -1.0], [2.0, -4.0, 2.0], [-1.0, 2.0, -1.0]]) / 4
        # One filter a colour channel keeps the input of the first layer small.
        kernels = torch.stack([across + across.T, rich])[:, None].repeat(3, 1, 1, 1)
        self.register_buffer("kernels", kernels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The channels and their residuals; what lies beyond the edge counts as its reflection."""
        padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        residuals = nn.functional.conv2d(padded, self.kernels.to(images.dtype), groups=3)
        return torch.cat([images, residuals], dim=1)


class Statistics(nn.Module):
    """Handcrafted statistics of local traces, by blocks: (N, 3, H, W) to (N, 426, H/32, W/32).

    Of luma and two colour differences: co-occurrences of three neighbouring residuals (Fridrich &
    Kodovsky 2012; on colour differences, Li et al. 2020), first and second differences along rows
    and columns, rounded to steps of 3 and cut at two steps, as square roots of frequencies; and
    log magnitudes of the 8x8 cosine transform, at every fourth pixel. Nothing here is learned.
    Takes values in [0, 255], not normalised ones.
    """

    planes: Tensor
    cosines: Tensor
    symmetric: Tensor

    _STEP, _REACH, _BLOCK = 3.0, 2, 32

    def __init__(self) -> None:
        super().__init__()
        planes = torch.tensor([[0.299, 0.587, 0.114], [1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
        self.register_buffer("planes", planes[:, :, None, None], persistent=False)
        place, frequency = torch.arange(8) + 0.5, torch.arange(8)[:, None]
        cosines = torch.cos(torch.pi / 8 * place * frequency) / 2
        cosines[0] /= 2**0.5
        basis = torch.einsum("ux,vy->uvxy", cosines, cosines).reshape(64, 1, 8, 8)
        self.register_buffer("cosines", basis, persistent=False)
        self.register_buffer("symmetric", self._join_symmetric(), persistent=False)
        self.channels = 6 * self.symmetric.shape[1] + 3 * 64

    def _join_symmetric(self) -> Tensor:
        # A triple, its reverse and their negatives say the same of a picture and its mirror image.
        steps = range(-self._REACH, self._REACH + 1)
        triples = [(a, b, c) for a in steps for b in steps for c in steps]
        names = [min((a, b, c), (c, b, a), (-a, -b, -c), (-c, -b, -a)) for a, b, c in triples]
        order = {name: index for index, name in enumerate(sorted(set(names)))}
        joined = torch.zeros(len(triples), len(order))
        for index, name in enumerate(names):
            joined[index, order[name]] = 1
        return joined

    def forward(self, pixels: Tensor) -> Tensor:
        """The statistics of every whole block of 32 pixels."""
        height, width = (side // self._BLOCK * self._BLOCK for side in pixels.shape[2:])
        planes = nn.functional.conv2d(pixels[:, :, :height, :width], self.planes)
        # Along columns is along rows of the transposed picture.
        turned = self._count(planes.transpose(2, 3)).transpose(3, 4)
        frequencies = (self._count(planes) + turned).flatten(1, 2) / 2
        return torch.cat([frequencies.sqrt(), self._transform(planes)], dim=1)

    def _count(self, planes: Tensor) -> Tensor:
        # Every second row: neighbours say much the same, at twice the cost.
        planes = planes[:, :, ::2]
        before, after = planes.roll(1, 3), planes.roll(-1, 3)
        residuals = torch.cat([after - planes, 2 * planes - before - after], dim=1)
        steps = (residuals / self._STEP).round().clamp(-self._REACH, self._REACH) + self._REACH
        count, kinds, height, width = steps.shape
        rows, columns = height // (self._BLOCK // 2), width // self._BLOCK

        def by_blocks(values: Tensor) -> Tensor:
            blocks = values.reshape(count, kinds, rows, -1, columns, self._BLOCK).transpose(3, 4)
            return blocks.reshape(-1, self._BLOCK**2 // 2)

        pairs = by_blocks(steps.roll(1, 3) * (2 * self._REACH + 1) + steps)
        count_triples = (
            _count_by_index
            if steps.device.type == "cpu" and not torch.onnx.is_in_onnx_export()
            else _count_by_products
        )
        triples = count_triples(pairs, by_blocks(steps.roll(-1, 3)), 2 * self._REACH + 1)
        frequencies = triples @ self.symmetric / (self._BLOCK**2 // 2)
        return frequencies.reshape(count, kinds, rows, columns, -1).permute(0, 1, 4, 2, 3)

    def _transform(self, planes: Tensor) -> Tensor:
        # Each plane by the same filters; over the last block's edge lies its reflection.
        count, _, height, width = planes.shape
        padded = nn.functional.pad(planes, (0, 4, 0, 4), mode="reflect")
        magnitudes = nn.functional.conv2d(
            padded.reshape(-1, 1, height + 4, width + 4), self.cosines, stride=4
        ).abs()
        means = nn.functional.avg_pool2d(magnitudes, self._BLOCK // 4)
        return (means + 0.1).log().reshape(count, -1, *means.shape[2:])


def _count_by_products(pairs: Tensor, thirds: Tensor, levels: int) -> Tensor:
    # How often each of (B, P) pairs meets each third: indicators of one by those of the other,
    # which every runtime can do.
    def indicate(values: Tensor, count: int) -> Tensor:
        every = torch.arange(count, device=values.device, dtype=values.dtype)
        return (values[:, None] == every[:, None]).to(values.dtype)

    counts = indicate(pairs, levels**2) @ indicate(thirds, levels).transpose(1, 2)
    return counts.flatten(1)


def _count_by_index(pairs: Tensor, thirds: Tensor, levels: int) -> Tensor:
    # The same on a processor, many times faster.
    blocks = torch.arange(len(pairs), device=pairs.device, dtype=torch.int32)[:, None]
    index = blocks * levels**3 + (pairs * levels + thirds).to(torch.int32)
    counts = torch.bincount(index.flatten(), minlength=len(pairs) * levels**3)
    return counts.reshape(len(pairs), -1).to(pairs.dtype)


class PhotoFeatures(nn.Module):
    """What is learned and what is handcrafted, side by side: (N, 3, S, S) to (N, C, S/16, S/16).

    Statistics are taken at each of `SCALES`: coarser traces outlive what encoding does to the
    finest. Images are of values in [0, 255], for residuals are counted in their steps.
    """

    SCALES = (1, 2, 4)

    _STRIDE = 16

    def __init__(self, learned: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.learned = learned
        self._statistics = statistics

    def forward(self, images: Tensor) -> Tensor:
        """All maps in one size, the coarser ones' blocks repeated."""
        # What is learned may be of a lower precision than what is counted.
        dtype = next(self.learned.parameters()).dtype
        learned = self.learned((images / 128 - 1).to(dtype)).to(images.dtype)
        learned = nn.functional.avg_pool2d(learned, 2, ceil_mode=True)
        # Counted in steps of a level, which bf16 would round: scans don't.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            maps = self._maps(images)
        return torch.cat([learned, maps], dim=1)

    def statistics(self, images: Tensor) -> Tensor:
        """The statistics alone, averaged over the picture: (N, 3, S, S) to (N, F)."""
        return self._maps(images).mean(dim=(2, 3))

    def _maps(self, images: Tensor) -> Tensor:
        size = [-(-side // self._STRIDE) for side in images.shape[2:]]
        maps = [self._statistics(nn.functional.avg_pool2d(images, one)) for one in self.SCALES]
        return torch.cat([nn.functional.interpolate(one, size) for one in maps], dim=1)


class PhotoHead(nn.Module):
    """A linear layer on the first features and boosted trees on the last: (N, C, h, w) to (N, 1).

    The two err on different pictures. Trees are fitted by themselves, before the rest is trained:
    in training mode only the linear layer speaks, else what both say is added up.
    """

    def __init__(self, width: int, statistics: int, trees: Trees, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(dropout), nn.Linear(width, 1))
        self.trees = trees
        self._width, self._statistics = width, statistics

    def forward(self, features: Tensor) -> Tensor:
        """Logits of maps: the linear layer reads `width` of them, the trees `statistics`."""
        pooled = features.mean(dim=(2, 3))
        logits: Tensor = self.linear(pooled[:, : self._width])
        if self.training:
            return logits
        said: Tensor = self.trees(pooled[:, -self._statistics :])
        return logits + said[:, None]


def build_photo(
    channels: int = 16, trees: int = 400, leaves: int = 15, dropout: float = 0.2
) -> Network:
    """The network for photographs: short, fully convolutional, for windows of 128 px and more.

    After SAFE (Li et al. 2025) and NPR (Tan et al. 2024), which cut a ResNet after its second
    stage: local traces need no deeper view. Input is RGB beside high-pass residuals; pixel
    unshuffling (Shi et al. 2016) instead of a strided stem loses none of their phase. Beside what
    is learned the head sees handcrafted statistics, which need few pictures to be of use: the
    linear layer the finest, `trees` of as many `leaves` those of all scales.
    """
    block = torchvision.models.resnet.BasicBlock

    def stage(before: int, after: int, blocks: int) -> nn.Module:
        shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after)
        )
        first = block(before, after, stride=2, downsample=shortcut)
        return nn.Sequential(first, *(block(after, after) for _ in range(blocks - 1)))

    learned = nn.Sequential(
        Residuals(),
        nn.PixelUnshuffle(2),
        nn.Conv2d(36, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        block(channels, channels),
        stage(channels, 2 * channels, 2),
        stage(2 * channels, 4 * channels, 2),
    )
    statistics = Statistics()
    features = PhotoFeatures(learned, statistics)
    head = PhotoHead(
        width=4 * channels + statistics.channels,
        statistics=len(features.SCALES) * statistics.channels,
        trees=Trees(trees, leaves),
        dropout=dropout,
    )
    return Network(features, head)
