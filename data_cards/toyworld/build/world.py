"""The world: scenes of one to three coloured things that stand in relation to each other, in a setting."""

from dataclasses import dataclass

import numpy as np
from shapes import COLOURS, SHAPES

SIZE = 64  # pixels a side of a photograph
NOUNS = tuple(SHAPES)

# setting: (words of the place, sky at the top, sky at the horizon, ground, strength of the ground's texture)
SETTINGS = {
    "snow": ("in the snow", (178, 192, 214), (214, 222, 233), (238, 241, 247), 6),
    "beach": ("on a beach", (96, 178, 236), (186, 224, 246), (228, 203, 152), 14),
    "night": ("at night", (10, 12, 40), (34, 36, 78), (40, 46, 66), 9),
    "field": ("in a field", (112, 172, 238), (190, 218, 244), (92, 152, 62), 22),
    "desert": ("in the desert", (250, 218, 150), (252, 238, 208), (212, 158, 84), 12),
    "lake": ("by a lake", (150, 190, 222), (208, 226, 236), (58, 112, 158), 10),
    "sunset": ("at sunset", (92, 52, 130), (252, 140, 72), (84, 54, 52), 10),
    "room": ("in a room", (222, 204, 182), (206, 184, 160), (150, 102, 62), 8),
}
RELATIONS = ("next to", "above", "in front of")


@dataclass(frozen=True)
class Thing:
    """An object of a scene: centre and half size as fractions of the picture's side."""

    noun: str
    colour: str
    x: float
    y: float
    half: float


@dataclass(frozen=True)
class Scene:
    """What is in a picture: one to three things in the order in which a caption names them, and where they are."""

    things: tuple[Thing, ...]
    relation: str  # between the first thing and the second; empty for a single thing
    setting: str
    horizon: float


def sample_scene(random: np.random.Generator) -> Scene:
    """Draws a scene; its nouns differ from each other, so that every noun has one true box."""
    count = random.choice([1, 2, 3], p=[0.3, 0.42, 0.28])
    nouns = random.choice(NOUNS, count, replace=False)
    colours = random.choice(tuple(COLOURS), count)
    low, high = {1: (0.15, 0.27), 2: (0.14, 0.2), 3: (0.12, 0.16)}[count]
    half = random.uniform(low, high, count)
    relation = "" if count == 1 else RELATIONS[random.integers(3)] if count == 2 else "next to"
    places = _places(count, relation, half, random)
    things = tuple(
        Thing(str(n), str(c), *map(float, p), float(h)) for n, c, p, h in zip(nouns, colours, places, half, strict=True)
    )
    return Scene(things, relation, str(random.choice(tuple(SETTINGS))), float(random.uniform(0.42, 0.62)))


def _places(count, relation, half, random):
    """Centres that make the relation true and keep every thing inside the picture."""
    x, y = random.uniform(0.3, 0.7), random.uniform(0.4, 0.68)
    if count == 1:
        places = [(x, y)]
    elif relation == "above":
        places = [(x + random.uniform(-0.1, 0.1), 0.26), (x, 0.26 + half.sum() * random.uniform(1.0, 1.15))]
    elif relation == "in front of":
        side = random.choice([-1, 1])
        places = [
            (x + side * half.max() * random.uniform(0.75, 0.95), y + half.max() * random.uniform(0.45, 0.7)),
            (x, y),
        ]
    else:
        gaps = half[:-1] + half[1:]
        left = np.concatenate([[0], np.cumsum(gaps * random.uniform(0.98, 1.25))])
        free = max(0.0, 1 - 2 * 0.03 - left[-1] - half[0] - half[-1])
        left = 0.03 + half[0] + free * random.uniform(0, 1) + left
        places = [(place, y + random.uniform(-0.1, 0.1)) for place in left]
    return [
        (np.clip(px, h + 0.01, 0.99 - h), np.clip(py, h + 0.01, 0.99 - h))
        for (px, py), h in zip(places, half, strict=True)
    ]
