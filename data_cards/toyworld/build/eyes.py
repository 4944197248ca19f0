"""How far two pictures lie apart: in their pixels, and in what eyes that know the world make of them.

Pixels alone reward a blur: where a picture cannot be known exactly, its mean lies nearest. The features of a network
that was trained to see do not (Zhang et al., arXiv 1801.03924); here the eyes are the frozen detector's, not the
captioner's, which the card's figures ask.
"""

from pathlib import Path

import torch
from layout import PATCH, patch_weights
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, layer_norm
from transformers import OwlViTForObjectDetection

MODELS = Path(__file__).resolve().parent.parent / "models"
ROUGH = 4  # pixels a side
LAYERS, SEEN_WEIGHT = 2, 0.1  # of the tower that look, weight of what they see beside the pixels


class Eyes(nn.Module):
    """The distance of pictures from true ones; things weigh more than ground and sky. Nothing here is trained."""

    def __init__(self):
        super().__init__()
        detector = OwlViTForObjectDetection.from_pretrained(MODELS / "detector", dtype=torch.float32)
        self.tower = detector.owlvit.vision_model.eval().requires_grad_(False)
        self.tower.encoder.layers = self.tower.encoder.layers[:LAYERS]

    def see(self, image: torch.Tensor) -> torch.Tensor:
        """(LAYERS, B, P, width) features of the patches after each layer, of mean zero and spread one."""
        layers = self.tower(image, output_hidden_states=True).hidden_states[1:]
        return torch.stack([layer_norm(layer[:, 1:].float(), layer.shape[-1:]) for layer in layers])

    def forward(self, made: torch.Tensor, true: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Of (B, 3, 64, 64) pictures, from the true ones with (B, P, 5) layouts.

        Things must look alike; of the ground, only what is coarser than four pixels: the rest is grain (grain.py).
        """
        with torch.no_grad():
            seen = self.see(true)
        weight, thing = patch_weights(where), (where[..., 0] > 0).float()
        unlike = thing * (self.see(made) - seen).square().mean(dim=(0, 3))  # (B, P)
        error = made.float() - true.float()
        error = torch.lerp(interpolate(avg_pool2d(error, ROUGH), scale_factor=ROUGH), error, pixels(thing))
        return picture_loss(error, pixels(weight)) + SEEN_WEIGHT * (weight * unlike).mean()


def pixels(patches: torch.Tensor) -> torch.Tensor:
    """(B, P) numbers of patches to (B, 1, 64, 64) of pixels."""
    return patches.view(-1, 1, 8, 8).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)


def picture_loss(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """L1, squared error, and L1 of the steps between neighbours (keeps edges sharp), weighted pixel by pixel."""
    edges = sum((weight.narrow(axis, 1, error.shape[axis] - 1) * error.diff(dim=axis).abs()).mean() for axis in (2, 3))
    return (weight * (error.abs() + 0.5 * error.square())).mean() + 0.5 * edges
