"""A conditional variational autoencoder: caption and layout say what, 64 numbers say how.

Its kind blurs; so, once it is trained, its painter learns texture from a critic, as in VAE-GAN (Larsen et al., arXiv
1512.09300).
"""

from pathlib import Path

import numpy as np
import torch
from autoencoder import encoder
from critic import rounds
from eyes import Eyes
from grain import Grain, learned
from language import caption_tokens, tokens
from layout import layouts
from painter import Painter
from planner import plan
from scenes import pictures, scenes
from torch import nn
from training import batch, pictures_to_tensor, set_up, tensor_to_pictures, train
from transformer import CaptionedTransformer

SEED, STEPS, BATCH, RATE, WIDTH = 51, 1300, 32, 1.5e-3, 128
DUEL_BATCH, DUEL_RATE, ROUNDS = 16, 7e-4, [(600, 1.0), (300, 2.0)]  # steps of a round and the weight of the critic
NUMBERS, KL_WEIGHT = 64, 6e-4


class ConditionalVAE(nn.Module):
    """A reader says which numbers lead to a picture, given its caption; a painter draws from numbers and caption."""

    def __init__(self):
        super().__init__()
        self.eyes, self.reader = encoder(WIDTH), CaptionedTransformer(WIDTH, depth=2)
        self.guess, self.painter = nn.Linear(WIDTH, 2 * NUMBERS), Painter(NUMBERS, WIDTH)

    def read(self, image: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of the numbers, (B, 64) each."""
        seen = self.eyes(image).flatten(2).transpose(1, 2)  # (B, P, W)
        return (
            self.guess(self.reader(seen, words, seen.new_zeros(len(seen), WIDTH)).mean(dim=1)).float().chunk(2, dim=-1)
        )


def sampled(mean: torch.Tensor, spread: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Numbers drawn from what the reader says: their mean, and the logarithm of their variance."""
    return mean + (spread / 2).exp() * torch.randn(mean.shape, generator=random)


def build(work: Path, path: Path) -> None:
    """Trains the autoencoder on the stream `generators`, then lets its painter learn texture from a critic."""
    set_up(SEED)
    images, all_scenes = pictures("generators", work), scenes("generators")
    words, places = caption_tokens(all_scenes, SEED), layouts(all_scenes)
    model, eyes = ConditionalVAE(), Eyes()

    def loss(random):
        image, text, where = batch(random, BATCH, images, words, places)
        image = pictures_to_tensor(image)
        mean, spread = model.read(image, text)
        numbers = sampled(mean, spread, random)
        divergence = (mean**2 + spread.exp() - spread - 1).sum(dim=1).mean() / 2
        return eyes(model.painter(numbers, text, where), image, where) + KL_WEIGHT * divergence

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.99, "betas": (0.9, 0.98)}
    model = train("vae", model, loss, work=work, blocks=model.painter.body.blocks, **options)

    def paint(painter, random):
        image, text, where = batch(random, DUEL_BATCH, images, words, places)
        image = pictures_to_tensor(image)
        with torch.no_grad():
            numbers = sampled(*model.read(image, text), random)
        fake = painter(numbers, text, where)
        return fake, image, where

    painter = rounds("vae", model.painter, paint, eyes, ROUNDS, work=work, seed=SEED, rate=DUEL_RATE)
    grain = learned("vae", painter, paint, work=work, seed=SEED)
    painter.pixels = nn.Sequential(painter.pixels, grain)
    torch.save(painter.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt."""
    torch.manual_seed(seed)  # the grain's noise
    painter = Painter(NUMBERS, WIDTH)
    painter.pixels = nn.Sequential(painter.pixels, Grain())
    painter.load_state_dict(torch.load(work / f"{name}.pt"))
    numbers = torch.randn(len(prompts), NUMBERS, generator=torch.Generator().manual_seed(seed))
    return tensor_to_pictures(painter.eval()(numbers, tokens(prompts), plan(work, prompts, seed)))
