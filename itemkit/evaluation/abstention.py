"""What it buys to keep silent: coverage and error of a detector that may answer "undecided"."""

import pandas as pd

from itemkit.evaluation.calibration import conformal_threshold
from itemkit.evaluation.metrics import MINIMUM_ROWS

KINDS = ("coverage", "error", "error_answered")


def selective_risk(predictions: pd.DataFrame, false_positive_rate: float = 0.05) -> pd.DataFrame:
    """Coverage and error of each head on generators that it was not trained on, with and without silence.

    A head calls generated what scores above the conformal threshold of its real validation pictures.

    Args:
        predictions: a row for each picture of validation and test and each head: generator, label, split, train_on, seed,
            score, and answered, whether the detector says more than "undecided".
        false_positive_rate: that the thresholds are chosen for, in (0, 1).

    Returns:
        train_on, seed, generator; and, each of the real pictures (real_coverage and so on) and of the generated ones:
        coverage, the share that is answered; error, the share of all pictures that is called the other class; and
        error_answered, of those that are answered. NaN where it would be of fewer than MINIMUM_ROWS pictures.
    """
    rows = []
    for (source, seed), head in predictions.groupby(["train_on", "seed"], sort=False):
        real = head.loc[(head["split"] == "validation") & (head["label"] == 0), "score"]
        threshold = conformal_threshold(real.to_numpy(), false_positive_rate)
        tested = head[head["split"] == "test"]
        tested = tested.assign(wrong=(tested["score"] > threshold) != (tested["label"] == 1))
        for generator in tested["generator"][tested["label"] == 1].unique():
            if generator != source:
                classes = tested[tested["label"] == 0], tested[tested["generator"] == generator]
                shares = [
                    one.mean() if len(one) >= MINIMUM_ROWS else float("nan")
                    for pictures in classes
                    for one in (pictures["answered"], pictures["wrong"], pictures.loc[pictures["answered"], "wrong"])
                ]
                rows.append((source, seed, generator, *shares))
    columns = [f"{label}_{kind}" for label in ("real", "generated") for kind in KINDS]
    return pd.DataFrame(rows, columns=["train_on", "seed", "generator", *columns])
