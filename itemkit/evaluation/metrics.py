"""Labels and scores to numbers, as scikit-learn computes them.

Label 0 real, 1 generated; an image is called generated when its score is at or above the threshold. scikit-learn is loaded
late, since a verdict on one picture needs none of it.
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
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    label, score = check_rows(label, score)
    real, generated = _recalls(label, score >= 0.5) if is_share(score) else (np.nan, np.nan)
    false_positive_rate, true_positive_rate, _ = roc_curve(label, score, drop_intermediate=False)
    values = (
        average_precision_score(label, score),
        roc_auc_score(label, score),
        (real + generated) / 2,
        real,
        generated,
        np.nan if np.isnan(threshold) else sum(_recalls(label, score >= threshold)) / 2,
        true_positive_rate[false_positive_rate <= 0.05].max(),
        expected_calibration_error(label, score),
    )
    return {metric: float(value) for metric, value in zip(METRICS, values, strict=True)}


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
    generator, label, score = pictures["generator"].to_numpy(), pictures["label"].to_numpy(), np.asarray(score)
    others = [name for name in pd.unique(generator[label == 1]) if name not in train_on]
    pairs = [(label == 0) | (generator == name) for name in others]
    enough = [min(np.bincount(label[pair], minlength=2)) >= MINIMUM_ROWS for pair in pairs]
    areas = [roc_auc(label[pair], score[pair]) if rows else np.nan for pair, rows in zip(pairs, enough, strict=True)]
    return pd.DataFrame({"generator": others, "roc_auc": areas})


def roc_auc(label: np.ndarray, score: np.ndarray) -> float:
    """The share of pairs of a real and a generated image that the scores put in order (Hanley and McNeil 1982).

    Args:
        label, score: (N,) as for detection_metrics; they are not checked, for speed: the tables of a run hold thousands.
    """
    from scipy.stats import rankdata

    generated = label == 1
    wins = rankdata(score)[generated].mean() - (generated.sum() + 1) / 2
    return float(wins / (~generated).sum())


def expected_calibration_error(label: np.ndarray, score: np.ndarray) -> float:
    """The mean gap between score and share of generated images over 15 equal bins (Guo et al. 2017, arXiv 1706.04599).

    Args:
        label, score: (N,) as for detection_metrics; NaN where a score is outside [0, 1].
    """
    label, score = check_rows(label, score)
    return float(np.abs(calibration_gaps(label, score).sum(axis=0)).sum() / len(label))


def _recalls(label: np.ndarray, called: np.ndarray) -> tuple[float, float]:
    return np.mean(~called[label == 0]), np.mean(called[label == 1])  # scikit-learn's takes a hundred times as long


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
