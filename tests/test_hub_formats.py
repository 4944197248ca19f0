"""The repositories of the hub hold files that older versions of transformers wrote: they must load to the same network."""

import json
import shutil

import numpy as np
import pytest
from conftest import make_picture, save_tiny_owl

from itemkit.captions import Captioner
from itemkit.locate import ObjectLocator

PICTURES = [make_picture(seed, 48 + 8 * seed, 64 - 8 * seed) for seed in range(3)]
PHRASES = [["car", "tree"], ["a house"], ["boat"]]
NEW = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json")


@pytest.fixture
def as_on_the_hub(tmp_path):
    """A function that copies a network and writes its processor and tokenizer anew, in the files given."""

    def rewrite(folder, files: dict[str, dict | str], drop: tuple[str, ...] = ()):
        copy = shutil.copytree(folder, tmp_path / "copy")
        for name in (*NEW, *drop):
            (copy / name).unlink(missing_ok=True)
        for name, content in files.items():
            (copy / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return copy

    return rewrite


def pixels(folder) -> dict:
    """What the folder's processor says of mean, deviation and size."""
    saved = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    return {name: saved[name] for name in ("image_mean", "image_std", "size")}


def owl_files(folder, family: str) -> dict:
    """As google/owlvit-base-patch32 and google/owlv2-base-patch16-ensemble: vocabulary and merges, no tokenizer.json."""
    facts, vocabulary = pixels(folder), json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokenizer = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": 16}
    tokenizer |= {"pad_token": "<pad>", "tokenizer_class": "CLIPTokenizer", "processor_class": "OwlViTProcessor"}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    if family == "owlvit":
        form = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        tokenizer |= {name: form | {"content": content} for name, content in special.items()}
        size = facts["size"]["height"]
        preprocessor = facts | {
            "feature_extractor_type": "OwlViTFeatureExtractor",
            "processor_class": "OwlViTProcessor",
        }
        preprocessor |= {"size": [size, size], "crop_size": size, "do_center_crop": False, "resample": 3}
    else:
        tokenizer |= special | {"processor_class": "Owlv2Processor", "tokenizer_file": "/home/someone/tokenizer.json"}
        form = {"lstrip": False, "rstrip": False, "single_word": False, "special": False, "normalized": False}
        tokenizer["added_tokens_decoder"] = {
            str(vocabulary[content]): form | {"content": content} for content in ("<|startoftext|>", "<|endoftext|>")
        }
        preprocessor = facts | {"image_processor_type": "Owlv2ImageProcessor", "processor_class": "Owlv2Processor"}
        preprocessor |= {"do_pad": True, "resample": 2, "rescale_factor": 1 / 255}
    files = {"preprocessor_config.json": preprocessor, "tokenizer_config.json": tokenizer}
    files |= {"special_tokens_map.json": special | {"pad_token": "<pad>"}}
    return files | {"vocab.json": vocabulary, "merges.txt": "#version: 0.2\n"}


@pytest.mark.parametrize("family", ["owlvit", "owlv2"])
def test_owl(family, as_on_the_hub, tmp_path):
    folder = save_tiny_owl(tmp_path / "new", family)
    old = as_on_the_hub(folder, owl_files(folder, family), drop=("tokenizer.json",))
    new, same = (ObjectLocator(place, threshold=0)(PICTURES, PHRASES) for place in (folder, old))
    for some, others in zip(new, same, strict=True):
        for (box, score), (other_box, other_score) in zip(some, others, strict=True):
            np.testing.assert_allclose(box, other_box, atol=1e-4)
            assert score == pytest.approx(other_score, abs=1e-6)


BERT = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}


def bert_files(folder) -> dict:
    """As Salesforce/blip-image-captioning-base and IDEA-Research/grounding-dino-tiny: vocab.txt beside tokenizer.json."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokenizer = BERT | {"do_basic_tokenize": True, "do_lower_case": True, "model_max_length": 512, "never_split": None}
    tokenizer |= {"strip_accents": None, "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer"}
    return {
        "tokenizer_config.json": tokenizer,
        "special_tokens_map.json": BERT,
        "vocab.txt": "\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n",
    }


def test_blip(tiny_captioner, as_on_the_hub):
    preprocessor = pixels(tiny_captioner) | {"do_normalize": True, "do_resize": True}
    preprocessor |= {"image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor"}
    old = as_on_the_hub(tiny_captioner, bert_files(tiny_captioner) | {"preprocessor_config.json": preprocessor})
    assert Captioner(old)(PICTURES) == Captioner(tiny_captioner)(PICTURES)


def test_weights_that_are_held_twice_and_numbers_of_positions_do_not_disturb(tiny_captioner, as_on_the_hub, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(tiny_captioner, tmp_path / "twice")
    weights = load_file(copy / "model.safetensors")
    words = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights["text_decoder.cls.predictions.decoder.weight"] = weights[words].clone()
    weights["text_decoder.bert.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert Captioner(copy)(PICTURES) == Captioner(tiny_captioner)(PICTURES)


def test_grounding_dino(tiny_grounding_dino, as_on_the_hub):
    preprocessor = pixels(tiny_grounding_dino) | {"do_normalize": True, "do_pad": True, "format": "coco_detection"}
    preprocessor |= {"image_processor_type": "GroundingDinoImageProcessor", "processor_class": "GroundingDinoProcessor"}
    preprocessor |= {"resample": 2, "rescale_factor": 1 / 255}
    files = bert_files(tiny_grounding_dino) | {"preprocessor_config.json": preprocessor}
    old = as_on_the_hub(tiny_grounding_dino, files)
    assert ObjectLocator(old)(PICTURES, PHRASES) == ObjectLocator(tiny_grounding_dino)(PICTURES, PHRASES)
