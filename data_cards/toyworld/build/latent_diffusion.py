"""Latent diffusion: rectified flow from noise to the autoencoder's latents by a transformer that reads the caption.

The network learns the velocity on the straight line between noise and a picture's latents; drawing follows that
velocity from noise. `latent_diffusion` and `latent_diffusion_b` are the same family, as two versions of one public
model are: one autoencoder, different seeds and samplers.
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
from training import batch, set_up, tensor_to_pictures, train
from transformer import CaptionedTransformer, TimeEmbedding, blank

BATCH, RATE, WIDTH = 32, 1.5e-3, 160
VERSIONS = {  # name: seed of training, steps, sampler, its steps, guidance
    "latent_diffusion": {"seed": 31, "steps": 2400, "sampler": "euler", "sampler_steps": 30, "guidance": 1.4},
    "latent_diffusion_b": {"seed": 32, "steps": 2400, "sampler": "heun", "sampler_steps": 12, "guidance": 1.7},
}


def latents_of(work: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(N, 12, 8, 8) numbers of the autoencoder, made to be of mean zero and spread one; mean and spread of each."""
    numbers = torch.load(work / "autoencoder.pt")["numbers"]
    mean, scale = numbers.mean(dim=(0, 2, 3), keepdim=True), numbers.std(dim=(0, 2, 3), keepdim=True)
    return (numbers - mean) / scale, mean, scale


class Flow(nn.Module):
    """The velocity of latents at a time, given caption and layout."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, CHANNELS)
        self.layout = LayoutEmbedding(WIDTH)
        self.time, self.body = TimeEmbedding(WIDTH), CaptionedTransformer(WIDTH)

    def forward(
        self, latent: torch.Tensor, time: torch.Tensor, words: torch.Tensor, where: torch.Tensor
    ) -> torch.Tensor:
        patches = self.enter(latent.flatten(2).transpose(1, 2)) + self.layout(where)  # (B, P, W)
        velocity = self.leave(self.body(patches, words, self.time(time)))  # (B, P, channels)
        return velocity.transpose(1, 2).view_as(latent)


def build(work: Path, path: Path) -> None:
    """Trains the version that `path` is named after, on the latents of the stream `generators`."""
    version = VERSIONS[path.stem]
    set_up(version["seed"])
    latents, all_scenes = latents_of(work)[0], scenes("generators")
    words = caption_tokens(all_scenes, version["seed"])
    places, model = layouts(all_scenes), Flow()

    def loss(random):
        latent, text, where = batch(random, BATCH, latents, words, places)
        noise = torch.randn(latent.shape, generator=random)
        # times near the middle are the hard ones: a logistic normal
        time = torch.sigmoid(torch.randn(BATCH, generator=random))
        mixed = torch.lerp(noise, latent, time[:, None, None, None])
        error = model(mixed, time, *blank(text, where, random)).float() - (latent - noise)
        error = error.square().mean(dim=1).flatten(1)  # (B, P)
        return (patch_weights(where) * error).mean()

    options = {"steps": version["steps"], "seed": version["seed"], "learning_rate": RATE, "average": 0.995}
    model = train(path.stem, model, loss, work=work, betas=(0.9, 0.98), blocks=model.body.blocks, **options)
    torch.save(model.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt."""
    torch.manual_seed(seed)  # the grain's noise
    version, model, (_, mean, scale) = VERSIONS[name], Flow().eval(), latents_of(work)
    model.load_state_dict(torch.load(work / f"{name}.pt"))
    words, where, random = tokens(prompts), plan(work, prompts, seed), torch.Generator().manual_seed(seed)

    def velocity(latent, time):
        times = torch.full((len(latent),), time)
        with_caption = model(latent, times, words, where)
        without = model(latent, times, torch.zeros_like(words), torch.zeros_like(where))
        return torch.lerp(without, with_caption, version["guidance"])

    latent, steps = torch.randn(len(prompts), CHANNELS, 8, 8, generator=random), version["sampler_steps"]
    for step in range(steps):
        time, size = step / steps, 1 / steps
        move = velocity(latent, time)
        if version["sampler"] == "heun":  # look where the step leads and go in the mean direction
            move = (move + velocity(latent + size * move, time + size)) / 2
        latent = latent + size * move
    return tensor_to_pictures(settled(work).decode((latent * scale + mean).clamp(0, LEVELS - 1), where))
