"""The leak audit flags what files give away and passes what they don't; duplicates are found across splits."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from conftest import encode, make_picture
from PIL import Image
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import KFold, cross_val_score

from itemkit.data.images import image_id, inspect_images
from itemkit.evaluation import audit
from itemkit.evaluation.audit import FACTS, LEAK, SUSPECT, TOO_FEW, contradictions, duplicates, leak_audit, too_few

ALIKE = {"format": "PNG", "mode": "RGB", "width": 64, "height": 64, "aspect_ratio": 1.0, "quantization": 0.0}
ALIKE |= {"subsampling": "", "progressive": False, "bytes": 5000, "status": "ok"}


def inspected(real: dict, generated: dict, contents: int = 40) -> pd.DataFrame:
    """Files of random pictures of one distribution, encoded for each class with its own options of `encode`."""
    rows = []
    for label, options in enumerate((real, generated)):
        options = dict(options)
        size = options.pop("size", (48, 40))
        for content in range(contents):
            encoded = encode(make_picture(2 * content + label, *size), **options)
            row = {"image": {"bytes": encoded, "path": None}, "image_id": image_id(encoded), "label": label}
            rows.append(row | {"generator": ("real", "model")[label], "content_id": str(content), "split": "train"})
    return inspect_images(rows)


def table(contents: int = 40, **columns) -> pd.DataFrame:
    """Facts of files that don't exist: pairs of a real and a generated one, alike but for the columns given."""
    rows = {"label": [0, 1] * contents, "generator": ["real", "model"] * contents}
    return pd.DataFrame(rows | {"content_id": np.arange(contents).repeat(2).astype(str)} | ALIKE | columns)


JPEG = {"format": "JPEG", "quality": 90}


@pytest.mark.parametrize(
    "real, generated, column",
    [
        (JPEG, {"format": "PNG"}, "format"),
        (JPEG, JPEG | {"quality": 75}, "quantization"),
        (JPEG, JPEG | {"subsampling": "4:4:4"}, "subsampling"),
        (JPEG, JPEG | {"progressive": True}, "progressive"),
        ({"size": (48, 40)}, {"size": (64, 40)}, "width"),
        ({"size": (48, 48)}, {"size": (48, 40)}, "height"),
    ],
)
def test_what_gives_the_files_away_is_a_leak_and_is_named(real, generated, column):
    row = leak_audit(inspected(real, generated)).iloc[0]
    assert row[["generator", "n", "verdict", "column"]].tolist() == ["model", 40, "leak", column]
    assert row.roc_auc == row.low == row.high == row.column_roc_auc == 1
    assert column in row.varies.split(", ")


@pytest.mark.parametrize("options", [JPEG, {"format": "PNG"}])
def test_matched_files_are_healthy(options):
    row = leak_audit(inspected(options, options, contents=150)).iloc[0]
    assert row.verdict == "healthy" and row.low <= row.roc_auc <= row.high and row.roc_auc < SUSPECT
    assert row[["column", "varies"]].tolist() == ["bytes", "bytes"] and row.column_roc_auc == row.roc_auc


def test_files_without_any_difference_are_healthy_and_nothing_is_named():
    row = leak_audit(table()).iloc[0]
    assert row[["verdict", "column", "varies"]].tolist() == ["healthy", "none", "none"]
    assert row[["roc_auc", "low", "high", "column_roc_auc"]].tolist() == [0.5] * 4


def test_texture_shows_in_bytes_and_in_nothing_else():
    files = inspected(JPEG, JPEG)
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    files.loc[files.label == 1, "bytes"] = len(encode(Image.fromarray(noise), **JPEG))
    row = leak_audit(files).iloc[0]
    assert row[["verdict", "column", "varies"]].tolist() == ["leak", "bytes", "bytes"]


def test_a_shape_is_named_where_width_and_height_tell_less():
    width = np.random.default_rng(0).integers(300, 900, 400)
    shape = np.tile([4 / 3, 1], 200)
    row = leak_audit(table(200, width=width, height=(width / shape).round(), aspect_ratio=shape)).iloc[0]
    assert row[["verdict", "column", "column_roc_auc"]].tolist() == ["leak", "aspect_ratio", 1]


