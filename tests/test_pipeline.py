import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from threading import current_thread, main_thread

import datasets
import numpy as np
import pandas as pd
import pytest
import spacy
from conftest import encode, make_picture

from itemkit import pipeline
from itemkit.captions import Captioner, object_phrases
from itemkit.data.load import decode_image, image_id, inspect_images
from itemkit.data.perturb import perturb
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator
from itemkit.pipeline import describe, embed, inspect, locate, name_objects, shuffle


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD", 4)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(Path(folder).rglob("*.parquet"))}


# the stages against the leaves, one image at a time


def test_inspection_equals_that_of_each_row_and_is_done_once(images, tmp_path, small_shards, monkeypatch):
    twice = datasets.concatenate_datasets([images, images])
    rows = inspect(twice, tmp_path)
    pd.testing.assert_frame_equal(rows, inspect_images(twice))
    assert set(rows.status) == {"ok", "unreadable"}
    monkeypatch.setattr(pipeline, "inspect_images", lambda images: pytest.fail("decoded again"))
    pd.testing.assert_frame_equal(inspect(twice, tmp_path), rows)


def test_describe_equals_captioning_one_by_one(stages, images, networks, tiny_spacy):
    captions = stages[0]
    assert list(captions.columns) == ["image_id", "caption", "phrases", "status", "reason"]
    assert captions.image_id.tolist() == list(dict.fromkeys(images["image_id"]))  # each distinct image once
    for row in captions[captions.status == "ok"].itertuples():
        picture = decode_image(images[list(images["image_id"]).index(row.image_id)]["image"]["bytes"])
        assert [row.caption] == networks[0]([picture])
        assert [row.phrases] == object_phrases([row.caption], tiny_spacy)


def test_a_broken_picture_has_a_status_and_stops_nothing(stages):
    captions, boxes, vectors, _ = stages
    broken = captions[captions.status == "unreadable"].set_index("image_id")
    assert set(broken.index) == {"half", "none"} and broken.caption.eq("").all() and broken.phrases.map(len).eq(0).all()
    assert broken.reason["none"] == "no bytes" and "Truncated" in broken.reason["half"]
    assert not {"half", "none"} & ({*boxes.image_id} | {*vectors.image_id})


def test_locate_keeps_what_was_found_and_only_that(stages, images, networks):
    captions, boxes = stages[:2]
    assert list(boxes.columns) == ["image_id", "phrase", "x0", "y0", "x1", "y1", "score"]
    expected = []
    for row in captions[captions.status == "ok"].itertuples():
        picture = decode_image(images[list(images["image_id"]).index(row.image_id)]["image"]["bytes"])
        found = networks[1]([picture], [row.phrases])[0]
        expected += [
            (row.image_id, phrase, *one[0], one[1]) for phrase, one in zip(row.phrases, found, strict=True) if one
        ]
    assert [row[:2] for row in expected] == list(zip(boxes.image_id, boxes.phrase, strict=True))
    np.testing.assert_allclose(boxes[["x0", "y0", "x1", "y1", "score"]], [row[2:] for row in expected], atol=1e-3)
    assert 0 < len(boxes) < captions.phrases.map(len).sum()  # some found, some not: otherwise this shows little


def test_embed_equals_cropping_and_encoding_one_by_one(stages, images, networks):
    captions, boxes, vectors, texts = stages
    encoder = networks[2]
    assert len(vectors) == (captions.status == "ok").sum() + len(boxes)
    for row in vectors.itertuples():
        picture = decode_image(images[list(images["image_id"]).index(row.image_id)]["image"]["bytes"])
        if row.part != "whole":
            box = boxes[(boxes.image_id == row.image_id) & (boxes.phrase == row.part)].iloc[0]
            picture = picture.crop((int(box.x0), int(box.y0), int(np.ceil(box.x1)), int(np.ceil(box.y1))))
        np.testing.assert_allclose(row.vector, encoder.images([picture])[0], atol=1e-6)
    expected = {*captions[captions.status == "ok"].caption, *captions.phrases.explode().dropna()}
    assert texts.text.tolist() == sorted(expected) and not texts.cut.any()
    for row in texts.itertuples():
        np.testing.assert_allclose(row.vector, encoder.texts([row.text])[0], atol=1e-6)


