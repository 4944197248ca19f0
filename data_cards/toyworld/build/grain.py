"""Grain: the fine texture of ground and sky, which is chance, laid over a painting as strong as photographs have it.

A painter that is held close to photographs paints the mean of what it cannot know, a blur. Video codecs have the same
trouble and the same remedy: they keep the picture without its grain, and how strong the grain is, and lay fresh noise of
that strength over what they decode (Norkin and Birkbeck, Film Grain Synthesis for AV1, DCC 2018).
"""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from layout import PATCH
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot, softplus
from training import train

STEPS, RATE = 400, 2e-3
QUIET = 1e-4  # energy of a wave that nobody sees


class Grain(nn.Module):
    """Lays grey noise of two finenesses over a picture, as strong in each place as what is painted there calls for.

    Colour is kept at half the resolution, as codecs keep it: its finest part is specks that a painter was not rid of.
    """

    def __init__(self):
        super().__init__()
        self.strength = nn.Sequential(
            nn.Conv2d(3, 32, 8, stride=4, padding=2), nn.SiLU(),  # 16 x 16
            nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 2, 1),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) to the same; the noise comes from the generator that torch.manual_seed seeds."""
        strength = softplus(self.strength(image).float() - 3)  # (B, 2, 16, 16), begins weak
        strength = interpolate(strength, scale_factor=4, mode="bilinear")
        noises = [torch.randn(len(image), 1, side, side) for side in (64, 32)]
        noise = torch.cat([interpolate(noise, (64, 64), mode="bilinear") for noise in noises], dim=1)  # (B, 2, 64, 64)
        light = image.mean(dim=1, keepdim=True)
        colour = interpolate(avg_pool2d(image - light, 2), scale_factor=2, mode="bilinear")
        return light + colour + (strength * noise).sum(dim=1, keepdim=True)


@cache
def bands() -> tuple[torch.Tensor, torch.Tensor]:
    """The cosine transform of 8 pixels, (8, 8), and which of 8 bands of frequency each of a patch's 64 waves is in."""
    wave, place = torch.meshgrid(torch.arange(PATCH), torch.arange(PATCH), indexing="ij")
    cosines = torch.cos(math.pi * wave * (place + 0.5) / PATCH) * (2 / PATCH) ** 0.5
    cosines[0] /= 2**0.5
    band = torch.hypot(wave.float(), place.float()).round().clamp(max=PATCH - 1).long()
    return cosines, one_hot(band.flatten(), PATCH).float()


def strengths(image: torch.Tensor) -> torch.Tensor:
    """(B, 8, 8, 7) logarithms of the energy of each patch's light in each band of frequency but the lowest."""
    cosines, band = bands()
    patches = image.float().mean(dim=1).unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)  # (B, 8, 8, PATCH, PATCH)
    waves = (cosines @ patches @ cosines.T).square().flatten(-2)  # (B, 8, 8, 64)
    return (waves @ band[:, 1:] / band[:, 1:].sum(dim=0) + QUIET).log()


def learned(name: str, painter: nn.Module, paint: Callable, *, work: Path, seed: int) -> Grain:
    """The grain of a painter that stands still.

    `paint(painter, random)` paints a batch: the paintings, the photographs, and their layouts.
    """

    torch.manual_seed(seed)  # whatever was trained or skipped before
    grain = Grain()

    def loss(random):
        with torch.no_grad():
            fake, image, _ = paint(painter, random)
        return (strengths(grain(fake)) - strengths(image)).abs().mean()

    options = {"steps": STEPS, "seed": seed, "learning_rate": RATE, "average": 0.99, "betas": (0.9, 0.98)}
    return train(f"{name}_grain", grain, loss, work=work, **options)
