"""The sentences of the page, from numbers by hand."""

import numpy as np
import pandas as pd
import pytest

from itemkit.paper import claims

TABLE = pd.DataFrame(
    {"mean": [0.55, 0.88, 0.62, 0.91], "minimum": [0.41, 0.74, 0.53, 0.78]},
    index=["image", "item", "shuffled", "metadata"],
)


def against(**intervals) -> pd.DataFrame:
    rows = [(name, (low + high) / 2, low, high, 0.9, 30) for name, (low, high) in intervals.items()]
    return pd.DataFrame(rows, columns=["control", "item_minus_control", "low", "high", "better_share", "pairs"])


def test_the_verdict_says_what_is_beaten_and_what_is_not_and_explains_each_arm():
    given = against(image=(0.3, 0.35), shuffled=(-0.01, 0.02), metadata=(-0.05, -0.01))
    assert claims.verdict(TABLE, given, "ROC AUC", "aligned") == (
        "On generators not trained on, item, the method, reaches a mean ROC AUC of 0.880, at worst 0.740, on files made "
        "alike (the track aligned). It beats image, the picture alone (0.550, at worst 0.410; difference +0.325, 95 % "
        "interval +0.300 to +0.350; better in 90% of 30 pairs); it cannot be told from shuffled, the same with the words of "
        "another picture (0.620, at worst 0.530; difference +0.005, 95 % interval -0.010 to +0.020; better in 90% of 30 "
        "pairs). It loses to metadata (sizes, lengths and counts, and no vector)."
    )


@pytest.mark.parametrize("given", [against(), against(image=(np.nan, np.nan)), against(metadata=(0.1, 0.2))])
def test_without_the_controls_item_is_told_and_nothing_is_claimed(given):
    said = claims.verdict(TABLE, given, "ROC AUC", "raw")
    assert said.startswith("On generators not trained on, item, the method, reaches a mean ROC AUC of 0.880")
    assert said.endswith(
        "Whether the words add to the picture alone cannot be said, since the arm image has no number."
    )
    assert ("It beats metadata" in said) == ("metadata" in set(given.control))
    untested = TABLE.assign(mean=np.nan, minimum=np.nan)
    assert claims.verdict(untested, given, "ROC AUC", "raw").startswith("Without a second generator that has pictures")


def test_with_image_alone_there_is_no_third_sentence():
    said = claims.verdict(TABLE, against(image=(-0.3, -0.2)), "ROC AUC", "raw")
    assert "It loses to image, the picture alone (" in said and said.count(". ") == 1 and said.endswith("pairs).")


def test_the_sign_counts_intervals_beyond_chance_and_says_whose_fault_it_is():
    rows = [
        ("aligned", words, level, name, value, low, high)
        for words, shift in (("of the captioner", 0.0), ("true", 0.05))
        for level, name, value, low, high in [
            ("global", "gan", 0.6 + shift, 0.55, 0.65),
            ("global", "vae", 0.4 + shift, 0.35, 0.45),
            ("local", "gan", 0.9 + shift, 0.85, 0.95),
            ("local", "vae", 0.5 + shift, 0.45, 0.55),
        ]
    ]
    signs = pd.DataFrame(rows, columns=["track", "words", "level", "generator", "value", "low", "high"])
    said = claims.sign(signs, "aligned")
    assert (
        "global, generated pictures fit their words worse than real ones (as ITEM says) for 1 of 2 generators and better"
        in said
    )
    assert (
        "(as SARE says) for 1; local" in said
        and "worse than real ones (as ITEM says) for 1 of 2 generators and better (as SARE says) for 0." in said
    )
    assert "from 0.500 to 0.550 (global, 2 generators) and from 0.700 to 0.750 (local, 2 generators)" in said
    half = signs[(signs.words != "true") | (signs.generator == "gan")]  # the truth of vae is not known
    assert "from 0.600 to 0.650 (global, 1 generators) and from 0.900 to 0.950 (local" in claims.sign(half, "aligned")
    assert "cannot be told from wrong pictures" in claims.sign(signs[signs.words != "true"], "aligned")


def test_leaks_names_the_column_that_tells_and_what_is_no_leak():
    rows = [("gan", "aligned", 0.9, "texture", "bytes"), ("vae", "aligned", 0.7, "texture", "bytes")]
    rows += [
        ("gan", "raw", 1.0, "leak", "format"),
        ("vae", "raw", 0.5, "healthy", "width"),
        ("dit", "raw", None, "too few rows", None),
    ]
    leaks = pd.DataFrame(rows, columns=["generator", "track", "roc_auc", "verdict", "column"])
    said = claims.leaks(leaks, 5, 0.6, 0.8)
    assert said.startswith(
        "Files alone give away 0 of 2 generators on the track aligned and 1 of 2 generators on the track raw (by format)."
    )
    assert "these reach 0.70 to 0.90, by what the picture shows" in said and said.endswith(
        "suspect from 0.6, leak from 0.8."
    )


