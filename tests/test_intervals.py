import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn import metrics as reference
from test_metrics import by_sklearn, scenes

from itemkit.evaluation.intervals import (
    by_generator,
    confidence_interval,
    gains,
    mean_interval,
)
from itemkit.evaluation.metrics import METRICS, weighted_metrics


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_resampled_rows_equal_sklearn(seed):
    label, score, _ = scenes(seed)
    weight = np.random.default_rng(seed).poisson(1, size=(20, len(label))).astype(float)
    result = weighted_metrics(label, score, weight, 0.4)
    for number, row in enumerate(weight):
        expected = list(by_sklearn(label, score, row, 0.4).values())
        np.testing.assert_allclose(result[:, number], expected, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_interval_equals_a_loop_over_the_same_draws(metric):
    label, score, content_id = scenes(1, contents=30)
    draws = np.random.default_rng(7).integers(30, size=(40, 30))
    values = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(content_id == f"scene-{content}") for content in draw])
        values.append(by_sklearn(label[rows], score[rows])[metric])
    result = confidence_interval(label, score, content_id, metric, draws=40, seed=7)
    np.testing.assert_allclose(result, np.quantile(values, [0.025, 0.975]), atol=1e-12)


def test_interval_is_the_same_in_one_block_and_in_many():
    label, score, content_id = scenes(2, contents=400)  # 2,000 draws x 400 contents are several blocks
    draws = np.random.default_rng(0).integers(400, size=(2000, 400))
    weight = np.stack([np.bincount(draw, minlength=400) for draw in draws])[:, np.arange(800) // 2].astype(float)
    expected = np.quantile(weighted_metrics(label, score, weight, 0.5)[1], [0.025, 0.975])
    np.testing.assert_array_equal(confidence_interval(label, score, content_id, draws=2000), expected)


def test_intervals_cover_the_true_value():
    truth = 0.7602499  # of two normal scores one standard deviation apart: Phi(1 / sqrt(2))
    random = np.random.default_rng(0)
    label, content_id = np.tile([0, 1], 150), np.repeat(np.arange(150), 2)
    covered = []
    for _ in range(400):
        low, high = confidence_interval(label, random.normal(size=300) + label, content_id, draws=400)
        covered.append(low <= truth <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_metric_that_is_no_number_has_no_interval():
    label, score, content_id = scenes(3, contents=40)
    assert np.isnan(confidence_interval(label, 10 * score, content_id, "balanced_accuracy")).all()
    at_threshold = "balanced_accuracy_at_validation_threshold"
    assert np.isnan(confidence_interval(label, score, content_id, at_threshold, threshold=np.nan)).all()


def test_images_of_one_scene_do_not_count_as_many():
    label, score, content_id = scenes(3, contents=40)
    once = confidence_interval(label, score, content_id)
    four_times = [np.tile(array, 4) for array in (label, score, content_id)]
    assert confidence_interval(*four_times) == pytest.approx(once)


def predictions() -> pd.DataFrame:
    """Two heads; generators `easy`, `hard`, and `rare` with 19 rows."""
    frames = []
    for head_seed, (train_on, shift) in enumerate([("easy", 2.0), ("hard", 1.0)]):
        for number, (generator, count) in enumerate([("easy", 50), ("hard", 40), ("rare", 19)]):
            label, score, content_id = scenes(10 * head_seed + number, 50, shift)
            frame = pd.DataFrame({"label": label, "score": score, "content_id": content_id})
            frame["generator"] = np.where(label == 1, generator, "real")
            frame["seed"], frame["train_on"], frame["arm"], frame["track"] = head_seed, train_on, "item", "raw"
            generated = frame[frame.label == 1].head(count)
            frames += [frame[frame.label == 0], generated] if number == 0 else [generated]
    return pd.concat(frames, ignore_index=True)


def test_by_generator_sets_real_rows_against_each_generator():
    frame = predictions()
    table = by_generator(frame, draws=50)
    assert list(table) == ["track", "arm", "train_on", "generator", "seed", "metric", "value", "n", "low", "high"]
    assert list(by_generator(frame)) == list(table)[:-2]  # intervals only where somebody draws them
    assert len(table) == 2 * 3 * len(METRICS)
    head = frame[frame.train_on == "hard"]
    group = head[head.generator.isin(["real", "easy"])]
    row = table[(table.train_on == "hard") & (table.generator == "easy") & (table.metric == "roc_auc")].squeeze()
    assert row.value == pytest.approx(reference.roc_auc_score(group.label, group.score), abs=1e-12)
    assert row[["arm", "seed", "n"]].to_list() == ["item", 1, 50]
    interval = confidence_interval(group.label, group.score, group.content_id, draws=50)
    assert (row.low, row.high) == interval
    assert row.low < row.value < row.high


def test_too_few_rows_are_reported_and_never_a_number():
    table = by_generator(predictions(), draws=10)
    rare = table[table.generator == "rare"]
    assert (rare.n == 19).all()
    assert rare[["value", "low", "high"]].isna().all(axis=None)
    assert table[table.generator != "rare"].value.notna().all()
    frame = predictions()
    without_real = by_generator(frame[frame.label == 1], draws=10)
    assert (without_real.n == 0).all()
    assert without_real.value.isna().all()


def test_a_generator_without_rows_is_reported_too():
    table = by_generator(predictions(), draws=10, generators=["easy", "unheard"])
    assert set(table.generator) == {"easy", "unheard"}
    unheard = table[table.generator == "unheard"]
    assert (unheard.n == 0).all() and unheard[["value", "low", "high"]].isna().all(axis=None)


def test_each_head_is_measured_at_its_own_threshold():
    frame = predictions()
    frame["threshold"] = frame.train_on.map({"easy": 0.2, "hard": 0.9})
    table = by_generator(frame, draws=10).set_index(["train_on", "generator", "metric"]).value
    for head, threshold in (("easy", 0.2), ("hard", 0.9)):
        rows = frame[(frame.train_on == head) & frame.generator.isin(["real", "easy"])]
        expected = by_sklearn(rows.label.to_numpy(), rows.score.to_numpy(), threshold=threshold)
        assert table[head, "easy"].to_dict() == pytest.approx(expected, abs=1e-12)


def test_gains_by_hand():
    """One head of each of two arms, two generators: the mean difference on the one that it was not trained on."""
    table = heads()
    one, other = table.assign(arm="item"), table.assign(arm="image", score=0.5)
    both = pd.concat([one, other], ignore_index=True)
    row = gains(both, by_generator(both), "roc_auc", "item", ["image", "item"], draws=50).squeeze()
    areas = by_generator(one, ["roc_auc"])
    unseen = areas[areas.train_on != areas.generator].value
    assert row.item_minus_control == pytest.approx(unseen.mean() - 0.5)
    assert (row.low, row.high) == pytest.approx(mean_interval(one, draws=50, against=other)[1:])
    assert (row.control, row.pairs, row.better_share) == ("image", 6, (unseen > 0.5).mean())
    assert gains(one, by_generator(one), "roc_auc", "item", ["item"], draws=50).empty


def scored_by(trained: list[tuple[str, int]], same: bool) -> pd.DataFrame:
    """A head for each (train_on, seed); all of them give the same scores, or each its own."""
    head = heads()
    head = head[head.train_on == "a"].drop(columns=["train_on", "seed"])
    frames = []
    for number, (source, seed) in enumerate(trained):
        noise = 0 if same else np.random.default_rng([number, len(trained)]).normal(size=len(head))
        frames.append(head.assign(score=head.score + noise, train_on=source, seed=seed))
    return pd.concat(frames, ignore_index=True)


def gain_of_pairs(item: pd.DataFrame, control: pd.DataFrame) -> float:
    """The mean over pairs of what the heads of one have more than those of the other, each area by scikit-learn."""
    areas = {"item": {}, "control": {}}
    for name, table in (("item", item), ("control", control)):
        for (source, _), head in table.groupby(["train_on", "seed"]):
            for generator in {"a", "b", "c"} - {source}:
                rows = head[head.generator.isin(["real", generator])]
                area = reference.roc_auc_score(rows.label, rows.score)
                areas[name].setdefault((source, generator), []).append(area)
    item, control = ({cell: np.mean(values) for cell, values in areas[name].items()} for name in ("item", "control"))
    same = {source for source, _ in item} & {source for source, _ in control}
    found = []
    for (source, generator), area in item.items():
        fits = [cell for cell in control if cell[1] == generator and (not same or cell[0] == source)]
        found += [area - np.mean([control[cell] for cell in fits])] if fits else []
    return np.mean(found)


UNEQUAL = {
    "the same heads": ([("a", 0), ("b", 0), ("c", 0)], [("a", 0), ("b", 0), ("c", 0)]),
    "a part of the generators, and a detector from elsewhere": ([("a", 0), ("a", 1)], [("elsewhere", 0)]),
    "two of three, and one from elsewhere": ([("a", 0), ("b", 0), ("b", 1)], [("elsewhere", 3)]),
    "no generator in common": ([("a", 0)], [("b", 0), ("c", 0), ("c", 1)]),
    "some in common": ([("a", 0), ("b", 0)], [("b", 0), ("c", 0)]),
    "unequal seeds": ([("a", 0), ("a", 1), ("b", 0)], [("a", 5), ("b", 5), ("b", 6), ("b", 7)]),
}


@pytest.mark.parametrize("trained", UNEQUAL.values(), ids=UNEQUAL)
def test_both_sides_of_a_gain_are_of_the_same_pairs(trained):
    twin, other = (scored_by(one, same=True) for one in trained)
    both = pd.concat([twin, other.assign(arm="twin")], ignore_index=True)
    row = gains(both, by_generator(both, ["roc_auc"]), "roc_auc", "item", ["item", "twin"], draws=50).squeeze()
    assert (row.item_minus_control, row.low, row.high, row.better_share) == pytest.approx((0, 0, 0, 0), abs=1e-12)

    item, other = (scored_by(one, same=False) for one in trained)
    both = pd.concat([item, other.assign(arm="other")], ignore_index=True)
    row = gains(both, by_generator(both, ["roc_auc"]), "roc_auc", "item", ["item", "other"], draws=25).squeeze()
    assert row.item_minus_control == pytest.approx(gain_of_pairs(item, other), abs=1e-12)
    contents = np.sort(item.content_id.unique())
    groups = [dict(list(table.groupby("content_id"))) for table in (item, other)]
    drawn = [
        gain_of_pairs(*(pd.concat([group[contents[place]] for place in draw]) for group in groups))
        for draw in np.random.default_rng(0).integers(len(contents), size=(25, len(contents)))
    ]
    np.testing.assert_allclose([row.low, row.high], np.quantile(drawn, [0.025, 0.975]), atol=1e-12)


def test_controls_that_scored_fewer_pictures_do_not_change_what_others_are_compared_with():
    item = heads()
    few = item[item.content_id != item.content_id.iloc[0]]
    both = pd.concat([item, few.assign(arm="few"), item.assign(arm="twin")], ignore_index=True)
    table = gains(both, by_generator(both, ["roc_auc"]), "roc_auc", "item", ["item", "few", "twin"], draws=20)
    np.testing.assert_allclose(table[["item_minus_control", "low", "high"]], 0, atol=1e-12)


# the mean over heads and unseen generators


def heads(shift: float = 1.0, contents: int = 40) -> pd.DataFrame:
    """Three heads, of three generators, on the same images; image ids in the order of the rows."""
    frames = []
    for number, train_on in enumerate(["a", "b", "c"]):
        label, score, content_id = scenes(number, contents, shift)
        real = pd.DataFrame({"label": 0, "score": score[label == 0], "content_id": content_id[label == 0]})
        frame = [real.assign(generator="real")]
        for place, generator in enumerate(["a", "b", "c"]):
            _, other, _ = scenes(10 + 3 * number + place, contents, shift)
            frame.append(real.assign(label=1, score=other[label == 1], generator=generator))
        frame = pd.concat(frame, ignore_index=True)
        frames.append(
            frame.assign(track="raw", arm="item", seed=0, train_on=train_on, image_id=frame.index.astype(str))
        )
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "generated_accuracy"])
def test_the_mean_and_its_interval_equal_a_loop_over_the_same_draws(metric):
    frame = heads()

    def mean(rows):
        return np.mean(
            [
                by_sklearn(*(pair[name].to_numpy() for name in ("label", "score")))[metric]
                for _, head in rows.groupby("train_on")
                for generator in {"a", "b", "c"} - {head.train_on.iloc[0]}
                for pair in [head[head.generator.isin(["real", generator])]]
            ]
        )

    contents = np.sort(frame.content_id.unique())
    draws = np.random.default_rng(5).integers(len(contents), size=(25, len(contents)))
    groups = dict(list(frame.groupby("content_id")))
    drawn = [mean(pd.concat([groups[contents[content]] for content in draw])) for draw in draws]
    value, low, high = mean_interval(frame, metric, draws=25, seed=5)
    assert value == pytest.approx(mean(frame), abs=1e-12)
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), atol=1e-12)


