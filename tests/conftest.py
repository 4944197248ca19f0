"""Tiny networks with random weights, in the formats their libraries write, and a tiny data set with its card."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

HOME = tempfile.TemporaryDirectory(prefix="itemkit-tests-")
os.environ["HF_HOME"] = HOME.name  # no test writes beside the user's own downloads
os.environ["HF_HUB_OFFLINE"] = "1"  # and none needs the hub

NOUNS = ("car", "tree", "house", "boat", "snow")
ADJECTIVES = ("red", "green", "blue")
OTHERS = ("a", "the", "next", "to", "in", "and")
HALF = [0.5, 0.5, 0.5]
SQUARE = {"height": 64, "width": 64}


def make_picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """A smooth RGB picture, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def letter_tokenizer(length: int):
    """A tokenizer in the format of CLIP's that spells every word: the start is not 0, the end is the highest number."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["<pad>", *letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<pad>", model_max_length=length)


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory) -> Path:
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers import BlipImageProcessorPil as Pixels

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NOUNS, *ADJECTIVES, *OTHERS]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    spread = {"initializer_range": 0.5}  # wide enough that different pictures have different captions
    text = size | spread | {"vocab_size": len(words), "max_position_embeddings": 12}
    text |= {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0, "encoder_hidden_size": 32}
    vision = size | spread | {"image_size": 64, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    folder = tmp_path_factory.mktemp("captioner")
    network.save_pretrained(folder)
    BlipProcessor(Pixels(size=SQUARE, image_mean=HALF, image_std=HALF), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory) -> Path:
    import torch
    from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTProcessor
    from transformers import OwlViTImageProcessorPil as Pixels

    tokenizer = letter_tokenizer(16)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = size | {"vocab_size": len(tokenizer), "max_position_embeddings": 16}
    vision = size | {"image_size": 64, "patch_size": 16}
    config = OwlViTConfig(text_config=text, vision_config=vision, projection_dim=32, initializer_range=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = OwlViTForObjectDetection(config)
        with torch.no_grad():  # logits are plain cosines: scores spread around 0.5
            network.class_head.logit_scale.weight.zero_(), network.class_head.logit_scale.bias.zero_()
            network.class_head.logit_shift.weight.zero_(), network.class_head.logit_shift.bias.zero_()
    folder = tmp_path_factory.mktemp("detector")
    network.save_pretrained(folder)
    pixels = Pixels(size=SQUARE, image_mean=HALF, image_std=HALF, do_center_crop=False)
    OwlViTProcessor(pixels, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    import json

    import torch
    from open_clip import CLIP
    from safetensors.torch import save_file

    tokenizer = letter_tokenizer(77)
    text = {"context_length": 77, "vocab_size": len(tokenizer), "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    folder = tmp_path_factory.mktemp("clip")
    text |= {"hf_tokenizer_name": "local", "tokenizer_kwargs": {"clean": "lower"}}
    pixels = {"size": 64, "mean": HALF, "std": HALF, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)
    return folder


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


CARD = """---
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
""" + "".join(
    f"\n## {name}\nA true sentence.\n"
    for name in ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance")
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
    from itemkit.data import load_images, read_card

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
