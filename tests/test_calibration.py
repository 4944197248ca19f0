import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from test_metrics import scenes

from itemkit.evaluation.calibration import (
    at_temperature,
    calibration_errors,
    choose_temperature,
    choose_threshold,
    reliability,
)
from itemkit.evaluation.metrics import detection_metrics as measure


def test_threshold_lies_between_the_scores_it_separates():
    assert choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)
    assert choose_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.9])) == pytest.approx(0.7)  # of two best
    assert choose_threshold(np.array([1, 0]), np.array([0.2, 0.6])) == pytest.approx(0.8)  # nothing is called generated


def test_threshold_is_the_best_of_all():
    label, score, _ = scenes(0)
    name = "balanced_accuracy_at_validation_threshold"
    best = max(measure(label, score, threshold)[name] for threshold in np.linspace(0, 1, 201))
    assert measure(label, score, choose_threshold(label, score))[name] == pytest.approx(best)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature):
    random = np.random.default_rng(0)
    true = random.normal(scale=2, size=200_000)  # logits; half of the rows are generated
    label = (random.random(len(true)) < expit(true)).astype(int)
    assert choose_temperature(label, expit(true * temperature)) == pytest.approx(temperature, rel=0.03)


def test_the_chosen_temperature_is_the_best_of_all():
    label, score, _ = scenes(1)
    score = score.clip(0.01, 0.99)
    weight = np.where(label == 1, 1 / label.sum(), 1 / (1 - label).sum())

    def loss(temperature):
        likelihood = np.where(label == 1, at_temperature(score, temperature), 1 - at_temperature(score, temperature))
        return -np.sum(weight * np.log(likelihood))

    chosen = choose_temperature(label, score)
    assert loss(chosen) <= min(loss(temperature) for temperature in np.geomspace(0.3, 20, 400)) + 1e-9


def test_classes_weigh_the_same():
    label, score, _ = scenes(2)
    score = score.clip(0.01, 0.99)
    twice = np.concatenate([np.arange(len(label)), np.flatnonzero(label == 0)])  # every real row once more
    assert choose_temperature(label[twice], score[twice]) == pytest.approx(choose_temperature(label, score), rel=1e-4)


def test_scores_at_a_temperature():
    score = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(at_temperature(score, 1), score, atol=2e-7)
    np.testing.assert_allclose(at_temperature(score[1:4], 2), expit(logit(score[1:4]) / 2))
    assert (np.diff(at_temperature(score, 5)) > 0).all() and at_temperature(score, 5)[2] == 0.5
    each = at_temperature(score, np.array([1, 2, 3, 4, 5]))
    np.testing.assert_array_equal(
        each, [at_temperature(one, kelvin) for one, kelvin in zip(score, range(1, 6), strict=True)]
    )


def test_a_head_that_is_always_right_gets_the_lowest_temperature():
    assert choose_temperature(np.array([0, 1]), np.array([0.4, 0.6])) == pytest.approx(0.01, rel=0.05)


def predictions(count=30) -> pd.DataFrame:
    """One head that was trained on gan and scores gan and vae; its temperature makes every score 0.5 in the end."""
    rows = [("real", 0, 0.2), ("gan", 1, 0.9), ("vae", 1, 0.6)] * count
    table = pd.DataFrame(rows, columns=["generator", "label", "score"])
    return table.assign(arm="item", train_on="gan", seed=0, temperature=100.0)


def test_calibration_errors_by_hand():
    table = calibration_errors(predictions()).set_index(["generator", "scaling"]).error
    assert table["seen", "before"] == pytest.approx((0.2 + 0.1) / 2)
    assert table["unseen", "before"] == pytest.approx((0.2 + 0.4) / 2)
    assert table["seen", "after"] == pytest.approx(0, abs=0.01)  # half are generated, and all scores are about one half
    assert calibration_errors(predictions(19)).empty  # of too few rows there is no number


def test_reliability_by_hand():
    table = reliability(predictions())
    before = table[(table.generator == "unseen") & (table.scaling == "before")]
    np.testing.assert_allclose(before[["score", "share"]].astype(float), [[0.2, 0], [0.6, 1]])
    assert set(table.generator) == {"seen", "unseen"} and set(table.scaling) == {"before", "after"}
    assert reliability(predictions(19)).empty


@pytest.mark.parametrize("function", [choose_temperature])
def test_scores_that_are_no_probabilities_are_refused(function):
    with pytest.raises(ValueError, match=r"expected scores in \[0, 1\], got -1.0 to 0.5"):
        function(np.array([0, 1]), np.array([-1, 0.5]))
    with pytest.raises(ValueError, match="expected both labels"):
        function(np.array([1, 1]), np.array([0.1, 0.5]))
    with pytest.raises(ValueError, match="expected a positive temperature, got 0"):
        at_temperature(np.array([0.5]), 0)
    with pytest.raises(ValueError, match="expected as many labels as scores"):
        choose_threshold(np.array([0, 1]), np.array([0.5]))
