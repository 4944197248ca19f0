"""Vector-quantised autoregression: a picture is a sentence of 64 places with four codes each; a transformer writes it.

The quantiser is finite scalar quantisation (Mentzer et al., arXiv 2309.15505): each of the autoencoder's twelve numbers
of a place is rounded to one of eight levels, three of them make one code of 512. There is no codebook to learn, none can
collapse; and the autoencoder was trained for what rounding does.
"""

from pathlib import Path

import numpy as np
import torch
from autoencoder import CHANNELS, LEVELS, settled
from language import caption_tokens, tokens
from layout import LayoutEmbedding, layouts, patch_weights
from planner import plan
from scenes import scenes
from torch import nn
from torch.nn.functional import cross_entropy
from training import batch, set_up, tensor_to_pictures, train
from transformer import PATCHES, CaptionedTransformer, blank

SEED, STEPS, BATCH, RATE, WIDTH = 42, 3000, 32, 1.5e-3, 160
NUMBERS, DEPTH = 3, CHANNELS // 3  # numbers in a code, codes in a place
CODES = LEVELS**NUMBERS  # different codes
GUIDANCE, TEMPERATURE = 1.3, 0.9


BASE = torch.tensor([1, LEVELS, LEVELS**2])


def to_codes(levels: torch.Tensor) -> torch.Tensor:
    """(B, 12, 8, 8) numbers, which are rounded, to (B, 64, DEPTH) codes from 0 to 511."""
    digits = levels.flatten(2).transpose(1, 2).round().long().view(-1, PATCHES, DEPTH, NUMBERS)
    return (digits * BASE).sum(-1)


def to_levels(codes: torch.Tensor) -> torch.Tensor:
    """The other way."""
    digits = codes[..., None] // BASE % LEVELS  # (B, 64, DEPTH, NUMBERS)
    return digits.flatten(2).transpose(1, 2).reshape(-1, DEPTH * NUMBERS, 8, 8).float()


class Writer(nn.Module):
    """The next place's codes: a transformer reads caption and places before, small networks say them in turn."""

    def __init__(self):
        super().__init__()
        self.codes = nn.ModuleList(nn.Embedding(CODES, WIDTH) for _ in range(DEPTH))
        self.start, self.layout = nn.Parameter(torch.zeros(1, 1, WIDTH)), LayoutEmbedding(WIDTH)
        self.body = CaptionedTransformer(WIDTH, causal=True)
        self.say = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, CODES)) for _ in range(DEPTH)
        )

    def read(self, codes: torch.Tensor, words: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """(B, p + 1, W) states after the caption, (B, p, DEPTH) codes of p places and the (B, P, 5) layout."""
        places = sum(embed(codes[..., depth]) for depth, embed in enumerate(self.codes))  # (B, p, W)
        patches = torch.cat([self.start.expand(len(codes), -1, -1), places], dim=1)
        patches = patches + self.layout(where[:, : patches.shape[1]])  # of the place that comes next
        return self.body(patches, words, patches.new_zeros(len(codes), WIDTH))

    def next_code(self, state: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """(..., CODES) logits of the next code of a place, from its (..., W) state and its (..., d) codes so far."""
        depth = before.shape[-1]
        return self.say[depth](state + sum(self.codes[d](before[..., d]) for d in range(depth)))


def build(work: Path, path: Path) -> None:
    """Trains the writer on the codes of the stream `generators`."""
    set_up(SEED)
    codes, all_scenes = to_codes(torch.load(work / "autoencoder.pt")["numbers"]), scenes("generators")  # (N, 64, DEPTH)
    words = caption_tokens(all_scenes, SEED)
    places, model = layouts(all_scenes), Writer()

    def loss(random):
        code, text, where = batch(random, BATCH, codes, words, places)
        state = model.read(code[:, :-1], *blank(text, where, random))  # (B, 64, W)
        weight, total = patch_weights(where), 0
        for depth in range(DEPTH):
            logits = model.next_code(state, code[..., :depth]).float().transpose(1, 2)  # (B, CODES, 64)
            total = total + (weight * cross_entropy(logits, code[..., depth], reduction="none")).mean()
        return total

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.995, "betas": (0.9, 0.98)}
    model = train("vq_autoregressive", model, loss, work=work, blocks=model.body.blocks, **options)
    torch.save(model.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt, written place by place."""
    torch.manual_seed(seed)  # the grain's noise
    model = Writer().eval()
    model.load_state_dict(torch.load(work / f"{name}.pt"))
    words, where, random = tokens(prompts), plan(work, prompts, seed), torch.Generator().manual_seed(seed)
    nothing = torch.zeros_like(words), torch.zeros_like(where)

    def draw(with_caption, without):
        chance = (torch.lerp(without, with_caption, GUIDANCE) / TEMPERATURE).softmax(dim=-1)
        return torch.multinomial(chance, 1, generator=random)[:, 0]  # (N,)

    codes = torch.zeros(len(prompts), 0, DEPTH, dtype=torch.long)
    for _ in range(PATCHES):
        states = [model.read(codes, *given)[:, -1] for given in ((words, where), nothing)]
        place = torch.zeros(len(prompts), 0, dtype=torch.long)
        for _ in range(DEPTH):
            code = draw(*(model.next_code(state, place) for state in states))
            place = torch.cat([place, code[:, None]], dim=1)
        codes = torch.cat([codes, place[:, None]], dim=1)  # (N, p, DEPTH)
    return tensor_to_pictures(settled(work).decode(to_levels(codes), where))
