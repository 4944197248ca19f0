"""Scores of other people's detectors: what is read of a table, what it decides, and how the method is compared with it."""

import numpy as np
import pandas as pd
import pytest

from itemkit.evaluation.calibration import choose_temperature, choose_threshold
from itemkit.evaluation.intervals import by_generator, gains, mean_interval
from itemkit.evaluation.others import as_predictions, doubts, perturbed_id, read_scores, step_doubts

CONTENTS = 30


def pictures() -> pd.DataFrame:
    """Each content of each split by each source on one track, the last of them unreadable."""
    rows = [
        (f"{split[:2]}{content:02}{place}".encode().hex()[:16].ljust(16, "0"), source, int(place > 0), content, split)
        for split in ("train", "validation", "test")
        for content in range(CONTENTS)
        for place, source in enumerate(("real", "gan", "vae"))
    ]
    files = pd.DataFrame(rows, columns=["image_id", "generator", "label", "content_id", "split"])
    files["track"], files["status"] = "aligned", "ok"
    files.loc[len(files) - 1, "status"] = "unreadable"
    return files


FILES = pictures()
READABLE = FILES[FILES.status == "ok"]


def scored(draw: int = 0, **columns) -> pd.DataFrame:
    """A score in [0, 1] of each readable picture, that tells something."""
    noise = np.random.default_rng(draw).normal(size=len(READABLE))
    score = 1 / (1 + np.exp(-noise - READABLE.label.to_numpy()))
    return pd.DataFrame({"image_id": READABLE.image_id, "score": score} | columns)


def written(tmp_path, table: pd.DataFrame, name: str = "npr.csv"):
    table.to_csv(tmp_path / name, index=False)
    return tmp_path / name


def test_a_table_of_scores_becomes_rows_of_predictions_with_a_threshold_of_validation_rows(tmp_path):
    given = scored()
    scores = read_scores(written(tmp_path, given), FILES)
    assert set(scores.arm) == {"npr"} and set(scores.train_on) == {"elsewhere"} and set(scores.seed) == {0}
    rows = as_predictions(scores, FILES)
    expected = READABLE[READABLE.split != "train"]
    assert rows.image_id.tolist() == expected.image_id.tolist()
    np.testing.assert_array_equal(rows.score, given.set_index("image_id").score[expected.image_id])
    own = rows[rows.split == "validation"]
    assert set(rows.threshold) == {choose_threshold(own.label, own.score)}
    assert set(rows.temperature) == {choose_temperature(own.label, own.score)}
    (sentence,) = doubts(scores, rows, FILES)
    assert sentence.startswith(
        "npr: trained elsewhere, its threshold and temperature come from validation pictures of every"
    )


def test_a_detector_of_one_generator_is_judged_by_the_validation_rows_of_it(tmp_path):
    table = pd.concat([scored(seed, train_on=source, seed=seed) for source in ("gan", "vae") for seed in (3, 4)])
    rows = as_predictions(read_scores(written(tmp_path, table), FILES), FILES)
    assert rows.groupby(["train_on", "seed"]).size().to_dict() == {
        (source, seed): 2 * 3 * CONTENTS - 1 for source in ("gan", "vae") for seed in (3, 4)
    }
    own = rows[(rows.train_on == "gan") & (rows.seed == 3)]
    chosen = own[(own.split == "validation") & own.generator.isin(["real", "gan"])]
    assert set(own.threshold) == {choose_threshold(chosen.label, chosen.score)}


def test_files_of_a_manifest_name_their_pictures_and_perturbed_ones_are_kept_apart(tmp_path):
    name = READABLE.image_id.iloc[-1]
    files = [
        f"aligned/{name}.jpg",
        *(f"aligned/{perturbed_id(name, *step)}.png" for step in (("resize", 0.75), ("blur", 1))),
    ]
    table = pd.DataFrame({"file": files, "score": [0.1, 0.2, 0.3]})
    scores = read_scores(written(tmp_path, table), FILES)
    assert scores[["image_id", "perturbation", "strength", "score"]].to_numpy().tolist() == [
        [name, "none", 0.0, 0.1],
        [name, "resize", 0.75, 0.2],
        [name, "blur", 1.0, 0.3],
    ]


