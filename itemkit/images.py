"""Turn encoded bytes into pixels, the same pixels for every network, or say why that cannot be done."""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm.auto import tqdm

PIXEL_LIMIT = 89_478_485  # Pillow's MAX_IMAGE_PIXELS: a quarter of a gigabyte as 24-bit RGB


class UnreadableImage(ValueError):
    """Encoded bytes that give no picture; the message is the reason."""


def image_id(encoded: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256 of the encoded bytes: an image's name in every table."""
    return hashlib.sha256(encoded).hexdigest()[:16]


def encoded_bytes(image: dict) -> bytes:
    """Return the bytes of a cell of the image column, {"bytes", "path"}: its own, or those of the file it points to."""
    if image is None or (image["bytes"] is None and image["path"] is None):
        return b""
    return Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]


def decode_image(
    encoded: bytes, background: tuple[int, int, int] = (255, 255, 255), pixel_limit: int = PIXEL_LIMIT
) -> Image.Image:
    """Return the picture as 8-bit RGB, upright, its first frame if it is animated. Colour profiles are ignored.

    Args:
        encoded: the file's bytes.
        background: 0-255 RGB, shown where the picture is transparent.
        pixel_limit: the most pixels to decode; checked on the header, before any memory is taken. Pillow has a last
            limit of its own, twice this default.

    Raises:
        UnreadableImage: no image, a truncated or broken one, too many pixels, or pixels without a defined white.
    """
    image = _open(encoded, pixel_limit)
    try:
        image.load()  # all of it: verify() passes on half a JPEG
        return _as_rgb(ImageOps.exif_transpose(image), background)
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise what they like on broken files, and no file may stop a run
        raise UnreadableImage(f"{image.format}: {error}") from error


def inspect_images(images) -> pd.DataFrame:
    """Decode every image and return one row for each row, in order; broken ones stay, with a status and a reason.

    Args:
        images: a data set as load_images returns it.

    Returns:
        image_id, label, generator, content_id, split; format and mode as encoded; width and height as decoded, in
        pixels, 0 if unreadable; bytes, the size of the file; status, "ok" or "unreadable"; reason.
    """
    return pd.DataFrame([_facts(row) for row in tqdm(images, desc="inspect", unit="image")])


def _facts(row: dict) -> dict:
    encoded = encoded_bytes(row["image"])
    facts = {name: value for name, value in row.items() if name != "image"}
    facts |= {"format": "", "mode": "", "width": 0, "height": 0, "bytes": len(encoded), "status": "ok", "reason": ""}
    try:
        header = _open(encoded, PIXEL_LIMIT)
        facts |= {"format": header.format, "mode": header.mode}
        facts["width"], facts["height"] = decode_image(encoded).size
    except UnreadableImage as error:
        facts |= {"status": "unreadable", "reason": str(error)}
    return facts


def _open(encoded: bytes, pixel_limit: int) -> Image.Image:
    if not encoded:
        raise UnreadableImage("no bytes")
    try:
        with warnings.catch_warnings(action="ignore"):  # of Pillow's own pixel limit, half of the one that it enforces
            image = Image.open(io.BytesIO(encoded))
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise UnreadableImage("no image format that Pillow knows") from error
    except Exception as error:  # as above
        raise UnreadableImage(str(error)) from error
    if image.width * image.height > pixel_limit:
        raise UnreadableImage(f"{image.width} x {image.height} pixels, more than the limit of {pixel_limit}")
    return image


def _as_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert() would clip at 255; keep the high byte, as Pillow does for colour
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImage(f"pixels of mode {image.mode!r} have no defined white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")
    return image.convert("RGB")
