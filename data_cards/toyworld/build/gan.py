"""A generative adversarial network: a painter, and a critic that tells its paintings from photographs.

Every patch of a painting is compared with a patch of a photograph of the same layout (the relativistic loss), and the
critic's gradient on photographs is kept small (R1), as in R3GAN (Huang et al., arXiv 2501.05441). The critic knows what
each patch should show (a projection, Miyato and Koyama, arXiv 1802.05637): a fine patch of the wrong thing is wrong.
As in pix2pix (Isola et al., arXiv 1611.07004), the painter is also held close to the photograph whose layout it paints:
with the critic alone it painted nothing that one could name in the time there is.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from autoencoder import picture_loss
from language import caption_tokens, tokens
from layout import LayoutEmbedding, layouts
from painter import Painter
from planner import plan
from scenes import pictures, scenes
from torch import nn
from torch.nn.functional import softplus
from training import batch, pictures_to_tensor, set_up, tensor_to_pictures, train

SEED, STEPS, BATCH, RATE = 61, 1500, 32, 1e-3
NUMBERS, WIDTH, DEPTH = 48, 96, 3  # of the painter
GRADIENT_WEIGHT, GRADIENT_EVERY, CLOSENESS_WEIGHT = 0.5, 8, 10.0


class Critic(nn.Module):
    """How much each patch looks like a photograph of what it should show, (B, P)."""

    def __init__(self):
        super().__init__()
        widths = (3, 48, 96, 192)  # at 64, 32, 16 and 8 pixels a side
        steps = [
            [nn.PixelUnshuffle(2), nn.Conv2d(4 * a, b, 3, padding=1), nn.LeakyReLU(0.2)]
            for a, b in itertools.pairwise(widths)
        ]
        last = nn.Conv2d(192, 192, 3, padding=1)
        self.body = nn.Sequential(*(layer for step in steps for layer in step), last, nn.LeakyReLU(0.2))
        self.real, self.layout = nn.Linear(192, 1), LayoutEmbedding(192)

    def forward(self, image: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        seen = self.body(image).flatten(2).transpose(1, 2).float()  # (B, P, 192)
        return self.real(seen)[..., 0] + (seen * self.layout(where)).mean(dim=-1)


def build(work: Path, path: Path) -> None:
    """Trains painter and critic against each other on the stream `generators`."""
    set_up(SEED)
    images, all_scenes = pictures("generators", work), scenes("generators")
    words = caption_tokens(all_scenes, SEED)
    places, painter, critic = layouts(all_scenes), Painter(NUMBERS, WIDTH, DEPTH), Critic()

    def steepness(image, where):
        """The critic's squared gradient at photographs."""
        with torch.autocast("cpu", enabled=False):
            image = image.requires_grad_()
            (gradient,) = torch.autograd.grad(critic(image, where).mean(dim=1).sum(), image, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean()

    def loss(random):
        image, text, where = batch(random, BATCH, images, words, places)
        image = pictures_to_tensor(image)
        fake = painter(torch.randn(BATCH, NUMBERS, generator=random), text, where)
        real_score = critic(image, where)
        loss_critic = softplus(critic(fake.detach(), where) - real_score).mean()
        if int(torch.randint(GRADIENT_EVERY, (), generator=random)) == 0:
            loss_critic = loss_critic + GRADIENT_EVERY * GRADIENT_WEIGHT * steepness(image, where)
        # the painter learns through a critic that stands still: its weights are given as constants
        still = {name: value.detach() for name, value in critic.named_parameters()}
        fake_score = torch.func.functional_call(critic, still, (fake, where))
        loss_painter = softplus(real_score.detach() - fake_score).mean() + CLOSENESS_WEIGHT * picture_loss(fake, image)
        return loss_critic + loss_painter

    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "average": 0.995, "betas": (0.5, 0.99)}
    painter = train("gan", nn.ModuleList([painter, critic]), loss, work=work, **options)[0]
    torch.save(painter.state_dict(), path)


@torch.no_grad()
def sample(work: Path, prompts: list[str], seed: int, name: str) -> np.ndarray:
    """(N, 64, 64, 3) pictures, one for each prompt."""
    painter = Painter(NUMBERS, WIDTH, DEPTH).eval()
    painter.load_state_dict(torch.load(work / f"{name}.pt"))
    numbers = torch.randn(len(prompts), NUMBERS, generator=torch.Generator().manual_seed(seed))
    return tensor_to_pictures(painter(numbers, tokens(prompts), plan(work, prompts, seed)))
