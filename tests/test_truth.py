import numpy as np
import pytest

from itemkit.data.load import load_images, read_card
from itemkit.evaluation.truth import intersection_over_union, share_of


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


def test_a_card_without_truth_has_none(tiny_card):
    card = read_card(tiny_card)
    assert load_images(card, truth=True).column_names == load_images(card).column_names
