"""The world: scenes of one to three coloured things that stand in relation to each other, in a setting."""

from dataclasses import dataclass

import numpy as np
from shapes import COLOURS, SHAPES

SIZE = 64  # pixels a side of a photograph
NOUNS = tuple(SHAPES)

# setting: (words of the place, sky at the top, sky at the horizon, ground, strength of the sky's and the ground's texture)
SETTINGS = {
    "snow": ("in the snow", (160, 174, 198), (196, 206, 220), (222, 227, 236), 22, 31),
    "beach": ("on a beach", (96, 170, 226), (176, 212, 236), (214, 188, 138), 29, 41),
    "night": ("at night", (14, 16, 44), (38, 40, 82), (46, 52, 70), 16, 26),
    "field": ("in a field", (112, 166, 226), (182, 208, 232), (92, 146, 62), 31, 48),
    "desert": ("in the desert", (236, 204, 140), (240, 224, 192), (204, 152, 82), 22, 41),
    "lake": ("by a lake", (144, 180, 212), (198, 214, 224), (60, 110, 152), 31, 38),
    "sunset": ("at sunset", (92, 54, 128), (240, 134, 72), (84, 56, 54), 34, 31),
    "room": ("in a room", (210, 192, 170), (196, 174, 150), (148, 102, 64), 24, 36),
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
