"""Pixel diffusion: a transformer on 8 x 8 patches of the picture itself learns to remove noise, without an autoencoder.

It predicts the clean picture, which is far easier for patches than to predict the noise. Two convolutions at the end
see across the borders of the patches. Drawing is the deterministic way of DDIM along a cosine schedule.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import torch
from language import caption_tokens, tokens
from layout import LayoutEmbedding, layouts, patch_weights
from planner import plan
from scenes import pictures, scenes
from torch import nn
from torch.nn.functional import fold, unfold
from training import batch, pictures_to_tensor, set_up, tensor_to_pictures, train
from transformer import CaptionedTransformer, TimeEmbedding, blank

SEED, STEPS, BATCH, RATE, WIDTH = 33, 5500, 32, 1.5e-3, 160
SAMPLER_STEPS, GUIDANCE = 25, 1.4
LAST = 0.885  # time at which drawing ends: later it takes specks that it has left for texture
PIXELS = 3 * 8 * 8  # numbers in a patch
SPREAD = 0.5  # of the pixels of a picture


class Denoiser(nn.Module):
    """A clean picture from a noisy one, a time, a caption and a layout."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(PIXELS, WIDTH), nn.Linear(WIDTH, PIXELS)
        self.layout = LayoutEmbedding(WIDTH)
        self.time, self.body = TimeEmbedding(WIDTH), CaptionedTransformer(WIDTH)
        self.seams = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * 6, 64, 3, padding=1), nn.SiLU(),  # 32 x 32
            nn.Conv2d(64, 4 * 3, 3, padding=1), nn.PixelShuffle(2),  # 64 x 64
        )  # fmt: skip
        nn.init.zeros_(self.seams[-2].weight)

    def forward(
        self, noisy: torch.Tensor, time: torch.Tensor, words: torch.Tensor, where: torch.Tensor
    ) -> torch.Tensor:
        patches = self.enter(unfold(noisy, 8, stride=8).transpose(1, 2)) + self.layout(where)  # (B, P, W)
        made = self.leave(self.body(patches, words, self.time(time))).transpose(1, 2)  # (B, PIXELS, P)
        made = fold(made.float(), (64, 64), 8, stride=8)
        keep, scale = preconditioning(time)
        return keep * noisy + scale * (made + self.seams(torch.cat([noisy, made], dim=1)))


def signal_and_noise(time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The shares of picture and noise at a time from 0 (noise) to 1 (picture), shaped (B, 1, 1, 1)."""
    angle = time[:, None, None, None] * math.pi / 2
    return angle.sin(), angle.cos()


def preconditioning(time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of a noisy picture is kept, and the size of what is added to it (Karras et al., arXiv 2206.00364).

    What is kept is the best that can be said of a pixel alone; so fine texture need not pass through the transformer.
    """
    signal, noise = signal_and_noise(time)
    power = (signal * SPREAD) ** 2 + noise**2
    return signal * SPREAD**2 / power, noise * SPREAD / power.sqrt()


def build(work: Path, path: Path) -> None:
    """Trains the denoiser on the stream `generators`."""
    set_up(SEED)
    images, all_scenes = pictures("generators", work), scenes("generators")
    words = caption_tokens(all_scenes, SEED)
    places, model = layouts(all_scenes), Denoiser()

    def loss(random):
        image, text, where = batch(random, BATCH, images, words, places)
        image = pictures_to_tensor(image)
        time = torch.sigmoid(1.3 * torch.randn(BATCH, generator=random) + 0.1)
        signal, noise = signal_and_noise(time)
        noisy = signal * image + noise * torch.randn(image.shape, generator=random)
        error = (model(noisy, time, *blank(text, where, random)).float() - image) ** 2
        error = error / (noise**2 + 0.03)  # nearly clean pictures count more: there is what is fine
        error = unfold(error, 8, stride=8).mean(dim=1)  # (B, P)
        return (patch_weights(where) * error).mean()

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.995, "betas": (0.9, 0.98)}
    model = train("pixel_diffusion", model, loss, work=work, blocks=model.body.blocks, **options)
    torch.save(model.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt."""
    model = Denoiser().eval()
    model.load_state_dict(torch.load(work / f"{name}.pt"))
    words, where, random = tokens(prompts), plan(work, prompts, seed), torch.Generator().manual_seed(seed)
    noisy = torch.randn(len(prompts), 3, 64, 64, generator=random)
    times = torch.linspace(0.005, LAST, SAMPLER_STEPS + 1)
    for now, then in itertools.pairwise(times):
        time = now.expand(len(prompts))
        clean = model(noisy, time, words, where)
        without = model(noisy, time, torch.zeros_like(words), torch.zeros_like(where))
        clean = torch.lerp(without, clean, GUIDANCE).clamp(-1, 1)
        signal, noise = signal_and_noise(time)
        next_signal, next_noise = signal_and_noise(then.expand(len(prompts)))
        noisy = next_signal * clean + next_noise * (noisy - signal * clean) / noise
    return tensor_to_pictures(clean)
