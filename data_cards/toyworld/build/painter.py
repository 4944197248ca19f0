"""A picture in one go from a caption and a few random numbers: the half that the VAE and the GAN share."""

import torch
from autoencoder import decoder
from layout import LayoutEmbedding
from torch import nn
from transformer import PATCHES, CaptionedTransformer


class Painter(nn.Module):
    """One query for each place of an 8 x 8 grid reads caption and layout; convolutions make pixels of the grid."""

    def __init__(self, numbers: int, width: int = 128, depth: int = 4):
        super().__init__()
        self.places = nn.Parameter(torch.randn(PATCHES, width) * 0.02)
        self.chance = nn.Sequential(nn.Linear(numbers, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.layout = LayoutEmbedding(width)
        self.body, self.pixels = CaptionedTransformer(width, depth), decoder(width)

    def forward(self, numbers: torch.Tensor, words: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """(B, n) random numbers, (B, LENGTH) caption tokens and (B, P, 5) layouts to (B, 3, 64, 64)."""
        condition = self.chance(numbers)  # (B, W)
        places = self.places + self.layout(where) + condition[:, None]  # (B, P, W)
        grid = self.body(places, words, condition)  # (B, P, W)
        return self.pixels(grid.transpose(1, 2).unflatten(2, (8, 8)))
