"""The transformer that most generators share: a row of tokens, the caption's words before the picture's patches."""

import math

import torch
from language import LENGTH, VOCABULARY_SIZE
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

PATCHES = 64  # an 8 x 8 grid


class Block(nn.Module):
    """Attention and a small network, both seen through layer norms that `shifts` scale and shift."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.queries_keys_values, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.shifts = nn.Parameter(torch.zeros(6 * width))

    def forward(self, x: torch.Tensor, shifts: torch.Tensor, causal: bool = False) -> torch.Tensor:
        batch, length, width = x.shape  # (B, T, W)
        shifts = (self.shifts + shifts)[:, None].chunk(6, dim=-1)  # six of (B, 1, W)
        h = self.norms[0](x) * (1 + shifts[0]) + shifts[1]
        parts = (
            self.queries_keys_values(h).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )  # (3, B, heads, T, W / heads)
        h = scaled_dot_product_attention(*parts, is_causal=causal).transpose(1, 2).reshape(batch, length, width)
        x = x + (1 + shifts[2]) * self.mix(h)
        h = self.norms[1](x) * (1 + shifts[3]) + shifts[4]
        return x + (1 + shifts[5]) * self.mlp(h)


class CaptionedTransformer(nn.Module):
    """Reads a caption and a row of patch tokens, returns the patch tokens.

    The condition shifts all blocks alike, and each adds shifts of its own (PixArt-alpha, arXiv 2310.00426).
    """

    def __init__(self, width: int = 160, depth: int = 5, causal: bool = False, positions: int = PATCHES):
        super().__init__()
        self.causal, self.words = causal, nn.Embedding(VOCABULARY_SIZE, width)
        self.place = nn.Parameter(torch.randn(LENGTH + positions, width) * 0.02)
        self.blocks, self.norm = nn.ModuleList(Block(width) for _ in range(depth)), nn.LayerNorm(width)
        self.shifts = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.shifts.weight)
        nn.init.zeros_(self.shifts.bias)

    def forward(self, patches: torch.Tensor, caption: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, P, W) patches, (B, LENGTH) caption tokens, (B, W) condition to (B, P, W); P may be short when causal."""
        x = torch.cat([self.words(caption), patches], dim=1)  # (B, LENGTH + P, W)
        x = x + self.place[: x.shape[1]]
        shifts = self.shifts(condition)  # (B, 6 W)
        for block in self.blocks:
            x = block(x, shifts, self.causal)
        return self.norm(x[:, LENGTH:])


class TimeEmbedding(nn.Sequential):
    """(B,) times in [0, 1] to (B, W)."""

    def __init__(self, width: int):
        super().__init__(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        frequencies = torch.exp(torch.linspace(0, math.log(1000), 32))
        angles = time[:, None] * frequencies  # (B, 32)
        return super().forward(torch.cat([angles.sin(), angles.cos()], dim=-1))


def blank(words: torch.Tensor, where: torch.Tensor, random: torch.Generator, share: float = 0.1):
    """Blanks caption and layout of some rows in training: guidance needs a network that can also draw without them."""
    keep = torch.rand(len(words), 1, generator=random) >= share
    return words * keep, where * keep[..., None]
