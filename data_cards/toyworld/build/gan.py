"""A generative adversarial network: a painter, and a critic that tells its paintings from photographs.

First the painter practises alone: it is held close to the photograph whose layout it paints, as in pix2pix (Isola et
al., arXiv 1611.07004); with the critic alone it painted nothing that one could name in the time there is. Then the
critic comes in, in two rounds (critic.py).
"""

from pathlib import Path

import numpy as np
import torch
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

SEED, STEPS, BATCH, RATE = 61, 1800, 32, 1.5e-3
DUEL_BATCH, DUEL_RATE, ROUNDS = 16, 7e-4, [(600, 1.0), (300, 2.0)]  # steps of a round and the weight of the critic
NUMBERS, WIDTH, DEPTH = 48, 96, 3  # of the painter


def build(work: Path, path: Path) -> None:
    """Lets the painter practise on the stream `generators`, then lets critic and painter quarrel."""
    set_up(SEED)
    images, all_scenes = pictures("generators", work), scenes("generators")
    words, places = caption_tokens(all_scenes, SEED), layouts(all_scenes)
    painter, eyes = Painter(NUMBERS, WIDTH, DEPTH), Eyes()

    def paint(painter, random, size=DUEL_BATCH):
        image, text, where = batch(random, size, images, words, places)
        image, fake = pictures_to_tensor(image), painter(torch.randn(size, NUMBERS, generator=random), text, where)
        return fake, image, where

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.99, "betas": (0.9, 0.98)}
    blocks = painter.body.blocks
    painter = train("gan", painter, lambda r: eyes(*paint(painter, r, BATCH)), work=work, blocks=blocks, **options)
    painter = rounds("gan", painter, paint, eyes, ROUNDS, work=work, seed=SEED, rate=DUEL_RATE)
    grain = learned("gan", painter, paint, work=work, seed=SEED)
    painter.pixels = nn.Sequential(painter.pixels, grain)
    torch.save(painter.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt."""
    torch.manual_seed(seed)  # the grain's noise
    painter = Painter(NUMBERS, WIDTH, DEPTH)
    painter.pixels = nn.Sequential(painter.pixels, Grain())
    painter.load_state_dict(torch.load(work / f"{name}.pt"))
    numbers = torch.randn(len(prompts), NUMBERS, generator=torch.Generator().manual_seed(seed))
    return tensor_to_pictures(painter.eval()(numbers, tokens(prompts), plan(work, prompts, seed)))
