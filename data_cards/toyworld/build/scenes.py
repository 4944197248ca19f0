"""Streams of scenes: which seed is for what, and their pictures as arrays. No stream shares a scene with another."""

import io
from pathlib import Path

import numpy as np
import torch
from camera import real_picture
from PIL import Image
from renderer import boxes
from tqdm import tqdm
from world import SIZE, Scene, sample_scene

STREAMS = {
    "networks": (1, 24_000),
    "generators": (2, 16_000),
    "benchmark": (3, 900),
    "measure": (4, 1_000),
}  # name: seed, scenes


def scenes(stream: str, count: int | None = None) -> list[Scene]:
    """The scenes of a stream, without their pictures."""
    seed, length = STREAMS[stream]
    return [sample_scene(np.random.default_rng([seed, number])) for number in range(count or length)]


def decode(encoded: bytes) -> np.ndarray:
    """(64, 64, 3) bytes of an encoded picture."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def render(work: Path, path: Path) -> None:
    """Writes the (N, 64, 64, 3) pictures of the stream that `path` is named after, decoded from their JPEG bytes."""
    seed, length = STREAMS[path.stem]
    pictures = np.stack(
        [decode(real_picture(seed, number)[1]) for number in tqdm(range(length), desc=path.stem, mininterval=10)]
    )
    np.save(path, pictures)


def pictures(stream: str, work: Path) -> torch.Tensor:
    """(N, 64, 64, 3) bytes that the stage `scenes` rendered."""
    return torch.from_numpy(np.load(work / f"{stream}.npy"))


def patch_owners(scene: Scene, patch: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """For each patch, row by row, which thing it shows (-1 none), and whether that is certain.

    A patch whose centre lies within the inner 60 % of a box shows that thing; between there and the edge of the box
    nobody can say, so such a patch is not certain and no loss is taken on it.
    """
    middle = np.stack(np.meshgrid(*2 * (np.arange(patch / 2, SIZE, patch),)), axis=-1).reshape(-1, 2)  # (P, 2) as x, y
    x0, y0, x1, y1 = np.array(boxes(scene)).T
    centre, half = np.stack([x0 + x1, y0 + y1], -1) / 2, np.stack([x1 - x0, y1 - y0], -1) / 2
    distance = (np.abs(middle[:, None] - centre) / half).max(axis=-1)  # (P, things), 1 on the edge of the box
    nearest, least = distance.argmin(axis=1), distance.min(axis=1)
    owner = np.where(least < 0.6, nearest, -1)
    for thing in reversed(range(len(half))):  # every thing owns at least its middle patch, the one in front first
        owner[distance[:, thing].argmin()] = thing
    return owner, (owner >= 0) | (least >= 1)
