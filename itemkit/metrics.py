"""Predictions to numbers: per generator, with bootstrap intervals over content ids.

Label 0 real, 1 generated; an image is called generated when its score is at or above the threshold.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score, roc_curve

METRICS = (
    "average_precision",
    "roc_auc",
    "balanced_accuracy",
    "real_accuracy",
    "generated_accuracy",
    "true_positive_rate_at_5_percent",
    "expected_calibration_error",
)
BINS = 15  # of the calibration error, equally wide
MINIMUM_ROWS = 20  # of each class; below it by_generator gives no number


def detection_metrics(label: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Every metric of METRICS.

    `true_positive_rate_at_5_percent` is the best share of generated images found with at most 5 % of the real ones
    called generated. `expected_calibration_error` is the mean gap between score and share of generated images over
    15 equal bins of the score; NaN where a score is no probability.

    Args:
        label: (N,) 0 or 1, both present.
        score: (N,) finite; higher means generated.
        threshold: of the three accuracies.

    Returns:
        Metric to value, each in [0, 1].

    Raises:
        ValueError: labels other than 0 and 1, a class without rows, a score that is not finite, lengths that differ.
    """
    label, score = _checked(label, score)
    called = score >= threshold
    real, generated = (recall_score(label, called, pos_label=value) for value in (0, 1))
    false_positive_rate, true_positive_rate, _ = roc_curve(label, score, drop_intermediate=False)
    gaps = _calibration_gaps(label, score).sum(axis=0)  # (BINS,)
    values = (
        average_precision_score(label, score),
        roc_auc_score(label, score),
        (real + generated) / 2,
        real,
        generated,
        true_positive_rate[false_positive_rate <= 0.05].max(),
        np.abs(gaps).sum() / len(label),
    )
    return {metric: float(value) for metric, value in zip(METRICS, values, strict=True)}


def choose_threshold(label: np.ndarray, score: np.ndarray) -> float:
    """The threshold of the best balanced accuracy, for use on validation rows only.

    It lies half-way between the two scores it separates; of equally good ones it is the highest, which calls the
    fewest images generated.

    Args:
        label, score: (N,) as for detection_metrics; score in [0, 1].

    Raises:
        ValueError: as detection_metrics.
    """
    label, score = _checked(label, score)
    false_positive_rate, true_positive_rate, scores = roc_curve(label, score, drop_intermediate=False)
    best = np.argmax(true_positive_rate - false_positive_rate)
    edges = np.append(scores.clip(max=1), 0)  # the first of scores is infinite: nothing is called generated
    return float((edges[best] + edges[best + 1]) / 2)


