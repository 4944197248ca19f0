"""Every network that a profile names, at its real size with random weights: each wrapper says what the library says.

Not part of the usual run, since it takes about half an hour, 10 GB of memory and 2 GB of disk at a time:
    ./run_all.sh test -m full_size tests/test_full_size.py [--photographs FOLDER]
"""

import dataclasses
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from conftest import encode, make_picture
from test_captions import caption_by_hand
from test_embed import vectors_by_hand
from test_locate import find_by_hand

from itemkit.captions import Captioner
from itemkit.data.load import decode_image, image_id
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator
from itemkit.pipeline import describe, embed, locate
from itemkit.running.needs import known_networks
from itemkit.running.random_networks import save_real_size

pytestmark = pytest.mark.full_size
NETWORKS = list(known_networks())
CAPTIONERS = [name for name in NETWORKS if "blip" in name]
LOCATORS = [name for name in NETWORKS if "owl" in name or "dino" in name]
ENCODERS = [name for name in NETWORKS if name.startswith("timm/")]
PHRASES = [["car", "tree"], ["snow"], ["house", "red car"]]


@pytest.fixture(scope="module")
def pictures(request):
    """Three pictures of different sizes: photographs if a folder of them is given."""
    folder = request.config.getoption("--photographs")
    if folder is None:
        return [make_picture(seed, 640 - 100 * seed, 480) for seed in range(3)]
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [decode_image(file.read_bytes()) for file in files[:3]]


@pytest.fixture
def folder(request, tmp_path):
    """The network, saved; removed after its test, since it takes up to 2 GB."""
    yield save_real_size(request.param, tmp_path / "network")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_size_is_that_of_the_hub(name, tmp_path):
    folder = save_real_size(name, tmp_path)
    gigabytes = sum(path.stat().st_size for path in folder.rglob("*")) / 1e9
    told = known_networks()[name]["gigabytes"]
    if "blip" in name:
        gigabytes += 30524 * 768 * 4 / 1e9  # the hub's file holds the word vectors twice, as input and as output
    shutil.rmtree(tmp_path)
    assert gigabytes == pytest.approx(told, abs=0.035)  # SigLIP 2's own tokenizer takes 34 MB


@pytest.mark.parametrize("folder", CAPTIONERS, indirect=True)
def test_captions(folder, pictures):
    captioner = Captioner(folder, batch_size=2, max_new_tokens=12)
    captions = captioner(pictures)
    assert captions == [caption_by_hand(folder, picture, 12) for picture in pictures]
    assert len(set(captions)) == 3


@pytest.mark.parametrize("folder", LOCATORS, indirect=True)
def test_boxes(folder, pictures):
    locator = ObjectLocator(folder, threshold=0, batch_size=2)
    found = locator(pictures, PHRASES)
    differences = []
    for picture, phrases, boxes in zip(pictures, PHRASES, found, strict=True):
        for phrase, (box, score) in zip(phrases, boxes, strict=True):
            expected, expected_score = find_by_hand(folder, picture, phrase)
            differences.append((np.abs(np.subtract(box, expected)).max(), abs(score - expected_score)))
    print("largest difference of a box in pixels, of a score:", *np.max(differences, axis=0))
    assert np.max(differences, axis=0) == pytest.approx([0, 0], abs=1e-4)


@pytest.mark.parametrize("folder", ENCODERS, indirect=True)
def test_vectors(folder, pictures):
    encoder, texts = ClipEncoder(folder, batch_size=2), ["a red car next to a tree", "snow", "house"]
    float32 = encoder.images(pictures), encoder.texts(texts)
    for vectors, expected in zip(float32, vectors_by_hand(folder, pictures, texts), strict=True):
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    half = dataclasses.replace(encoder, dtype="bfloat16")
    for kind, vectors, expected in zip(
        ("images", "texts"), (half.images(pictures), half.texts(texts)), float32, strict=True
    ):
        cosine = (vectors * expected).sum(axis=1)
        print(
            f"bfloat16 against float32, {kind}: cosine {cosine.min():.6f}, difference {np.abs(vectors - expected).max():.4f}"
        )
        assert cosine.min() > 0.999
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_all_stages_with_bfloat16_vectors_and_a_second_time_from_the_cache(pictures, tiny_spacy, tmp_path):
    names = (CAPTIONERS[0], LOCATORS[0], ENCODERS[1])
    folders = [save_real_size(name, tmp_path / str(place)) for place, name in enumerate(names)]
    files = [encode(picture) for picture in pictures]
    rows = [{"image": {"bytes": file, "path": None}, "image_id": image_id(file)} for file in files]
    images = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image(decode=False))

    def stages():
        captioner = Captioner(folders[0], batch_size=2, max_new_tokens=12)
        locator = ObjectLocator(folders[1], threshold=0, batch_size=2)
        encoder = ClipEncoder(folders[2], batch_size=2, dtype="bfloat16")
        captions = describe(images, captioner, tiny_spacy, tmp_path / "cache")
        captions["phrases"] = PHRASES  # random captions name nothing
        boxes = locate(images, captions, locator, tmp_path / "cache")
        tables = captions, boxes, *embed(images, captions, boxes, encoder, tmp_path / "cache")
        return tables, ["_network" in vars(one) for one in (captioner, locator, encoder)]

    first, loaded = stages()
    assert loaded == [True] * 3
    assert first[0].status.eq("ok").all() and len(first[1]) == 5 and len(first[2]) == 8
    again, loaded = stages()
    assert loaded == [False] * 3
    for one, other in zip(again, first, strict=True):
        assert one.to_json() == other.to_json()
    shutil.rmtree(tmp_path)
