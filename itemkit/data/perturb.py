"""Change an image the way the internet does: compress, blur, resize, crop, add noise."""

import io
from math import ceil

import numpy as np
from PIL import Image, ImageFilter

from itemkit.data.choices import check_names
from itemkit.data.images import LONGEST

# The strengths that papers of the field test, weakest first for pictures of more than 224 pixels; any other is as good.
PERTURBATIONS = {
    "jpeg": (95, 90, 75, 65, 50, 30),  # quality, 1 to 100
    "blur": (1, 2, 3, 4),  # standard deviation of a Gaussian, pixels
    "resize": (0.75, 0.5, 112, 64),  # up to 1 a factor, above 1 the shorter side in pixels
    "crop": (0.9, 0.8),  # fraction of each side that is kept, around the centre
    "noise": (5, 10, 20),  # standard deviation of Gaussian noise on the scale 0 to 255
    "resize_jpeg": (0.75, 0.5),  # as resize, then JPEG of quality 75: what a social network does
}


def steps(names: list[str] | None = None) -> list[tuple[str, float]]:
    """Return each of the named perturbations, or of all, with each of its strengths, in the order of PERTURBATIONS.

    Raises:
        ValueError: an unknown name; the message lists those that are known.
    """
    check_names("perturbation", names or (), PERTURBATIONS)
    return [(name, strength) for name in names or PERTURBATIONS for strength in PERTURBATIONS[name]]


def perturb(image: Image.Image, name: str, strength: float, seed: int = 0) -> Image.Image:
    """The image after one perturbation; the given image is left as it is.

    Args:
        image: an RGB image.
        name: one of PERTURBATIONS, where the unit of each strength is told.
        strength: how much of it.
        seed: of the noise, the only perturbation with chance in it. Give each image a seed of its own, or all images
            of one size share one pattern.

    Raises:
        ValueError: an unknown name, a strength out of range, or an image that is not RGB.
    """
    check_names("perturbation", [name], PERTURBATIONS)
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image, got mode {image.mode}; decode it with itemkit.data.load.decode_image")
    match name:
        case "jpeg":
            return _jpeg(image, strength)
        case "blur":
            return image.filter(ImageFilter.GaussianBlur(_in_range(strength, "blur", 0, 100)))
        case "resize":
            return _resize(image, strength)
        case "crop":
            return _crop(image, strength)
        case "noise":
            return _noise(image, strength, seed)
        case "resize_jpeg":
            return _jpeg(_resize(image, strength), quality=75)


def _jpeg(image: Image.Image, quality: float) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=int(_in_range(quality, "jpeg", 1, 100)))
    with Image.open(buffer) as encoded:
        return encoded.convert("RGB")


def _resize(image: Image.Image, strength: float) -> Image.Image:
    _in_range(strength, "resize", 0.01, 10_000)
    factor = strength if strength <= 1 else strength / min(image.size)
    return image.resize(_scaled(image, factor), Image.Resampling.LANCZOS)


def _crop(image: Image.Image, fraction: float) -> Image.Image:
    _in_range(fraction, "crop", 0.01, 1)
    width, height = _scaled(image, fraction)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _scaled(image: Image.Image, factor: float) -> tuple[int, int]:
    """Sides in whole pixels; rounding must not make a long picture so thin that it is refused."""
    width, height = (round(side * factor) for side in image.size)
    least = ceil(max(width, height, 1) / LONGEST)
    return max(width, least), max(height, least)


def _noise(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    _in_range(deviation, "noise", 0, 255)
    pixels = np.asarray(image, dtype=np.float32)  # (height, width, 3)
    noise = np.random.default_rng(seed).normal(scale=deviation, size=pixels.shape)
    return Image.fromarray(np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8))


def _in_range(strength: float, name: str, low: float, high: float) -> float:
    if not low <= strength <= high:
        raise ValueError(f"{name} of strength {strength} is out of range; expected {low} to {high}")
    return strength
