"""The critic, which tells paintings from photographs, and the rounds in which a painter learns from it.

Every patch of a painting is compared with the patch of the photograph of the same layout (the relativistic loss), and
the critic's gradient on photographs is kept small (R1), as in R3GAN (Huang et al., arXiv 2501.05441). The critic knows
what each patch should show (a projection, Miyato and Koyama, arXiv 1802.05637): a fine patch of the wrong thing is
wrong. The painter is also held close to the photograph, as in pix2pix (Isola et al., arXiv 1611.07004); this is what
makes texture, which no distance from a photograph does (Esser et al., arXiv 2012.09841, polish an autoencoder so).
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from eyes import Eyes
from layout import LayoutEmbedding
from torch import nn
from torch.nn.functional import softplus
from training import train

GRADIENT_WEIGHT, GRADIENT_EVERY = 0.5, 8


class Critic(nn.Module):
    """How much each patch looks like a photograph of what it should show, (B, P)."""

    def __init__(self):
        super().__init__()
        widths = (3, 32, 64, 128)  # at 64, 32, 16 and 8 pixels a side
        steps = [
            [nn.PixelUnshuffle(2), nn.Conv2d(4 * a, b, 3, padding=1), nn.LeakyReLU(0.2)]
            for a, b in itertools.pairwise(widths)
        ]
        last = nn.Conv2d(128, 128, 3, padding=1)
        self.body = nn.Sequential(*(layer for step in steps for layer in step), last, nn.LeakyReLU(0.2))
        self.real, self.layout = nn.Linear(128, 1), LayoutEmbedding(128)

    def forward(self, image: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        seen = self.body(image).flatten(2).transpose(1, 2).float()  # (B, P, 128)
        return self.real(seen)[..., 0] + (seen * self.layout(where)).mean(dim=-1)


def steepness(critic: Critic, image: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """The critic's squared gradient at photographs."""
    with torch.autocast("cpu", enabled=False):
        image = image.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(image, where).mean(dim=1).sum(), image, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def quarrel(critic: Critic, fake, image, where, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of the critic and of the painter who made `fake`, beside the photographs `image` of one layout."""
    real_score = critic(image, where)
    loss_critic = softplus(critic(fake.detach(), where) - real_score).mean()
    if int(torch.randint(GRADIENT_EVERY, (), generator=random)) == 0:
        loss_critic = loss_critic + GRADIENT_EVERY * GRADIENT_WEIGHT * steepness(critic, image, where)
    # the painter learns through a critic that stands still: its weights are given as constants
    still = {name: value.detach() for name, value in critic.named_parameters()}
    fake_score = torch.func.functional_call(critic, still, (fake, where))
    return loss_critic, softplus(real_score.detach() - fake_score).mean()


def rounds(
    name: str,
    painter: nn.Module,
    paint: Callable,
    eyes: Eyes,
    plan: list[tuple[int, float]],
    *,
    work: Path,
    seed: int,
    rate: float,
) -> nn.Module:
    """Trains a painter against a critic, one round after the other, and returns it.

    `paint(painter, random)` paints a batch: the paintings, the photographs, and their layouts; `eyes` see how far apart
    they lie.
    `plan` has the steps of each round and its weight: how hard the critic pushes the pixels of a painting, where
    closeness pulls them with a force of one. A round has a cycle of the learning rate of its own; the critic goes on, so
    that it is strong where its word counts more.
    """
    torch.manual_seed(seed)  # whatever was trained or skipped before
    both = nn.ModuleList([painter, Critic()])
    for number, (steps, weight) in enumerate(plan):

        def loss(random, both=both, weight=weight):
            fake, image, where = paint(both[0], random)
            loss_critic, loss_painter = quarrel(both[1], fake, image, where, random)
            pull, push = (torch.autograd.grad(value, fake)[0] for value in (eyes(fake, image, where), loss_painter))
            force = pull + push * weight * pull.norm() / push.norm().clamp(min=1e-9)
            return loss_critic + (fake * force).sum()

        options = {"steps": steps, "seed": seed + number, "learning_rate": rate, "average": 0.99, "betas": (0.5, 0.99)}
        both = train(f"{name}_round_{number + 1}", both, loss, work=work, **options)
    return both[0]