def test_copies_are_counted():
    copies = pd.DataFrame(
        {"split": ["train"], "other": ["test"], "pairs": [5000], "exact": [0], "near": [2], "both_real": [1]}
    ).assign(one_content=1)
    said = claims.copies(copies, 4, pd.DataFrame())
    assert said.startswith("No picture stands in two splits: of 5,000 pairs 0 have equal pixels, and 2 look alike")
    assert said.endswith("1 of these with both pictures real and 1 with one content id.")
    both = pd.DataFrame({"pixel_hash": ["x", "x"], "image_id": ["1", "2"], "generator": ["real", "gan"]})
    assert claims.copies(copies, 4, both).endswith(
        "1 pictures stand under both labels, the first as 1 of real: one of them is wrong."
    )
    assert claims.copies(copies.assign(exact=3), 4, pd.DataFrame()).startswith(
        "3 pairs are one picture in two splits: of 5,000"
    )


def test_robustness_names_what_breaks():
    index = pd.MultiIndex.from_tuples([("none", 0), ("resize_jpeg", 0.5)], names=["perturbation", "strength"])
    table = pd.DataFrame({"image": [0.6, 0.5], "item": [0.9, 0.6], "item_captions_frozen": [0.9, 0.65]}, index=index)
    said = claims.robustness(table, 30, "aligned")
    assert said.startswith("item falls from 0.90 to 0.60 at worst (resize, then jpeg 0.5), image from 0.60 to 0.50.")
    assert "bring back 0.050 at most, 0.050 on average: it is the detector and CLIP that break" in said
    assert "the captioner is what breaks" in claims.robustness(
        table.assign(item_captions_frozen=[0.9, 0.85]), 30, "raw"
    )
    steady = table.assign(item=[0.60, 0.62], item_captions_frozen=[0.60, 0.62])
    assert "0.000 on average: nothing breaks." in claims.robustness(steady, 30, "raw")


def test_ablations_and_anatomy_name_best_worst_and_what_is_left():
    choices = pd.DataFrame({"choice": ["distance", "pool", "fuse"], "value": ["difference", "sum", "sum"]})
    choices = choices.assign(mean=[0.87, 0.9, 0.8], difference=[0, 0.03, -0.07])
    assert claims.ablations(choices).startswith(
        "Best and worst change to the default's 0.870: pool sum (+0.030) and fuse sum (-0.070)."
    )
    values = {
        "local, no words": 0.86,
        "local": 0.9,
        "local cosine alone": 0.8,
        "count alone": 0.6,
        "image": 0.55,
        "words of others": 0.6,
    }
    carries = pd.DataFrame({"value": list(values), "mean": list(values.values())})
    assert claims.anatomy(carries).startswith(
        "Without words, local keeps 90% of what it has above chance (0.860 of 0.900)"
    )
    chance = carries.assign(mean=carries["mean"].mask(carries.value == "local", 0.52))
    assert claims.anatomy(chance).startswith("Without words, local has no clear lead to keep (0.860 of 0.520)")
    for claim, table in ((claims.ablations, choices), (claims.anatomy, carries)):
        assert claim(table.assign(mean=np.nan, difference=np.nan)).startswith("Too few validation pictures")


def test_mistakes_are_shares_of_each_class():
    explained = pd.DataFrame(
        {"label": [0, 0, 0, 0, 1, 1], "called": ["real", "real", "real", "generated", "real", "generated"]}
    )
    told = "At 0.5, 25% of the real pictures are called generated and 50% of the generated ones real"
    assert claims.mistakes(explained).startswith(told)
    silent = pd.DataFrame({"label": [1, 1], "called": None})  # of a generator that every head was trained on
    explained = pd.concat([explained, silent], ignore_index=True)
    assert claims.mistakes(explained).startswith(told)
    assert claims.mistakes(explained).endswith(" 2 pictures have no score: every head was trained on their generator.")


def test_what_silence_buys_and_what_the_detector_of_a_run_says():
    table = pd.DataFrame(
        {"generated_coverage": [0.9, 0.8], "generated_error": [0.2, 0.25], "generated_error_answered": [0.1, 0.15]}
        | {"real_coverage": 0.98, "real_error": 0.06, "real_error_answered": 0.05},
        index=["gan", "all"],
    )
    told = claims.selective(table, "aligned")
    assert "of real pictures 98% are answered, 5.0% of them wrongly, instead of 6.0% of all" in told
    assert told.endswith("of generated pictures 80% are answered, 15.0% of them wrongly, instead of 25.0% of all.")
    assert "Too few pictures" in claims.selective(table.assign(real_error=float("nan")), "aligned")
    answers = pd.DataFrame(
        {"called_generated": [0.04, 0.6, 0.8], "undecided": [0.0, 0.1, 0.3], "above_threshold": [0.04, 0.7, 0.9]},
        index=["real", "gan", "vae"],
    )
    told = claims.detector(answers, 50)
    assert "4.0% of 50 pass it (95 % interval 1.1% to 13.5%)" in told  # Wilson's, by hand
    assert "calls 60% to 80% of a generator's pictures generated, and 10% to 30% undecided" in told
    assert "no real ones" in claims.detector(answers.drop(index="real"), 0)
    answers.loc["vae"] = np.nan  # too few of its pictures
    assert "calls 60% to 60% of a generator's pictures" in claims.detector(answers, 50)
    answers.loc["gan"] = answers.loc["real"] = np.nan
    assert claims.detector(answers, 9).endswith("there are too few to say how many do.")


