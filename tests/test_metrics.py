import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from itemkit.evaluation.metrics import METRICS, expected_calibration_error, unseen_roc_auc
from itemkit.evaluation.metrics import detection_metrics as measure


def scenes(seed: int, contents: int = 100, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores in [0, 1] with many ties, and content ids: each scene once real and once generated."""
    random = np.random.default_rng(seed)
    label = np.tile([0, 1], contents)
    content_id = np.repeat([f"scene-{number}" for number in range(contents)], 2)
    difficulty = np.repeat(random.normal(scale=0.5, size=contents), 2)
    logit = random.normal(size=2 * contents) + difficulty + shift * (label - 0.5)
    return label, np.round(1 / (1 + np.exp(-logit)), 2), content_id


def by_sklearn(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None, threshold: float = 0.5) -> dict:
    called, chosen, ones = score >= 0.5, score >= threshold, np.ones(len(label))
    false_alarms, found, _ = reference.roc_curve(label, score, sample_weight=weight, drop_intermediate=False)
    return {
        "average_precision": reference.average_precision_score(label, score, sample_weight=weight),
        "roc_auc": reference.roc_auc_score(label, score, sample_weight=weight),
        "balanced_accuracy": reference.balanced_accuracy_score(label, called, sample_weight=weight),
        "real_accuracy": reference.recall_score(label, called, pos_label=0, sample_weight=weight),
        "generated_accuracy": reference.recall_score(label, called, sample_weight=weight),
        "balanced_accuracy_at_validation_threshold": reference.balanced_accuracy_score(
            label, chosen, sample_weight=weight
        ),
        "true_positive_rate_at_5_percent_false_positives": found[false_alarms <= 0.05].max(),
        "expected_calibration_error": calibration_error(label, score, ones if weight is None else weight),
    }


def calibration_error(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    total = 0.0
    for low in range(15):
        inside = (score * 15 >= low) & ((score * 15 < low + 1) | (low == 14))
        if weight[inside].sum():
            gap = np.average(score[inside], weights=weight[inside]) - np.average(label[inside], weights=weight[inside])
            total += weight[inside].sum() / weight.sum() * abs(gap)
    return total


@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_sklearn(seed, threshold):
    label, score, _ = scenes(seed)
    assert measure(label, score, threshold) == pytest.approx(by_sklearn(label, score, threshold=threshold), abs=1e-12)


def test_metrics_by_hand():
    values = measure(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9]))
    assert list(values) == list(METRICS)
    assert values["roc_auc"] == 3 / 4
    assert values["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (values["real_accuracy"], values["generated_accuracy"], values["balanced_accuracy"]) == (0.5, 1.0, 0.75)
    assert values["true_positive_rate_at_5_percent_false_positives"] == 0.5


def test_a_threshold_changes_one_metric_only():
    label, score, _ = scenes(3)
    usual, moved = measure(label, score), measure(label, score, 0.8)
    assert [name for name in METRICS if usual[name] != moved[name]] == ["balanced_accuracy_at_validation_threshold"]
    assert usual["balanced_accuracy"] == usual["balanced_accuracy_at_validation_threshold"]


def test_calibration_error_by_hand():
    # 0.51 and 0.52 share a bin with one real and one generated row: |0.515 - 0.5|; 0.95 and 1.0 are both generated.
    values = measure(np.array([0, 1, 1, 1]), np.array([0.51, 0.52, 0.95, 1.0]))
    assert values["expected_calibration_error"] == pytest.approx((2 * 0.015 + 2 * 0.025) / 4)
    label, score, _ = scenes(4)
    assert expected_calibration_error(label, score) == measure(label, score)["expected_calibration_error"]


def test_a_score_that_is_no_probability_has_no_calibration_error():
    values = measure(np.array([0, 1]), np.array([-1.0, 2.0]))
    assert np.isnan(values["expected_calibration_error"])
    assert values["roc_auc"] == 1


def test_bad_rows_are_refused():
    with pytest.raises(ValueError, match=r"expected both labels, 0 real and 1 generated; got \[1\]"):
        measure(np.array([1, 1]), np.ones(2))
    with pytest.raises(ValueError, match=r"1 scores are not finite; the first is row 2"):
        measure(np.array([0, 1, 1]), np.array([0, 1, np.nan]))
    with pytest.raises(ValueError, match=r"expected as many labels as scores, got shapes \(2,\) and \(1,\)"):
        measure(np.array([0, 1]), np.ones(1))


def test_the_area_equals_sklearn_also_with_equal_scores():
    random = np.random.default_rng(0)
    for levels in (2, 5, 1000):
        label, score = random.integers(2, size=200), random.integers(levels, size=200) / levels
        pictures = pd.DataFrame({"generator": np.where(label, "gan", "real"), "label": label})
        area = unseen_roc_auc(pictures, score, []).roc_auc.item()
        assert area == pytest.approx(reference.roc_auc_score(label, score), abs=1e-12)


def test_the_area_against_generators_that_a_head_has_not_seen():
    generator = np.repeat(["real", "seen", "unseen", "small"], (30, 25, 20, 19))
    pictures = pd.DataFrame({"generator": generator, "label": (generator != "real").astype(int)})
    score = np.random.default_rng(1).random(len(pictures))
    table = unseen_roc_auc(pictures, score, ("seen",))
    assert table["generator"].tolist() == ["unseen", "small"]
    pair = np.isin(generator, ["real", "unseen"])
    assert table["roc_auc"][0] == pytest.approx(reference.roc_auc_score(generator[pair] != "real", score[pair]))
    assert np.isnan(table["roc_auc"][1]), "19 pictures are too few for a number"
    assert unseen_roc_auc(pictures, score, ("seen", "unseen", "small")).empty


@pytest.mark.filterwarnings("error")
def test_without_a_real_picture_there_is_no_area():
    pictures = pd.DataFrame({"generator": ["a"] * 25, "label": 1})
    assert unseen_roc_auc(pictures, np.linspace(0, 1, 25), []).roc_auc.isna().tolist() == [True]