def test_scores_on_another_scale_are_ranked_only_and_said_to_be(tmp_path):
    given = scored()
    scores = read_scores(written(tmp_path, given.assign(score=10 * given.score - 3)), FILES)
    rows = as_predictions(scores, FILES)
    assert rows[["threshold", "temperature"]].isna().all(axis=None)
    (sentence,) = doubts(scores, rows, FILES)
    assert sentence.startswith("npr: scores from -2") and "ranked, and no accuracy at 0.5 is given" in sentence
    plain = as_predictions(read_scores(written(tmp_path, given), FILES), FILES)
    one, other = (
        by_generator(table[table.split == "test"]).set_index(["metric", "generator"]).value.sort_index()
        for table in (plain, rows)
    )
    ranked = ["average_precision", "roc_auc", "true_positive_rate_at_5_percent_false_positives"]
    pd.testing.assert_series_equal(one[ranked], other[ranked])
    assert other.drop(ranked).isna().all() and one.notna().all()


def test_what_is_missing_is_counted_and_named_and_never_filled(tmp_path):
    given = scored()
    lost = READABLE[(READABLE.split == "test") & (READABLE.generator == "vae")].image_id.iloc[:4]
    given = given[~given.image_id.isin([*lost, *READABLE[READABLE.split == "validation"].image_id])]
    scores = read_scores(written(tmp_path, given), FILES)
    rows = as_predictions(scores, FILES)
    assert not rows.image_id.isin(lost).any() and rows.threshold.isna().all()
    first = READABLE[READABLE.split == "validation"].image_id.iloc[0]
    assert doubts(scores, rows, FILES) == [
        f"npr: 90 of 90 validation pictures of the track aligned have no score, and count nowhere; the first is {first} of real",
        f"npr: 4 of 89 test pictures of the track aligned have no score, and count nowhere; the first is {lost.iloc[0]} of vae",
    ]


