"""What it buys to keep silent: coverage and error of a detector that may answer "undecided"."""

import math

import pandas as pd

from itemkit.evaluation.calibration import conformal_threshold
from itemkit.evaluation.metrics import MINIMUM_ROWS

CLASSES = ("real", "generated")
COUNTS = ("pictures", "answered", "wrong", "answered_wrong")


def selective_risk(predictions: pd.DataFrame, false_positive_rate: float = 0.05) -> pd.DataFrame:
    """Count what each head answers and mistakes, with and without silence, on generators that it was not trained on.

    A head calls generated what scores above the conformal threshold of its real validation pictures. Where these are too
    few for one, it can call nothing generated, and so answers nothing.

    Args:
        predictions: a row for each picture of validation and test and each head: generator, label, split, train_on, seed,
            score, and answered, whether the detector says more than "undecided".
        false_positive_rate: that the thresholds are chosen for, in (0, 1).

    Returns:
        train_on, seed, generator, in the order of the generators; and, each of the real pictures (real_pictures and so on) and of the generated ones:
        pictures; answered; wrong, those that are called the other class; and answered_wrong, those of them that are
        answered.
    """
    rows = []
    for (source, seed), head in predictions.groupby(["train_on", "seed"], sort=False):
        real = head.loc[(head["split"] == "validation") & (head["label"] == 0), "score"]
        threshold = conformal_threshold(real.to_numpy(), false_positive_rate)
        tested = head[head["split"] == "test"]
        tested = tested.assign(
            wrong=(tested["score"] > threshold) != (tested["label"] == 1),
            answered=tested["answered"] & math.isfinite(threshold),
        )
        for generator in tested["generator"][tested["label"] == 1].unique():
            if generator != source:
                classes = tested[tested["label"] == 0], tested[tested["generator"] == generator]
                counts = [
                    count
                    for one in classes
                    for count in (len(one), one.answered.sum(), one.wrong.sum(), (one.answered & one.wrong).sum())
                ]
                rows.append((source, seed, generator, *counts))
    columns = [f"{label}_{count}" for label in CLASSES for count in COUNTS]
    risk = pd.DataFrame(rows, columns=["train_on", "seed", "generator", *columns])
    order = {generator: place for place, generator in enumerate(predictions["generator"].unique())}
    return risk.sort_values("generator", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def shares(counts: pd.DataFrame) -> pd.DataFrame:
    """Turn counts of selective_risk, or sums of them, into shares, each of real and of generated pictures.

    Returns:
        A row for each of `counts`: coverage, the share that is answered; error, the share of all that is called the other
        class; error_answered, of those that are answered. NaN where it would be of fewer than MINIMUM_ROWS pictures.
    """
    columns = {}
    for label in CLASSES:
        pictures, answered, wrong, answered_wrong = (counts[f"{label}_{count}"] for count in COUNTS)
        for kind, part, whole in (
            ("coverage", answered, pictures),
            ("error", wrong, pictures),
            ("error_answered", answered_wrong, answered),
        ):
            columns[f"{label}_{kind}"] = part / whole.where(whole >= MINIMUM_ROWS)
    return pd.DataFrame(columns)


def of_all_heads(risk: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of all heads together: a row for each generator, and `all`; without those of too few pictures."""
    risk = risk.copy()
    for label in CLASSES:  # thirty heads make no more of five pictures
        risk.loc[risk[f"{label}_pictures"] < MINIMUM_ROWS, [f"{label}_{count}" for count in COUNTS]] = 0
    counts = risk.drop(columns=["train_on", "seed"]).groupby("generator", sort=False).sum()
    return shares(pd.concat([counts, counts.sum().rename("all").to_frame().T]).rename_axis("generator"))


def answer_shares(judged: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """Return how often a detector gives each answer, a row for each source.

    Args:
        judged: generator, answer ("real", "generated" or "undecided") and above_threshold of each picture.
        sources: "real" and generators, in the order of the rows.

    Returns:
        called_real, called_generated, undecided, and above_threshold, whatever the answer: shares of the pictures of a
        source; NaN where these are fewer than MINIMUM_ROWS.
    """
    names = {"real": "called_real", "generated": "called_generated", "undecided": "undecided"}
    table = pd.crosstab(judged["generator"], judged["answer"], normalize="index")
    table = table.reindex(columns=list(names), fill_value=0.0).rename(columns=names)
    table = table.join(judged.groupby("generator")["above_threshold"].mean())
    return table[judged["generator"].value_counts().reindex(table.index) >= MINIMUM_ROWS].reindex(sources)
