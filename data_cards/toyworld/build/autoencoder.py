"""An autoencoder: a picture to an 8 x 8 grid of 12 numbers each, and back; three generators work in that grid.

Each number lies between 0 and 7. In training up to half a step of noise is added to it, which stands for rounding
(Ballé et al., arXiv 1611.01704): so the decoder reads whole numbers, which the autoregression writes, as well as those
between, which the latent diffusions draw. First the whole is trained to come close; then the encoder stands still, and
the decoder learns in two rounds from a critic what closeness does not teach: texture.
"""

from pathlib import Path

import torch
from critic import rounds
from eyes import Eyes
from grain import Grain, learned
from layout import LayoutEmbedding, layouts
from scenes import pictures, scenes
from torch import nn
from training import batch, pictures_to_tensor, set_up, train

SEED, STEPS, BATCH, RATE = 21, 2000, 32, 2e-3
DECODER_SEED, DECODER_BATCH, DECODER_RATE = 23, 16, 5e-4
DECODER_ROUNDS = [(600, 1.0), (300, 2.0)]
CHANNELS, LEVELS = 12, 8  # numbers in a place, whole numbers that each can be
LAYOUT = 32  # numbers in a place that say what is there


class Residual(nn.Module):
    """Two convolutions around which the signal may also pass."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def encoder(channels: int) -> nn.Sequential:
    """(B, 3, 64, 64) to (B, channels, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 6, stride=4, padding=1), nn.SiLU(),  # 16 x 16
        nn.Conv2d(64, 128, 4, stride=2, padding=1), Residual(128),  # 8 x 8
        nn.GroupNorm(8, 128), nn.SiLU(), nn.Conv2d(128, channels, 1),
    )  # fmt: skip


def decoder(channels: int) -> nn.Sequential:
    """(B, channels, 8, 8) to (B, 3, 64, 64); not clamped. Most of the work is done where there are few places."""
    return nn.Sequential(
        nn.Conv2d(channels, 128, 3, padding=1), Residual(128), Residual(128),  # 8 x 8
        nn.Conv2d(128, 4 * 96, 1), nn.PixelShuffle(2), Residual(96),  # 16 x 16
        nn.GroupNorm(8, 96), nn.SiLU(), nn.Conv2d(96, 16 * 3, 3, padding=1), nn.PixelShuffle(4),  # 64 x 64
    )  # fmt: skip


class Autoencoder(nn.Module):
    """A picture to 64 places of twelve numbers from 0 to 7, and back."""

    def __init__(self):
        super().__init__()
        self.encoder, self.layout, self.decoder = encoder(CHANNELS), LayoutEmbedding(LAYOUT), decoder(CHANNELS + LAYOUT)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 12, 8, 8) numbers, not rounded."""
        return torch.sigmoid(self.encoder(image).float()) * (LEVELS - 1)

    def decode(self, numbers: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) pictures from numbers and (B, P, 5) layouts."""
        known = self.layout(where).transpose(1, 2).unflatten(2, (8, 8))  # (B, LAYOUT, 8, 8)
        return self.decoder(torch.cat([numbers / (LEVELS - 1) * 2 - 1, known], dim=1))


def shaken(numbers: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """The numbers with up to half a step of noise."""
    return numbers + torch.rand(numbers.shape, generator=random) - 0.5


def build(work: Path, path: Path) -> None:
    """Trains the autoencoder on the stream `generators` and keeps the numbers of all its pictures."""
    set_up(SEED)
    images, places = pictures("generators", work), layouts(scenes("generators"))
    model, eyes = Autoencoder(), Eyes()

    def loss(random):
        image, where = batch(random, BATCH, images, places)
        image = pictures_to_tensor(image)
        return eyes(model.decode(shaken(model.encode(image), random), where), image, where)

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.99, "betas": (0.9, 0.98)}
    model = train("autoencoder", model, loss, work=work, blocks=model, **options)
    with torch.no_grad():
        numbers = torch.cat([model.encode(pictures_to_tensor(part)) for part in images.split(500)])  # (N, 12, 8, 8)
    torch.save({"model": model.state_dict(), "numbers": numbers}, path)


def build_decoder(work: Path, path: Path) -> None:
    """Lets the decoder learn texture from a critic, while the encoder stands still."""
    set_up(DECODER_SEED)
    images, places = pictures("generators", work), layouts(scenes("generators"))
    frozen, model, eyes = torch.load(work / "autoencoder.pt"), Autoencoder(), Eyes()
    model.load_state_dict(frozen["model"])

    def paint(painter, random):
        image, where, numbers = batch(random, DECODER_BATCH, images, places, frozen["numbers"])
        image, model.decoder = pictures_to_tensor(image), painter
        fake = model.decode(shaken(numbers, random), where)
        return fake, image, where

    options = {"work": work, "seed": DECODER_SEED, "rate": DECODER_RATE}
    painter = rounds("decoder", model.decoder, paint, eyes, DECODER_ROUNDS, **options)
    grain = learned("decoder", painter, paint, work=work, seed=DECODER_SEED)
    model.decoder = nn.Sequential(painter, grain)
    torch.save(model.state_dict(), path)


def settled(work: Path) -> Autoencoder:
    """The autoencoder with its last decoder."""
    model = Autoencoder()
    model.decoder = nn.Sequential(model.decoder, Grain())
    model.load_state_dict(torch.load(work / "decoder.pt"))
    return model.eval()
