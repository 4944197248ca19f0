"""Files that are broken, strange or meant to do harm: one row each, with a status, in bounded time and memory."""

import io
import os
import re
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from conftest import encode, make_picture
from PIL import EpsImagePlugin, Image
from test_field import folder_card

from itemkit.data.images import FORMATS, PIXEL_LIMIT, decode_image, image_id, inspect_images
from itemkit.data.layouts import identified
from itemkit.data.load import load_images, on_tracks, read_card
from itemkit.locate import ObjectLocator
from itemkit.pipeline import BOX, describe, embed, inspect, locate

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # what it says of odd files, which all of these are
DECODE_SECONDS = 0.5  # instead of half a minute; nothing here but the bomb of scans comes near
SECONDS = 20  # of a processor, for any file: a bound, and no measure
RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
TURNED = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
MEGABYTE = 2**20


# makers


def picture(colour=RED, mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    return Image.new("RGB", size, colour).convert(mode)


def part(share: float, format: str, **options) -> bytes:
    """The beginning of a good file."""
    encoded = encode(make_picture(7), format, **options)
    return encoded[: int(share * len(encoded))]


def without(end: int, format: str) -> bytes:
    return encode(make_picture(8), format)[:-end]


def patched(encoded: bytes, place: int, more: bytes) -> bytes:
    return encoded[:place] + more + encoded[place + len(more) :]


def film(format: str, **options) -> bytes:
    return encode(picture(), format, save_all=True, append_images=[picture("blue"), picture("lime")], **options)


def random_bytes(count: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8).tobytes()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", content)
    return file.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0, interlaced: bool = False) -> bytes:
    """A PNG file of a header and these chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND")


def pixels(content: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(content, 9))


def zeros(count: int) -> bytes:
    """So many zero bytes, compressed to a thousandth, and never all in memory."""
    packer = zlib.compressobj(9)
    whole = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(count // MEGABYTE))
    return whole + packer.compress(bytes(count % MEGABYTE)) + packer.flush()


def beside_pixels(*chunks: bytes) -> bytes:
    """A good PNG file, and what stands between its header and its pixels."""
    encoded = encode(picture())
    place = encoded.index(b"IDAT") - 4
    return encoded[:place] + b"".join(chunks) + encoded[place:]


def text_bomb(kind: bytes, start: bytes, megabytes: int = 5) -> bytes:
    return beside_pixels(chunk(kind, start + zeros(megabytes * MEGABYTE)))


def interlaced_png() -> bytes:
    """Eight by eight grey pixels in the seven passes of Adam7."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    rows = b"".join((b"\0" + bytes([100]) * width) * height for width, height in passes)
    return png(8, 8, pixels(rows), interlaced=True)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    encoded = encode(picture(), "JPEG")
    return encoded[:2] + b"".join(segments) + encoded[2:]


def jpeg_announcing(width: int, height: int) -> bytes:
    encoded = encode(picture(), "JPEG")
    return patched(encoded, encoded.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def scan_bomb(scans: int, side: int = 1000) -> bytes:
    """A progressive JPEG file whose last scan, a few bytes that touch every pixel, comes again and again."""
    encoded = encode(Image.new("L", (side, side), 100), "JPEG", progressive=True)
    return encoded[:-2] + encoded[encoded.rindex(b"\xff\xda") : -2] * scans + b"\xff\xd9"


def flipped_jpeg() -> bytes:
    """A JPEG file with twenty wrong bytes in its scan, none of which makes or breaks a marker."""
    encoded = bytearray(encode(make_picture(9, 200, 160), "JPEG"))
    random = np.random.default_rng(0)
    for place in random.integers(encoded.index(b"\xff\xda") + 20, len(encoded) - 2, 20):
        if 0xFF not in encoded[place - 1 : place + 1]:
            encoded[place] = random.integers(1, 0xFF)
    return bytes(encoded)


def ycck() -> bytes:
    """Four inks in a JPEG file as Photoshop writes them: luminance and chroma of the inverted inks, and black."""
    encoded = encode(Image.new("CMYK", (48, 40), (255, 127, 127, 0)), "JPEG")
    return patched(encoded, encoded.index(b"Adobe") + 11, b"\2")


def tiff(*entries: tuple[int, int, int], data: bytes = b"", following: int = 0) -> bytes:
    """A TIFF file of these (tag, count, value); a value of -1 is where the data stand."""
    place = 14 + 12 * len(entries)
    lines = [struct.pack("<HHII", tag, 4, count, place if value < 0 else value) for tag, count, value in entries]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(lines) + struct.pack("<I", following) + data


def grey_tiff(*others: tuple[int, int, int], width: int = 16, height: int = 16, compression: int = 1, **more) -> bytes:
    own = ((256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, compression), (262, 1, 1), (277, 1, 1))
    return tiff(*own, *others, **more)


def tiled_tiff(side: int, content: bytes) -> bytes:
    """A TIFF file of 16 x 16 pixels, whose only tile is larger than that."""
    return grey_tiff((322, 1, side), (323, 1, side), (324, 1, -1), (325, 1, len(content)), compression=8, data=content)


def gif(canvas: tuple[int, int], *frames: tuple[int, int, int, int]) -> bytes:
    """A GIF file whose frames (left, top, width, height) are red, whatever its canvas is."""
    frame = encode(Image.new("P", (8, 8), 0), "GIF")
    start = frame.index(b",", 13)
    compressed = frame[start + 10 : -1]
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + bytes([*RED, *WHITE])
    return head + b"".join(b"," + struct.pack("<4HB", *one, 0) + compressed for one in frames) + b";"


def ico(inner: bytes, side: int = 16) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, side, side, 0, 0, 1, 32, len(inner), 22) + inner


