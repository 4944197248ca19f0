"""What is where, patch by patch: what the planner hands to the generators, and how they read it."""

import math

import numpy as np
import torch
from renderer import boxes
from shapes import COLOURS
from torch import nn
from world import NOUNS, SIZE, Scene

PATCH = 8
THING_WEIGHT = 3.0  # a patch that shows a thing counts more in the losses than one of ground or sky
FREQUENCIES = 4


def layout(scene: Scene) -> np.ndarray:
    """(P, 5) for each patch: noun and colour (0: none), place in the thing (x, y), half its size in units of 16 pixels.

    The place is the patch's centre as seen from the thing's, in units of its half size and half a patch: beyond 1 the
    patch shows nothing of the thing. Where two things share a patch it is given to the one whose centre is nearer.
    """
    middle = np.stack(np.meshgrid(*2 * (np.arange(PATCH / 2, SIZE, PATCH),)), axis=-1).reshape(-1, 2)  # (P, 2)
    rows = np.zeros((len(middle), 5))
    if not scene.things:
        return rows
    x0, y0, x1, y1 = np.array(boxes(scene)).T
    centre, half = np.stack([x0 + x1, y0 + y1], -1) / 2, np.stack([x1 - x0, y1 - y0], -1) / 2  # (things, 2)
    place = (middle[:, None] - centre) / (half + PATCH / 2)  # (P, things, 2)
    distance = np.abs(place).max(axis=-1)
    nearest = distance.argmin(axis=1)
    rows[:, 0] = [NOUNS.index(scene.things[thing].noun) + 1 for thing in nearest]
    rows[:, 1] = [list(COLOURS).index(scene.things[thing].colour) + 1 for thing in nearest]
    rows[:, 2:4] = place[range(len(place)), nearest]
    rows[:, 4] = half[nearest].mean(axis=1) / 16
    return rows * (distance.min(axis=1) < 1)[:, None]


def layouts(scenes: list[Scene]) -> torch.Tensor:
    """(N, P, 5) layouts of many scenes."""
    return torch.from_numpy(np.stack([layout(scene) for scene in scenes])).float()


def patch_weights(where: torch.Tensor) -> torch.Tensor:
    """(B, P) weights of the patches in a loss, from (B, P, 5) layouts; their mean is one."""
    weight = torch.where(where[..., 0] > 0, THING_WEIGHT, 1.0)
    return weight / weight.mean()


class LayoutEmbedding(nn.Module):
    """(B, P, 5) layouts to (B, P, W) tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.noun, self.colour = nn.Embedding(len(NOUNS) + 1, 32), nn.Embedding(len(COLOURS) + 1, 16)
        self.mix = nn.Sequential(nn.Linear(48 + 3 * 2 * FREQUENCIES, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, where: torch.Tensor) -> torch.Tensor:
        angles = where[..., 2:, None] * math.pi / 2 * 2 ** torch.arange(FREQUENCIES)  # (B, P, 3, FREQUENCIES)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(2)
        names = where[..., :2].long()
        return self.mix(torch.cat([self.noun(names[..., 0]), self.colour(names[..., 1]), waves], dim=-1))
