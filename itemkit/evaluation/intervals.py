"""How sure a number is: bootstrap intervals over content ids, for each generator and for the mean over them."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from itemkit.evaluation.metrics import METRICS, MINIMUM_ROWS, check_rows, weighted_metrics

HEAD = ["track", "arm", "train_on", "seed"]  # what names a trained head in a table of predictions
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
        (low, high).

    Raises:
        ValueError: an unknown metric, or as detection_metrics.
    """
    _check_metric(metric)
    label, score = check_rows(label, score)
    index, contents = pd.factorize(content_id)
    values = _drawn_metric(metric, label, score, _times_drawn(len(contents), draws, seed), index, threshold)  # (draws,)
    low, high = np.quantile(values[np.isfinite(values)], (0.025, 0.975))  # without the draws that lack a class
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
            compared with the mean over the arm's heads, generator by generator.
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
        own, whole = {name: tested[tested["arm"] == name] for name in arms}, None
        measured = {name: values[(values["track"] == track) & (values["arm"] == name)] for name in arms}
        for control in [other for other in arms if other != arm and len(own[arm]) and len(own[other])]:
            one, other, keys = _shared(own[arm], own[control])
            areas = [
                measured[name] if len(part) == len(own[name]) else _unseen(part, metric)
                for name, part in ((arm, one), (control, other))
            ]
            means = areas[1].groupby(keys)["value"].mean().rename("control").reset_index()
            pairs = areas[0].merge(means, on=keys)
            gain = (pairs["value"] - pairs["control"]).set_axis(
                pd.MultiIndex.from_frame(pairs[["train_on", "generator", "seed"]])
            )
            gain = gain.dropna()
            contents = np.sort(one["content_id"].unique())
            if one is own[arm]:  # the same for most controls
                drawn = whole = _drawn_mean(one, metric, contents, draws, 0) if whole is None else whole
            else:
                drawn = _drawn_mean(one, metric, contents, draws, 0)
            mean, low, high = _interval(drawn - _drawn_mean(other, metric, contents, draws, 0))
            pairs = gain.groupby(["train_on", "generator"]).mean()
            spread = gain.groupby("seed").mean().std()
            rows.append((track, control, mean, low, high, spread, (pairs > 0).mean(), len(pairs)))
    columns = [f"{arm}_minus_control", "low", "high", "std_over_seeds", "better_share", "pairs"]
    return pd.DataFrame(rows, columns=["track", "control", *columns])


def _shared(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The rows of two arms that can be compared, and by what: pictures that both scored, generators that both were trained on."""
    one, other, _ = _common(one, other, "image_id")
    both = _common(one, other, "train_on")
    if not both[2]:
        return one, other, ["generator"]
    same = set(both[0]["seed"].unique()) == set(both[1]["seed"].unique())
    return *both[:2], ["train_on", "generator", *(["seed"] if same else [])]


def _common(one: pd.DataFrame, other: pd.DataFrame, name: str) -> tuple[pd.DataFrame, pd.DataFrame, set]:
    """The rows whose value of a column is in both tables, and these values; a table that has no others as it is."""
    held = [set(rows[name].unique()) for rows in (one, other)]
    both = held[0] & held[1]
    tables = [
        rows if own == both else rows[rows[name].isin(both)] for rows, own in zip((one, other), held, strict=True)
    ]
    return *tables, both


def _unseen(predictions: pd.DataFrame, metric: str) -> pd.DataFrame:
    areas = by_generator(predictions, [metric])
    return areas[areas["train_on"] != areas["generator"]]


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Of what _drawn_mean returned: the value, and the ends of its interval."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975)) if np.isfinite(values[0]) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)


def _drawn_mean(predictions: pd.DataFrame, metric: str, contents: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The mean over heads and unseen generators (1 + draws,): first as it is, then of each draw of contents."""
    times = _times_drawn(len(contents), draws, seed)  # (draws, contents): how often a content was drawn
    times = np.vstack([np.ones(len(contents), times.dtype), times])
    total, cells = np.zeros(len(times)), 0
    for generator in predictions.generator[predictions.label == 1].unique():
        rows = predictions[(predictions.generator == generator) | (predictions.label == 0)]
        heads = [head for _, head in rows[rows.train_on != generator].groupby(HEAD, sort=False)]
        if not heads or min(np.sum(heads[0].label == 0), np.sum(heads[0].label == 1)) < MINIMUM_ROWS:
            continue
        if any(len(head) != len(heads[0]) or (head.image_id.to_numpy() != heads[0].image_id).any() for head in heads):
            raise ValueError(f"the heads of {heads[0].arm.iloc[0]} were not all tested on the same images")
        label, index = heads[0].label.to_numpy(), np.searchsorted(contents, heads[0].content_id)
        scores = np.stack([check_rows(label, head.score)[1] for head in heads])  # (H, N)
        if metric == "roc_auc" and np.sum(label == 0) * np.sum(label == 1) <= LARGEST:
            total += len(heads) * _mean_roc_auc(label, scores, times[:, index].astype(float))
        else:
            thresholds = [head.threshold.iloc[0] if "threshold" in head else 0.5 for head in heads]
            for score, threshold in zip(scores, thresholds, strict=True):
                total += _drawn_metric(metric, label, score, times, index, threshold)
        cells += len(heads)
    return total / cells if cells else np.full(len(times), np.nan)


def _mean_roc_auc(label: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean ROC AUC of H heads for B weightings of the same N rows: scores (H, N), weight (B, N), result (B,).

    The area is the share of pairs that are in order (Hanley and McNeil 1982): linear in the order, so that the heads'
    orders are averaged first, and each weighting costs one product.
    """
    real, generated = scores[:, label == 0], scores[:, label == 1]
    wins = np.zeros((real.shape[1], generated.shape[1]))
    for low, high in zip(real, generated, strict=True):
        wins += (high > low[:, None]) + (high == low[:, None]) / 2  # (R, G)
    real, generated = weight[:, label == 0], weight[:, label == 1]  # (B, R), (B, G)
    pairs = real.sum(axis=1) * generated.sum(axis=1)  # (B,)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((real @ (wins / len(scores))) * generated).sum(axis=1) / pairs


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
    label, score = check_rows(label, score)
    values = weighted_metrics(label, score, np.ones((1, len(label))), threshold)[:, 0]
    rows = [{"metric": metric, "value": float(values[METRICS.index(metric)]), "n": n} for metric in metrics]
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