def test_the_number_is_the_roc_auc_that_theory_gives():
    """Two normal distributions one standard deviation apart: Phi(1 / sqrt(2)) = 0.760."""
    label = np.tile([0, 1], 1500)
    size = 5000 + 1000 * (label + np.random.default_rng(0).normal(size=3000))
    row = leak_audit(table(1500, bytes=size.astype(int))).iloc[0]
    assert row.roc_auc == pytest.approx(norm.cdf(2**-0.5), abs=0.03) and row.verdict == "suspect"
    assert LEAK > row.high > row.roc_auc > row.low > SUSPECT


def test_content_ids_stay_together():
    """Each scene has a width of its own, which tells nothing of another scene; by rows it would tell everything."""
    random = np.random.default_rng(0)
    scene = np.arange(60).repeat(10)
    label, width = random.permutation(60)[scene] % 2, random.permutation(2000)[scene]
    files = table(300, label=label, generator=np.where(label, "model", "real"), content_id=scene, width=width)
    classifier = HistGradientBoostingClassifier(min_samples_leaf=5, random_state=0)
    folds = KFold(5, shuffle=True, random_state=0)
    by_rows = cross_val_score(classifier, files[["width"]], label, cv=folds, scoring="roc_auc").mean()
    assert by_rows > 0.95
    assert leak_audit(files).roc_auc[0] < 0.7


def test_each_generator_stands_for_itself_in_order_of_appearance():
    leaky = table(format=["JPEG", "PNG"] * 40)
    clean = table().assign(generator=["real", "clean"] * 40, format="JPEG")
    both = pd.concat([leaky, clean[clean.label == 1]], ignore_index=True)
    rows = leak_audit(both)
    assert rows.generator.tolist() == ["model", "clean"] and rows.verdict.tolist() == ["leak", "healthy"]
    pd.testing.assert_frame_equal(rows[:1], leak_audit(leaky), check_dtype=False)


def test_too_few_rows_are_reported_and_never_as_a_number():
    columns = ["roc_auc", "low", "high", "column", "column_roc_auc", "varies"]
    leaky = table(20, format=["JPEG", "PNG"] * 20)
    broken = leaky.assign(status=["ok"] * 39 + ["unreadable"])
    one_scene = leaky.assign(content_id="a")
    for files, n in ((leaky[:38], 19), (broken, 19), (leaky[leaky.label == 1], 0), (one_scene, 20)):
        row = leak_audit(files).iloc[0]
        assert row[["generator", "n", "verdict"]].tolist() == ["model", n, TOO_FEW] and row[columns].isna().all()
    assert leak_audit(leaky).loc[0, ["n", "verdict", "roc_auc"]].tolist() == [20, "leak", 1]
    nothing_generated = leak_audit(leaky[leaky.label == 0])
    assert len(nothing_generated) == 0 and set(columns) < set(nothing_generated.columns)


def test_scenes_of_one_class_each_are_audited_too():
    files = table(30, content_id=np.arange(60), format=["JPEG", "PNG"] * 30)
    assert leak_audit(files).loc[0, ["verdict", "column"]].tolist() == ["leak", "format"]


