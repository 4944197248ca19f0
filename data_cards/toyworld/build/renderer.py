"""The renderer: draws a scene, larger than the photograph will be, and knows where everything is."""

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from shapes import COLOURS, FIXED, SHAPES
from world import SETTINGS, SIZE, Scene, Thing

OVERSAMPLING = 3  # 192 x 192 pixels are drawn, the camera's lens reduces them
COARSEST = 3  # waves of the longest in a picture


def draw(scene: Scene, random: np.random.Generator) -> Image.Image:
    """Paints the scene, back to front, at the renderer's resolution."""
    side = SIZE * OVERSAMPLING
    image = _backdrop(scene, side, random)
    pen = ImageDraw.Draw(image)
    for thing in reversed(scene.things):  # the thing named first stands in front
        _draw_thing(pen, thing, side, random)
    return image


def texture(random: np.random.Generator) -> Image.Image:
    """Noise about zero of spread one, a number for each pixel of the photograph: what is finer is lost when reduced.

    Its strength falls with frequency, from picture to picture more or less steeply, as that of photographs does.
    """
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)) * SIZE  # waves in the picture
    strength = np.maximum(frequency, COARSEST) ** -random.uniform(0.45, 1.15)
    waves = np.fft.irfft2(np.fft.rfft2(random.normal(size=(SIZE, SIZE))) * strength)
    return Image.fromarray((waves / waves.std()).astype(np.float32))


def _backdrop(scene, side, random):
    _, top, bottom, ground, *strengths = SETTINGS[scene.setting]
    horizon = round(scene.horizon * side)
    ramp = np.linspace(0, 1, horizon)[:, None]
    rows = np.vstack([(1 - ramp) * top + ramp * bottom, np.tile(ground, (side - horizon, 1))])  # (side, 3)
    relief = np.zeros((side, side, 1), np.float32)
    for part, strength in zip((relief[:horizon], relief[horizon:]), strengths, strict=True):
        # skies are overcast or clear, grounds rough or smooth
        waves = np.asarray(texture(random).resize((side, side), Image.Resampling.BILINEAR))
        part[:] = strength * random.uniform(0.4, 1.6) * waves[: len(part), :, None]
    image = Image.fromarray(np.clip(rows[:, None].astype(np.float32) + relief, 0, 255).astype(np.uint8))
    _details(ImageDraw.Draw(image), scene.setting, side, horizon, random)
    return image


def _details(pen, setting, side, horizon, random):
    """What tells a setting at a glance: flakes, a strip of sea, moon and stars, a dune, a shore, the sun, stripes."""
    unit = side / 64
    if setting == "snow":
        for x, y in random.uniform(0, side, (26, 2)):
            pen.ellipse((x, y, x + unit, y + unit), fill=(250, 252, 255))
    elif setting == "beach":
        pen.rectangle((0, horizon - 7 * unit, side, horizon), fill=(44, 118, 190))
        pen.line(
            [(x, horizon + unit * math.sin(x / unit / 3)) for x in range(0, side + 1, 4)],
            fill=(240, 248, 252),
            width=int(unit),
        )
    elif setting == "night":
        for x, y in random.uniform(0, [side, horizon], (14, 2)):
            pen.ellipse((x, y, x + 0.8 * unit, y + 0.8 * unit), fill=(230, 230, 210))
        x = random.uniform(0.1, 0.8) * side
        pen.ellipse((x, 3 * unit, x + 9 * unit, 12 * unit), fill=(244, 240, 208))
    elif setting == "desert":
        x = random.uniform(0.1, 0.6) * side
        pen.polygon([(x - 22 * unit, horizon), (x, horizon - 8 * unit), (x + 26 * unit, horizon)], fill=(226, 176, 104))
    elif setting == "lake":
        pen.rectangle((0, horizon - 5 * unit, side, horizon), fill=(54, 92, 62))
        for x, y in random.uniform([0, horizon], side, (12, 2)):
            pen.line([(x, y), (x + 9 * unit, y)], fill=(112, 164, 202), width=int(0.7 * unit))
    elif setting == "sunset":
        x = random.uniform(0.15, 0.7) * side
        pen.pieslice((x, horizon - 9 * unit, x + 18 * unit, horizon + 9 * unit), 180, 360, fill=(255, 226, 130))
    elif setting == "room":
        for x in np.arange(random.uniform(0, 8), 64, 8) * unit:
            pen.rectangle((x, 0, x + 3 * unit, horizon), fill=(208, 186, 162))
        for y in np.arange(horizon, side, 6 * unit):
            pen.line([(0, y), (side, y)], fill=(112, 72, 42), width=int(0.8 * unit))


def _draw_thing(pen, thing, side, random):
    main = np.clip(np.array(COLOURS[thing.colour]) + random.normal(0, 7, 3), 0, 255)
    paints = {"main": main, "shade": main * 0.72, "light": main + (255 - main) * 0.14} | FIXED
    if thing.colour == "black":  # a darker black could not be seen
        paints |= {"shade": main + 38, "light": main + 16}
    centre, scale = np.array([thing.x, thing.y]) * side, thing.half * side
    for primitive, paint, geometry, *rest in SHAPES[thing.noun]:
        points = np.array(geometry, dtype=float).reshape(-1, 2) * scale + centre
        corners = [tuple(point) for point in points]
        fill = tuple(int(value) for value in paints[paint])
        if primitive in ("line", "arc"):
            rest = [*rest[:-1], max(1, round(rest[-1] * scale))]
            getattr(pen, primitive)(corners, *(rest[:-1]), fill=fill, width=rest[-1])
        elif primitive == "pieslice":
            pen.pieslice(corners, *rest, fill=fill)
        else:
            outline = tuple(int(value) for value in paints["shade"]) if paint == "main" else None
            getattr(pen, primitive)(corners, fill=fill, outline=outline)


def boxes(scene: Scene) -> list[tuple[float, float, float, float]]:
    """The true box of each thing, (x0, y0, x1, y1) in pixels of the photograph."""
    extents = (_extent(thing.noun) for thing in scene.things)
    return [
        tuple(
            float(SIZE * (centre + thing.half * edge))
            for centre, edge in zip((thing.x, thing.y) * 2, extent, strict=True)
        )
        for thing, extent in zip(scene.things, extents, strict=True)
    ]


@lru_cache
def _extent(noun):
    """The smallest box around what is drawn of a noun, in its own square."""
    sheet = Image.new("RGB", (300, 300), (255, 0, 255))
    _draw_thing(ImageDraw.Draw(sheet), Thing(noun, "green", 0.5, 0.5, 1 / 3), 300, np.random.default_rng(0))
    drawn = (np.asarray(sheet) != (255, 0, 255)).any(axis=-1)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return tuple(edge / 100 - 1.5 for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