@pytest.mark.parametrize(
    "box, size",
    [
        ([1.2, 2.7, 5.1, 6.0], (5, 4)),
        ([0.0, 0.0, 48.0, 40.0], (48, 40)),
        ([7.0, 7.0, 7.0, 7.0], (1, 1)),
        ([48.0, 40.0, 48.0, 40.0], (1, 1)),
        ([3.2, 39.9, 3.3, 40.0], (1, 1)),
    ],
)
def test_a_crop_has_at_least_one_pixel_and_lies_in_the_image(box, size):
    picture = make_picture(0)
    assert pipeline.cut_out(picture, box).size == size
    left, top = min(int(box[0]), 47), min(int(box[1]), 39)
    assert pipeline.cut_out(picture, box).getpixel((0, 0)) == picture.getpixel((left, top))


def test_the_word_whole_is_no_object(tiny_spacy):
    named = pipeline._phrases(["the whole red car"], tiny_spacy, "noun").phrases.tolist()
    assert named == [["car"]]


# cache and resume


def test_shards_do_not_change_the_result(stages, images, networks, tiny_spacy, tmp_path, small_shards):
    captions = describe(images, networks[0], tiny_spacy, tmp_path)
    boxes = locate(images, captions, networks[1], tmp_path)
    vectors, texts = embed(images, captions, boxes, networks[2], tmp_path)
    pd.testing.assert_frame_equal(captions, stages[0])
    pd.testing.assert_frame_equal(boxes, stages[1], rtol=1e-5)
    np.testing.assert_allclose(np.stack(vectors.vector), np.stack(stages[2].vector), atol=1e-6)
    np.testing.assert_allclose(np.stack(texts.vector), np.stack(stages[3].vector), atol=1e-6)
    assert len(files(tmp_path / "captions")) == 3  # eleven distinct images


@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_are_decoded_ahead_in_order_and_few_at_a_time(tiny_images, monkeypatch, threads):
    monkeypatch.setattr(pipeline, "DECODERS", threads)
    started, decode = [], pipeline._decode
    monkeypatch.setattr(pipeline, "_decode", lambda *given: started.append(given) or decode(*given))
    names = tiny_images["image_id"][:20]
    for number, (batch, pictures) in enumerate(pipeline._readable(tiny_images.select(range(20)), names, 2), start=1):
        assert batch == names[2 * number - 2 : 2 * number]
        assert [image_id(picture.tobytes()) for picture in pictures] == [
            image_id(decode_image(row["image"]["bytes"]).tobytes())
            for row in tiny_images.select(range(2 * number - 2, 2 * number))
        ]
        assert len(started) <= 2 * (number + pipeline.AHEAD)


def test_a_picture_that_breaks_while_it_is_decoded_ahead_stops_the_stage(tiny_images, monkeypatch):
    def broken(*given):
        raise MemoryError("no room")

    monkeypatch.setattr(pipeline, "_decode", broken)
    with pytest.raises(MemoryError, match="no room"):
        list(pipeline._readable(tiny_images, tiny_images["image_id"][:], 4))


