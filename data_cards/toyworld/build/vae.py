"""A conditional variational autoencoder: the caption says what, 64 numbers say where and how. Its kind blurs."""

from pathlib import Path

import numpy as np
import torch
from autoencoder import encoder, picture_loss
from language import caption_tokens, tokens
from layout import layouts
from painter import Painter
from planner import plan
from scenes import pictures, scenes
from torch import nn
from training import batch, pictures_to_tensor, set_up, tensor_to_pictures, train
from transformer import CaptionedTransformer

SEED, STEPS, BATCH, RATE, WIDTH = 51, 1000, 48, 1.5e-3, 128
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


def build(work: Path, path: Path) -> None:
    """Trains the autoencoder on the stream `generators`."""
    set_up(SEED)
    images, all_scenes = pictures("generators", work), scenes("generators")
    words = caption_tokens(all_scenes, SEED)
    places, model = layouts(all_scenes), ConditionalVAE()

    def loss(random):
        image, text, where = batch(random, BATCH, images, words, places)
        image = pictures_to_tensor(image)
        mean, spread = model.read(image, text)
        numbers = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=random)
        divergence = (mean**2 + spread.exp() - spread - 1).sum(dim=1).mean() / 2
        return picture_loss(model.painter(numbers, text, where), image) + KL_WEIGHT * divergence

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.995, "betas": (0.9, 0.98)}
    model = train("vae", model, loss, work=work, blocks=model.painter.body.blocks, **options)
    torch.save(model.painter.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt."""
    painter = Painter(NUMBERS, WIDTH).eval()
    painter.load_state_dict(torch.load(work / f"{name}.pt"))
    numbers = torch.randn(len(prompts), NUMBERS, generator=torch.Generator().manual_seed(seed))
    return tensor_to_pictures(painter(numbers, tokens(prompts), plan(work, prompts, seed)))
