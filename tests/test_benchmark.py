"""The contenders of the benchmark do the same work: what they return is compared, never how long it takes."""

import numpy as np
import pandas as pd
import pytest
from conftest import save_tiny_blip

from itemkit.running import benchmark
from itemkit.running.benchmark import stages


@pytest.fixture(scope="module")
def readable(images):
    return images.select([row for row, name in enumerate(images["image_id"][:]) if name not in ("half", "none")][:6])


@pytest.fixture(scope="module")
def all_networks(networks, tiny_spacy):
    captioner, locator, encoder = networks
    return captioner, tiny_spacy, locator, encoder


def test_ratios_by_hand():
    table = pd.DataFrame(
        [("a", 0, 1.0), ("b", 0, 2.0), ("a", 1, 2.0), ("b", 1, 6.0), ("a", 2, 1.0), ("b", 2, 10.0)],
        columns=["contender", "repeat", "seconds"],
    )
    told = benchmark.ratios(table, "a")
    assert told.loc["b"].tolist() == [6, 3, 2, 10] and told.loc["a"].tolist() == [1, 1, 1, 1]


def test_contenders_run_in_turn_and_the_first_round_does_not_count():
    order = []
    table = benchmark.compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, threads=1)
    assert order == ["a", "b"] * 3 and table["repeat"].tolist() == [0, 0, 1, 1]


def test_the_script_says_what_the_stages_say(readable, all_networks):
    captions, _, vectors, texts = benchmark.stages(readable, all_networks)
    said = captions.set_index("image_id")["caption"]
    whole = vectors[vectors["part"] == "whole"].set_index("image_id")["vector"]
    text = texts.set_index("text")["vector"]
    for row, one in zip(readable, benchmark.script(readable, all_networks), strict=True):
        assert one["caption"] == said[row["image_id"]]
        for vector, ours in ((one["pictures"][0][0], whole[row["image_id"]]), (one["texts"][0], text[one["caption"]])):
            np.testing.assert_allclose(vector / vector.norm(), ours, atol=1e-5)


def test_the_bare_networks_get_every_picture_crop_and_text_once(readable, all_networks):
    said = benchmark.stages(readable, all_networks)
    bare = benchmark.BareNetworks(readable, all_networks, said)
    distinct = len(set(readable["image_id"][:]))
    assert sum(map(len, bare.pixels)) == distinct
    assert sum(map(len, bare.parts)) == len(said[2]) and sum(map(len, bare.texts)) == len(said[3])
    asked = said[0].loc[said[0]["phrases"].map(len) > 0, "image_id"]
    assert sum(len(pixels) for pixels, _ in bare.asked) == len(asked)
    assert bare() is None


def test_at_full_size_the_contenders_are_the_same_and_every_picture_names_objects(
    readable, all_networks, tmp_path, monkeypatch
):
    _, nouns, locator, encoder = all_networks
    tiny = {"captioner": tmp_path / "speaks", "locator": locator.name, "encoder": encoder.name}
    save_tiny_blip(tiny["captioner"], said=("car", "tree"))
    names = dict(zip(benchmark.FULL_SIZE_NETWORKS.values(), tiny.values(), strict=True))
    monkeypatch.setattr(benchmark, "save_real_size", lambda name, folder, said: names[name])
    said = []
    monkeypatch.setattr(benchmark, "stages", lambda *made: said.append(stages(*made)) or said[-1])
    table = benchmark.at_full_size(readable.select(range(2)), nouns, repeats=1, threads=1)
    assert table["contender"].tolist() == ["bare networks", "itemkit", "script"]
    for captions, boxes, vectors, _ in said:
        words = captions["caption"].str.split().explode()
        assert set(words) <= {"car", "tree"} and len(words) > 2 and (captions["phrases"].map(len) > 0).all()
        assert len(boxes) == captions["phrases"].map(len).sum() and len(vectors) == 2 + len(boxes)


def test_memory_is_measured_in_a_process_of_its_own(readable, all_networks):
    table = benchmark.peak_memory([3], all_networks, [row["image"]["bytes"] for row in readable])
    assert table["pictures"].tolist() == [3] and table["megabytes"][0] > 100 and table["seconds"][0] > 0


def test_heads_learn_the_same_whoever_trains_them():
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "generator": np.repeat(["real", "a", "b"], 300),
            "label": np.repeat([0, 1, 1], 300),
            "split": np.tile(["train", "train", "train", "validation", "test", "test"], 150),
        }
    )
    features = random.normal(size=(900, 4)).astype(np.float32) + rows[["label"]].to_numpy(np.float32)
    table = benchmark.compare_heads(features, rows, ["a", "b"], [0], repeats=1, threads=1)
    assert list(table.index) == ["together", "one by one", "scikit-learn"]
    assert table["roc_auc"].between(0.85, 1).all() and table["difference"].max() < 0.03