def bmp(width: int, height: int, content: bytes = b"", compression: int = 0, depth: int = 24) -> bytes:
    header = struct.pack("<IiiHHIIIIII", 40, width, height, 1, depth, compression, len(content), 0, 0, 2, 0)
    palette = bytes([0, 0, 255, 0, 255, 255, 255, 0]) if depth == 8 else b""
    size = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", size + len(content), 0, 0, size) + header + palette + content


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WEBP file whose canvas is not as large as its frame of 8 x 8 pixels."""
    frame = struct.pack("<6xHBHB3xB", 7, 0, 7, 0, 2) + encode(picture(size=(8, 8)), "WEBP", lossless=True)[12:]
    sides = b"".join(struct.pack("<I", side - 1)[:3] for side in (width, height))
    parts = ((b"VP8X", b"\2\0\0\0" + sides), (b"ANIM", bytes(6)), (b"ANMF", frame))
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(content)) + content for kind, content in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def avif_announcing(side: int) -> bytes:
    encoded = encode(picture(), "AVIF")
    return patched(encoded, encoded.index(b"ispe") + 8, struct.pack(">II", side, side))


def jpeg2000(side: int, precinct: int = 15, components: int = 1) -> bytes:
    """A JPEG2000 file of 146 bytes, with pixels in one tile and precincts of 2 ** precinct pixels a side."""
    sizes = struct.pack(">H8IH", 0, side, side, 0, 0, side, side, 0, 0, components) + b"\7\1\1" * components
    coding = struct.pack(">BBHBBBBBBB", 1, 0, 1, 0, 0, 4, 4, 0, 1, precinct * 17)
    tile = struct.pack(">HIBB", 0, 78, 0, 1)
    parts = ((0x51, sizes), (0x52, coding), (0x5C, b"\x40\x40"), (0x90, tile))
    return b"\xff\x4f" + b"".join(segment(*one) for one in parts) + b"\xff\x93" + bytes(64) + b"\xff\xd9"


def fits() -> bytes:
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 4", "NAXIS2  = 4", "END")
    return b"".join(card.ljust(80).encode() for card in cards).ljust(2880) + bytes(2880)


# What Pillow reads, and this package does not.
FOREIGN = {
    "BLP": lambda: encode(picture(mode="P"), "BLP"),
    "CUR": lambda: b"\0\0\2\0\1\0" + struct.pack("<BBBBHHII", 8, 8, 0, 0, 0, 0, 40, 22) + bmp(8, 16, bytes(400))[14:],
    "DDS": lambda: encode(picture(), "DDS"),
    "DIB": lambda: encode(picture(), "DIB"),
    "EPS": lambda: encode(picture(), "EPS"),
    "FITS": fits,
    "FLI": lambda: struct.pack("<IHHHHHHI", 128, 0xAF11, 1, 8, 8, 8, 3, 5).ljust(200, b"\0"),
    "ICNS": lambda: encode(picture(size=(16, 16)), "ICNS"),
    "MSP": lambda: encode(picture(mode="1"), "MSP"),
    "PCX": lambda: encode(picture(), "PCX"),
    "PSD": lambda: struct.pack(">4sH6xHIIHHIIIH", b"8BPS", 1, 3, 4, 4, 8, 3, 0, 0, 0, 0) + bytes(48),
    "QOI": lambda: encode(picture(), "QOI"),
    "SGI": lambda: encode(picture(), "SGI"),
    "SPIDER": lambda: encode(picture(mode="L").convert("F"), "SPIDER"),
    "SUN": lambda: struct.pack(">8I", 0x59A66A95, 4, 4, 24, 48, 1, 0, 0) + bytes(48),
    "WMF": lambda: struct.pack("<IH4hHIH", 0x9AC6CDD7, 0, 0, 0, 720, 720, 1440, 0, 0) + b"\1\0\x09\0" + bytes(30),
    "XBM": lambda: encode(picture(mode="1"), "XBM"),
    "XPM": lambda: b'/* XPM */\nstatic char *a[] = {\n"1 1 1 1",\n"a c #ff0000",\n"a"\n};\n',
}

NO_FORMAT = "no image format that is read here"
THIN = "one side more than 100 times the other"
BOMB, LIMIT = "could be decompression bomb", f"more than the limit of {PIXEL_LIMIT}"
CUT = "image file is truncated|Truncated File Read|unrecognized data stream|broken data stream"

# The name of the file; its bytes; its status; the reason, or width, height and the pixel in the middle.
FILES = [
    # no picture at all
    ("empty.png", lambda: b"", "unreadable", "no bytes"),
    ("one_byte.jpg", lambda: b"\xff", "unreadable", NO_FORMAT),
    ("text.jpg", lambda: b"This is no picture.\n", "unreadable", NO_FORMAT),
    ("page.png", lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "unreadable", NO_FORMAT),
    ("drawing.svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unreadable", NO_FORMAT),
    ("paper.pdf", lambda: encode(picture(), "PDF"), "unreadable", NO_FORMAT),
    ("archive.zip", lambda: zipped(encode(picture())), "unreadable", NO_FORMAT),
    ("clip.mp4", lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(99), "unreadable", NO_FORMAT),
    ("photo.heic", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "unreadable", NO_FORMAT),
    ("zeros.bmp", lambda: bytes(4096), "unreadable", NO_FORMAT),
    ("noise.webp", lambda: random_bytes(4096), "unreadable", NO_FORMAT),
    ("pointer.png", lambda: b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "unreadable", NO_FORMAT),
    *((f"foreign_{name}.png", maker, "unreadable", NO_FORMAT) for name, maker in FOREIGN.items()),
    # cut short
    ("jpeg_start.jpg", lambda: b"\xff\xd8", "unreadable", NO_FORMAT),
    ("jpeg_header.jpg", lambda: part(0.3, "JPEG"), "unreadable", CUT),
    ("jpeg_scan.jpg", lambda: part(0.8, "JPEG"), "unreadable", CUT),
    ("jpeg_end.jpg", lambda: without(2, "JPEG"), "unreadable", CUT),
    ("png_signature.png", lambda: encode(picture())[:8], "unreadable", NO_FORMAT),
    ("png_header.png", lambda: encode(picture())[:30], "unreadable", NO_FORMAT),
    ("png_half.png", lambda: part(0.5, "PNG"), "unreadable", CUT),
    ("png_no_end.png", lambda: without(12, "PNG"), "ok", (48, 40, None)),
    ("gif_header.gif", lambda: b"GIF89a", "unreadable", NO_FORMAT),
    ("gif_half.gif", lambda: part(0.7, "GIF"), "unreadable", CUT),
    ("gif_no_end.gif", lambda: without(1, "GIF"), "ok", (48, 40, None)),
    ("webp_header.webp", lambda: part(0.1, "WEBP"), "unreadable", "could not create decoder"),
    ("webp_half.webp", lambda: part(0.5, "WEBP"), "unreadable", "could not create decoder"),
    ("tiff_half.tif", lambda: part(0.5, "TIFF"), "unreadable", CUT),
    ("tiff_lzw_half.tif", lambda: part(0.7, "TIFF", compression="tiff_lzw"), "unreadable", NO_FORMAT),
    ("bmp_header.bmp", lambda: part(0.005, "BMP"), "unreadable", CUT),
    ("bmp_half.bmp", lambda: part(0.5, "BMP"), "unreadable", CUT),
    ("avif_half.avif", lambda: part(0.5, "AVIF"), "unreadable", NO_FORMAT),
    ("avif_nearly.avif", lambda: part(0.95, "AVIF"), "unreadable", "Truncated data"),
    ("ppm_half.ppm", lambda: part(0.5, "PPM"), "unreadable", CUT),
    # other than they are called, and two things at once
    ("is_a_png.jpg", lambda: encode(picture("blue")), "ok", (48, 40, (0, 0, 255))),
    ("is_a_jpeg.txt", lambda: encode(picture("blue"), "JPEG"), "ok", (48, 40, (0, 0, 255))),
    ("and_zip.jpg", lambda: encode(picture(), "JPEG") + zipped(b"more"), "ok", (48, 40, RED)),
    ("and_page.gif", lambda: encode(picture(), "GIF") + b"<script>alert(1)</script>", "ok", (48, 40, RED)),
    ("two_jpegs.jpg", lambda: encode(picture(), "JPEG") + encode(picture("blue"), "JPEG"), "ok", (48, 40, RED)),
    ("space_before.jpg", lambda: b"\n" + encode(picture(), "JPEG"), "unreadable", NO_FORMAT),
    # announced sizes
    ("huge.png", lambda: png(60_000, 60_000, pixels(b"")), "unreadable", BOMB),
    ("thin.png", lambda: png(1, 100_000_000, pixels(b"")), "unreadable", f"1 x 100000000 pixels, {LIMIT}"),
    ("one_too_many.png", lambda: png(1, PIXEL_LIMIT + 1, pixels(b"")), "unreadable", f"pixels, {LIMIT}"),
    ("nothing.png", lambda: png(0, 0, pixels(b"")), "unreadable", NO_FORMAT),
    ("negative.png", lambda: png(2**32 - 1, 2**32 - 1, pixels(b"")), "unreadable", BOMB),
    ("huge.jpg", lambda: jpeg_announcing(65_500, 65_500), "unreadable", BOMB),
    ("larger.jpg", lambda: jpeg_announcing(1000, 1000), "ok", (1000, 1000, (128, 128, 128))),
    ("flat.jpg", lambda: jpeg_announcing(48, 0), "unreadable", NO_FORMAT),
    ("row.jpg", lambda: encode(picture(size=(65_500, 1)), "JPEG"), "unreadable", THIN),
    ("column.png", lambda: encode(picture(size=(1, 100_000))), "unreadable", THIN),
    ("hundred.png", lambda: encode(picture(size=(100, 1))), "ok", (100, 1, RED)),
    ("hundred_and_one.png", lambda: encode(picture(size=(101, 1))), "unreadable", THIN),
    ("dot.png", lambda: encode(picture(size=(1, 1))), "ok", (1, 1, RED)),
    ("huge.gif", lambda: gif((65_535, 65_535), (0, 0, 8, 8)), "unreadable", BOMB),
    ("huge.webp", lambda: webp_canvas(16_000_000, 200), "unreadable", BOMB),
    ("large.webp", lambda: webp_canvas(13_000, 13_000), "unreadable", f"13000 x 13000 pixels, {LIMIT}"),
    ("huge.tif", lambda: grey_tiff((273, 1, -1), width=60_000, height=60_000, data=b"0"), "unreadable", BOMB),
    ("huge.bmp", lambda: bmp(60_000, -60_000), "unreadable", BOMB),
    ("huge.avif", lambda: avif_announcing(60_000), "unreadable", NO_FORMAT),
    ("huge.jp2", lambda: jpeg2000(60_000), "unreadable", NO_FORMAT),
    ("huge.ppm", lambda: b"P6 99999 99999 255\n", "unreadable", BOMB),
    ("digits.ppm", lambda: b"P6 " + b"9" * 5000 + b" 1 255\n", "unreadable", "Token too long in file header"),
    ("huge_inside.ico", lambda: ico(png(60_000, 60_000, pixels(b""))), "unreadable", NO_FORMAT),
    ("huge_tile.tif", lambda: tiled_tiff(60_000, zeros(MEGABYTE)), "unreadable", f"60000 x 60000 pixels, {LIMIT}"),
    # PNG
    ("no_palette.png", lambda: png(2, 1, pixels(b"\0\1\1"), colour=3), "unreadable", "PNG: AssertionError"),
    (
        "thread.png",
        lambda: png(45_000_000, 1, chunk(b"IDAT", zeros(1 + 45_000_000 // 8)), depth=1),
        "unreadable",
        THIN,
    ),
    ("zTXt.png", lambda: text_bomb(b"zTXt", b"a\0\0"), "unreadable", "Decompressed data too large"),
    ("iTXt.png", lambda: text_bomb(b"iTXt", b"a\0\1\0\0\0"), "unreadable", "Decompressed data too large"),
    ("iCCP.png", lambda: text_bomb(b"iCCP", b"a\0\0"), "unreadable", "Decompressed data too large"),
    (
        "text_after_pixels.png",
        lambda: png(2, 1, pixels(b"\0\1\1"), chunk(b"zTXt", b"a\0\0" + zeros(2 * MEGABYTE))),
        "unreadable",
        "Decompressed data too large",
    ),
    ("many_chunks.png", lambda: beside_pixels(chunk(b"teXt") * 5000), "ok", (48, 40, RED)),
    ("bad_checksum.png", lambda: patched(encode(picture()), 29, b"\0\0\0\0"), "unreadable", NO_FORMAT),
    ("no_pixels.png", lambda: png(2, 1), "unreadable", "cannot load this image"),
    ("few_pixels.png", lambda: png(8, 8, pixels(bytes(20))), "unreadable", CUT),
    ("many_pixels.png", lambda: png(2, 1, chunk(b"IDAT", zeros(20 * MEGABYTE))), "ok", (2, 1, BLACK)),
    (
        "beyond_palette.png",
        lambda: png(2, 1, chunk(b"PLTE", bytes(RED)), pixels(b"\0\xc8\xc8"), colour=3),
        "ok",
        (2, 1, BLACK),
    ),
    ("interlaced.png", interlaced_png, "ok", (8, 8, (100, 100, 100))),
    ("no_filter.png", lambda: png(2, 1, pixels(b"\x09\1\1")), "unreadable", CUT),
    ("no_colour.png", lambda: png(2, 1, pixels(b"\0\1\1"), colour=5), "unreadable", NO_FORMAT),
    ("grey16.png", lambda: png(2, 1, pixels(b"\0" + b"\x80\0" * 2), depth=16), "ok", (2, 1, (128, 128, 128))),
    ("film.png", lambda: film("PNG"), "ok", (48, 40, RED)),
    ("clear.png", lambda: encode(Image.new("RGBA", (48, 40), (*RED, 0))), "ok", (48, 40, WHITE)),
    ("clear_grey.png", lambda: encode(Image.new("LA", (48, 40), (0, 127))), "ok", (48, 40, (128, 128, 128))),
    ("clear_index.png", lambda: encode(picture(mode="P"), transparency=bytes(256)), "ok", (48, 40, WHITE)),
    # JPEG
    ("inks.jpg", lambda: encode(picture(mode="CMYK"), "JPEG"), "ok", (48, 40, RED)),
    ("ycck.jpg", ycck, "ok", (48, 40, WHITE)),
    ("progressive.jpg", lambda: encode(picture(), "JPEG", progressive=True), "ok", (48, 40, RED)),
    ("scans.jpg", lambda: scan_bomb(4000), "unreadable", f"decoding took longer than {DECODE_SECONDS} s"),
    ("turned.jpg", lambda: encode(picture(), "JPEG", exif=TURNED), "ok", (40, 48, RED)),
    ("turned_99.jpg", lambda: encode(picture(), "JPEG", exif=patched(TURNED, 24, b"\x63")), "ok", (48, 40, RED)),
    (
        "exif_circle.jpg",
        lambda: encode(picture(), "JPEG", exif=patched(TURNED, 16, b"\x69\x87\4\0\1\0\0\0\x08")),
        "ok",
        (48, 40, RED),
    ),
    (
        "exif_large.jpg",
        lambda: jpeg_with(segment(0xE1, TURNED), segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 50),
        "ok",
        (40, 48, RED),
    ),
    (
        "exif_entries.png",
        lambda: beside_pixels(
            chunk(b"eXIf", tiff(*[(tag, MEGABYTE, -1) for tag in range(1, 5000)], data=bytes(MEGABYTE)))
        ),
        "ok",
        (48, 40, RED),
    ),
    ("film.mpo", lambda: film("MPO"), "ok", (48, 40, RED)),
    ("flipped.jpg", flipped_jpeg, "ok", (200, 160, None)),
    ("no_tables.jpg", lambda: encode(picture(), "JPEG").replace(b"\xff\xc4", b"\xff\xfe"), "ok", (48, 40, RED)),
    ("no_frame.jpg", lambda: encode(picture(), "JPEG").replace(b"\xff\xc0", b"\xff\xfe"), "unreadable", NO_FORMAT),
    ("segments.jpg", lambda: jpeg_with(segment(0xE5, b"") * 5000), "ok", (48, 40, RED)),
    ("empty_segment.jpg", lambda: jpeg_with(b"\xff\xe5\0\0"), "ok", (48, 40, RED)),
    # TIFF
    ("numbers_I.tif", lambda: encode(Image.new("I", (8, 8)), "TIFF"), "unreadable", "mode 'I' have no defined white"),
    ("numbers_F.tif", lambda: encode(Image.new("F", (8, 8)), "TIFF"), "unreadable", "mode 'F' have no defined white"),
    ("circle.tif", lambda: grey_tiff((273, 1, -1), (279, 1, 256), data=bytes(256), following=8), "ok", (16, 16, BLACK)),
    (
        "strips.tif",
        lambda: encode(picture(size=(50, 5000)), "TIFF", compression="tiff_lzw", strip_size=150),
        "ok",
        (50, 5000, RED),
    ),
    ("jpeg_inside.tif", lambda: encode(picture(), "TIFF", compression="jpeg"), "ok", (48, 40, RED)),
    ("fax.tif", lambda: encode(picture(WHITE, "1"), "TIFF", compression="group4"), "ok", (48, 40, WHITE)),
    ("no_entries.tif", lambda: tiff(), "unreadable", NO_FORMAT),
    ("far.tif", lambda: b"II*\0" + struct.pack("<I", 2**31), "unreadable", NO_FORMAT),
    ("far_strip.tif", lambda: grey_tiff((273, 1, 10**9), (279, 1, 256)), "unreadable", CUT),
    ("large_tile.tif", lambda: tiled_tiff(4096, zeros(4096**2)), "ok", (16, 16, BLACK)),
    ("pages.tif", lambda: film("TIFF"), "ok", (48, 40, RED)),
    # GIF, WEBP, AVIF, BMP, PPM, and what is not read
    ("film.gif", lambda: film("GIF"), "ok", (48, 40, RED)),
    ("film.webp", lambda: film("WEBP"), "ok", (48, 40, RED)),
    ("film.avif", lambda: film("AVIF"), "ok", (48, 40, RED)),
    ("frame_outside.gif", lambda: gif((8, 8), (100, 100, 8, 8)), "ok", (108, 108, None)),
    ("frame_huge.gif", lambda: gif((8, 8), (0, 0, 60_000, 60_000)), "unreadable", BOMB),
    ("no_frame.gif", lambda: gif((8, 8)), "unreadable", NO_FORMAT),
    ("other_canvas.webp", lambda: webp_canvas(20, 10), "ok", (20, 10, None)),
    ("clear.webp", lambda: encode(Image.new("RGBA", (48, 40), (*RED, 0)), "WEBP"), "ok", (48, 40, WHITE)),
    ("other_size.avif", lambda: avif_announcing(24), "ok", (24, 24, RED)),
    ("no_pixels.jp2", lambda: jpeg2000(64), "unreadable", NO_FORMAT),
    ("upside_down.bmp", lambda: bmp(2, -2, bytes(16)), "ok", (2, 2, BLACK)),
    ("runs.bmp", lambda: bmp(8, 8, b"\x08\0\0\0" * 8 + b"\0\1", 1, 8), "ok", (8, 8, RED)),
    ("jumps.bmp", lambda: bmp(1000, 1000, b"\0\2\xff\xff" * 50 + b"\0\1", 1, 8), "ok", (1000, 1000, RED)),
    ("numbers.pfm", lambda: b"Pf\n4 4\n-1.0\n" + bytes(64), "unreadable", "mode 'F' have no defined white"),
    ("words.ppm", lambda: b"P3 2 1 255 255 0 zero", "unreadable", "invalid literal for int"),
    ("comment.ppm", lambda: b"P6\n#" + b"a" * 20_000 + b"\n2 1\n255\n" + bytes(RED) * 2, "ok", (2, 1, RED)),
]

# The same, where the package does not yet do what it promises; and why.


# The name of a file; what makes it at a place; its status; the reason.
PLACES = [
    ("pipe.png", os.mkfifo, "unreadable", "no regular file"),
    ("socket.png", lambda place: os.mknod(place, stat.S_IFSOCK | 0o600), "unreadable", "no regular file"),
    ("zero.png", lambda place: place.symlink_to("/dev/zero"), "unreadable", "no regular file"),
    ("folder.png", Path.mkdir, "unreadable", "no regular file"),
    ("circle.png", lambda place: place.symlink_to(place), "unreadable", "its file cannot be read: .*symbolic links"),
    ("dangling.png", lambda place: place.symlink_to("absent"), "unreadable", "its file cannot be read: .*No such file"),
    ("nul\0.png", lambda place: None, "unreadable", "its file cannot be read: embedded null byte"),
]
if os.geteuid():  # whom no permission keeps out
    PLACES.append(("locked.png", lambda place: place.touch(0), "unreadable", "its file cannot be read: .*denied"))
BY_PATH = ("folder.png", "nul\0.png")  # a row of a table may name it; in a folder of pictures it is none
NAMES = [
    "two words.png",
    "line\nbreak.png",
    "fox \U0001f98a.png",
    "$_$.png",
    "=1+1.png",
    "<script>alert(1)<&.png",
    "-rf.png",
    "\u202egnp.png",
    "[0-9]*?.png",
    "100%s{0}.png",
    "quote'\".png",
    "back\\slash.png",
    "no_ending",
    "a" * 251 + ".png",
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("itemkit.data.images.DECODE_SECONDS", DECODE_SECONDS)


def inspected(encoded: bytes | None = None, path: Path | None = None):
    start = time.thread_time()
    table = inspect_images([{"image": {"bytes": encoded, "path": path and str(path)}}])
    assert len(table) == 1 and time.thread_time() - start < SECONDS
    return table.iloc[0]


def check(row, status: str, expected: str | tuple):
    assert row["status"] == status, row["reason"]
    if status == "unreadable":
        assert re.search(expected, row["reason"], re.DOTALL) and "0x" not in row["reason"]
        assert (row["width"], row["height"], row["pixel_hash"]) == (0, 0, "")
    else:
        assert (row["width"], row["height"], row["reason"]) == (*expected[:2], "")


# one by one


@pytest.mark.parametrize(
    ("name", "make", "status", "expected"),
    FILES,
    ids=[row[0] for row in FILES],
)
def test_each_file_has_the_outcome_that_is_stated(name, make, status, expected):
    encoded = make()
    check(inspected(encoded), status, expected)
    if status == "ok" and expected[2]:
        middle = decode_image(encoded).getpixel((expected[0] // 2, expected[1] // 2))
        np.testing.assert_allclose(middle, expected[2], atol=8)  # what JPEG changes


@pytest.mark.parametrize(("name", "make", "status", "expected"), PLACES, ids=[repr(row[0]) for row in PLACES])
def test_each_place_has_the_outcome_that_is_stated(tmp_path, name, make, status, expected):
    make(tmp_path / name)
    check(inspected(path=tmp_path / name), status, expected)


def test_what_is_called_foreign_is_what_pillow_reads_by_itself():
    found = {}
    for name, make in FOREIGN.items():
        with Image.open(io.BytesIO(make())) as image:
            found[name] = image.format
    assert found == dict(zip(FOREIGN, FOREIGN, strict=True)) and not set(FOREIGN) & set(FORMATS)


def test_no_program_is_started_for_any_file(monkeypatch):
    started = []

    def start(*arguments, **options):
        started.append(arguments[0])
        raise OSError("a program was started")

    for name in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"):
        monkeypatch.setattr(name, start)
    for make in FOREIGN.values():
        assert inspected(make())["status"] == "unreadable"
    assert not started
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with pytest.raises(OSError, match="Ghostscript"):
        Image.open(io.BytesIO(FOREIGN["EPS"]())).load()
    assert started  # which Pillow would do, were its formats not limited


# all at once


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """All files in one data set, and the status of each by its name."""
    files = {name: make() for name, make, *_ in FILES}
    files |= {name: encode(make_picture(100 + place)) for place, name in enumerate(NAMES)}
    files = {f"{('real', 'sdxl')[place % 2]}/{name}": files[name] for place, name in enumerate(files)}
    root = folder_card(tmp_path_factory.mktemp("corpus") / "card", files)
    for name, make, *_ in PLACES:
        make(root / "real" / name)
    card = read_card(root)
    images = load_images(card)
    others = datasets.Dataset.from_dict(
        {"image": [str(root / "real" / name) for name in BY_PATH]}, features=images.select_columns("image").features
    )
    more = [images[0] | row for row in identified(card, others)]
    images = datasets.concatenate_datasets([images, datasets.Dataset.from_list(more, features=images.features)])
    status = dict.fromkeys(NAMES, "ok") | {name: status for name, _, status, _ in [*FILES, *PLACES]}
    return images, status


def names_of(images) -> list[str]:
    return [Path(row["image"]["path"]).name for row in images.select_columns("image")]


def test_all_files_in_one_run_are_one_row_each_and_the_stages_agree(corpus, networks, tiny_spacy, tmp_path):
    images, status = corpus
    names = names_of(images)
    assert sorted(names) == sorted(status)
    found = inspect(images, tmp_path)
    assert found["image_id"].tolist() == images["image_id"][:]
    assert dict(zip(names, found["status"], strict=True)) == status
    described = describe(images, networks[0], tiny_spacy, tmp_path)
    assert described["image_id"].tolist() == images["image_id"][:]
    for column in ("status", "reason"):
        assert described[column].tolist() == found[column].tolist()
    assert described.loc[described["status"] == "ok", "caption"].ne("").all()
    assert described.loc[described["status"] != "ok", "caption"].eq("").all()


def test_all_files_are_one_row_of_each_track(corpus):
    images, status = corpus
    names, ids = names_of(images), images["image_id"][:]
    both = on_tracks(images, ["aligned", "raw"], 32)
    assert both["track"][:] == ["aligned"] * len(names) + ["raw"] * len(names)
    assert both["image_id"][len(names) :] == ids and names_of(both.select(range(len(names), len(both)))) == names
    for name, before, row in zip(names, ids, both.select(range(len(names))), strict=True):
        if status[name] == "ok":
            assert row["image_id"] == image_id(row["image"]["bytes"]) != before
            assert decode_image(row["image"]["bytes"]).size == (32, 32)
        else:
            assert row["image_id"] == before and Path(row["image"]["path"]).name == name


# memory

MEASURE = """
import re, resource, sys
from pathlib import Path
from itemkit.data.images import UnreadableImage, decode_image, encoded_bytes

