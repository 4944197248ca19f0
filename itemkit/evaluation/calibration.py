"""What validation rows may decide about a trained head: its threshold, and how sure it may sound."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, logit
from sklearn.metrics import roc_curve

from itemkit.evaluation.metrics import BINS, check_rows

CERTAIN = 1e-7  # a score of 0 or 1 has no finite logit; float32 tells no scores apart that are closer to them


def choose_threshold(label: np.ndarray, score: np.ndarray) -> float:
    """The threshold of the best balanced accuracy, for use on validation rows only.

    It lies half-way between the two scores it separates; of equally good ones it is the highest, which calls the
    fewest images generated.

    Args:
        label, score: (N,) as for detection_metrics; score in [0, 1].

    Raises:
        ValueError: as detection_metrics.
    """
    label, score = check_rows(label, score)
    false_positive_rate, true_positive_rate, scores = roc_curve(label, score, drop_intermediate=False)
    best = np.argmax(true_positive_rate - false_positive_rate)
    edges = np.append(scores.clip(max=1), 0)  # the first of scores is infinite: nothing is called generated
    return float((edges[best] + edges[best + 1]) / 2)


def choose_temperature(label: np.ndarray, score: np.ndarray) -> float:
    """The temperature that makes the scores most likely (Guo et al. 2017, arXiv 1706.04599), on validation rows only.

    Both classes weigh the same, as in training.

    Args:
        label, score: (N,) as for detection_metrics; score in [0, 1].

    Returns:
        Within [0.01, 100]; above 1 where the head was too sure.

    Raises:
        ValueError: as detection_metrics, or scores outside [0, 1].
    """
    label, score = check_rows(label, score)
    side = np.where(label == 1, 1, -1) * _logit(score)  # (N,) positive where the head is right
    weight = np.where(label == 1, 1 / label.sum(), 1 / (1 - label).sum())  # (N,)
    loss = minimize_scalar(
        lambda power: -np.sum(weight * log_expit(side / np.exp(power))), bounds=np.log([0.01, 100]), method="bounded"
    )
    return float(np.exp(loss.x))


def at_temperature(score: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """The score whose logit is divided by the temperature: (N,) in [0, 1], in the same order as before.

    Args:
        score: (N,) in [0, 1].
        temperature: positive; one for all, or (N,).

    Raises:
        ValueError: a score outside [0, 1], or a temperature that is not positive.
    """
    if np.min(temperature) <= 0:
        raise ValueError(f"expected a positive temperature, got {np.min(temperature)}")
    return expit(_logit(np.asarray(score, dtype=np.float64)) / temperature)


def reliability(label: np.ndarray, score: np.ndarray) -> pd.DataFrame:
    """How many pictures of each bin of the score were generated: what a reliability diagram shows.

    Args:
        label, score: (N,) as for detection_metrics; score in [0, 1].

    Returns:
        low, high (of the bin), score (its mean), share (generated), n; a row for each of the 15 bins that is not empty.

    Raises:
        ValueError: as detection_metrics, or scores outside [0, 1].
    """
    label, score = check_rows(label, score)
    _check_probability(score)
    rows = pd.DataFrame({"bin": np.clip((score * BINS).astype(int), 0, BINS - 1), "score": score, "share": label})
    table = rows.groupby("bin").agg(score=("score", "mean"), share=("share", "mean"), n=("share", "size")).reset_index()
    return table.assign(low=table["bin"] / BINS, high=(table["bin"] + 1) / BINS)[["low", "high", "score", "share", "n"]]


def _logit(score: np.ndarray) -> np.ndarray:
    _check_probability(score)
    return logit(np.clip(score, CERTAIN, 1 - CERTAIN))


def _check_probability(score: np.ndarray) -> None:
    if score.size and not (score.min() >= 0 and score.max() <= 1):
        raise ValueError(f"expected scores in [0, 1], got {score.min()} to {score.max()}")
