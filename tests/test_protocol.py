"""The protocol against a plain loop, and the heads that are kept."""

import numpy as np
import pandas as pd
import pytest

from itemkit import head, protocol
from itemkit.protocol import Setting, cross_generator, train, turns


def rows(seed=0, n=60):
    random = np.random.default_rng(seed)
    label = np.arange(n) % 2
    matrix = (random.normal(size=(n, 5)) + label[:, None]).astype(np.float32)
    return matrix, label, np.repeat(["train", "validation", "test"], n // 3)


def parts(split, *seeds):
    """The rows to learn from and to be stopped by, for each seed."""
    return [[np.flatnonzero(split == part)] * len(seeds) for part in ("train", "validation")] + [list(seeds)]


def test_a_head_is_trained_once_and_is_the_same_afterwards(tmp_path, monkeypatch):
    matrix, label, split = rows()
    (first,) = train(matrix, label, *parts(split, 3), tmp_path)
    expected = head.fit(matrix[:20], label[:20], matrix[20:40], label[20:40], seed=3)
    both = train(matrix, label, *parts(split, 3, 4), tmp_path)  # only one of them is new
    monkeypatch.setattr(protocol, "fit_together", lambda features, label, new, *others, hidden: new and 1 / 0)
    again = train(matrix, label, *parts(split, 3, 4), tmp_path)
    for one in (first, both[0], again[0]):
        np.testing.assert_array_equal(head.predict(one, matrix), head.predict(expected, matrix))
        assert one.history == expected.history
    assert len(list((tmp_path / "heads").iterdir())) == 2


def test_test_rows_do_not_touch_a_head_and_all_else_does(tmp_path):
    matrix, label, split = rows()
    train(matrix, label, *parts(split, 0), tmp_path)
    changed = np.where((split == "test")[:, None], 7, matrix).astype(np.float32)
    train(changed, label, *parts(split, 0), tmp_path)
    assert len(list((tmp_path / "heads").iterdir())) == 1
    train(matrix, label, *parts(split, 1), tmp_path)
    train(matrix, label, *parts(split, 0), tmp_path, hidden=4)
    train(-matrix, label, *parts(split, 0), tmp_path)
    assert len(list((tmp_path / "heads").iterdir())) == 4


def test_a_head_whose_file_is_damaged_or_of_other_rows_is_trained_anew(tmp_path, capsys):
    matrix, label, split = rows()
    first, other = train(matrix, label, *parts(split, 0, 1), tmp_path)
    expected = head.predict(first, matrix)
    files = sorted((tmp_path / "heads").iterdir())
    contents = [path.read_bytes() for path in files]
    bit = bytearray(contents[0])
    bit[len(bit) // 2] ^= 1
    for path, content in ((files[0], bytes(bit)), (files[0], contents[1]), (files[1], contents[0][:-1])):
        path.write_bytes(content)
        again = train(matrix, label, *parts(split, 0, 1), tmp_path)
        np.testing.assert_array_equal(head.predict(again[0], matrix), expected)
        np.testing.assert_array_equal(head.predict(again[1], matrix), head.predict(other, matrix))
        assert f"{path} is not as it was written" in capsys.readouterr().out
        assert [path.read_bytes() for path in files] == contents


@pytest.fixture
def pictures():
    """Features and rows of 40 real pictures and 40 of each of three generators, in three splits."""
    random = np.random.default_rng(5)
    names = np.repeat(["real", "gan", "vae", "diffusion"], 40)
    split = np.tile(np.repeat(["train", "validation", "test"], [20, 10, 10]), 4)
    label = (names != "real").astype(int)
    matrix = (random.normal(size=(160, 6)) + 0.5 * label[:, None]).astype(np.float32)
    rows = pd.DataFrame({"image_id": np.arange(160).astype(str), "generator": names, "label": label, "split": split})
    return matrix, rows


def test_the_protocol_equals_a_plain_loop(pictures, tmp_path):
    matrix, rows = pictures
    settings = {
        "all": Setting(matrix, rows, [("gan",), ("vae",)]),
        "two of few": Setting(matrix[:, :2], rows, [("gan", "vae")], hidden=8),
    }
    results = list(cross_generator(settings, [0, 3], tmp_path))
    names = [(name, train_on, seed) for name, train_on, seed, _, _ in results]
    assert names == [
        ("all", ("gan",), 0),
        ("all", ("gan",), 3),
        ("all", ("vae",), 0),
        ("all", ("vae",), 3),
        ("two of few", ("gan", "vae"), 0),
        ("two of few", ("gan", "vae"), 3),
    ]
    for name, train_on, seed, trained, scored in results:
        features, hidden = (matrix, 128) if name == "all" else (matrix[:, :2], 8)
        parts = {}
        for split in ("train", "validation"):
            chosen = [
                place
                for place, row in enumerate(rows.itertuples())
                if row.split == split and row.generator in ("real", *train_on)
            ]
            parts[split] = features[chosen], rows.label.to_numpy()[chosen]
        expected = head.fit(*parts["train"], *parts["validation"], seed=seed, hidden=hidden)
        kept = rows[rows.split != "train"]
        assert scored.drop(columns="score").equals(kept)
        np.testing.assert_array_equal(scored.score, head.predict(expected, features[kept.index]))
        assert trained.history == expected.history


def test_a_head_sees_no_picture_of_another_generator_and_none_to_be_tested_on(pictures, tmp_path):
    matrix, rows = pictures
    once = [
        (scored.score.tolist()) for *_, scored in cross_generator({0: Setting(matrix, rows, [("gan",)])}, [0], tmp_path)
    ]
    other = (rows.generator.isin(["vae", "diffusion"]) | (rows.split == "test")).to_numpy()
    changed = np.where(other[:, None], 9, matrix).astype(np.float32)
    settings = {0: Setting(changed, rows, [("gan",)])}
    (again,) = [scored for *_, scored in cross_generator(settings, [0], tmp_path)]
    assert len(list((tmp_path / "heads").iterdir())) == 1  # the same rows: the head was found in the cache
    same = ~other[rows.split != "train"]
    np.testing.assert_array_equal(again.score[same], np.array(once[0])[same])


def test_without_settings_there_is_nothing(tmp_path):
    assert list(cross_generator({}, [0], tmp_path)) == []


def test_the_first_contents_hold_both_classes_whatever_the_order_of_rows():
    paired = pd.DataFrame({"generator": ["real", "gan"] * 3, "content_id": ["c", "c", "a", "a", "b", "b"]})
    assert list(turns(paired)) == [0, 0, 1, 1, 2, 2]
    apart = pd.DataFrame({"generator": ["real"] * 3 + ["gan"] * 3, "content_id": list("abcxyz")})
    assert list(turns(apart)) == [0, 1, 2, 0, 1, 2]
