"""How sure a number is: bootstrap intervals over content ids, for each generator and for the mean over them."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from itemkit.evaluation.metrics import METRICS, MINIMUM_ROWS, check_rows, detection_metrics, weighted_metrics

HEAD = ["track", "arm", "train_on", "seed"]  # what names a trained head in a table of predictions
CELL = ["train_on", "generator"]  # what a head was trained on, and tested on
LARGEST = 2**24  # pairs of a real and a generated picture that are compared at once: an eighth of a gigabyte


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
        (low, high); NaN where the metric is, as detection_metrics says.

    Raises:
        ValueError: an unknown metric, or as detection_metrics.
    """
    _check_metric(metric)
    label, score = check_rows(label, score)
    index, contents = pd.factorize(content_id)
    values = _drawn_metric(metric, label, score, _times_drawn(len(contents), draws, seed), index, threshold)  # (draws,)
    values = values[np.isfinite(values)]  # without the draws that lack a class
    low, high = np.quantile(values, (0.025, 0.975)) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def by_generator(
    predictions: pd.DataFrame,
    metrics: Sequence[str] = METRICS,
    draws: int = 0,
    seed: int = 0,
    generators: list[str] | None = None,
) -> pd.DataFrame:
    """Metrics for each head and each generator: the real rows against the rows of that generator.

    Args:
        predictions: a row per image and head: generator ("real" for real images), label, content_id, track, arm,
            train_on, seed, score; if there is a threshold, chosen on validation rows, it is one number for each head.
        metrics: of METRICS.
        draws, seed: of each interval, as for confidence_interval; without draws there are no intervals.
        generators: those to report, also if they have no row; None: those with rows.

    Returns:
        Long form: track, arm, train_on, generator, seed, metric, value, n and, with draws, low and high; n is the number
        of rows of the smaller class. With n below MINIMUM_ROWS a value is NaN: reported, but never as a number.

    Raises:
        ValueError: a missing column, or an unknown metric.
    """
    needed = [*HEAD, "generator", "label", "content_id", "score"]
    if missing := [column for column in needed if column not in predictions]:
        raise ValueError(f"predictions lack {', '.join(missing)}; they have {', '.join(predictions)}")
    for metric in metrics:
        _check_metric(metric)
    label, score, content_id = (predictions[name].to_numpy() for name in ("label", "score", "content_id"))
    threshold = predictions["threshold"].to_numpy() if "threshold" in predictions else np.full(len(label), 0.5)
    source, known = pd.factorize(predictions["generator"])  # numbers, which are compared faster than names
    number = predictions.groupby(HEAD, sort=False).ngroup().to_numpy()
    rows = []
    for head in np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1]):
        names = predictions[HEAD].iloc[head[0]].to_dict()
        for generator in generators or known[pd.unique(source[head[label[head] == 1]])]:
            own = head[(label[head] == 0) | (source[head] == known.get_indexer([generator])[0])]
            measured = _measure(label[own], score[own], content_id[own], threshold[head[0]], metrics, draws, seed)
            rows += [names | {"generator": generator} | row for row in measured]
    columns = ["track", "arm", "train_on", "generator", "seed", "metric", "value", "n"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high"] if draws else columns)


def mean_interval(
    predictions: pd.DataFrame,
    metric: str = "roc_auc",
    draws: int = 1000,
    seed: int = 0,
    against: pd.DataFrame | None = None,
) -> tuple[float, float, float]:
    """The mean of a metric over heads and the generators they were not trained on, with its bootstrap interval.

    Every draw of contents is the same for all heads and generators, so that the interval is one of the mean. It says
    what other pictures would have given, and nothing of other seeds: their spread is another number.

    Args:
        predictions: as for by_generator.
        metric: one of METRICS.
        draws, seed: as for confidence_interval.
        against: predictions of another arm by as many heads on the same images; then it is the mean of `predictions`
            minus that of `against`, drawn together.

    Returns:
        (value, low, high); NaN where no generator that a head was not trained on has enough rows.

    Raises:
        ValueError: an unknown metric, or a missing column.
    """
    _check_metric(metric)
    contents = np.sort(predictions["content_id"].unique())
    values = _drawn_mean(predictions, metric, contents, draws, seed)
    if against is not None:
        values = values - _drawn_mean(against, metric, contents, draws, seed)
    return _interval(values)


def gains(
    predictions: pd.DataFrame, metrics: pd.DataFrame, metric: str, arm: str, arms: Sequence[str], draws: int = 1000
) -> pd.DataFrame:
    """How much better an arm is than each of the others on generators that no head was trained on.

    Args:
        predictions, metric, draws: as for mean_interval. Where a control was not tested on all pictures, or not trained on
            all generators that the arm was, both are compared on what they share; one that was trained on none of them is
            compared with each head of the arm on every generator that this head has not seen.
        metrics: what by_generator returned for these predictions.
        arm, arms: the one, and all that it may be compared with.

    Returns:
        A row for each track and control: track, control, item_minus_control (named after the arm), with low and high, the
        95 % interval of a bootstrap over contents; std_over_seeds; better_share, of the pairs of a training generator and
        an unseen one, those in which it is better on average over seeds; pairs. NaN where there are none.
    """
    values = metrics[(metrics["metric"] == metric) & (metrics["train_on"] != metrics["generator"])]
    rows = []
    for track, tested in predictions.groupby("track", sort=False):
        own, drawn = {name: tested[tested["arm"] == name] for name in arms}, {}
        measured = {name: values[(values["track"] == track) & (values["arm"] == name)] for name in arms}
        for control in [other for other in arms if other != arm and len(own[arm]) and len(own[other])]:
            ours, theirs = _on_shared_pictures(own[arm], own[control])
            areas, others = (
                measured[name] if len(part) == len(own[name]) else _unseen(part, metric)
                for name, part in ((arm, ours), (control, theirs))
            )
            keys = ["generator"] if set(areas["train_on"]).isdisjoint(others["train_on"]) else CELL
            cells, other_cells = _cells(areas), _cells(others)
            pairs = cells.merge(other_cells.groupby(keys)["value"].mean().rename("control").reset_index(), on=keys)
            shares, contents = _shares(pairs, pairs, keys), np.sort(ours["content_id"].unique())
            compared = tuple(shares.items()) if ours is own[arm] else control  # the same for most controls
            if compared not in drawn:
                drawn[compared] = _drawn_mean(ours, metric, contents, draws, 0, shares)
            other_shares = _shares(other_cells, pairs, keys)
            gain = drawn[compared] - _drawn_mean(theirs, metric, contents, draws, 0, other_shares)
            better = (pairs["value"] > pairs["control"]).mean()
            rows.append((track, control, *_interval(gain), _spread(areas, others, pairs, keys), better, len(pairs)))
    columns = [f"{arm}_minus_control", "low", "high", "std_over_seeds", "better_share", "pairs"]
    return pd.DataFrame(rows, columns=["track", "control", *columns])


def _on_shared_pictures(one: pd.DataFrame, other: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of two arms whose pictures both have scored; a table that has no others as it is."""
    pictures = [set(rows["image_id"].unique()) for rows in (one, other)]
    both = pictures[0] & pictures[1]
    return [
        rows if own == both else rows[rows["image_id"].isin(both)]
        for rows, own in zip((one, other), pictures, strict=True)
    ]


def _cells(areas: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds for each generator trained on and each tested on, where there is one: train_on, generator, value."""
    means = areas.groupby(CELL, sort=False)["value"].agg(lambda values: values.mean(skipna=False))
    return means.dropna().reset_index()


def _shares(cells: pd.DataFrame, pairs: pd.DataFrame, keys: list[str]) -> pd.Series:
    """What each cell of an arm counts in a mean over pairs: those that share their keys with a pair divide it among them."""
    counts = pairs.groupby(keys).size().rename("share").reset_index()
    shares = cells[CELL].merge(counts, on=keys)
    shares["share"] /= shares.groupby(keys)["share"].transform("size")
    return shares.set_index(CELL)["share"]


def _spread(areas: pd.DataFrame, others: pd.DataFrame, pairs: pd.DataFrame, keys: list[str]) -> float:
    """The standard deviation over seeds of the mean gain over pairs; a control without these seeds counts by its mean."""
    keys = [*keys, "seed"] if set(areas["seed"]) == set(others["seed"]) else keys
    means = others.groupby(keys)["value"].mean().rename("control").reset_index()
    both = areas.merge(pairs[CELL], on=CELL).merge(means, on=keys)
    return (both["value"] - both["control"]).groupby(both["seed"]).mean().std()


def _unseen(predictions: pd.DataFrame, metric: str) -> pd.DataFrame:
    areas = by_generator(predictions, [metric])
    return areas[areas["train_on"] != areas["generator"]]


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Of what _drawn_mean returned: the value, and the ends of its interval."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975)) if np.isfinite(values[0]) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)


def _drawn_mean(
    predictions: pd.DataFrame,
    metric: str,
    contents: np.ndarray,
    draws: int,
    seed: int,
    shares: pd.Series | None = None,
) -> np.ndarray:
    """The mean over heads and unseen generators (1 + draws,): first as it is, then of each draw of contents.

    With `shares`, (train_on, generator) to a number, it is the mean over these cells, weighted so; heads that differ only
    in their seed divide it among them.
    """
    times = _times_drawn(len(contents), draws, seed)  # (draws, contents): how often a content was drawn
    times = np.vstack([np.ones(len(contents), times.dtype), times])
    total, whole = np.zeros(len(times)), 0.0
    for generator in predictions.generator[predictions.label == 1].unique():
        rows = predictions[(predictions.generator == generator) | (predictions.label == 0)]
        heads = [head for _, head in rows[rows.train_on != generator].groupby(HEAD, sort=False)]
        sources = [head.train_on.iloc[0] for head in heads]
        share = np.ones(len(heads))
        if shares is not None:
            share = np.array([shares.get((source, generator), 0) / sources.count(source) for source in sources])
            heads = [head for head, own in zip(heads, share, strict=True) if own]
        if not heads or min(np.sum(heads[0].label == 0), np.sum(heads[0].label == 1)) < MINIMUM_ROWS:
            continue
        if any(len(head) != len(heads[0]) or (head.image_id.to_numpy() != heads[0].image_id).any() for head in heads):
            raise ValueError(f"the heads of {heads[0].arm.iloc[0]} were not all tested on the same images")
        share = share[share > 0]
        label, index = heads[0].label.to_numpy(), np.searchsorted(contents, heads[0].content_id)
        scores = np.stack([check_rows(label, head.score)[1] for head in heads])  # (H, N)
        if metric == "roc_auc" and np.sum(label == 0) * np.sum(label == 1) <= LARGEST:
            total += _summed_roc_auc(label, scores, share, times[:, index].astype(float))
        else:
            thresholds = [head.threshold.iloc[0] if "threshold" in head else 0.5 for head in heads]
            for own, score, threshold in zip(share, scores, thresholds, strict=True):
                total += own * _drawn_metric(metric, label, score, times, index, threshold)
        whole += share.sum()
    return total / whole if whole else np.full(len(times), np.nan)


def _summed_roc_auc(label: np.ndarray, scores: np.ndarray, share: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The ROC AUC of H heads, each times its share (H,), for B weightings of the same N rows: scores (H, N), weight (B, N).

    The area is the share of pairs that are in order (Hanley and McNeil 1982): linear in the order, so that the heads'
    orders are summed first, and each weighting costs one product.

    Returns:
        (B,) the sum over heads.
    """
    real, generated = scores[:, label == 0], scores[:, label == 1]
    wins = np.zeros((real.shape[1], generated.shape[1]))
    for own, low, high in zip(share, real, generated, strict=True):
        wins += own * ((high > low[:, None]) + (high == low[:, None]) / 2)  # (R, G)
    real, generated = weight[:, label == 0], weight[:, label == 1]  # (B, R), (B, G)
    pairs = real.sum(axis=1) * generated.sum(axis=1)  # (B,)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((real @ wins) * generated).sum(axis=1) / pairs


def _measure(
    label: np.ndarray,
    score: np.ndarray,
    content_id: np.ndarray,
    threshold: float,
    metrics: Sequence[str],
    draws: int,
    seed: int,
) -> list[dict]:
    n = min(np.sum(label == 0), np.sum(label == 1))
    if n < MINIMUM_ROWS:
        return [{"metric": metric, "value": np.nan, "low": np.nan, "high": np.nan, "n": n} for metric in metrics]
    values = detection_metrics(label, score, threshold)
    rows = [{"metric": metric, "value": values[metric], "n": n} for metric in metrics]
    for row in rows if draws else ():
        interval = confidence_interval(label, score, content_id, row["metric"], draws, seed, threshold)
        row |= dict(zip(("low", "high"), interval, strict=True))
    return rows


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")


@lru_cache(maxsize=4)  # the groups of a run have the same number of contents
def _times_drawn(contents: int, draws: int, seed: int) -> np.ndarray:
    """How often each draw took each content: (draws, contents)."""
    random = np.random.default_rng(seed)
    drawn = (random.integers(contents, size=contents) for _ in range(draws))
    return np.stack([np.bincount(one, minlength=contents).astype(np.uint16) for one in drawn])


def _drawn_metric(
    metric: str, label: np.ndarray, score: np.ndarray, times: np.ndarray, index: np.ndarray, threshold: float
) -> np.ndarray:
    """One metric of N rows for each row of `times`; `index` (N,) is the column of each row's content."""
    blocks = np.array_split(times, 1 + len(times) * len(label) // 40_000)  # that fit the cache
    values = [weighted_metrics(label, score, block[:, index].astype(float), threshold) for block in blocks]
    return np.concatenate(values, axis=1)[METRICS.index(metric)]
