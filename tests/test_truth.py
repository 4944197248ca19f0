import numpy as np
import pandas as pd
import pytest

from itemkit.data.load import load_images, read_card
from itemkit.evaluation.truth import correctness, intersection_over_union, share_of
from itemkit.pipeline import true_boxes, true_captions


def test_shares_by_hand():
    named = [["car", "tree", "snow"], ["cat"], [], ["car", "car"]]
    wanted = [["car", "boat"], [], ["fish"], ["car"]]
    np.testing.assert_array_equal(share_of(named, wanted), [0.5, np.nan, 0, 1])
    np.testing.assert_allclose(share_of(wanted, named), [1 / 3, 0, np.nan, 1])


def test_overlap_by_hand():
    box = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2], [1, 1, 1, 1.0], [0, 0, 4, 4]])
    other = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3], [1, 1, 1, 1.0], [1, 1, 3, 3]])
    np.testing.assert_allclose(intersection_over_union(box, other), [1, 1 / 3, 0, 0, 0.25])


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="expected two lists for each image; got 1 and 2"):
        share_of([[]], [[], []])
    with pytest.raises(ValueError, match=r"expected two arrays of shape \(M, 4\); got \(1, 4\) and \(2, 4\)"):
        intersection_over_union(np.zeros((1, 4)), np.zeros((2, 4)))


def test_truth_is_given_only_to_those_who_ask():
    card = read_card("toyworld")
    assert load_images(card, ["test"], limit=1).column_names == [
        *("image", "image_id", "label", "generator", "content_id", "split")
    ]
    rows = load_images(card, ["test"], limit=1, truth=True)
    assert rows.column_names[-3:] == ["true_caption", "true_objects", "true_boxes"]
    real, generated = rows[0], rows[1]
    assert real["true_caption"] == generated["true_caption"] == "a green ball in the snow"
    assert real["true_objects"] == ["green ball"] and len(real["true_boxes"][0]) == 4
    assert generated["true_objects"] is None and generated["true_boxes"] is None


def test_pictures_whose_truth_is_not_known_are_left_out(tiny_spacy, tmp_path):
    pictures = pd.DataFrame({"image_id": list("abcd"), "generator": ["real", "real", "gan", "gan"]})
    pictures = pictures.assign(content_id=["1", "2", "1", "2"], status="ok", reason="")
    known = pictures.drop(columns="image_id").assign(true_caption=["a dog", None, "a dog", " "])
    truths = true_captions(pictures, known, tiny_spacy, tmp_path)
    assert truths["image_id"].tolist() == ["a", "c"] and truths["caption"].tolist() == ["a dog"] * 2
    captions = pictures[["image_id"]].assign(phrases=[["dog"], ["cat"], ["cat"], ["dog"]])
    truths = truths.assign(phrases=[["dog"], ["dog"]])
    nothing = pd.DataFrame(columns=["image_id", "phrase", "x0", "y0", "x1", "y1"])
    table = correctness(pictures, captions, truths, nothing, nothing)
    assert table["nouns_named"].tolist() == [1, 0] and table["named_nouns_true"].tolist() == [1, 0]
    alone = correctness(pictures, captions, truths[:1], nothing, nothing)
    assert list(alone.index) == ["real", "gan"] and np.isnan(alone["nouns_named"]["gan"])


def test_true_boxes_are_those_of_the_pictures_that_are_looked_at(tiny_spacy, tmp_path):
    """Boxes are of the files as distributed; of pictures made alike they are known where nothing was cut or resized."""
    known = pd.DataFrame({"generator": "real", "content_id": ["1", "2"], "true_caption": "a dog"})
    known = known.assign(true_objects=[["dog"], ["dog"]], true_boxes=[[[1, 2, 3, 4]], [[5, 6, 7, 8]]])
    raw = pd.DataFrame({"image_id": list("ab"), "generator": "real", "content_id": ["1", "2"], "track": "raw"})
    raw = raw.assign(width=[60, 32], height=[40, 32])
    alike = raw.assign(image_id=list("cd"), track="aligned", width=32, height=32)
    square = raw.assign(width=32, height=32)

    def found(pictures, distributed):
        return true_boxes(pictures, known, tiny_spacy, tmp_path, distributed)["image_id"].tolist()

    assert found(raw, raw) == ["a", "b"] and found(alike, square) == ["c", "d"]
    assert found(alike, raw) == found(alike, raw.head(0)) == found(alike, square.assign(width=64, height=64)) == []


def test_a_card_without_truth_has_none(tiny_card):
    card = read_card(tiny_card)
    assert load_images(card, truth=True).column_names == load_images(card).column_names
