"""Labels and scores to numbers, as scikit-learn computes them.

Label 0 real, 1 generated; an image is called generated when its score is at or above the threshold. That these are the
numbers of scikit-learn is what the tests say; it is not used here, since a run needs them for thousands of heads.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

METRICS = (
    "average_precision",
    "roc_auc",
    "balanced_accuracy",
    "real_accuracy",
    "generated_accuracy",
    "balanced_accuracy_at_validation_threshold",
    "true_positive_rate_at_5_percent_false_positives",
    "expected_calibration_error",
)
BINS = 15  # of the calibration error, equally wide
MINIMUM_ROWS = 20  # of each class; below it there is no number


def detection_metrics(label: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Every metric of METRICS.

    `true_positive_rate_at_5_percent_false_positives` is the best share of generated images found with at most 5 % of the real ones
    called generated.

    Args:
        label: (N,) 0 or 1, both present.
        score: (N,) finite; higher means generated. Where one is outside [0, 1] the accuracies at 0.5 and the calibration
            error are NaN.
        threshold: chosen on validation rows, never on these; NaN if none was. The three other accuracies are at 0.5.

    Returns:
        Metric to value, each in [0, 1].

    Raises:
        ValueError: labels other than 0 and 1, a class without rows, a score that is not finite, lengths that differ.
    """
    label, score = check_rows(label, score)
    values = weighted_metrics(label, score, np.ones((1, len(label))), threshold)[:, 0]
    return dict(zip(METRICS, values.tolist(), strict=True))


def weighted_metrics(label: np.ndarray, score: np.ndarray, weight: np.ndarray, threshold: float) -> np.ndarray:
    """detection_metrics of many weightings of the same rows at once; scikit-learn would need a thousand times as long.

    Args:
        weight: (B, N): how often each row was drawn.

    Returns:
        (8, B) in the order of METRICS; NaN where a class was not drawn.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the end of each run of equal scores
    found = np.cumsum((weight * label)[:, order], axis=1)[:, last]  # (B, T) generated rows at or above each score
    alarms = np.cumsum((weight * (1 - label))[:, order], axis=1)[:, last]  # (B, T) real rows
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(found / (found + alarms))
        true_positive_rate, false_positive_rate = found / found[:, -1:], alarms / alarms[:, -1:]
        steps = np.diff(true_positive_rate, axis=1, prepend=0)
        called = score >= np.array([[0.5], [threshold]])  # (2, N)
        real, careful_real = (~called & (label == 0)) @ weight.T / alarms[:, -1]  # (B,) each
        generated, careful_generated = (called & (label == 1)) @ weight.T / found[:, -1]
        missing = np.where((found[:, -1] > 0) & (alarms[:, -1] > 0), 0, np.nan)  # (B,)
    if not is_share(score):
        real, generated = np.full((2, len(weight)), np.nan)
    if np.isnan(threshold):
        careful_real = np.full(len(weight), np.nan)
    values = (
        np.sum(precision * steps, axis=1),
        np.sum(np.diff(false_positive_rate, axis=1, prepend=0) * (true_positive_rate - steps / 2), axis=1),
        (real + generated) / 2,
        real,
        generated,
        (careful_real + careful_generated) / 2,
        np.max(np.where(false_positive_rate <= 0.05, true_positive_rate, 0), axis=1),
        np.abs(weight @ calibration_gaps(label, score)).sum(axis=1) / weight.sum(axis=1),
    )
    return missing + np.stack(values)  # (8, B)


def unseen_roc_auc(pictures: pd.DataFrame, score: np.ndarray, train_on: Sequence[str]) -> pd.DataFrame:
    """The ROC AUC of one head against each generator that it was not trained on.

    Args:
        pictures: a row for each of N pictures: generator, and label.
        score: (N,) of the head.
        train_on: the generators of the head.

    Returns:
        generator, roc_auc; a row for each generator, in order of appearance. NaN with fewer than MINIMUM_ROWS rows of a
        class.
    """
    label, score = pictures["label"].to_numpy(), np.asarray(score)
    source, names = pd.factorize(pictures["generator"].to_numpy()[label == 1])
    counts = np.bincount(source)
    with np.errstate(invalid="ignore"):  # without a real picture there is no area
        areas = np.bincount(source, _wins(score[label == 0], score[label == 1])) / counts
    areas[(counts < MINIMUM_ROWS) | (np.sum(label == 0) < MINIMUM_ROWS)] = np.nan
    unseen = [place for place, name in enumerate(names) if name not in train_on]
    return pd.DataFrame({"generator": names[unseen], "roc_auc": areas[unseen]})


def _wins(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """For each of G generated images, the share of the real ones that score less; one that scores the same counts half: (G,)."""
    order = np.sort(real)
    return (np.searchsorted(order, generated, "left") + np.searchsorted(order, generated, "right")) / (2 * len(real))


def expected_calibration_error(label: np.ndarray, score: np.ndarray) -> float:
    """The mean gap between score and share of generated images over 15 equal bins (Guo et al. 2017, arXiv 1706.04599).

    Args:
        label, score: (N,) as for detection_metrics; NaN where a score is outside [0, 1].
    """
    label, score = check_rows(label, score)
    return float(np.abs(calibration_gaps(label, score).sum(axis=0)).sum() / len(label))


def calibration_gaps(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(N, BINS): score minus label of each row, in the column of the bin of its score; NaN where a score is outside [0, 1]."""
    gaps = np.zeros((len(score), BINS))
    inside = np.clip((score * BINS).astype(int), 0, BINS - 1)
    gaps[np.arange(len(score)), inside] = score - label if is_share(score) else np.nan
    return gaps


def is_share(score: np.ndarray) -> bool:
    """Whether all scores are in [0, 1], so that a half has a meaning."""
    return score.min() >= 0 and score.max() <= 1


def check_rows(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as arrays; a ValueError says what is wrong with them, as detection_metrics promises."""
    label, score = np.asarray(label), np.asarray(score, dtype=np.float64)
    if label.shape != score.shape or label.ndim != 1:
        raise ValueError(f"expected as many labels as scores, got shapes {label.shape} and {score.shape}")
    if set(np.unique(label)) != {0, 1}:
        raise ValueError(f"expected both labels, 0 real and 1 generated; got {np.unique(label).tolist()}")
    if broken := np.flatnonzero(~np.isfinite(score)).tolist():
        raise ValueError(f"{len(broken)} scores are not finite; the first is row {broken[0]}")
    return label, score
