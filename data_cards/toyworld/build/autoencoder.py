"""An autoencoder: a picture to an 8 x 8 grid of 12 numbers each, and back; latent diffusion works in that grid."""

from pathlib import Path

import torch
from scenes import pictures
from torch import nn
from torch.nn.functional import l1_loss, mse_loss
from training import batch, pictures_to_tensor, set_up, train

SEED, STEPS, BATCH, RATE = 21, 2400, 48, 2e-3
CHANNELS = 12  # of the latent grid
KL_WEIGHT = 1e-3


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
        nn.Conv2d(3, 64, 6, stride=4, padding=1), Residual(64),  # 16 x 16
        nn.Conv2d(64, 128, 4, stride=2, padding=1), Residual(128), Residual(128),  # 8 x 8
        nn.GroupNorm(8, 128), nn.SiLU(), nn.Conv2d(128, channels, 1),
    )  # fmt: skip


def decoder(channels: int) -> nn.Sequential:
    """(B, channels, 8, 8) to (B, 3, 64, 64); not clamped."""
    return nn.Sequential(
        nn.Conv2d(channels, 128, 3, padding=1), Residual(128), Residual(128),  # 8 x 8
        nn.Conv2d(128, 4 * 96, 1), nn.PixelShuffle(2), Residual(96),  # 16 x 16
        nn.Conv2d(96, 4 * 64, 1), nn.PixelShuffle(2), Residual(64),  # 32 x 32
        nn.GroupNorm(8, 64), nn.SiLU(), nn.Conv2d(64, 4 * 3, 3, padding=1), nn.PixelShuffle(2),  # 64 x 64
    )  # fmt: skip


def picture_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """How far two pictures lie apart: L1, squared error, and L1 of the steps between neighbours (keeps edges sharp)."""
    made, true = made.float(), true.float()
    edges = sum(l1_loss(made.diff(dim=axis), true.diff(dim=axis)) for axis in (2, 3))
    return l1_loss(made, true) + 0.5 * mse_loss(made, true) + 0.5 * edges


class Autoencoder(nn.Module):
    """A variational autoencoder with a weak prior."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = encoder(2 * CHANNELS), decoder(CHANNELS)

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of the latents, (B, 12, 8, 8) each."""
        return self.encoder(image).float().chunk(2, dim=1)


def build(work: Path, path: Path) -> None:
    """Trains the autoencoder on the stream `generators` and keeps the latents of all its pictures, standardised."""
    set_up(SEED)
    images, model = pictures("generators", work), Autoencoder()

    def loss(random):
        image = pictures_to_tensor(*batch(random, BATCH, images))
        mean, spread = model.encode(image)
        latent = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=random)
        divergence = (mean**2 + spread.exp() - spread - 1).mean() / 2
        return picture_loss(model.decoder(latent), image) + KL_WEIGHT * divergence

    model = train("autoencoder", model, loss, steps=STEPS, work=work, seed=SEED, learning_rate=RATE, average=0.995)
    with torch.no_grad():
        latents = torch.cat([model.encode(pictures_to_tensor(part))[0] for part in images.split(500)])  # (N, 12, 8, 8)
    mean, scale = latents.mean(dim=(0, 2, 3), keepdim=True), latents.std(dim=(0, 2, 3), keepdim=True)
    made = {"model": model.state_dict(), "mean": mean, "scale": scale, "latents": (latents - mean) / scale}
    torch.save(made, path)
