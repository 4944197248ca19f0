"""What validation rows may decide about a trained head: its threshold, and how sure it may sound."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logit

from itemkit.evaluation.metrics import BINS, MINIMUM_ROWS, check_rows, expected_calibration_error

CERTAIN = 1e-7  # a score of 0 or 1 has no finite logit; float32 tells no scores apart that are closer to them


def choose_threshold(label: np.ndarray, score: np.ndarray) -> float:
    """The threshold of the best balanced accuracy, for use on validation rows only.

    It lies half-way between the two scores it separates; of equally good ones, as far as rounded rates tell, it is the
    highest, which calls the fewest images generated.

    Args:
        label, score: (N,) as for detection_metrics; score in [0, 1].

    Raises:
        ValueError: as detection_metrics, or scores outside [0, 1].
    """
    from sklearn.metrics import roc_curve

    label, score = check_rows(label, score)
    _check_probability(score)
    false_positive_rate, true_positive_rate, scores = roc_curve(label, score, drop_intermediate=False)
    best = np.argmax(true_positive_rate - false_positive_rate)
    # The first of scores is infinite: nothing is called generated, not even a score of one.
    edges = np.append(scores.clip(max=1 if scores[1] < 1 else 1 + 2.0**-51), 0)
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
    from scipy.optimize import minimize_scalar

    label, score = check_rows(label, score)
    side = np.where(label == 1, 1, -1) * _logit(score)  # (N,) positive where the head is right
    weight = np.where(label == 1, 1 / label.sum(), 1 / (1 - label).sum())  # (N,)
    loss = minimize_scalar(
        lambda power: -np.sum(weight * log_expit(side / np.exp(power))), bounds=np.log([0.01, 100]), method="bounded"
    )
    return float(np.exp(loss.x))


def conformal_threshold(real_score: np.ndarray, false_positive_rate: float) -> float:
    """The score above which a picture may be called generated, so that new real pictures seldom are (Vovk et al. 2005).

    Of real pictures of the same kind as these, at most the share `false_positive_rate` lies above it, on average over
    what these pictures might have been: the split-conformal quantile (Angelopoulos and Bates, arXiv 2107.07511, section 1).

    Args:
        real_score: (N,) of real pictures that the head was not trained on.
        false_positive_rate: in (0, 1).

    Returns:
        One of the scores, or infinity where N is too small for so low a rate.

    Raises:
        ValueError: a rate outside (0, 1).
    """
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate {false_positive_rate}; expected a share between 0 and 1, such as 0.05")
    place = math.ceil((len(real_score) + 1) * (1 - false_positive_rate))  # counted from 1
    return float(np.sort(real_score)[place - 1]) if place <= len(real_score) else math.inf


def tolerance_limit(values: np.ndarray, share: float, certainty: float = 0.9) -> float:
    """The value beyond which at most a share of all values of the same kind lies, with a certainty (Wilks 1941).

    conformal_threshold keeps its share on average over what the given values might have been; this one keeps it in most
    single cases, and so lies a little further out.

    Args:
        values: (N,), at least one.
        share, certainty: in (0, 1).

    Returns:
        One of the values; the largest where N is too small for the certainty (below 45 for a share of 0.05).
    """
    from scipy.stats import binom

    place = int(binom.ppf(certainty, len(values), 1 - share)) + 1  # counted from 1
    return float(np.sort(values)[min(place, len(values)) - 1])


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


def calibration_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """The expected calibration error of each head against each generator, before and after temperature scaling.

    Args:
        predictions: a row per picture and head: arm, train_on, seed, generator, label, score, and the head's temperature.

    Returns:
        arm, generator ("seen" if it is the one trained on, else "unseen"), scaling ("before" or "after"), error; nothing
        where a class has fewer than MINIMUM_ROWS rows.
    """
    rows = [
        (arm, seen, scaling, expected_calibration_error(label, score))
        for arm, seen, label, scores in _scaled(predictions)
        for scaling, score in scores.items()
    ]
    return pd.DataFrame(rows, columns=["arm", "generator", "scaling", "error"])


def reliability(predictions: pd.DataFrame) -> pd.DataFrame:
    """How many pictures of each bin of the score were generated: what a reliability diagram shows.

    Args:
        predictions: as for calibration_errors, of one arm; real pictures stand against each generator in turn.

    Returns:
        generator ("seen" or "unseen"), scaling ("before" or "after"), score (the mean of a bin), share (generated); a row
        for each of the 15 bins that is not empty.
    """
    from sklearn.calibration import calibration_curve

    tables, groups = [], list(_scaled(predictions))
    for seen, scaling in [(seen, scaling) for seen in ("seen", "unseen") for scaling in ("before", "after")]:
        own = [(label, scores[scaling]) for _, which, label, scores in groups if which == seen]
        if own:
            share, mean = calibration_curve(*map(np.concatenate, zip(*own, strict=True)), n_bins=BINS)
            tables.append(pd.DataFrame({"generator": seen, "scaling": scaling, "score": mean, "share": share}))
    return pd.concat([pd.DataFrame(columns=["generator", "scaling", "score", "share"]), *tables], ignore_index=True)


def _scaled(predictions: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray, dict[str, np.ndarray]]]:
    """Arm, "seen" or "unseen", labels, and scores before and after, of each head and each generator with enough rows."""
    for (arm, source, _), head in predictions.groupby(["arm", "train_on", "seed"], sort=False):
        for generator in head["generator"][head["label"] == 1].unique():
            rows = head[head["generator"].isin(["real", generator])]
            if min((rows["label"] == 0).sum(), (rows["label"] == 1).sum()) >= MINIMUM_ROWS:
                score = rows["score"].to_numpy()
                scores = {"before": score, "after": at_temperature(score, rows["temperature"].to_numpy())}
                yield arm, "seen" if generator == source else "unseen", rows["label"].to_numpy(), scores


def _logit(score: np.ndarray) -> np.ndarray:
    _check_probability(score)
    return logit(np.clip(score, CERTAIN, 1 - CERTAIN))


def _check_probability(score: np.ndarray) -> None:
    if score.size and not (score.min() >= 0 and score.max() <= 1):
        raise ValueError(f"expected scores in [0, 1], got {score.min()} to {score.max()}")