def test_folds_without_one_of_the_classes_are_left_out():
    """Two real scenes can be in no more than two of the folds."""
    content = np.where(np.tile([0, 1], 30), np.arange(60), -1 - np.arange(60) // 2 % 2)
    row = leak_audit(table(30, content_id=content, format=["JPEG", "PNG"] * 30)).iloc[0]
    assert row[["n", "verdict", "roc_auc", "low", "high"]].tolist() == [30, "leak", 1, 1, 1]


def test_the_same_files_give_the_same_numbers():
    files = table(100, bytes=np.random.default_rng(0).integers(1000, 9000, 200))
    pd.testing.assert_frame_equal(leak_audit(files, seed=1), leak_audit(files.copy(), seed=1))
    assert leak_audit(files, seed=1).roc_auc[0] != leak_audit(files, seed=2).roc_auc[0]


@pytest.mark.parametrize("function", [leak_audit, duplicates])
def test_tables_of_another_kind_are_refused(function):
    files = inspected({}, {}, contents=2)
    with pytest.raises(ValueError, match="files of tracks aligned, raw; expected one: each picture is in all"):
        function(files.assign(track=["aligned", "raw"] * 2))
    with pytest.raises(
        ValueError, match="files lack content_id, status; expected the table that inspect_images returns"
    ):
        function(files.drop(columns=["content_id", "status"]))


def test_every_fact_is_one_that_inspect_images_gives():
    assert set(FACTS) < set(inspected({}, {}, contents=1))


# duplicates


def pictures(*rows: tuple[str, bytes]) -> pd.DataFrame:
    """inspect_images of files given as (split, bytes)."""
    return inspect_images(
        [
            {"image": {"bytes": encoded, "path": None}, "image_id": image_id(encoded), "label": 0, "generator": "real"}
            | {"content_id": str(number), "split": split}
            for number, (split, encoded) in enumerate(rows)
        ]
    )


def found(pairs: pd.DataFrame) -> list[tuple]:
    return list(pairs[["content_id", "other_content_id", "kind"]].itertuples(index=False, name=None))


def test_copies_and_near_copies_are_found_across_splits():
    picture = make_picture(0)
    same = encode(picture)
    again = encode(picture, compress_level=0)  # another file, the same pixels
    near = encode(picture, "JPEG", quality=75)
    other = encode(make_picture(1))
    files = pictures(("train", same), ("train", other), ("test", again), ("validation", near), ("test", same))
    pairs = duplicates(files)
    assert found(pairs)[:2] == [("0", "2", "exact"), ("0", "4", "exact")]
    assert sorted(found(pairs)[2:]) == [("0", "3", "near"), ("2", "3", "near"), ("4", "3", "near")]
    assert pairs.loc[1, ["image_id", "split"]].tolist() == [image_id(same), "train"]
    assert pairs.loc[1, ["other_image_id", "other_split"]].tolist() == [image_id(same), "test"]
    assert pairs.distance.tolist()[:2] == [0, 0] and pairs.distance.between(0, 4).all()


def test_pictures_of_one_split_and_unreadable_ones_are_no_pairs():
    same = encode(make_picture(0))
    assert found(duplicates(pictures(("train", same), ("train", same)))) == []
    assert found(duplicates(pictures(("train", b""), ("test", b""), ("test", same)))) == []
    assert "other_image_id" in duplicates(pictures(("train", b"")))


def test_equal_hashes_of_different_pixels_are_near_and_not_exact():
    grey, darker = (encode(Image.new("RGB", (8, 8), (value,) * 3)) for value in (200, 100))
    assert found(duplicates(pictures(("train", grey), ("test", darker)), distance=0)) == [("0", "1", "near")]


@pytest.mark.parametrize("distance", [0, 6, 64])
def test_all_pairs_are_compared_block_by_block(monkeypatch, distance):
    monkeypatch.setattr(audit, "BLOCK", (7, 5))
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (4, 64), dtype=np.uint8)[random.integers(0, 4, 50)]  # around four of them
    bits ^= random.random((50, 64)) < 0.04
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    split = random.choice(["train", "validation", "test"], 50)
    files = table(25, content_id=np.arange(50), image_id=hashes, split=split, perceptual_hash=hashes)
    pairs = duplicates(files.assign(pixel_hash=np.arange(50)), distance)
    apart = (64 * cdist(bits, bits, "hamming")).round().astype(int)
    close = (apart <= distance) & (split[:, None] != split) & np.triu(np.ones((50, 50), bool))
    assert {frozenset(pair) for pair in pairs[["content_id", "other_content_id"]].to_numpy()} == {
        frozenset(pair) for pair in np.argwhere(close)
    }
    assert len(pairs) == close.sum() and pairs.distance.is_monotonic_increasing
    assert (pairs.distance == apart[pairs.content_id, pairs.other_content_id]).all()


