import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from itemkit.metrics import METRICS, _weighted_metrics, by_generator, choose_threshold, confidence_interval
from itemkit.metrics import detection_metrics as measure


def scenes(seed: int, contents: int = 100, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores in [0, 1] with many ties, and content ids: each scene once real and once generated."""
    random = np.random.default_rng(seed)
    label = np.tile([0, 1], contents)
    content_id = np.repeat([f"scene-{number}" for number in range(contents)], 2)
    difficulty = np.repeat(random.normal(scale=0.5, size=contents), 2)
    logit = random.normal(size=2 * contents) + difficulty + shift * (label - 0.5)
    return label, np.round(1 / (1 + np.exp(-logit)), 2), content_id


def by_sklearn(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None, threshold: float = 0.5) -> dict:
    called, ones = score >= threshold, np.ones(len(label))
    false_alarms, found, _ = reference.roc_curve(label, score, sample_weight=weight, drop_intermediate=False)
    return {
        "average_precision": reference.average_precision_score(label, score, sample_weight=weight),
        "roc_auc": reference.roc_auc_score(label, score, sample_weight=weight),
        "balanced_accuracy": reference.balanced_accuracy_score(label, called, sample_weight=weight),
        "real_accuracy": reference.recall_score(label, called, pos_label=0, sample_weight=weight),
        "generated_accuracy": reference.recall_score(label, called, sample_weight=weight),
        "true_positive_rate_at_5_percent": found[false_alarms <= 0.05].max(),
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


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_resampled_rows_equal_sklearn(seed):
    label, score, _ = scenes(seed)
    weight = np.random.default_rng(seed).poisson(1, size=(20, len(label))).astype(float)
    result = _weighted_metrics(label, score, weight, 0.4)
    for number, row in enumerate(weight):
        expected = list(by_sklearn(label, score, row, 0.4).values())
        np.testing.assert_allclose(result[:, number], expected, atol=1e-12)


def test_metrics_by_hand():
    values = measure(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9]))
    assert list(values) == list(METRICS)
    assert values["roc_auc"] == 3 / 4
    assert values["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (values["real_accuracy"], values["generated_accuracy"], values["balanced_accuracy"]) == (0.5, 1.0, 0.75)
    assert values["true_positive_rate_at_5_percent"] == 0.5


def test_calibration_error_by_hand():
    # 0.51 and 0.52 share a bin with one real and one generated row: |0.515 - 0.5|; 0.95 and 1.0 are both generated.
    values = measure(np.array([0, 1, 1, 1]), np.array([0.51, 0.52, 0.95, 1.0]))
    assert values["expected_calibration_error"] == pytest.approx((2 * 0.015 + 2 * 0.025) / 4)


def test_a_score_that_is_no_probability_has_no_calibration_error():
    values = measure(np.array([0, 1]), np.array([-1.0, 2.0]))
    assert np.isnan(values["expected_calibration_error"])
    assert values["roc_auc"] == 1


def test_threshold_lies_between_the_scores_it_separates():
    assert choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)
    assert choose_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.9])) == pytest.approx(0.7)  # of two best
    assert choose_threshold(np.array([1, 0]), np.array([0.2, 0.6])) == pytest.approx(0.8)  # nothing is called generated


def test_threshold_is_the_best_of_all():
    label, score, _ = scenes(0)
    best = max(measure(label, score, threshold)["balanced_accuracy"] for threshold in np.linspace(0, 1, 201))
    assert measure(label, score, choose_threshold(label, score))["balanced_accuracy"] == pytest.approx(best)


@pytest.mark.parametrize("metric", METRICS)
def test_interval_equals_a_loop_over_the_same_draws(metric):
    label, score, content_id = scenes(1, contents=30)
    draws = np.random.default_rng(7).integers(30, size=(40, 30))
    values = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(content_id == f"scene-{content}") for content in draw])
        values.append(by_sklearn(label[rows], score[rows])[metric])
    result = confidence_interval(label, score, content_id, metric, draws=40, seed=7)
    np.testing.assert_allclose(result, np.quantile(values, [0.025, 0.975]), atol=1e-12)


def test_interval_is_the_same_in_one_block_and_in_many():
    label, score, content_id = scenes(2, contents=400)  # 2,000 draws x 400 contents are several blocks
    draws = np.random.default_rng(0).integers(400, size=(2000, 400))
    weight = np.stack([np.bincount(draw, minlength=400) for draw in draws])[:, np.arange(800) // 2].astype(float)
    expected = np.quantile(_weighted_metrics(label, score, weight, 0.5)[1], [0.025, 0.975])
    np.testing.assert_array_equal(confidence_interval(label, score, content_id, draws=2000), expected)


def test_intervals_cover_the_true_value():
    truth = 0.7602499  # of two normal scores one standard deviation apart: Phi(1 / sqrt(2))
    random = np.random.default_rng(0)
    label, content_id = np.tile([0, 1], 150), np.repeat(np.arange(150), 2)
    covered = []
    for _ in range(400):
        low, high = confidence_interval(label, random.normal(size=300) + label, content_id, draws=400)
        covered.append(low <= truth <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_images_of_one_scene_do_not_count_as_many():
    label, score, content_id = scenes(3, contents=40)
    once = confidence_interval(label, score, content_id)
    four_times = [np.tile(array, 4) for array in (label, score, content_id)]
    assert confidence_interval(*four_times) == pytest.approx(once)


def predictions() -> pd.DataFrame:
    """Two heads; generators `easy`, `hard`, and `rare` with 19 rows."""
    frames = []
    for head_seed, (train_on, shift) in enumerate([("easy", 2.0), ("hard", 1.0)]):
        for number, (generator, count) in enumerate([("easy", 50), ("hard", 40), ("rare", 19)]):
            label, score, content_id = scenes(10 * head_seed + number, 50, shift)
            frame = pd.DataFrame({"label": label, "score": score, "content_id": content_id})
            frame["generator"] = np.where(label == 1, generator, "real")
            frame["seed"], frame["train_on"], frame["arm"] = head_seed, train_on, "item"
            generated = frame[frame.label == 1].head(count)
            frames += [frame[frame.label == 0], generated] if number == 0 else [generated]
    return pd.concat(frames, ignore_index=True)


def test_by_generator_sets_real_rows_against_each_generator():
    frame = predictions()
    table = by_generator(frame, draws=50)
    assert list(table) == ["arm", "train_on", "generator", "seed", "metric", "value", "low", "high", "n"]
    assert len(table) == 2 * 3 * len(METRICS)
    head = frame[frame.train_on == "hard"]
    group = head[head.generator.isin(["real", "easy"])]
    row = table[(table.train_on == "hard") & (table.generator == "easy") & (table.metric == "roc_auc")].squeeze()
    assert row.value == reference.roc_auc_score(group.label, group.score)
    assert row[["arm", "seed", "n"]].to_list() == ["item", 1, 50]
    interval = confidence_interval(group.label, group.score, group.content_id, draws=50)
    assert (row.low, row.high) == interval
    assert row.low < row.value < row.high


def test_too_few_rows_are_reported_and_never_a_number():
    table = by_generator(predictions(), draws=10)
    rare = table[table.generator == "rare"]
    assert (rare.n == 19).all()
    assert rare[["value", "low", "high"]].isna().all(axis=None)
    assert table[table.generator != "rare"].value.notna().all()
    frame = predictions()
    without_real = by_generator(frame[frame.label == 1], draws=10)
    assert (without_real.n == 0).all()
    assert without_real.value.isna().all()


def test_bad_input_is_refused():
    label, score, content_id = scenes(0, contents=5)
    with pytest.raises(ValueError, match="unknown metric 'auc'; expected one of average_precision, roc_auc"):
        confidence_interval(label, score, content_id, "auc")
    with pytest.raises(ValueError, match=r"expected both labels, 0 real and 1 generated; got \[1\]"):
        measure(np.array([1, 1]), np.ones(2))
    with pytest.raises(ValueError, match=r"1 scores are not finite; the first is row 2"):
        measure(np.array([0, 1, 1]), np.array([0, 1, np.nan]))
    with pytest.raises(ValueError, match=r"expected as many labels as scores, got shapes \(10,\) and \(9,\)"):
        choose_threshold(label, score[1:])
    with pytest.raises(ValueError, match="predictions lack content_id, arm; they have label"):
        by_generator(predictions().drop(columns=["content_id", "arm"]))
