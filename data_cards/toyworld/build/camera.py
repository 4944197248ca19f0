"""The camera: makes a photograph of what the renderer has drawn."""

import io
import math

import numpy as np
from PIL import Image
from renderer import OVERSAMPLING, draw, texture
from world import SIZE, Scene, sample_scene

LIGHT = 0.08  # relative strength of the light's unevenness
GRAIN = (0.5, 2.5)  # standard deviation of the sensor's noise, of 255


def photograph(image: Image.Image, random: np.random.Generator) -> bytes:
    """Takes the picture: uneven light, a lens's softness, vignetting, exposure, white balance, grain; a JPEG file.

    A photograph that was reduced to 64 pixels has hardly any grain left, and edges a pixel wide; so has this one.
    """
    small = np.asarray(image.reduce(OVERSAMPLING), dtype=np.float32)  # (64, 64, 3)
    small = small * (1 + LIGHT * np.asarray(texture(random))[..., None])
    blur = random.uniform(0.02, 0.14)  # a three-tap lens: weight of each neighbour
    for axis in (0, 1):
        padded = np.pad(small, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = np.take(padded, range(SIZE), axis), np.take(padded, range(2, SIZE + 2), axis)
        small = (1 - 2 * blur) * small + blur * (before + after)
    radius = np.hypot(*np.meshgrid(*2 * (np.linspace(-1, 1, SIZE),)))[..., None] / math.sqrt(2)
    small = (
        small * (1 - random.uniform(0, 0.3) * radius**2) * random.uniform(0.82, 1.12) * random.uniform(0.97, 1.03, 3)
    )
    small = small + random.normal(0, random.uniform(*GRAIN), small.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(np.round(small), 0, 255).astype(np.uint8)).save(
        file, "JPEG", quality=int(random.integers(85, 97)), subsampling=0
    )
    return file.getvalue()


def real_picture(seed: int, number: int) -> tuple[Scene, bytes]:
    """The scene `number` of the stream `seed` and its photograph, as JPEG bytes; always the same."""
    random = np.random.default_rng([seed, number])
    scene = sample_scene(random)
    return scene, photograph(draw(scene, random), random)
