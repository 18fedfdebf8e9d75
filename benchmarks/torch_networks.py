"""The networks of a `Work` in PyTorch, layer by layer those of tfvae; benchmarks/contenders.py trains them.

Where TensorFlow pads an even image by a pixel at its end ('same'), these pad both sides, at the same cost. Shapes: x of
784 pixels, [B, 784]; z [B, L].
"""

import torch
from examples import Work
from torch import nn

PIXELS, SIDE = 784, 28
_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
_GROUPS = 8  # that tfvae's `group_count` has for 32 and for 64 channels


class Block(nn.Module):
    """x + f(x), f twice a group normalisation, SiLU and a convolution, whose last kernel starts at 0."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.GroupNorm(_GROUPS, filters), nn.SiLU(), nn.Conv2d(filters, filters, 3, padding=1)]
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Encoder(nn.Module):
    """x -> mean and log-variance of q(z|x)."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        sizes = (PIXELS, *work.hidden_units)
        images: list[nn.Module] = []
        if work.filters:
            images = [*_halvings(work), nn.Flatten()]
            sizes = (_smallest(work) ** 2 * work.filters[-1], *work.hidden_units)
        self.is_of_images = bool(work.filters)
        self.trunk = nn.Sequential(*images, *_dense(sizes, work.activation))
        self.to_mean, self.to_log_variance = (nn.Linear(sizes[-1], work.latent_dim) for _ in range(2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.trunk(x.view(-1, 1, SIDE, SIDE) if self.is_of_images else x)
        return self.to_mean(features), self.to_log_variance(features)


def make_decoder(work: Work) -> nn.Module:
    """z -> the logits of 784 pixels."""
    if not work.filters:
        sizes = (work.latent_dim, *work.hidden_units[::-1])
        return nn.Sequential(*_dense(sizes, work.activation), nn.Linear(sizes[-1], PIXELS))
    smallest = (work.filters[-1], _smallest(work), _smallest(work))
    dense = [nn.Linear(work.latent_dim, smallest[0] * smallest[1] * smallest[2])]
    if not work.residual_blocks:
        dense.append(_ACTIVATIONS[work.activation]())
    last = nn.ConvTranspose2d(work.filters[0], 1, 3, padding=1)
    return nn.Sequential(*dense, nn.Unflatten(1, smallest), *_doublings(work), last, nn.Flatten())


def _smallest(work: Work) -> int:
    """The side of the smallest image."""
    return SIDE // 2 ** len(work.filters)


def _dense(sizes: tuple[int, ...], activation: str) -> list[nn.Module]:
    return [part for pair in zip(sizes, sizes[1:]) for part in (nn.Linear(*pair), _ACTIVATIONS[activation]())]


def _halvings(work: Work) -> list[nn.Module]:
    """The encoder's convolutions of stride 2, with an activation or blocks behind each."""
    layers: list[nn.Module] = []
    for size, filters in zip((1, *work.filters), work.filters):
        layers += [nn.Conv2d(size, filters, 3, stride=2, padding=1), *_behind(work, filters)]
    return [*layers, *_end(work)]


def _doublings(work: Work) -> list[nn.Module]:
    """The decoder's transposed ones: tfvae's conv keeps the width where resnet goes on to the next stage's."""
    layers: list[nn.Module] = []
    if work.residual_blocks:
        for filters, narrower in zip(work.filters[::-1], (*work.filters[-2::-1], work.filters[0])):
            layers += [*_behind(work, filters), nn.ConvTranspose2d(filters, narrower, 4, stride=2, padding=1)]
        return [*layers, *_end(work)]
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    for size, filters in zip((work.filters[-1], *work.filters[::-1]), work.filters[::-1]):
        layers += [nn.ConvTranspose2d(size, filters, 3, **options), *_behind(work, filters)]
    return layers


def _behind(work: Work, filters: int) -> list[nn.Module]:
    """What stands behind a convolution of the encoder."""
    return [Block(filters) for _ in range(work.residual_blocks)] or [_ACTIVATIONS[work.activation]()]


def _end(work: Work) -> list[nn.Module]:
    """What stands behind a resnet's last stage."""
    return [nn.SiLU()] if work.residual_blocks else []
