"""Tiny networks with random weights, in the formats their libraries write, and a tiny data set with its card."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from stand_in_hub import StandInHub

from itemkit.running.random_networks import (
    ADJECTIVES,
    HALF,
    NOUNS,
    letter_tokenizer,
    save_blip,
    save_clip,
    save_grounding_dino,
    save_owl,
    word_tokenizer,
)

HOME = tempfile.TemporaryDirectory(prefix="itemkit-tests-")
HUB = StandInHub()
os.environ |= {"HF_HOME": HOME.name, "HF_DATASETS_CACHE": HOME.name}  # no test writes beside the user's own downloads
os.environ |= {"HF_ENDPOINT": HUB.address, "HF_HUB_DISABLE_XET": "1"}  # and none needs the hub
os.environ.pop("HF_HUB_OFFLINE", None)


def make_picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """A smooth RGB picture, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def pytest_addoption(parser):
    parser.addoption("--photographs", metavar="FOLDER", help="of pictures for the tests marked full_size")


def pytest_collection_modifyitems(items):
    """Files that take longest begin: where each core takes a file at a time, none is left with a long one at the end."""
    longest = ("test_whole_run", "test_shapes", "test_toyworld", "test_run")
    items.sort(key=lambda item: longest.index(item.path.stem) if item.path.stem in longest else len(longest))


@pytest.fixture
def hub():
    """A hub that holds nothing yet."""
    HUB.folders, HUB.gated, HUB.moved, HUB.down, HUB.cut, HUB.asked = {}, set(), "", False, None, []
    yield HUB
    HUB.folders, HUB.down, HUB.cut = {}, False, None


TOWER = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_tiny_blip(folder: Path, said: tuple[str, ...] = ()) -> Path:
    spread = TOWER | {"initializer_range": 0.5}  # wide enough that different pictures have different captions
    tokenizer = word_tokenizer()
    text = spread | {"vocab_size": len(tokenizer), "max_position_embeddings": 12, "encoder_hidden_size": 32}
    text |= {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = {"text_config": text, "vision_config": spread | {"image_size": 64, "patch_size": 16}}
    return save_blip(folder, config, tokenizer, 64, said=said)


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory) -> Path:
    return save_tiny_blip(tmp_path_factory.mktemp("captioner"))


def save_tiny_owl(folder: Path, family: str) -> Path:
    tokenizer = letter_tokenizer(16)
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 16}
    config = {"text_config": text, "vision_config": TOWER | {"image_size": 64, "patch_size": 16}, "projection_dim": 32}
    return save_owl(folder, family, config, tokenizer, 64)


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory) -> Path:
    return save_tiny_owl(tmp_path_factory.mktemp("detector"), "owlvit")