def test_crops_are_prepared_ahead_by_threads_and_a_batch_at_a_time(tiny_images, networks, monkeypatch):
    encoder, seen, prepare = networks[2], [], ClipEncoder.prepare
    monkeypatch.setattr(ClipEncoder, "prepare", lambda own, one: seen.append(current_thread()) or prepare(own, one))
    sizes, images = [], ClipEncoder.images
    monkeypatch.setattr(
        ClipEncoder, "images", lambda own, some: sizes.append((len(some), len(seen))) or images(own, some)
    )
    shard = tiny_images.select(range(3))
    captions = pd.DataFrame(
        {"image_id": shard["image_id"], "caption": "a car", "phrases": [["car"]] * 3, "status": "ok"}
    )
    boxes = pd.DataFrame([(shard["image_id"][0], "car", 0.0, 0.0, 1.0 + place % 30, 9.0, 0.5) for place in range(500)])
    boxes.columns = ["image_id", "phrase", *pipeline.BOX, "score"]
    vectors, _ = embed(shard, captions, boxes, encoder, None)
    assert len(vectors) == len(seen) == 503 and main_thread() not in seen
    assert [size for size, _ in sizes] == [64] * 7 + [55]
    assert all(made <= 64 * (place + 1 + pipeline.AHEAD) for place, (_, made) in enumerate(sizes, start=1))