def confidence_interval(
    label: np.ndarray,
    score: np.ndarray,
    content_id: np.ndarray,
    metric: str = "roc_auc",
    draws: int = 1000,
    seed: int = 0,
    threshold: float = 0.5,
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of one metric, drawing content ids and not images.

    Images of one scene share what the scene makes easy or hard; drawn one by one they would promise too narrow an
    interval.

    Args:
        label, score, threshold: as for detection_metrics.
        content_id: (N,) what each image shows.
        metric: one of METRICS.
        draws: number of resamples; one that lacks a class is left out.
        seed: of the draws. The same content ids in the same order get the same draws, whatever their scores.

    Returns:
        (low, high).

    Raises:
        ValueError: an unknown metric, or as detection_metrics.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    label, score = _checked(label, score)
    return _intervals(label, score, content_id, draws, seed, threshold)[metric]


def by_generator(predictions: pd.DataFrame, draws: int = 1000, seed: int = 0, threshold: float = 0.5) -> pd.DataFrame:
    """Every metric for each head and each generator: the real rows against the rows of that generator.

    Args:
        predictions: a row per image and head: generator ("real" for real images), label, content_id, arm, train_on,
            seed, score.
        draws, seed, threshold: as for confidence_interval.

    Returns:
        Long form: arm, train_on, generator, seed, metric, value, low, high, n; n is the number of rows of the smaller
        class. With n below MINIMUM_ROWS value, low and high are NaN: reported, but never as a number.

    Raises:
        ValueError: a missing column.
    """
    needed = ["generator", "label", "content_id", "arm", "train_on", "seed", "score"]
    if missing := [column for column in needed if column not in predictions]:
        raise ValueError(f"predictions lack {', '.join(missing)}; they have {', '.join(predictions)}")
    rows = []
    for (arm, train_on, head_seed), head in predictions.groupby(["arm", "train_on", "seed"], sort=False):
        for generator in head.generator[head.label == 1].unique():
            group = head[(head.label == 0) | (head.generator == generator)]
            name = {"arm": arm, "train_on": train_on, "generator": generator, "seed": head_seed}
            rows += [name | row for row in _measure(group, draws, seed, threshold)]
    return pd.DataFrame(rows, columns=["arm", "train_on", "generator", "seed", "metric", "value", "low", "high", "n"])


def _measure(group: pd.DataFrame, draws: int, seed: int, threshold: float) -> list[dict]:
    n = min(np.sum(group.label == 0), np.sum(group.label == 1))
    if n < MINIMUM_ROWS:
        return [{"metric": metric, "value": np.nan, "low": np.nan, "high": np.nan, "n": n} for metric in METRICS]
    label, score = _checked(group.label, group.score)
    values = detection_metrics(label, score, threshold)
    intervals = _intervals(label, score, group.content_id, draws, seed, threshold)
    return [
        {"metric": metric, "value": values[metric], "low": intervals[metric][0], "high": intervals[metric][1], "n": n}
        for metric in METRICS
    ]


def _intervals(
    label: np.ndarray, score: np.ndarray, content_id: np.ndarray, draws: int, seed: int, threshold: float
) -> dict[str, tuple[float, float]]:
    index, contents = pd.factorize(content_id)
    random = np.random.default_rng(seed)
    sample = random.integers(len(contents), size=(draws, len(contents)))
    values = []
    for block in np.array_split(sample, 1 + draws * len(label) // 40_000):  # blocks that fit the processor's cache
        times = np.stack([np.bincount(drawn, minlength=len(contents)) for drawn in block])  # (draws, contents)
        values.append(_weighted_metrics(label, score, times[:, index].astype(float), threshold))
    values = np.concatenate(values, axis=1)  # (metrics, draws)
    complete = values[:, np.isfinite(values[0])]  # without the draws that lack a class
    low, high = np.quantile(complete, (0.025, 0.975), axis=1)  # (metrics,) each
    return {metric: (float(low[i]), float(high[i])) for i, metric in enumerate(METRICS)}


def _weighted_metrics(label: np.ndarray, score: np.ndarray, weight: np.ndarray, threshold: float) -> np.ndarray:
    """detection_metrics of many weightings of the same rows at once; sklearn would need a thousand times as long.

    Args:
        weight: (B, N): how often each row was drawn.

    Returns:
        (7, B) in the order of METRICS; NaN where a class was not drawn.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the end of each run of equal scores
    found = np.cumsum((weight * label)[:, order], axis=1)[:, last]  # (B, T) generated rows at or above each score
    alarms = np.cumsum((weight * (1 - label))[:, order], axis=1)[:, last]  # (B, T) real rows
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(found / (found + alarms))
        true_positive_rate, false_positive_rate = found / found[:, -1:], alarms / alarms[:, -1:]
        steps = np.diff(true_positive_rate, axis=1, prepend=0)
        called = score >= threshold
        real = weight @ (~called & (label == 0)) / alarms[:, -1]
        generated = weight @ (called & (label == 1)) / found[:, -1]
        missing = np.where((found[:, -1] > 0) & (alarms[:, -1] > 0), 0, np.nan)  # (B,)
    values = (
        np.sum(precision * steps, axis=1),
        np.sum(np.diff(false_positive_rate, axis=1, prepend=0) * (true_positive_rate - steps / 2), axis=1),
        (real + generated) / 2,
        real,
        generated,
        np.max(np.where(false_positive_rate <= 0.05, true_positive_rate, 0), axis=1),
        np.abs(weight @ _calibration_gaps(label, score)).sum(axis=1) / weight.sum(axis=1),
    )
    return missing + np.stack(values)  # (7, B)


def _calibration_gaps(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(N, BINS): score minus label of each row, in the column of the bin of its score; NaN outside [0, 1]."""
    gaps = np.zeros((len(score), BINS))
    inside = np.clip((score * BINS).astype(int), 0, BINS - 1)
    gaps[np.arange(len(score)), inside] = score - label if score.min() >= 0 and score.max() <= 1 else np.nan
    return gaps


def _checked(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    label, score = np.asarray(label), np.asarray(score, dtype=np.float64)
    if label.shape != score.shape or label.ndim != 1:
        raise ValueError(f"expected as many labels as scores, got shapes {label.shape} and {score.shape}")
    if set(np.unique(label)) != {0, 1}:
        raise ValueError(f"expected both labels, 0 real and 1 generated; got {np.unique(label).tolist()}")
    if broken := np.flatnonzero(~np.isfinite(score)).tolist():
        raise ValueError(f"{len(broken)} scores are not finite; the first is row {broken[0]}")
    return label, score