@pytest.fixture(scope="session")
def tiny_grounding_dino(tmp_path_factory) -> Path:
    tokenizer = word_tokenizer(".")
    swin = {"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 2]}
    swin |= {"window_size": 4, "out_features": ["stage2", "stage3"], "out_indices": [2, 3], "initializer_range": 0.3}
    text = TOWER | {"model_type": "bert", "vocab_size": len(tokenizer), "max_position_embeddings": 32}
    config = {
        "backbone_config": swin,
        "text_config": text | {"initializer_range": 0.5},
        "d_model": 32,
        "max_text_len": 16,
    }
    config |= {
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "num_queries": 20,
    }
    config |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_feature_levels": 3, "init_std": 0.2}
    pixels = {"shortest_edge": 64, "longest_edge": 96}
    return save_grounding_dino(tmp_path_factory.mktemp("grounding-dino"), config, tokenizer, pixels)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    tokenizer = letter_tokenizer(77)
    text = {"context_length": 77, "vocab_size": len(tokenizer), "width": 32, "heads": 2, "layers": 1}
    text |= {"hf_tokenizer_name": "local", "tokenizer_kwargs": {"clean": "lower"}}
    vision = {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
    pixels = {"size": 64, "mean": HALF, "std": HALF, "interpolation": "bicubic", "resize_mode": "shortest"}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    return save_clip(tmp_path_factory.mktemp("clip"), model, pixels, tokenizer)


@pytest.fixture(scope="session")
def tiny_spacy(tmp_path_factory) -> Path:
    import spacy

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("attribute_ruler")
    for tag, words in (("NOUN", (*NOUNS, "traffic", "light", "whole")), ("ADJ", ADJECTIVES)):
        ruler.add([[{"LOWER": {"IN": list(words)}}]], {"POS": tag})
    folder = tmp_path_factory.mktemp("spacy")
    pipeline.to_disk(folder)
    return folder


ANSWERED = "".join(
    f"\n## {section}\nA true sentence.\n"
    for section in ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance")
)

CARD = (
    """---
license: cc0-1.0
configs:
- config_name: default
  data_files: images.parquet
itemkit:
  repo: .
  revision: local
  layout: long
  columns: {image: image, label: label, generator: generator, content_id: content_id, split: split}
  generators:
  - {name: smooth, family: interpolation, year: 2026}
  - {name: noisy, family: noise, year: 2026}
---
# Tiny
"""
    + ANSWERED
)


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory) -> Path:
    """A card folder: 20 content ids (12 train, 2 validation, 6 test), each with a real image and two generated ones."""
    import datasets

    folder = tmp_path_factory.mktemp("tiny")
    names = ("real", "smooth", "noisy")
    rows = [
        {
            "image": {"bytes": encode(make_picture(3 * content + kind)), "path": None},
            "label": int(kind > 0),
            "generator": name,
            "content_id": f"scene-{content}",
            "split": "train" if content < 12 else "validation" if content < 14 else "test",
        }
        for content in range(20)
        for kind, name in enumerate(names)
    ]
    table = datasets.Dataset.from_pandas(pd.DataFrame(rows)).cast_column("image", datasets.Image(decode=False))
    table.to_parquet(folder / "images.parquet")
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="session")
def tiny_images(tiny_card):
    from itemkit.data.load import load_images, read_card

    return load_images(read_card(tiny_card))


@pytest.fixture(scope="session")
def networks(tiny_captioner, tiny_detector, tiny_clip):
    from itemkit.captions import Captioner
    from itemkit.embed import ClipEncoder
    from itemkit.locate import ObjectLocator

    return Captioner(tiny_captioner), ObjectLocator(tiny_detector, threshold=0.56), ClipEncoder(tiny_clip)


@pytest.fixture(scope="session")
def images(tiny_images):
    """Ten pictures, one of them twice, and two that cannot be read."""
    import datasets

    rows = [tiny_images[index] for index in (*range(9), 3)]
    for name, encoded in (("half", encode(make_picture(99), "JPEG")[:200]), ("none", b"")):
        rows.insert(4, rows[0] | {"image": {"bytes": encoded, "path": None}, "image_id": name})
    return datasets.Dataset.from_list(rows).cast_column("image", datasets.Image(decode=False))


@pytest.fixture(scope="session")
def stages(images, networks, tiny_spacy, tmp_path_factory):
    from itemkit.pipeline import describe, embed, locate

    cache = tmp_path_factory.mktemp("cache")
    captioner, locator, encoder = networks
    captions = describe(images, captioner, tiny_spacy, cache)
    boxes = locate(images, captions, locator, cache)
    return captions, boxes, *embed(images, captions, boxes, encoder, cache)


HUB_CARD = (
    """---
license: cc0-1.0
itemkit:
  repo: {repo}
  revision: unknown
  layout: wide
  columns: {{content_id: caption}}
  generators: [{{name: sdxl, value: sdxl_image}}]
  gigabytes: 4
---
"""
    + ANSWERED
)


@pytest.fixture
def profile_on_hub(hub, tmp_path, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy):
    """A profile whose data set and networks are all on the hub, under ids that no other test fetches."""
    owner = tmp_path.name.replace("_", "-")
    data, card = tmp_path / "data", tmp_path / "card"
    data.mkdir(), card.mkdir()
    (data / "train.parquet").write_bytes(bytes(1000))
    (card / "README.md").write_text(HUB_CARD.format(repo=f"{owner}/data"))
    hub.folders = {
        f"datasets/{owner}/data": data,
        f"models/{owner}/captioner": tiny_captioner,
        f"models/{owner}/locator": tiny_detector,
        f"models/{owner}/encoder": tiny_clip,
    }
    networks = {role: f"{owner}/{role}" for role in ("captioner", "locator", "encoder")}
    revisions = {f"{role}_revision": None for role in networks}
    common = {
        "card": str(card),
        "limit": None,
        "nouns": str(tiny_spacy),
        "device": "cpu",
        "cache": str(tmp_path / "cache"),
    }
    return common | networks | revisions