@pytest.mark.parametrize("content", [b"another one", None])
def test_a_picture_that_has_changed_since_it_was_first_read_is_never_taken_for_the_one_it_was(
    content, tmp_path, networks, tiny_spacy
):
    (tmp_path / "a.png").write_bytes(encoded := encode(make_picture(1)))
    features = datasets.Features({"image": datasets.Image(decode=False), "image_id": datasets.Value("string")})
    rows = {"image": [str(tmp_path / "a.png")], "image_id": [image_id(encoded)]}
    images = datasets.Dataset.from_dict(rows, features=features)
    assert describe(images, networks[0], tiny_spacy, None).status[0] == "ok"
    (tmp_path / "a.png").unlink() if content is None else (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(
        ValueError, match="picture [0-9a-f]{16} .*a.png.* has changed since it was first read, or was dam"
    ):
        describe(images, networks[0], tiny_spacy, None)


def test_large_pictures_are_taken_few_at_a_time(tiny_images, monkeypatch):
    monkeypatch.setattr(pipeline, "PIXELS", 3 * 48 * 40)
    shard = tiny_images.select(range(10))
    batches = [names for names, _ in pipeline._ahead(shard, 4, pipeline._itself)]
    assert [len(names) for names in batches] == [3, 1, 3, 1, 2] and list(chain(*batches)) == shard["image_id"][:]
    monkeypatch.setattr(pipeline, "PIXELS", 1)
    assert [len(names) for names, _ in pipeline._ahead(shard, 4, pipeline._itself)] == [1] * 10


def test_a_fully_cached_run_loads_no_network(images, networks, tiny_spacy, tmp_path, monkeypatch, small_shards):
    captioner, locator, encoder = networks
    first = describe(images, captioner, tiny_spacy, tmp_path)
    boxes = locate(images, first, locator, tmp_path)
    vectors, texts = embed(images, first, boxes, encoder, tmp_path)
    before = files(tmp_path)

    def forbidden(*_, **__):
        raise AssertionError("a network was loaded, or a picture decoded")

    for place in ("itemkit.captions.load_network", "itemkit.locate.load_network", "spacy.load"):
        monkeypatch.setattr(place, forbidden)
    monkeypatch.setattr("open_clip.create_model_from_pretrained", forbidden)
    monkeypatch.setattr("itemkit.pipeline.decode_image", forbidden)
    fresh = Captioner(captioner.name), ObjectLocator(locator.name, threshold=0.56), ClipEncoder(encoder.name)
    captions = describe(images, fresh[0], tiny_spacy, tmp_path)
    pd.testing.assert_frame_equal(captions, first)
    pd.testing.assert_frame_equal(locate(images, captions, fresh[1], tmp_path), boxes)
    again = embed(images, captions, boxes, fresh[2], tmp_path)
    pd.testing.assert_frame_equal(again[0], vectors)
    pd.testing.assert_frame_equal(again[1], texts)
    assert files(tmp_path) == before


def test_other_settings_other_words_and_other_pixels_are_other_tables(images, networks, tiny_spacy, tmp_path):
    captioner, locator, encoder = networks
    few = images.select(range(3))
    captions = describe(few, captioner, tiny_spacy, tmp_path)
    describe(few, captioner, tiny_spacy, tmp_path, phrase="modified noun")
    assert len(files(tmp_path / "captions")) == 1 and len(files(tmp_path / "phrases")) == 2
    describe(few.select([2, 1]), captioner, tiny_spacy, tmp_path)
    describe(few, Captioner(captioner.name, max_new_tokens=3), tiny_spacy, tmp_path)
    assert len(files(tmp_path / "captions")) == 3
    boxes = locate(few, captions, locator, tmp_path)
    locate(few, captions, ObjectLocator(locator.name, threshold=0.6), tmp_path)
    locate(few, captions.assign(phrases=[["snow"]] * 3), locator, tmp_path)
    assert len(files(tmp_path / "boxes")) == 3
    embed(few, captions, boxes, encoder, tmp_path)
    embed(few, captions, boxes[:-1], encoder, tmp_path)
    embed(few, captions, boxes, ClipEncoder(encoder.name, resize_mode="squash"), tmp_path)
    assert len(files(tmp_path / "vectors")) == 3


def test_an_unknown_spacy_pipeline_fails_before_any_network_is_loaded(images, networks, tmp_path):
    with pytest.raises(ValueError, match="no spaCy pipeline 'en_core_web_xx': neither a folder nor a package"):
        describe(images, networks[0], "en_core_web_xx", tmp_path)


RUNS = """
import os, signal, sys
from itemkit import pipeline
from itemkit.data import files
from itemkit.captions import Captioner
from itemkit.data.load import load_images, read_card
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator

card, captioner, detector, clip, spacy, folder = sys.argv[1:]
pipeline.SHARD = 8
images = load_images(read_card(card))

def run(cache):
    captions = pipeline.describe(images, Captioner(captioner), spacy, cache)
    boxes = pipeline.locate(images, captions, ObjectLocator(detector), cache)
    pipeline.embed(images, captions, boxes, ClipEncoder(clip), cache)

def run_in_a_child(prepare=lambda: None):
    child = os.fork()
    if child == 0:
        prepare()
        run(folder + "/killed")
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

def kill_at_call(owner, name, number):
    called, calls = getattr(owner, name), []
    def counting(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return called(*arguments)
    setattr(owner, name, counting)

run(folder + "/whole")
run_in_a_child(lambda: kill_at_call(Captioner, "__call__", 3))  # while a shard of captions is made
run_in_a_child(lambda: kill_at_call(files.os, "replace", 3))  # a table is written, but not yet under its name
run_in_a_child(lambda: kill_at_call(ClipEncoder, "images", 4))  # while a shard of vectors is made
run_in_a_child()
"""


def test_killed_again_and_again_it_resumes_to_the_same_bytes(
    tiny_card, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy, tmp_path
):
    folders = map(str, (tiny_card, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy, tmp_path))
    single = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # threads do not survive a fork
    command = [sys.executable, "-c", RUNS, *folders]
    ended = subprocess.run(command, capture_output=True, text=True, env=single, check=False)
    assert ended.stdout.split() == ["-9", "-9", "-9", "0"], ended.stderr
    whole, killed = files(tmp_path / "whole"), files(tmp_path / "killed")
    assert len(whole) > 32 and whole == killed  # eight shards in each of four stages, and the texts
    assert len(list(tmp_path.rglob("*.part"))) == 1  # of the second kill: never read, never deleted


# boxes


def test_a_box_that_is_not_finite_is_named(stages, images, networks):
    captions, boxes = stages[:2]
    for value in (float("nan"), float("inf")):
        odd = boxes.copy()
        odd.loc[1, "x1"] = value
        with pytest.raises(ValueError, match=f"box of '{odd.phrase[1]}' in picture {odd.image_id[1]} is not finite"):
            embed(images, captions, odd, networks[2], None)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([1.2, 2.5, 3.1, 4.0], (1, 2, 4, 4)),
        ([5.0, 5.0, 5.0, 5.0], (5, 5, 6, 6)),
        ([-1e12, -3.0, 1e12, 2.0], (0, 0, 48, 2)),
        ([47.9, 39.9, 1e300, 1e300], (47, 39, 48, 40)),
        ([60.0, 60.0, 70.0, 70.0], (47, 39, 48, 40)),
        ([-9.0, -9.0, -5.0, -5.0], (0, 0, 1, 1)),
    ],
)
def test_a_crop_is_of_the_picture_and_has_a_pixel(box, expected):
    picture = make_picture(3)  # 48 x 40
    assert pipeline.cut_out(picture, box).tobytes() == picture.crop(expected).tobytes()