def test_counts_are_those_of_all_pairs_and_only_the_closest_are_returned(monkeypatch):
    monkeypatch.setattr(audit, "BLOCK", (7, 5))
    random = np.random.default_rng(1)
    hashes = [f"{value:016x}" for value in random.integers(0, 64, 60)]
    split = random.choice(["validation", "test", "train"], 60)
    files = table(30, content_id=np.arange(60) // 4, image_id=np.arange(60), split=split, perceptual_hash=hashes)
    files = files.assign(pixel_hash=hashes)
    pairs = duplicates(files)
    counts = audit.count_copies(files).set_index(["split", "other"])
    for (one, other), row in counts.iterrows():
        of_both = pairs[pairs.split.isin([one, other]) & pairs.other_split.isin([one, other])]
        expected = [(of_both.kind == "exact").sum(), (of_both.kind == "near").sum()]
        expected += [((of_both.generator == "real") & (of_both.other_generator == "real")).sum()]
        expected += [(of_both.content_id == of_both.other_content_id).sum()]
        assert row[["exact", "near", "both_real", "one_content"]].tolist() == expected
        assert row.pairs == (split == one).sum() * (split == other).sum()
    assert counts.exact.sum() > 5 and counts.one_content.sum() > 5
    for most in (1, 17, 100):
        pd.testing.assert_frame_equal(duplicates(files, most=most), pairs.head(most))


def test_ten_thousand_blank_pictures_are_counted_in_little_memory():
    split = np.repeat(["train", "validation", "test"], [6000, 1000, 3000])
    blank = {"perceptual_hash": "8000000000000000", "pixel_hash": "0"}
    files = table(5000, content_id=np.arange(10_000), image_id=np.arange(10_000), split=split, **blank)
    tracemalloc.start()
    counts = audit.count_copies(files)
    assert counts.exact.tolist() == counts.pairs.tolist() == [6_000_000, 18_000_000, 3_000_000]
    assert len(duplicates(files)) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


def test_a_source_of_which_nothing_can_be_read_is_named():
    files = pictures(("train", b""), ("test", encode(make_picture(0))))
    audit.check_sources(files)
    with pytest.raises(
        ValueError, match=r"none of the 1 pictures of real can be read; the first is \w{16}: no bytes\. See"
    ):
        audit.check_sources(files[:1])


def test_a_distance_out_of_range_is_refused():
    with pytest.raises(ValueError, match="distance 65; expected 0 to 64 bits"):
        duplicates(pictures(("train", b"")), distance=65)


# too few, and under both labels


def test_what_is_lacking_to_train_is_said_for_each_generator():
    counts = {("real", "train"): 25, ("real", "validation"): 20, ("gan", "train"): 30, ("gan", "validation"): 22}
    counts |= {("flux", "train"): 30, ("flux", "validation"): 10, ("none", "test"): 5}
    rows = [(source, split, "ok") for (source, split), count in counts.items() for _ in range(count)]
    files = pd.DataFrame(rows, columns=["generator", "split", "status"])
    files["pixel_hash"] = [f"{number:04x}" for number in files.index]
    help_ = "20 are needed: add pictures (or raise `limit`), or split them otherwise"
    assert too_few(files) == {
        "flux": f"flux has 10 pictures to validate on; {help_}",
        "none": f"none has 0 pictures to train on and 0 pictures to validate on; {help_}",
    }
    assert too_few(files, ["test"], minimum=1) == {
        "gan": "real has 0 pictures to test on, and gan has 0 pictures to test on; "
        "1 are needed: add pictures (or raise `limit`), or split them otherwise",
        "flux": "real has 0 pictures to test on, and flux has 0 pictures to test on; "
        "1 are needed: add pictures (or raise `limit`), or split them otherwise",
        "none": "real has 0 pictures to test on; 1 are needed: add pictures (or raise `limit`), or split them otherwise",
    }
    copied = files.assign(pixel_hash=files.pixel_hash.where(files.generator != "gan", "one"))
    assert too_few(copied)["gan"].startswith("gan has 1 pictures to train on and 1 pictures to validate on; 20")
    files.loc[files.generator == "real", "status"] = "unreadable"
    assert too_few(files)["gan"].startswith(
        "real has 0 pictures to train on and 0 pictures to validate on; 20 are needed"
    )
    assert set(too_few(files[files.generator != "real"])) == {"gan", "flux", "none"}


def test_a_picture_under_both_labels_is_found_by_its_pixels():
    rows = [
        ("1", "real", 0, "x", "ok"),
        ("2", "gan", 1, "x", "ok"),
        ("3", "gan", 1, "y", "ok"),
        ("4", "real", 0, "z", "ok"),
    ]
    files = pd.DataFrame(rows, columns=["image_id", "generator", "label", "pixel_hash", "status"])
    files = files.assign(content_id="a", split="train")
    assert contradictions(files).image_id.tolist() == ["1", "2"]
    assert contradictions(files[files.pixel_hash != "x"]).empty
