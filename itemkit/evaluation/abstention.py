"""What it buys to keep silent: coverage and error of a detector that may answer "undecided"."""

import numpy as np
import pandas as pd

from itemkit.evaluation.calibration import conformal_threshold


def selective_risk(predictions: pd.DataFrame, false_positive_rate: float = 0.05) -> pd.DataFrame:
    """Coverage and error of each head on generators that it was not trained on, with and without silence.

    A head calls generated what scores above the conformal threshold of its real validation pictures. Errors and coverage
    are means over the two classes, so that neither counts for more because there are more pictures of it.

    Args:
        predictions: a row for each picture of validation and test and each head: generator, label, split, train_on, seed,
            score, and answered, whether the detector says more than "undecided".
        false_positive_rate: that the thresholds are chosen for, in (0, 1).

    Returns:
        train_on, seed, generator; coverage, the share that is answered; error, of all pictures; error_answered, of those
        that are answered, NaN where a class has none; and of the real pictures alone false_positives and
        false_positives_answered.
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
                wrong = [one["wrong"].mean() for one in classes]
                answered = [one.loc[one["answered"], "wrong"].mean() for one in classes]
                coverage = np.mean([one["answered"].mean() for one in classes])
                errors = np.mean(wrong), np.mean(answered), wrong[0], answered[0]
                rows.append((source, seed, generator, coverage, *errors))
    columns = ["coverage", "error", "error_answered", "false_positives", "false_positives_answered"]
    return pd.DataFrame(rows, columns=["train_on", "seed", "generator", *columns])
