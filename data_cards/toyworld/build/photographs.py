"""How near the texture of real scenes comes to that of photographs: `python photographs.py FOLDER`, of JPEG files."""

import argparse
from pathlib import Path

import numpy as np
from measure import aligned_files
from PIL import Image

from itemkit.data.images import decode_image
from itemkit.data.load import encoded_bytes, load_images, read_card

CARD = Path(__file__).resolve().parents[1]


def row(name: str, pictures: list[Image.Image]) -> str:
    """Quartiles of bytes, and the mean share of energy in the upper half of frequencies, of files made alike."""
    size, high_frequencies = aligned_files(pictures)
    low, median, high = np.percentile(size, [25, 50, 75])
    return f"| {name} | {len(size)} | {median:.0f} ({low:.0f} to {high:.0f}) | {high_frequencies.mean():.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of photographs, at any depth")
    files = sorted(parser.parse_args().folder.rglob("*.jpg"))
    print("| pictures | number | bytes: median (half of them) | high frequencies |\n|---|---|---|---|")
    real = load_images(read_card(CARD), generators=[])["image"]
    print(row("real scenes", [decode_image(encoded_bytes(image)) for image in real]))
    print(row("photographs", [decode_image(file.read_bytes()) for file in files]))


if __name__ == "__main__":
    main()