FIRST = READABLE.image_id.iloc[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.assign(image_id=["0" * 15 + "1", *table.image_id[1:]]),
            "row 1: 0{15}1 is no picture of this run; 1 rows",
        ),
        (lambda table: pd.concat([table, table[:3]]), f"{FIRST} has two scores of one detector; 3 rows in all"),
        (
            lambda table: table.assign(score=[np.nan, *table.score[1:]]),
            f"row 1: {FIRST} has no score that is a finite number",
        ),
        (lambda table: table.assign(score=["high", *table.score[1:]]), "has no score that is a finite number; 1 rows"),
        (lambda table: table.assign(score=[np.inf, *table.score[1:]]), "has no score that is a finite number; 1 rows"),
        (
            lambda table: table.rename(columns={"score": "p"}),
            "rows with image_id, p; expected columns, separated by commas: image_id or file, and score, each once",
        ),
        (lambda table: table[["score"]], "rows with score; expected columns"),
        (lambda table: table[:0], "has 0 rows with image_id, score"),
        (
            lambda table: table.assign(seed=[1, *[0] * (len(table) - 1)]),
            "have scored different pictures; give all the same",
        ),
        (lambda table: table.assign(seed="first"), "seed holds 'first'; expected whole numbers"),
        (lambda table: table.assign(seed=1.5), "seed holds '1.5'; expected whole numbers"),
        (lambda table: table.assign(seed=1e20), "seed holds '1e.20'; expected whole numbers from 0 to 2.31"),
        (lambda table: table.assign(train_on="None"), "unknown train_on 'None'; expected one of gan"),
        (
            lambda table: table.assign(file=f"aligned/{FIRST}.png"),
            "is named as another picture by a column beside it; [0-9]+ rows",
        ),
        (lambda table: table.assign(perturbation="blur"), "is named as another picture by a column"),
        (lambda table: table.assign(strength=0.5), "is named as another picture by a column"),
        (
            lambda table: table.assign(image_id=[perturbed_id(FIRST, "blur", 1) + ".2.3", *table.image_id[1:]]),
            f"row 1: {FIRST}-blur-1.2.3 is no picture of this run",
        ),
        (lambda table: table.assign(image_id=[f"{FIRST}-blur-.", *table.image_id[1:]]), "-blur-. is no picture"),
        (
            lambda table: table.assign(train_on="GAN"),
            "unknown train_on 'GAN'; expected one of gan, vae, elsewhere, where",
        ),
        (lambda table: table.assign(train_on="real"), "unknown train_on 'real'; expected one of gan, vae, elsewhere"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_in_a_sentence(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        read_scores(written(tmp_path, change(scored())), FILES)
    assert "\n" not in str(error.value) and "npr.csv" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,"b\n1'])
def test_a_file_that_is_no_table_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "npr.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"npr.csv is no table in UTF-8, separated by commas|expected image_id or file"
    ):
        read_scores(tmp_path / "npr.csv", FILES)
    with pytest.raises(ValueError, match="no table of scores .*absent.csv, seen from"):
        read_scores(tmp_path / "absent.csv", FILES)


def test_scores_of_no_picture_that_counts_are_said_to_be(tmp_path):
    given = scored()
    given["image_id"] = [perturbed_id(name, "blur", 1) for name in given.image_id]
    scores = read_scores(written(tmp_path, given), FILES)
    rows = as_predictions(scores, FILES)
    assert rows.empty
    first = READABLE.groupby("split").image_id.first()
    assert doubts(scores, rows, FILES) == [
        f"npr: {count} of {count} {split} pictures of the track aligned have no score, and count nowhere; the first is "
        f"{first[split]} of real"
        for split, count in (("validation", 90), ("test", 89))
    ]
    more = pd.concat([scores, scores[:1].assign(perturbation="none", strength=0.0)])
    assert doubts(more, as_predictions(more, FILES), FILES) == doubts(scores, rows, FILES)  # it is of the train split


def test_a_track_without_a_score_is_named(tmp_path):
    other = FILES.assign(track="raw", image_id=FILES.image_id.str.replace("0", "f"))
    both = pd.concat([FILES, other], ignore_index=True)
    scores = read_scores(written(tmp_path, scored()), both)
    said = [sentence for sentence in doubts(scores, as_predictions(scores, both), both) if "track raw" in sentence]
    assert [sentence.split(" have")[0] for sentence in said] == [
        "npr: 90 of 90 validation pictures of the track raw",
        "npr: 89 of 89 test pictures of the track raw",
    ]


def test_no_threshold_comes_from_pictures_of_other_generators_than_the_one_trained_on(tmp_path):
    given = scored(train_on="gan")
    lost = READABLE[(READABLE.split == "validation") & (READABLE.generator == "gan")].image_id
    rows = as_predictions(read_scores(written(tmp_path, given[~given.image_id.isin(lost)]), FILES), FILES)
    assert len(rows) and rows[["threshold", "temperature"]].isna().all(axis=None)


def test_steps_that_are_scored_in_part_or_not_in_this_run_are_named(tmp_path):
    tested = READABLE[READABLE.split == "test"][:6]
    points = [("none", 0), ("blur", 0.5), ("blur", 1.0)]
    names = [perturbed_id(name, *step) for step in points[1:] for name in tested.image_id]
    table = pd.concat([scored(), pd.DataFrame({"image_id": names, "score": 0.5})])
    assert step_doubts(read_scores(written(tmp_path, table), FILES), tested, points) == []
    strange = [perturbed_id(FIRST, "blur", 1), *(perturbed_id(name, "blur", 2) for name in tested.image_id[:4])]
    table = pd.concat([table[:-1], pd.DataFrame({"image_id": strange, "score": 0.5})])
    assert step_doubts(read_scores(written(tmp_path, table), FILES), tested, points) == [
        "npr: of 1 of 3 steps not all of the 6 pictures have a score (blur 1); its points there are of those that have",
        f"npr: 5 scores of perturbed pictures are of none that this run perturbs ({', '.join(strange[:3])}, ...)",
    ]
    (sentence,) = step_doubts(read_scores(written(tmp_path, scored()), FILES), tested, points)
    assert sentence.startswith("npr: of 2 of 3 steps not all of the 6 pictures have a score (blur 0.5, blur 1);")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"image_id,score\n{FIRST},0,73\n", f"Row #2: Expected 2 columns, got 3: {FIRST},0,73"),
        (f"image_id,score\n{FIRST},0.7,\n", "Row #2: Expected 2 columns, got 3"),
        (f'image_id,score\n{FIRST},"0,73"\n', f"row 1: {FIRST} has no score that is a finite number"),
        (f"image_id;score\n{FIRST};0.7\n", "rows with image_id;score; expected columns, separated by commas"),
        (f"image_id,score,score\n{FIRST},0.7,0.3\n", "rows with image_id, score, score; expected .* each once"),
    ],
)
def test_no_number_is_taken_for_another(tmp_path, content, message):
    (tmp_path / "npr.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_scores(tmp_path / "npr.csv", FILES)


def test_the_manifest_with_a_column_of_scores_is_such_a_table(tmp_path):
    name = perturbed_id(FIRST, "blur", 0.5)
    plain = {"file": f"aligned/{FIRST}.jpg", "image_id": FIRST, "perturbation": "none", "strength": 0}
    changed = {"file": f"aligned/{name}.png", "image_id": name, "perturbation": "blur", "strength": 0.5}
    table = pd.DataFrame([plain | {"score": 0.1}, changed | {"score": 0.2}])
    scores = read_scores(written(tmp_path, table), FILES)
    assert scores[["image_id", "perturbation", "strength", "score"]].to_numpy().tolist() == [
        [FIRST, "none", 0.0, 0.1],
        [FIRST, "blur", 0.5, 0.2],
    ]


@pytest.mark.parametrize("name", ["{}-resize-0.75", "a/{}-resize-0.75.PNG", "b.c/{}-resize-0.75.tar.gz2"])
def test_a_strength_is_no_ending_of_a_file(tmp_path, name):
    path = written(tmp_path, pd.DataFrame({"file": [name.format(FIRST)], "score": [0.5]}))
    if name.endswith("gz2"):
        with pytest.raises(ValueError, match="is no picture of this run"):
            read_scores(path, FILES)
    else:
        assert read_scores(path, FILES)[["image_id", "strength"]].to_numpy().tolist() == [[FIRST, 0.75]]


def test_a_row_with_a_cell_too_many_shifts_no_column(tmp_path):
    path = written(tmp_path, scored())
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{place},{row}" for place, row in enumerate(rows))]))
    with pytest.raises(ValueError, match="npr.csv is no table .*Row #2: Expected 2 columns, got 3: 0,"):
        read_scores(path, FILES)


def test_a_path_may_be_written_as_windows_does(tmp_path):
    table = pd.DataFrame({"file": [f"aligned\\{FIRST}.jpg"], "score": [0.5]})
    assert read_scores(written(tmp_path, table), FILES).image_id.tolist() == [FIRST]


def test_scores_of_one_class_are_refused(tmp_path):
    given = scored()
    scores = read_scores(written(tmp_path, given[given.image_id.isin(READABLE[READABLE.label == 1].image_id)]), FILES)
    with pytest.raises(ValueError, match="npr has scores of test pictures of one class on the track aligned"):
        as_predictions(scores, FILES)


def item_rows() -> pd.DataFrame:
    """Heads of two generators and two seeds, of all test pictures."""
    tested, rows = READABLE[READABLE.split == "test"], []
    for number, (source, seed) in enumerate([(source, seed) for source in ("gan", "vae") for seed in (0, 1)]):
        noise = np.random.default_rng(number).normal(size=len(tested))
        rows.append(tested.assign(score=noise + 2 * tested.label, arm="item", train_on=source, seed=seed))
    return pd.concat(rows, ignore_index=True)


def test_the_method_is_compared_with_a_detector_from_elsewhere_generator_by_generator(tmp_path):
    item, npr = item_rows(), as_predictions(read_scores(written(tmp_path, scored()), FILES), FILES)
    both = pd.concat([item, npr[npr.split == "test"]], ignore_index=True)
    areas = by_generator(both, ["roc_auc"])
    row = gains(both, areas, "roc_auc", "item", ["item", "npr"], draws=50).squeeze()
    unseen = areas[areas.train_on != areas.generator].set_index("arm")
    of_npr = unseen.loc["npr"].set_index("generator").value
    differences = unseen.loc["item"].assign(gain=lambda table: table.value - of_npr[table.generator].to_numpy())
    assert row.item_minus_control == pytest.approx(differences.gain.mean())
    assert row.pairs == 2 and row.std_over_seeds == pytest.approx(differences.groupby("seed").gain.mean().std())
    assert row.better_share == (differences.groupby(["train_on", "generator"]).gain.mean() > 0).mean()
    assert (row.low, row.high) == pytest.approx(mean_interval(item, draws=50, against=npr[npr.split == "test"])[1:])


def test_the_method_is_compared_on_the_pictures_that_both_have_scored(tmp_path):
    given = scored()
    some = given[given.image_id.isin(READABLE[READABLE.content_id < 24].image_id)]
    npr = as_predictions(read_scores(written(tmp_path, some), FILES), FILES)
    item, npr = item_rows(), npr[npr.split == "test"]
    both = pd.concat([item, npr], ignore_index=True)
    row = gains(both, by_generator(both, ["roc_auc"]), "roc_auc", "item", ["item", "npr"], draws=50).squeeze()
    shared = item[item.content_id < 24]
    assert row.item_minus_control == pytest.approx(mean_interval(shared, draws=1)[0] - mean_interval(npr, draws=1)[0])


def test_the_method_is_compared_with_detectors_of_the_same_generators_pair_by_pair(tmp_path):
    table = pd.concat([scored(7, train_on="gan", seed=5), scored(8, train_on="gan", seed=6)])
    npr = as_predictions(read_scores(written(tmp_path, table), FILES), FILES)
    item, npr = item_rows(), npr[npr.split == "test"]
    both = pd.concat([item, npr], ignore_index=True)
    areas = by_generator(both, ["roc_auc"])
    row = gains(both, areas, "roc_auc", "item", ["item", "npr"], draws=50).squeeze()
    means = areas[(areas.train_on == "gan") & (areas.generator == "vae")].groupby("arm").value.mean()
    assert row.pairs == 1 and row.item_minus_control == pytest.approx(means["item"] - means["npr"])