def test_a_difference_is_drawn_together():
    frame, other = heads(), heads(shift=0.2)
    value, low, high = mean_interval(frame, draws=100, against=other)
    assert value == pytest.approx(mean_interval(frame, draws=1)[0] - mean_interval(other, draws=1)[0])
    assert low < value < high
    assert mean_interval(frame, draws=100, against=frame) == (0, 0, 0)


def test_a_mean_without_an_unseen_generator_is_no_number():
    frame = heads()
    one = frame[(frame.train_on == "a") & frame.generator.isin(["real", "a"])]
    assert np.isnan(mean_interval(one)).all()
    few = heads(contents=19)
    assert np.isnan(mean_interval(few)).all()


def test_heads_tested_on_different_images_have_no_mean():
    frame = heads()
    frame.loc[frame.index[(frame.train_on == "c") & (frame.generator == "a")][0], "image_id"] = "another"
    with pytest.raises(ValueError, match="the heads of item were not all tested on the same images"):
        mean_interval(frame)


def test_intervals_of_the_mean_cover_the_true_value():
    random, contents, covered = np.random.default_rng(1), 100, []
    truth = norm.cdf(1 / np.sqrt(2 * 1.25))  # scores: normal, with a part that a content's pictures and heads share
    base = heads(contents=contents)
    for _ in range(300):
        shared = dict(zip(base.content_id.unique(), random.normal(scale=0.5, size=contents), strict=True))
        score = random.normal(size=len(base)) + base.label + base.content_id.map(shared)
        # The shared part is the same in both classes of a content: over contents it widens each class alike.
        _, low, high = mean_interval(base.assign(score=score), draws=300)
        covered.append(low <= truth <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_bad_input_is_refused():
    label, score, content_id = scenes(0, contents=5)
    for function in (
        lambda: confidence_interval(label, score, content_id, "auc"),
        lambda: mean_interval(heads(), "auc"),
    ):
        with pytest.raises(ValueError, match="unknown metric 'auc'; expected one of average_precision, roc_auc"):
            function()
    with pytest.raises(ValueError, match="predictions lack arm, content_id; they have label"):
        by_generator(predictions().drop(columns=["content_id", "arm"]))