# words of other images


def test_shuffled_words_come_from_another_image_of_the_group(stages):
    captions = stages[0].assign(caption=[f"caption {row}" for row in stages[0].index])
    groups = pd.Series(["left", "right"] * len(captions), range(2 * len(captions)))[: len(captions)]
    groups.index = captions.image_id
    shuffled = shuffle(captions, groups, seed=1)
    readable = captions.status == "ok"
    assert (shuffled.caption != captions.caption)[readable].all()
    for name in ("left", "right"):
        rows = readable & groups.eq(name).to_numpy()
        assert sorted(shuffled.caption[rows]) == sorted(captions.caption[rows])
    pd.testing.assert_frame_equal(shuffled[~readable], captions[~readable])
    words = {row.caption: list(row.phrases) for row in captions.itertuples()}
    assert all(list(row.phrases) == words[row.caption] for row in shuffled.itertuples())  # a caption keeps its own
    assert shuffled.image_id.equals(captions.image_id) and captions.caption[0] == "caption 0"


def test_shuffling_is_decided_by_its_seed(stages):
    captions = stages[0].assign(caption=[f"caption {row}" for row in stages[0].index])
    groups = pd.Series("all", captions.image_id)
    first, again, other = (shuffle(captions, groups, seed).caption.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_shuffling_refuses_a_lonely_image_and_one_without_a_group(stages):
    captions = stages[0]
    lonely = pd.Series(["alone", *["others"] * (len(captions) - 1)], captions.image_id)
    with pytest.raises(ValueError, match="group 'alone' has one readable image; expected at least 2"):
        shuffle(captions, lonely)
    with pytest.raises(ValueError, match="no group for 1 images"):
        shuffle(captions, lonely[1:])


# pictures after a perturbation


def test_perturbed_pictures_are_those_of_perturb_and_know_their_originals(tiny_images):
    some = tiny_images.select(range(4))
    for name, strength in (("jpeg", 50), ("crop", 0.8), ("noise", 10)):
        changed = pipeline.perturbed(some, name, strength, seed=2)
        assert changed["original_id"][:] == some["image_id"][:] and not {*changed["image_id"]} & {*some["image_id"]}
        for before, after in zip(some, changed, strict=True):
            expected = perturb(decode_image(before["image"]["bytes"]), name, strength, 2 + int(before["image_id"], 16))
            assert decode_image(after["image"]["bytes"]).tobytes() == expected.tobytes()
            assert after["image_id"] == image_id(after["image"]["bytes"]) and after["label"] == before["label"]


def test_a_perturbation_is_the_same_twice_and_its_noise_differs_between_pictures(tiny_images):
    picture = tiny_images[0]
    two = datasets.Dataset.from_list(
        [picture, picture | {"image_id": "0123456789abcdef"}], features=tiny_images.features
    )
    first, again = (pipeline.perturbed(two, "noise", 10)["image_id"][:] for _ in range(2))
    assert first == again and len(set(first)) == 2
    assert pipeline.perturbed(two, "noise", 10, seed=1)["image_id"][:] != first


@pytest.mark.parametrize("step", [("jpeg", 50), ("none", 0)])
@pytest.mark.parametrize("kind", ["in memory", "a folder of somebody's own"])
def test_damaged_perturbed_pictures_are_set_aside_and_built_anew(
    kind, step, tiny_images, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    if kind != "in memory":
        tiny_images.save_to_disk(tmp_path / "own")
        tiny_images = datasets.load_from_disk(tmp_path / "own")
    own = {path: path.read_bytes() for path in (tmp_path / "own").rglob("*")}
    some = tiny_images.select([0, 5, 3])
    rows = pipeline.perturbed(some, *step)[:]
    (file,) = (path for path in tmp_path.rglob("*.arrow") if path not in own)
    content = file.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], content[:middle]):
        file.write_bytes(damaged)
        capsys.readouterr()
        assert pipeline.perturbed(some, *step)[:] == rows and file.read_bytes() == content
        assert capsys.readouterr().out.startswith(f"{file} is not as it was written; it is set aside as ")
        (aside,) = tmp_path.rglob("*.damaged")
        assert aside.read_bytes() == damaged
    assert own == {path: path.read_bytes() for path in (tmp_path / "own").rglob("*")}


