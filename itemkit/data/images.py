"""Turn encoded bytes into pixels, the same pixels for every network, or say why that cannot be done."""

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from time import thread_time

import imagehash
import numpy as np
import pandas as pd
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

ALIGNED_QUALITY = 96  # of JPEG, 1 to 100: about that of ImageNet's photographs, and what later benchmarks agreed on
# What is read: formats of photographs and generators. Pillow knows forty more, some by calling other programs.
# JPEG2000 is none of them: a file of 146 bytes may take gigabytes before Pillow can be asked how large it is.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM")
DECODE_SECONDS = 30  # of a processor, until a decoder is stopped; 89 million pixels take six
CLIP_SECONDS = 120  # the same for a clip, all of which is decoded to find its middle
BLOCK = 4096  # bytes that a decoder gets at once: what it makes of them cannot be interrupted
STRIP = 1024  # rows
LARGEST_FILE = 2**30  # bytes
LONGEST = 100  # times as long as wide: networks enlarge the shorter side to hundreds of pixels, and the other with it
PIXEL_LIMIT = 89_478_485  # Pillow's MAX_IMAGE_PIXELS: a quarter of a gigabyte as 24-bit RGB
MIDDLE, SQUARE = 512, 8  # pixels: of a side, where texture is measured, and of the squares it is measured in
BROKEN = (ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error)
TURNS = {  # EXIF orientation to what makes a picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # Pillow's numbers for them


# Pillow tells of large pictures, which are refused here, and of each odd entry of EXIF, which is read for one of them. Set
# once, since a filter for a while (catch_warnings) is one of all threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(ValueError):
    """Encoded bytes that give no picture; the message is the reason."""


def image_id(encoded: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256 of the encoded bytes: an image's name in every table."""
    return hashlib.sha256(encoded).hexdigest()[:16]


def pixel_count(encoded: bytes) -> int:
    """Return how many pixels the header of a file announces; 0 where it cannot be read."""
    try:
        width, height = _extent(_open(encoded))
    except UnreadableImage:
        return 0
    return width * height


def encoded_bytes(image: dict) -> bytes:
    """Return the bytes of a cell of the image column, {"bytes", "path"}: its own, or those of the file it points to.

    Raises:
        UnreadableImage: the file is not there, is no regular file, or may not be read.
    """
    if image is None or (image["bytes"] is None and image["path"] is None):
        return b""
    if image["bytes"] is not None:
        return image["bytes"]
    path = Path(image["path"])
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            raise OSError(f"{str(path)!r} is no regular file")  # a pipe would be waited for, a device never ends
        if found.st_size > LARGEST_FILE:
            raise OSError(f"{found.st_size} bytes, more than the limit of {LARGEST_FILE}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise UnreadableImage(f"its file cannot be read: {error}") from error


def decode_image(encoded: bytes) -> Image.Image:
    """Return the picture as 8-bit RGB, upright, on white, its first frame if it is animated: pixels only.

    What else a file says (its turn, colour profile, comments) is left behind, so that it is not followed or written again.

    Raises:
        UnreadableImage: no image, a truncated or broken one, more than PIXEL_LIMIT pixels, one side more than LONGEST
            times the other, or pixels without a defined white.
    """
    return _bare(_decoded(_open(encoded)))


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a picture that Pillow has opened, or made, as decode_image returns that of a file.

    Raises:
        UnreadableImage: as decode_image.
    """
    _check_size(image)
    upright = _decoded(image)
    return _bare(upright.copy() if upright is image else upright)  # a caller's own keeps what it knows


def aligned_bytes(encoded: bytes, side: int) -> bytes:
    """Return the picture of a file as `aligned` makes it.

    Raises:
        UnreadableImage: as decode_image.
    """
    return aligned(decode_image(encoded), side)


def aligned(picture: Image.Image, side: int) -> bytes:
    """Return the picture as a JPEG file like all others: a square of one size, cut from the centre, of one quality.

    The rule of "Fake or JPEG?" (arXiv 2403.17608): what tells real from generated must not be how the file was made.
    The traces that an earlier JPEG left in the pixels stay.

    Args:
        picture: 8-bit RGB, as decode_image returns it.
        side: of the square, in pixels; the picture's shorter side is resized to it.
    """
    file = io.BytesIO()
    ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS).save(file, "JPEG", quality=ALIGNED_QUALITY)
    return file.getvalue()


def middle_frame(clip: bytes) -> bytes:
    """Return the frame in the middle of a clip as a PNG file.

    The first one would be unfair: some generators of clips start from a still image, and begin with nearly that.

    Args:
        clip: its bytes, in any container and codec that FFmpeg knows.

    Raises:
        UnreadableImage: no clip, a broken one, or one without a frame.
    """
    import av

    try:
        with av.open(io.BytesIO(clip)) as frames:
            end = thread_time() + CLIP_SECONDS
            # counted, since containers are often wrong about it
            number = sum(1 for _ in _in_time(frames.decode(video=0), end))
            frames.seek(0)
            picture = next(islice(_in_time(frames.decode(video=0), end), number // 2, None)).to_image()
    except (av.FFmpegError, IndexError, StopIteration) as error:  # IndexError: sound without pictures
        raise UnreadableImage(f"no clip that FFmpeg can decode: {error}") from error
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _in_time(frames: Iterator, end: float) -> Iterator:
    """The frames of a clip, until one is too large or it has taken too long."""
    for frame in frames:
        if thread_time() > end:
            raise UnreadableImage(f"decoding took longer than {CLIP_SECONDS} s")
        if frame.width * frame.height > PIXEL_LIMIT:
            raise UnreadableImage(f"frames of {frame.width} x {frame.height} pixels, more than {PIXEL_LIMIT}")
        yield frame


def inspect_images(images) -> pd.DataFrame:
    """Decode every image and return one row for each row, in order; broken ones stay, with a status and a reason.

    Args:
        images: a data set as load_images returns it.

    Returns:
        The columns of `images` but the image, and
        format, mode: as encoded;
        width, height, aspect_ratio: as decoded, in pixels, and the first through the second; 0 if unreadable;
        bytes: the size of the file;
        quantization: the mean of all entries of a JPEG file's tables, 0 in other files; the coarser, the higher;
        subsampling: of the colours of a JPEG file, one of SUBSAMPLING or "other" (as in grey ones), empty in other files;
        progressive: whether it is a progressive JPEG file;
        pixel_hash: 16 hex digits, the same for the same pixels in any file; empty if unreadable;
        perceptual_hash: 16 hex digits, few bits apart for pictures that look alike; empty if unreadable;
        high_frequencies: of the brightness, the share of energy at more than half of the highest frequency that its pixels
            can hold, in [0, 1]; local_variance: the mean variance of brightness in squares of SQUARE pixels, on a scale of
            black 0 to white 1. Both of the middle MIDDLE x MIDDLE pixels at most; 0 if unreadable;
        status, reason: "ok", or "unreadable" and why.
    """
    return pd.DataFrame([_facts(row) for row in images])


def _facts(row: dict) -> dict:
    try:
        encoded = encoded_bytes(row["image"])
        lost = ""
    except UnreadableImage as error:
        encoded, lost = b"", str(error)
    facts = {name: value for name, value in row.items() if name != "image"}
    facts |= {"format": "", "mode": "", "width": 0, "height": 0, "aspect_ratio": 0.0, "bytes": len(encoded)}
    facts |= {"quantization": 0.0, "subsampling": "", "progressive": False}
    facts |= {"pixel_hash": "", "perceptual_hash": "", "high_frequencies": 0.0, "local_variance": 0.0}
    facts |= {"status": "ok", "reason": ""}
    try:
        header = _open(encoded)
        facts |= {"format": header.format, "mode": header.mode}
        picture = decode_image(encoded)
    except UnreadableImage as error:
        return facts | {"status": "unreadable", "reason": lost or str(error)}
    facts |= {"width": picture.width, "height": picture.height, "aspect_ratio": picture.width / picture.height}
    facts["pixel_hash"] = _pixel_hash(picture)
    facts["perceptual_hash"] = str(imagehash.phash(picture))
    return facts | _texture(picture) | _jpeg_facts(header)


def _texture(picture: Image.Image) -> dict:
    size = [min(side, MIDDLE) for side in picture.size]
    left, top = ((side - kept) // 2 for side, kept in zip(picture.size, size, strict=True))
    middle = picture.crop((left, top, left + size[0], top + size[1])).convert("L")
    brightness = np.asarray(middle, np.float64) / 255  # (height, width)
    energy = np.abs(np.fft.fft2(brightness - brightness.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, brightness.shape), indexing="ij"))  # cycles per pixel
    high = energy[frequency > 0.25].sum() / total if (total := energy.sum()) > 1e-9 else 0.0
    rows, columns = (min(side, SQUARE) for side in brightness.shape)
    whole = brightness[: brightness.shape[0] // rows * rows, : brightness.shape[1] // columns * columns]
    squares = whole.reshape(len(whole) // rows, rows, -1, columns)
    return {"high_frequencies": float(high), "local_variance": float(squares.var(axis=(1, 3)).mean())}


def _pixel_hash(picture: Image.Image) -> str:
    total = hashlib.sha256(repr(picture.size).encode())
    for strip, _ in _strips(picture):
        total.update(strip.tobytes())
    return total.hexdigest()[:16]


def _strips(picture: Image.Image) -> Iterator[tuple[Image.Image, int]]:
    """A picture in strips of STRIP rows, each with its top: a large one need not fit into memory several times."""
    for top in range(0, picture.height, STRIP):
        yield picture.crop((0, top, picture.width, min(top + STRIP, picture.height))), top


def _jpeg_facts(header: Image.Image) -> dict:
    if not isinstance(header, JpegImagePlugin.JpegImageFile):
        return {}
    tables = [entry for table in header.quantization.values() for entry in table]
    subsampling = SUBSAMPLING.get(JpegImagePlugin.get_sampling(header), "other")
    return {
        "quantization": float(np.mean(tables)) if tables else 0.0,  # lossless JPEG has none
        "subsampling": subsampling,
        "progressive": "progressive" in header.info,
    }


def _open(encoded: bytes) -> Image.Image:
    if not encoded:
        raise UnreadableImage("no bytes")
    try:
        image = Image.open(_Timed(encoded), formats=FORMATS)
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise UnreadableImage(f"no image format that is read here ({', '.join(FORMATS)})") from error
    except UnreadableImage:
        raise
    except Exception as error:  # as below
        raise UnreadableImage(str(error)) from error
    _check_size(image)
    image.decodermaxblock = BLOCK
    return image


class _Timed(io.BytesIO):
    """Bytes that can be read for DECODE_SECONDS; Pillow asks for them bit by bit, and stops when there are no more."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__(encoded)
        self.end = thread_time() + DECODE_SECONDS

    def read(self, size: int | None = -1) -> bytes:
        if thread_time() > self.end:
            raise UnreadableImage(f"decoding took longer than {DECODE_SECONDS} s")
        return super().read(size)


def _extent(image: Image.Image) -> tuple[int, int]:
    """Width and height that are decoded: a tile of a TIFF file may be larger than all of its picture."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.size
    tile = (int(image.tag_v2.get(tag) or 0) for tag in (322, 323))
    return tuple(map(max, image.size, tile))


def _check_size(image: Image.Image) -> None:
    """Refuse a picture by its header, before any memory is taken; Pillow has a last limit of its own, twice PIXEL_LIMIT."""
    width, height = _extent(image)
    if width * height > PIXEL_LIMIT:
        raise UnreadableImage(f"{width} x {height} pixels, more than the limit of {PIXEL_LIMIT}")
    if 0 in image.size:
        raise UnreadableImage(f"{width} x {height} pixels, that is none")
    if max(image.size) > LONGEST * min(image.size):
        raise UnreadableImage(f"{image.width} x {image.height} pixels, one side more than {LONGEST} times the other")


def _decoded(image: Image.Image) -> Image.Image:
    try:
        image.load()  # all of it: verify() passes on half a JPEG
        return _as_rgb(_upright(image))
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise what they like on broken files, and no file may stop a run
        raise UnreadableImage(f"{image.format}: {str(error) or type(error).__name__}") from error


def _bare(image: Image.Image) -> Image.Image:
    image.info = {}  # a copy has it, too: a comment would be written, and the turn of a turned picture taken again
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; whatever else a file carries beside its pixels may be broken."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except BROKEN:  # EXIF is written by any camera and editor, and read only for this
        turn = None
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert() would clip at 255; keep the high byte, as Pillow does for colour
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImage(f"pixels of mode {image.mode!r} have no defined white")
    if image.has_transparency_data:
        flat = Image.new("RGB", image.size)
        for strip, top in _strips(image):
            under = Image.new("RGBA", strip.size, "white")
            flat.paste(Image.alpha_composite(under, strip.convert("RGBA")).convert("RGB"), (0, top))
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")
