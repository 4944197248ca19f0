"""Words drawn into pictures: what captioner and detector make of them. Prints the table of the card; trains nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from world import NOUNS

from itemkit.data.load import decode_image, encoded_bytes, load_images, read_card
from itemkit.detector import Detector

CARD = Path(__file__).resolve().parents[1]
DETECTOR = CARD.parents[1] / "results" / "reference" / "detector"
KINDS = ("letters", "upside down", "on a dark bar")


def real_pictures() -> list[Image.Image]:
    """Those of the test split."""
    images = load_images(read_card(CARD), splits=["test"], generators=[])
    return [decode_image(encoded_bytes(image)) for image in images["image"]]


def written(picture: Image.Image, word: str, kind: str) -> Image.Image:
    """The picture with a word in white letters along its lower edge, one of KINDS."""
    changed, font = picture.copy(), ImageFont.load_default(14)
    band = Image.new("L", (picture.width, 18))
    ImageDraw.Draw(band).text((picture.width // 2, 9), word, fill=255, font=font, anchor="mm")
    band = band.rotate(180) if kind == "upside down" else band
    place = (0, picture.height - band.height)
    if kind == "on a dark bar":
        changed.paste((16, 16, 16), (*place, *picture.size))
    changed.paste((255, 255, 255), (*place, *picture.size), band)
    return changed


def measure(detector: Detector, pictures: list[Image.Image], seed: int = 0) -> pd.DataFrame:
    """Shares of captions that change and that name the word, and how many real pictures pass as generated, by kind.

    Each picture gets the name of an object that its caption does not name, the same for each kind.
    """
    random, before = np.random.default_rng(seed), detector(pictures)
    words = [random.choice([noun for noun in NOUNS if noun not in verdict.caption]) for verdict in before]
    rows = []
    for kind in KINDS:
        after = detector([written(*one, kind) for one in zip(pictures, words, strict=True)])
        both = list(zip(before, after, words, strict=True))
        rows.append(
            {
                "a word": kind,
                "caption changes": np.mean([old.caption != new.caption for old, new, _ in both]),
                "caption names it": np.mean([word in new.caption for _, new, word in both]),
                "real before": sum(old.answer == "real" for old, _, _ in both),
                "of these generated": sum((old.answer, new.answer) == ("real", "generated") for old, new, _ in both),
                "of these undecided": sum((old.answer, new.answer) == ("real", "undecided") for old, new, _ in both),
            }
        )
    return pd.DataFrame(rows)


def table(measured: pd.DataFrame) -> str:
    """As the card has it."""
    lines = [measured.columns, ["---"] * measured.shape[1]]
    lines += [
        [f"{value:.2f}" if isinstance(value, float) else value for value in row]
        for row in measured.itertuples(index=False)
    ]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    print(table(measure(Detector.from_pretrained(DETECTOR), real_pictures())))