def test_what_is_not_known_is_not_written_as_a_number():
    table = pd.DataFrame({"minimum": [0.7, np.nan]}, index=["item", "npr"])
    assert claims.worst(table, "raw").endswith("Worst of all: item 0.70.")
    wide = pd.DataFrame({"difference": [-0.03, -0.01]}, index=["item", "image"])
    assert claims.tracks(wide, "ROC AUC", ["aligned", "raw"]).endswith("image loses least by raw files: -0.010.")
    sides = {"seen_before": [np.nan], "seen_after": [np.nan], "unseen_before": [0.2], "unseen_after": [0.1]}
    errors = pd.DataFrame(sides, index=["item"])
    assert "Mean over arms: 0.200 to 0.100 on others." in claims.calibration(errors, "raw")
    assert "error 0.200 before and 0.100 after scaling on the others:" in claims.reliability(errors)
    assert "too few pictures to say" in claims.calibration(errors * np.nan, "raw")
    rows = pd.DataFrame({"generator": ["real", "gan"], "label": [0, 1], "score": [0.2, 0.9]})
    assert claims.chosen(rows, 2).startswith("One content by every source,")
    assert claims.chosen(rows, 3).startswith("One content by 2 of 3 sources,")


def test_true_words_of_real_pictures_alone_compare_nothing():
    columns = ["nouns_named", "named_nouns_true", "things_found", "boxes_right"]
    correct = pd.DataFrame([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, None]], ["real", "gan"], columns)
    assert "names 90% of the nouns that are true of real pictures and 50% of generated ones (gan: 50%)" in claims.truth(
        correct
    )
    alone = claims.truth(correct.assign(nouns_named=[0.9, None]))
    assert alone.startswith("The card names true captions of real alone, so that nothing can be compared. nouns named")
    nothing = claims.truth(correct.assign(nouns_named=None))
    assert nothing.startswith("The true captions of this card name no noun that is looked for, so that nothing can be")
    without_boxes = claims.truth(correct.assign(things_found=float("nan")))
    assert "detector finds" not in without_boxes and "nan" not in without_boxes


def test_generators_without_a_number_are_not_counted_by_the_sign():
    rows = [("of the captioner", "global", name, value) for name, value in (("gan", 0.7), ("vae", None))]
    signs = pd.DataFrame(rows, columns=["words", "level", "generator", "value"]).assign(track="aligned")
    signs = signs.assign(low=signs["value"] - 0.1, high=signs["value"] + 0.1)
    assert "(as ITEM says) for 1 of 1 generators" in claims.sign(signs, "aligned")


@pytest.mark.parametrize(
    ("generated", "tells"),
    [
        (["JPEG"] * 10, "tells nothing."),
        (["JPEG"] * 5 + ["PNG"] * 5, "tells 75% of them right"),
        (["PNG"] * 10, "100%"),
    ],
)
def test_a_format_tells_by_its_share(generated, tells):
    files = pd.DataFrame({"format": ["JPEG"] * 10 + generated, "label": [0] * 10 + [1] * 10, "status": "ok"})
    assert tells in claims.files(files.assign(track="raw"))
    assert claims.files(files.assign(track="aligned")).endswith("(the track raw) tell was not looked at.")


def test_heads_of_no_tested_generator_have_no_diagonal():
    cells = pd.DataFrame({"arm": "npr", "train_on": "elsewhere", "generator": ["gan", "vae"], "mean": [0.6, 0.8]})
    assert claims.matrix(cells, "ROC AUC", "aligned", 1).endswith("Means: npr 0.70 off it.")


def test_an_ablation_that_changes_nothing_is_said_to():
    choices = pd.DataFrame({"choice": ["pool"], "value": ["mean"], "mean": [0.8], "difference": [0.0]})
    assert claims.ablations(choices).startswith("No change to the default changes")


def test_only_a_run_on_toyworld_is_said_to_be_of_drawings():
    assert claims.limits("../data_cards/toyworld").startswith("Toyworld is drawn")
    assert claims.limits("../data_cards/defactify") == claims.limits("") == claims.LIMITS
