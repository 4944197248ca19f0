"""Data sets of which nothing, or hardly anything, is left: each notebook says so in a sentence, or goes on."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_cells import run_cells
from test_field import folder_card, long_card, png, rows

from itemkit.captions import object_phrases
from itemkit.data.cards import read_card
from itemkit.data.images import decode_image, encoded_bytes
from itemkit.data.load import load_images
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator
from itemkit.pipeline import describe, embed, locate

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run_until(number, card, networks, tiny_spacy, folder):
    captioner, locator, encoder = networks
    values = {"results": str(folder / "results"), "cache": str(folder / "cache"), "card": str(card)}
    values |= {"captioner": str(captioner.name), "locator": str(locator.name), "encoder": str(encoder.name)}
    values |= {"nouns": str(tiny_spacy), "box_threshold": locator.threshold, "seeds": [0], "draws": 50, "shown": 3}
    for notebook in sorted(NOTEBOOKS.glob("0[0-9]_*.ipynb"))[:number]:
        print(notebook.stem)
        run_cells(notebook, values)


def broken(folder):
    return {f"{folder}/{seed}.png": b"no picture" + bytes([seed]) for seed in range(60)}


def fine(folder, start):
    return {f"{folder}/{seed}.png": png(start + seed) for seed in range(60)}


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (broken("real") | broken("sdxl"), "real"),
        (broken("real") | fine("sdxl", 0), "real"),
        (fine("real", 0) | broken("sdxl"), "sdxl"),
    ],
)
def test_a_source_of_which_nothing_can_be_read_ends_the_first_notebook(files, source, networks, tiny_spacy, tmp_path):
    card = folder_card(tmp_path / "card", files)
    with pytest.raises(
        ValueError, match=f"none of the 60 pictures of {source} can be read; the first is .* no image format"
    ):
        run_until(1, card, networks, tiny_spacy, tmp_path)
    assert not (tmp_path / "results" / "images.parquet").exists()


def test_a_table_without_a_row_or_without_one_of_a_generator_is_named(tmp_path):
    for place, table in (("none", rows()), ("half", rows(png(0), png(1)).assign(generator="real"))):
        card = read_card(long_card(tmp_path / place, table))
        with pytest.raises(ValueError, match=f"card {place}.* no picture is of|card none.* cannot read .*no data"):
            load_images(card)


def test_stages_without_images_say_so_and_with_unreadable_ones_alone_go_on(images, networks, tiny_spacy):
    captioner, locator, encoder = networks
    with pytest.raises(ValueError, match="describe: there are no images; expected at least one"):
        describe(images.select([]), captioner, tiny_spacy, None)
    lost = images.select([4, 5])
    captions = describe(lost, captioner, tiny_spacy, None)
    assert captions.status.eq("unreadable").all()
    boxes = locate(lost, captions, locator, None)
    vectors, texts = embed(lost, captions, boxes, encoder, None)
    assert not len(boxes) and not len(vectors) and not len(texts)
    assert list(vectors) == ["image_id", "part", "vector"] and list(texts) == ["text", "vector", "cut"]


def test_a_caption_of_thousands_of_words_and_a_picture_of_thousands_of_boxes_are_bounded(
    images, networks, tiny_spacy, monkeypatch
):
    _, locator, encoder = networks
    one = images.select([0])
    phrases = [f"w{number}" for number in range(2000)]
    captions = pd.DataFrame({"image_id": one["image_id"], "caption": ["car " * 2500], "phrases": [phrases]})
    captions = captions.assign(status="ok", reason="")
    assert object_phrases(captions["caption"].tolist(), tiny_spacy) == [[" ".join(["car"] * 2500)]]
    asked = []
    scores = ObjectLocator._scores
    monkeypatch.setattr(
        ObjectLocator, "_scores", lambda self, grid, queries: asked.append(len(queries)) or scores(self, grid, queries)
    )
    boxes = locate(one, captions, dataclasses.replace(locator, threshold=0.0), None)
    assert len(boxes) == 2000 and max(asked) == 256
    many = pd.concat([boxes.assign(phrase=boxes.phrase + str(copy)) for copy in range(3)], ignore_index=True).head(5000)
    crops, whole = [], ClipEncoder.images
    monkeypatch.setattr(ClipEncoder, "images", lambda self, some: crops.append(len(some)) or whole(self, some))
    with pytest.warns(UserWarning, match="exceed the 77 tokens"):
        vectors, _ = embed(one, captions, many, encoder, None)
    assert len(vectors) == 5001 and max(crops) == encoder.batch_size


def test_queries_asked_some_at_a_time_find_the_same(images, networks, monkeypatch):
    locator = dataclasses.replace(networks[1], threshold=0.0)
    pictures = [decode_image(encoded_bytes(images[row]["image"])) for row in range(3)]
    phrases = [["car", "tree", "red boat"], ["house"], ["tree", "sky", "dog", "cat"]]
    together = locator(pictures, phrases)
    monkeypatch.setattr("itemkit.locate.QUERIES", 2)
    for found, expected in zip(itertools.chain(*locator(pictures, phrases)), itertools.chain(*together), strict=True):
        np.testing.assert_allclose([*found[0], found[1]], [*expected[0], expected[1]], atol=1e-3)