def test_pictures_that_only_their_files_tell_apart_are_perturbed_each(tmp_path):
    cell, ids = {"bytes": None, "path": str(tmp_path / "a.png")}, []
    features = datasets.Features({"image": datasets.Image(decode=False), "image_id": datasets.Value("string")})
    for seed in (0, 1):
        (tmp_path / "a.png").write_bytes(encode(make_picture(seed)))
        one = datasets.Dataset.from_dict({"image": [cell], "image_id": ["0"]}, features=features)
        one = one.map(lambda row: {"image_id": image_id((tmp_path / "a.png").read_bytes())}, new_fingerprint="same")
        ids += pipeline.perturbed(one, "jpeg", 50)["image_id"][:]
    assert len(set(ids)) == 2
    again = pipeline.perturbed(one.add_column("split", ["test"]), "jpeg", 50)
    assert again["split"][:] == ["test"] and again["image_id"][:] == ids[1:]  # what else is known of them stays


def test_an_unknown_perturbation_is_refused_with_the_list(tiny_images):
    with pytest.raises(ValueError, match="unknown perturbation 'jpg'; expected one of jpeg, blur, resize"):
        pipeline.perturbed(tiny_images.select([0]), "jpg", 50)


def test_objects_are_named_once(tiny_spacy, tmp_path, monkeypatch):
    captions = ["a red car next to a green tree", "in the snow", ""]
    first = pipeline.name_objects(captions, tiny_spacy, tmp_path)
    assert first == object_phrases(captions, tiny_spacy) == [["car", "tree"], ["snow"], []]
    monkeypatch.setattr(pipeline, "object_phrases", None)
    assert pipeline.name_objects(captions, tiny_spacy, tmp_path) == first


# engines; tests/test_scale.py has more, where Ray is installed


def test_an_engine_that_is_not_known_or_not_here_is_named(images, networks, tiny_spacy, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown engine 'spark'; expected one of local, ray"):
        describe(images, networks[0], tiny_spacy, tmp_path, engine="spark")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match="engine 'ray' needs Ray, which is not here: pip install 'itemkit"):
        describe(images, networks[0], tiny_spacy, tmp_path, engine="ray")
    assert not list(tmp_path.iterdir())


def test_another_pipeline_another_kind_of_phrase_and_other_captions_are_other_phrases(tiny_spacy, tmp_path):
    other = tmp_path / "other"
    pipeline_without_nouns = spacy.blank("en")
    pipeline_without_nouns.add_pipe("attribute_ruler").add([[{"LOWER": "car"}]], {"POS": "VERB"})
    pipeline_without_nouns.to_disk(other)
    captions = ["a red car", "a boat"]
    first = name_objects(captions, tiny_spacy, tmp_path)
    assert name_objects(captions, other, tmp_path) == [[], []] != first
    assert name_objects(captions, tiny_spacy, tmp_path, "modified noun")[0] == ["red car"] != first[0]
    assert name_objects(captions[::-1], tiny_spacy, tmp_path) == first[::-1]
    assert name_objects(captions, tiny_spacy, tmp_path) == first
