import dataclasses
import json
import shutil

import numpy as np
import pytest
from conftest import make_picture, save_tiny_owl

from itemkit.locate import FAMILIES, ObjectLocator

PICTURES = [make_picture(seed, 48 + 8 * seed, 64 - 8 * seed) for seed in range(4)]
PHRASES = [["car", "tree"], ["tree", "red car", "boat"], [], ["house"]]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    if request.param == "grounding-dino":
        return request.getfixturevalue("tiny_grounding_dino")
    return save_tiny_owl(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def locator(folder):
    return ObjectLocator(folder, threshold=0.0, batch_size=3)


def find_by_hand(folder, picture, phrase):
    """One image and one phrase by the library alone: its processor, the network's forward pass, its post-processing."""
    import torch
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    backend = "torchvision" if "Owlv2" in (folder / "config.json").read_text() else "pil"
    processor = AutoProcessor.from_pretrained(folder, backend=backend)
    network = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    text = f"{phrase}." if network.config.model_type == "grounding-dino" else [[phrase]]
    inputs = processor(text=text, images=picture, return_tensors="pt")
    with torch.no_grad():
        output = network(**inputs)
    size = {"threshold": -1, "target_sizes": [(picture.height, picture.width)]}
    (found,) = processor.post_process_grounded_object_detection(output, **size)
    edges = [picture.width, picture.height]
    boxes = found["boxes"].numpy().clip(0, edges * 2)
    scores = np.where((boxes[:, 2:] > boxes[:, :2]).all(axis=1), found["scores"].numpy(), -1)
    return boxes[scores.argmax()], scores.max()


@pytest.fixture(scope="module")
def by_hand(folder):
    return [
        [find_by_hand(folder, picture, phrase) for phrase in some]
        for picture, some in zip(PICTURES, PHRASES, strict=True)
    ]


def test_boxes_equal_the_librarys_own_path_one_by_one(locator, by_hand):
    found = locator(PICTURES, PHRASES)
    assert [len(some) for some in found] == [2, 3, 0, 1]
    for some, expected in zip(found, by_hand, strict=True):
        for (box, score), (expected_box, expected_score) in zip(some, expected, strict=True):
            np.testing.assert_allclose(box, expected_box, atol=1e-4)
            assert score == pytest.approx(expected_score, abs=1e-6)


def test_a_phrase_is_judged_on_its_own(locator):
    alone = locator(PICTURES[:1], [["car"]])[0][0]
    among = locator(PICTURES[:1], [["car", "red car", "tree", "boat"]])[0][0]
    np.testing.assert_allclose(alone[0], among[0], atol=1e-4)
    assert alone[1] == pytest.approx(among[1], abs=1e-6)


def test_batch_size_does_not_matter(locator):
    one_by_one = dataclasses.replace(locator, batch_size=1)(PICTURES, PHRASES)
    for some, others in zip(locator(PICTURES, PHRASES), one_by_one, strict=True):
        for (box, score), (other_box, other_score) in zip(some, others, strict=True):
            np.testing.assert_allclose(box, other_box, atol=1e-4)
            assert score == pytest.approx(other_score, abs=1e-6)


def test_boxes_lie_inside_their_image(locator):
    for picture, some in zip(PICTURES, locator(PICTURES, PHRASES), strict=True):
        for (x0, y0, x1, y1), score in some:
            assert 0 <= x0 <= x1 <= picture.width and 0 <= y0 <= y1 <= picture.height and 0 <= score <= 1


def test_below_the_threshold_there_is_no_box(locator, by_hand):
    scores = sorted(score for some in by_hand for _, score in some)
    threshold = (scores[2] + scores[3]) / 2
    found = dataclasses.replace(locator, threshold=threshold)(PICTURES, PHRASES)
    assert [[one is None for one in some] for some in found] == [[s < threshold for _, s in some] for some in by_hand]


def test_no_phrase_at_all_needs_no_network(tmp_path):
    assert ObjectLocator(tmp_path)(PICTURES, [[]] * 4) == [[]] * 4


def test_a_phrase_too_long_for_the_network_is_cut(locator):
    words = locator._family == "grounding-dino"
    fits = "car tree " * 7 if words else "a house in the sea"  # 14 tokens, a start and an end: 16 positions
    long = locator(PICTURES[:1], [[f"{fits} next to the tree"]])
    assert long == locator(PICTURES[:1], [[fits]])


def test_phrases_and_pictures_have_boxes_of_their_own(locator):
    found = locator(PICTURES[:2], [["car", "house"]] * 2)
    assert len({one for some in found for one in some}) == 4


def test_half_precision_runs(locator):
    assert len(dataclasses.replace(locator, dtype="bfloat16")(PICTURES, PHRASES)) == 4


def test_one_list_of_phrases_for_each_image(locator):
    with pytest.raises(ValueError, match="expected a list of phrases for each image; got 1 for 4 images"):
        locator(PICTURES, [["car"]])


def test_spec_holds_the_threshold(locator):
    assert dataclasses.replace(locator, threshold=0.3).spec != locator.spec
    assert dataclasses.replace(locator, batch_size=1).spec == locator.spec


def test_another_family_is_refused(tiny_captioner, tiny_detector, tmp_path):
    copy = shutil.copytree(tiny_detector, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "owlv2", "architectures": ["Owlv2ForObjectDetection"]}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="owlv2|lacks weights"):
        ObjectLocator(copy)(PICTURES[:1], [["car"]])