def most():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
before = most()
try:
    decode_image(encoded_bytes({"bytes": None, "path": sys.argv[1]}))
    print("ok", most() - before)
except UnreadableImage as error:
    print("unreadable", most() - before)
"""


def megabytes(path: Path) -> tuple[str, int]:
    """The status of a file, and what decoding it takes at most, in a process that has four gigabytes."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    status, most = done.stdout.split()
    return status, int(most)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "make", "side"),
    [
        ("below.webp", lambda: webp_canvas(9450, 9450), 9450),
        ("precincts.jp2", lambda: jpeg2000(700, 0), 700),
        ("tile.tif", lambda: tiled_tiff(13_000, zeros(13_000**2)), 16),
    ],
)
def test_memory_is_bounded_by_the_pixels_that_the_header_announces(tmp_path, name, make, side):
    (tmp_path / name).write_bytes(make())
    _, most = megabytes(tmp_path / name)
    assert most < 128 + 16 * side**2 / MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
def test_a_file_larger_than_memory_is_unreadable(tmp_path):
    with (tmp_path / "endless.png").open("wb") as file:
        file.truncate(8 * 2**30)  # of nothing, which takes no place
    status, _ = megabytes(tmp_path / "endless.png")
    assert status == "unreadable"


# networks


def thread(width: int) -> datasets.Dataset:
    """A picture one pixel high."""
    encoded = encode(picture(size=(width, 1)))
    rows = [{"image": {"bytes": encoded, "path": None}, "image_id": image_id(encoded)}]
    return datasets.Dataset.from_list(rows).cast_column("image", datasets.Image(decode=False))


def words_of(images: datasets.Dataset) -> pd.DataFrame:
    table = pd.DataFrame({"image_id": images["image_id"][:], "caption": "a dog", "status": "ok", "reason": ""})
    return table.assign(phrases=[["dog"]])


def test_grounding_dino_takes_a_picture_that_is_a_thread(tiny_grounding_dino):
    images = thread(60)
    boxes = locate(images, words_of(images), ObjectLocator(tiny_grounding_dino, threshold=0), None)
    assert boxes["image_id"].isin(images["image_id"]).all()


def test_clip_takes_a_picture_that_is_a_thread(networks):
    images = thread(100)
    boxes = pd.DataFrame(columns=["image_id", "phrase", *BOX])
    vectors, _ = embed(images, words_of(images), boxes, networks[2], None)
    assert vectors["image_id"].tolist() == images["image_id"][:]
