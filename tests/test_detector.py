"""A verdict is made of the very functions of the notebooks, and a saved detector is the one that was measured."""

import json
import math
import re
import shutil
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from conftest import encode, make_picture
from PIL import Image
from safetensors.numpy import save_file

from itemkit.arms import feature_matrix
from itemkit.data.images import decode_image
from itemkit.detector import Detector, DetectorError, Novelty
from itemkit.evaluation.abstention import answer_shares, of_all_heads, selective_risk, shares
from itemkit.evaluation.calibration import at_temperature, conformal_threshold, tolerance_limit
from itemkit.head import MLPHead, predict
from itemkit.misalign import DISTANCES
from itemkit.running.explore import PictureExplorer

CHOICES = {"arm": "item", "distance": "difference", "pool": "mean", "fuse": "concat", "missing_box": "drop"}


@pytest.fixture(scope="module")
def parts(images, stages, networks, tiny_spacy):
    """What a detector is made of, with a head of random weights that spreads the tiny pictures over [0, 1]."""
    import torch

    captions, *_ = stages
    readable = captions.loc[captions["status"] == "ok", "image_id"].tolist()
    features = feature_matrix(readable, *stages, **CHOICES)
    torch.manual_seed(0)
    head = MLPHead(features.shape[1]).eval()
    head.mean[:], head.deviation[:] = torch.from_numpy(features.mean(0)), torch.from_numpy(features.std(0) + 0.1)
    captioner, locator, encoder = networks
    return readable, features, [captioner, tiny_spacy, locator, encoder, head, CHOICES]


def files_of(images, names):
    place = {name: row for row, name in enumerate(images["image_id"])}
    return [images[place[name]]["image"]["bytes"] for name in names]


@pytest.fixture
def detector(parts):
    scores = np.linspace(0, 1, 100)
    return Detector(*parts[2], temperature=2.0, real_scores=scores, tested_scores={"real": scores}, usual=0.5)


def test_scores_are_those_of_the_stages_to_the_last_digit(parts, images):
    readable, features, made_of = parts
    verdicts = Detector(*made_of, real_scores=np.zeros(100)).judge(files_of(images, readable))
    assert [verdict.score for verdict in verdicts] == predict(made_of[4], features).astype(float).tolist()


def test_words_boxes_and_misalignment_are_those_of_the_stages(detector, images, stages, parts):
    captions, boxes, vectors, texts = stages
    described = captions.set_index("image_id")
    parts_of = vectors.set_index(["image_id", "part"])["vector"]
    word = texts.set_index("text")["vector"]
    for name, verdict in zip(parts[0], detector.judge(files_of(images, parts[0])), strict=True):
        assert verdict.caption == described["caption"][name]
        assert [one["phrase"] for one in verdict.objects] == list(described["phrases"][name])
        whole = 1 - float(np.dot(parts_of[name, "whole"], word[verdict.caption]))
        assert verdict.global_misalignment == pytest.approx(whole, abs=1e-6)
        found = boxes[boxes["image_id"] == name].set_index("phrase")
        for one in verdict.objects:
            assert (one["box"] is not None) == (one["phrase"] in found.index)
            if one["box"]:
                assert one["box"] == found.loc[one["phrase"], ["x0", "y0", "x1", "y1"]].tolist()
                away = 1 - float(np.dot(parts_of[name, one["phrase"]], word[one["phrase"]]))
                assert one["misalignment"] == pytest.approx(away, abs=1e-6)


def test_paths_pictures_and_arrays_are_the_same_picture_alone_or_among_others(detector, tmp_path):
    pictures = [make_picture(seed) for seed in range(3)]
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    by_path, by_picture = detector(paths), detector(pictures)
    by_array = [detector(np.asarray(picture)) for picture in pictures]
    for one, other, third, path in zip(by_path, by_picture, by_array, paths, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-6) and one.score == pytest.approx(third.score, abs=1e-6)
        assert one.name == str(path) and str(path) in str(one)
    assert [verdict.name for verdict in by_picture] == ["picture 0", "picture 1", "picture 2"]
    assert [one.score for one in detector([paths[0], paths[0]])] == [by_path[0].score] * 2


def test_what_cannot_be_read_is_undecided_and_stops_nothing(detector, tmp_path):
    fine, text, folder = tmp_path / "fine.png", tmp_path / "text.png", tmp_path / "folder"
    make_picture(1).save(fine)
    text.write_text("no picture")
    folder.mkdir()
    lost = [tmp_path / "none.png", text, folder, "https://example.org/a.png", "/dev/null", "x" * 300 + ".png"]
    *verdicts, known = detector([*lost, fine])
    assert [verdict.answer for verdict in verdicts] == ["undecided"] * 6
    assert all(math.isnan(verdict.score) for verdict in verdicts) and known.score == detector(fine).score
    reasons = "no such file", "no image format", "a folder", "not fetched", "no regular file", "too long"
    for verdict, said in zip(verdicts, reasons, strict=True):
        assert said in verdict.reason
    with pytest.raises(TypeError, match=r"array of float64, shape \(4, 4\); expected bytes"):
        detector(np.zeros((4, 4)))
    with pytest.raises(TypeError, match="expected a path, a PIL image or an array of bytes, got int"):
        detector([7])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA"])
def test_pictures_of_every_mode_are_judged(detector, mode):
    assert 0 <= detector(make_picture(1).convert("RGB" if mode == "LA" else "L").convert(mode)).score <= 1


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_defined_white_are_undecided_in_memory_as_in_a_file(detector, mode):
    verdict = detector(make_picture(1).convert("L").convert(mode))
    assert verdict.answer == "undecided" and f"mode '{mode}' have no defined white" in verdict.reason


def test_a_picture_with_two_captions_is_refused_and_with_one_judged_once(detector, parts, images):
    encoded = files_of(images, parts[0])[0]
    with pytest.raises(ValueError, match="twice, with two captions; judge it once with each"):
        detector.judge([encoded, encoded], captions=["a green ball", "a red box"])
    one, other = detector.judge([encoded, encoded], captions=["a green ball"] * 2)
    assert one == other or repr(one) == repr(other)


@pytest.mark.parametrize("distance", DISTANCES)
def test_novelty_is_of_the_detectors_own_distance(parts, stages, images, distance):
    readable, _, (captioner, nouns, locator, encoder, _, _) = parts
    choices = CHOICES | {"distance": distance}
    features, whole = (feature_matrix(readable, *stages, **choices | {"arm": arm}) for arm in ("item", "global"))
    novelty = Novelty.fit(whole, np.array(["real"] * len(readable)), whole)
    detector = Detector(captioner, nouns, locator, encoder, MLPHead(features.shape[1]).eval(), choices, novelty=novelty)
    judged = [verdict.distance for verdict in detector.judge(files_of(images, readable))]
    assert judged == pytest.approx(novelty.distance(whole).tolist(), rel=1e-5)


def test_the_answer_depends_on_the_rate_that_is_asked_for(detector, parts, images):
    encoded = files_of(images, parts[0])
    scores = predict(parts[2][4], parts[1])
    for rate in (0.05, 0.3, 0.9):
        threshold = conformal_threshold(detector.real_scores, rate)
        for verdict, score in zip(detector.judge(encoded, rate), scores, strict=True):
            found = any(one["box"] for one in verdict.objects)
            assert verdict.answer == ("undecided" if not found else "generated" if score > threshold else "real")
            assert verdict.threshold == pytest.approx(float(at_temperature(threshold, 2.0)))
            assert verdict.score == float(at_temperature(score, 2.0))
            assert (verdict.reason.startswith("No verdict: no object")) == (not found)
    assert detector.measured(0.05) == np.mean(detector.tested_scores["real"] > detector.threshold(0.05))
    with pytest.raises(ValueError, match="false_positive_rate 5; expected a share between 0 and 1"):
        detector(make_picture(1), 5)
    few = Detector(*parts[2], real_scores=np.zeros(10))
    assert {verdict.answer for verdict in few.judge(encoded)} == {"undecided"}
    assert any(
        "10 real pictures are too few for a false positive rate of 5 %" in one.reason for one in few.judge(encoded)
    )


def test_other_words_are_judged_in_place_of_the_captioners(detector):
    picture = detector.prepared(make_picture(1))
    own = detector.judge([picture])[0]
    assert repr(detector.judge([picture], captions=[own.caption])[0]) == repr(own)  # NaN differs from NaN
    other = detector.judge([picture], captions=["a red boat"])[0]
    assert other.caption == "a red boat" and [one["phrase"] for one in other.objects] == ["boat"]
    assert other.score != own.score


def test_boxes_are_in_pixels_of_the_picture_that_was_given(parts):
    aligned = Detector(*parts[2], aligned_side=64, real_scores=np.zeros(100))
    boxes = 0
    for seed in range(8):
        picture = make_picture(seed, 200, 100)
        given, inside = aligned(picture), aligned.judge([aligned.prepared(picture)])[0]
        assert decode_image(aligned.prepared(picture)).size == (64, 64)
        for one, other in zip(given.objects, inside.objects, strict=True):
            if one["box"]:
                boxes += 1
                np.testing.assert_allclose(one["box"], np.array(other["box"]) * 100 / 64 + [50, 0, 50, 0])
    assert boxes


def test_what_is_unlike_the_training_pictures_is_told():
    random = np.random.default_rng(0)
    source = np.repeat(["a", "b"], 500)
    rows = random.normal(size=(1000, 4)) * [1, 2, 1, 1] + np.where(source == "a", 0, 20)[:, None]
    held_out = random.normal(size=(400, 4)) * [1, 2, 1, 1]
    novelty = Novelty.fit(rows.astype(np.float32), source, held_out.astype(np.float32))
    assert novelty.distance(np.zeros((1, 4)))[0] == pytest.approx(0, abs=0.3)
    assert novelty.distance(np.array([[0, 6.0, 0, 0]]))[0] == pytest.approx(3, rel=0.15)  # three deviations away
    assert novelty.distance(np.full((1, 4), 10.0))[0] > 5  # between the sources
    assert np.mean(novelty.distance(held_out) > novelty.limit) == pytest.approx(0.035, abs=0.005)  # 14 of 400
    lonely = Novelty.fit(np.vstack([rows, rows[:1] + 99]), np.append(source, "c"), held_out)
    assert lonely.distance(rows[:1] + 99)[0] > novelty.limit, "one picture makes no source"


# saved, and read again


def saved(detector, folder, **options):
    detector.save_pretrained(folder, **options)
    return folder


def test_a_saved_detector_says_the_same(detector, parts, images, tmp_path):
    novelty = Novelty.fit(parts[1][:, :16], np.repeat(["a", "b"], [4, len(parts[1]) - 4]), parts[1][:, :16])
    own = Detector(*parts[2], temperature=2.0, real_scores=detector.real_scores, novelty=novelty, usual=0.4)
    measured = {"What was measured.": pd.DataFrame({"generator": ["real"], "share": [0.25]})}
    again = Detector.from_pretrained(saved(own, tmp_path / "saved", measured=measured))
    encoded = files_of(images, parts[0])
    assert repr(again.judge(encoded)) == repr(own.judge(encoded))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "library_name: itemkit" in card and "What was measured." in card and "0.250" in card
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".json", ".safetensors", ".md"}


def test_a_detector_with_its_networks_can_be_moved(detector, tmp_path):
    folder = saved(detector, tmp_path / "a" / "saved", with_networks=True)
    moved = shutil.move(folder, tmp_path / "elsewhere")
    picture = make_picture(2)
    assert repr(Detector.from_pretrained(moved)(picture)) == repr(detector(picture))
    assert json.loads((moved / "detector.json").read_text())["networks"]["encoder"]["name"] == "./networks/encoder"


def test_another_network_in_its_place_is_refused(parts, tmp_path):
    captioner, nouns, locator, encoder, head, choices = parts[2]
    shutil.copytree(encoder.name, tmp_path / "clip")
    own = Detector(captioner, nouns, locator, type(encoder)(tmp_path / "clip"), head, choices)
    folder = saved(own, tmp_path / "saved")
    (tmp_path / "clip" / "open_clip_model.safetensors").write_bytes(b"other")
    with pytest.raises(
        DetectorError, match=r"the encoder of .* was sha256:\w+, and .*clip is sha256:\w+: scores would"
    ):
        Detector.from_pretrained(folder)
    shutil.rmtree(tmp_path / "clip")
    with pytest.raises(DetectorError, match="the encoder of .* is not here: no folder .*clip; put it there"):
        Detector.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("networks", []),
        ("networks", {"captioner": 1, "nouns": 1, "locator": 1, "encoder": 1}),
        ("choices", "item"),
        ("temperature", "warm"),
        ("temperature", math.nan),
        ("temperature", 0),
        ("choices", {}),
        ("choices", dict.fromkeys(["arm", "distance", "pool", "fuse", "missing_box"], "item")),
        ("aligned_side", 0),
        ("novelty_limit", math.nan),
        ("real_scores", {}),
        ("tested_scores", []),
        ("real_scores", [0.1, None]),
        ("real_scores", [0.1, math.nan]),
        ("tested_scores", {"real": 0.1}),
        ("tested_scores", {"real": ["x"]}),
        ("novelty_limit", "far"),
        ("facts", None),
    ],
)
def test_a_value_of_another_kind_is_called_damage(detector, tmp_path, name, value):
    file = saved(detector, tmp_path / "saved") / "detector.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(DetectorError, match=f"detector.json is damaged .*{'' if value else name}.*; get the detector"):
        Detector.from_pretrained(file.parent)


def test_a_detector_saved_over_another_one_is_whole(parts, detector, tmp_path):
    nouns = shutil.copytree(parts[2][1], tmp_path / "nouns")
    (nouns / "more.txt").write_text("of the first one only")
    captioner, _, *others = parts[2]
    folder = saved(Detector(captioner, nouns, *others), tmp_path / "saved", with_networks=True)
    saved(detector, folder, with_networks=True)
    again = Detector.from_pretrained(folder)
    saved(again, folder, with_networks=True)  # over itself
    assert repr(Detector.from_pretrained(folder)(make_picture(4))) == repr(detector(make_picture(4)))


@pytest.mark.parametrize(
    "arrays",
    [
        {"others": np.zeros((2, 3))},
        {"means": np.zeros((2, 3)), "precisions": np.zeros((2, 3))},
        {"means": np.zeros((2, 3)), "precisions": np.full((2, 3, 3), np.nan)},
    ],
)
def test_damaged_arrays_of_what_is_known_are_one_sentence(parts, tmp_path, arrays):
    novelty = Novelty(np.zeros((2, 3), np.float32), np.zeros((2, 3, 3), np.float32), 1.0)
    folder = saved(Detector(*parts[2], novelty=novelty), tmp_path / "saved")
    save_file(arrays, folder / "novelty.safetensors")
    with pytest.raises(DetectorError, match="the weights in .* are missing or damaged"):
        Detector.from_pretrained(folder)


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [
        ("locator", "threshold", math.nan),
        ("captioner", "batch_size", "x"),
        ("captioner", "batch_size", 0),
        ("captioner", "max_new_tokens", None),
        ("locator", "threshold", "low"),
        ("encoder", "dtype", "x"),
        ("encoder", "size", 1),
    ],
)
def test_a_setting_of_another_kind_is_called_damage(detector, tmp_path, role, name, value):
    file = saved(detector, tmp_path / "saved") / "detector.json"
    told = json.loads(file.read_text())
    told["networks"][role]["settings"][name] = value
    file.write_text(json.dumps(told))
    with pytest.raises(DetectorError, match=f"detector.json is damaged .*{name}.*; get the detector"):
        Detector.from_pretrained(file.parent)


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda folder: (folder / "detector.json").unlink(), "holds no detector.json; expected a folder that"),
        (lambda folder: (folder / "detector.json").write_text("{"), "is damaged .*; get the detector anew"),
        (lambda folder: (folder / "detector.json").write_text('{"format": 1}'), "is damaged"),
        (
            lambda folder: (folder / "detector.json").write_text('{"format": 9}'),
            "has format 9, this version of itemkit 1",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"1234"),
            "the weights in .* are missing or damaged",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "the weights in .* are missing or damaged"),
        (shutil.rmtree, "no folder .*saved', and it cannot be a hub id"),
    ],
)
def test_a_damaged_folder_is_one_sentence(detector, tmp_path, harm, message):
    folder = saved(detector, tmp_path / "saved")
    harm(folder)
    with pytest.raises(DetectorError, match=message):
        Detector.from_pretrained(folder)
    with pytest.raises(ValueError, match="device 'cuda:7' is asked for"):
        Detector.from_pretrained(folder, device="cuda:7")


def test_a_detector_comes_from_a_hub_and_goes_to_one(detector, hub, tmp_path, monkeypatch):
    hub.folders["models/someone/item"] = saved(detector, tmp_path / "saved", with_networks=True)
    picture = make_picture(4)
    assert repr(Detector.from_pretrained("someone/item")(picture)) == repr(detector(picture))
    sent = {}

    class Api:
        def create_repo(self, name, private, exist_ok):
            sent["repo"] = name, private

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / "sent")
            return f"at {repo_id}"

    monkeypatch.setattr("itemkit.detector.HfApi", Api)
    assert detector.push_to_hub("someone/other", private=True) == "at someone/other"
    assert sent["repo"] == ("someone/other", True)
    assert repr(Detector.from_pretrained(tmp_path / "sent")(picture)) == repr(detector(picture))


# thresholds and silence


def test_the_tolerance_limit_keeps_its_share_in_most_cases():
    assert tolerance_limit(np.arange(45.0), 0.05) == 44  # 1 - 0.95**45 is 0.90: the 45th of 45
    assert tolerance_limit(np.arange(77.0), 0.05) == 75  # Wilks: 77 for the last but one
    assert tolerance_limit(np.arange(76.0), 0.05) == 75
    assert tolerance_limit(np.arange(3.0), 0.05) == 2
    random = np.random.default_rng(0)
    beyond = [1 - tolerance_limit(random.random(700), 0.05) for _ in range(4000)]
    assert 0.9 <= np.mean(np.array(beyond) <= 0.05) < 0.92


def test_the_conformal_threshold_by_hand():
    assert conformal_threshold(np.arange(19), 0.05) == 18  # the 19th of 20 places
    assert conformal_threshold(np.arange(18), 0.05) == math.inf
    assert conformal_threshold(np.array([0.3, 0.1, 0.2]), 0.5) == 0.2
    with pytest.raises(ValueError, match="false_positive_rate 0; expected a share between 0 and 1"):
        conformal_threshold(np.arange(5), 0)


def test_the_rate_holds_for_new_pictures_and_not_only_for_those_it_was_chosen_on():
    random = np.random.default_rng(0)
    above = [np.mean(random.random(1000) > conformal_threshold(random.random(60), 0.1)) for _ in range(2000)]
    assert 0.1 - 1 / 61 <= np.mean(above) <= 0.1 + 0.002  # Vovk et al.: between the rate minus 1 / (n + 1) and the rate


def test_selective_risk_by_hand():
    real = pd.DataFrame({"generator": "real", "label": 0, "split": ["validation"] * 19 + ["test"] * 4})
    real["score"] = [*np.linspace(0.1, 0.5, 19), 0.2, 0.3, 0.9, 0.8]  # two of four false alarms
    new = pd.DataFrame({"generator": "new", "label": 1, "split": "test", "score": [0.9, 0.1, 0.7, 0.2]})  # two found
    rows = pd.concat([real, new], ignore_index=True).assign(train_on="old", seed=0, answered=True)
    rows.loc[[21, 24, 25], "answered"] = False  # one false alarm, one that was missed and one that was found
    assert selective_risk(rows).iloc[0, 3:].tolist() == [4, 3, 2, 1, 4, 2, 2, 1]
    assert shares(selective_risk(rows)).isna().all(axis=None)  # of four pictures there is no number
    many = pd.concat([rows, *[rows[rows["split"] == "test"]] * 9], ignore_index=True)
    assert selective_risk(many).generator.tolist() == ["new"]
    table = shares(selective_risk(many)).iloc[0]
    assert (table.real_coverage, table.real_error, table.real_error_answered) == (0.75, 0.5, pytest.approx(1 / 3))
    assert (table.generated_coverage, table.generated_error, table.generated_error_answered) == (0.5, 0.5, 0.5)
    fewer = many.assign(answered=many["answered"] & (many["label"] == 0))  # none of the generated ones is answered
    table = shares(selective_risk(fewer)).iloc[0]
    assert table.generated_coverage == 0 and np.isnan(table.generated_error_answered)
    without = many.drop(index=range(1))  # 18 real validation pictures: nothing can be called generated
    table = shares(selective_risk(without)).iloc[0]
    assert (table.generated_coverage, table.generated_error, table.real_error) == (0, 1, 0)


def test_what_silence_buys_stands_in_the_order_of_the_generators():
    rows = pd.DataFrame(
        {"generator": ["real", "old", "new"] * 20, "label": [0, 1, 1] * 20, "split": "test", "score": 0.5}
    )
    heads = pd.concat([rows.assign(train_on=source, seed=0, answered=True) for source in ("old", "new")])
    assert selective_risk(heads)["generator"].tolist() == ["old", "new"]  # the head of `old` says nothing of `old`


def test_heads_that_answer_seldom_count_by_what_they_answer():
    """One head answers 30 of 40 pictures, 10 of them wrongly, another 10 of 40, all wrongly: 20 of 40 are wrong."""
    counts = pd.DataFrame({"generated_pictures": [40, 40], "generated_answered": [30, 10], "generated_wrong": [20, 40]})
    counts["generated_answered_wrong"] = [10, 10]
    counts = counts.join(counts.rename(columns=lambda name: name.replace("generated", "real")))
    assert shares(counts)["real_error_answered"].tolist() == [pytest.approx(1 / 3), pytest.approx(np.nan, nan_ok=True)]
    risk = counts.assign(train_on="old", seed=[0, 1], generator="new")
    table = of_all_heads(risk)
    assert table.index.tolist() == ["new", "all"] and table.loc["new"].equals(table.loc["all"])
    table = table.loc["all"]
    assert (table.generated_coverage, table.generated_error, table.generated_error_answered) == (0.5, 0.75, 0.5)
    few = risk.assign(generator="few", generated_pictures=19, generated_wrong=19)  # of both heads together 38
    table = of_all_heads(pd.concat([risk, few]))
    assert np.isnan(table.generated_error["few"]) and table.generated_error["all"] == table.generated_error["new"]


def test_the_answers_of_a_detector_are_shares_of_enough_pictures():
    judged = pd.DataFrame({"generator": ["real"] * 20 + ["gan"] * 20 + ["vae"] * 19, "answer": "real"})
    judged["above_threshold"] = judged["generator"] != "real"
    judged.loc[20:24, "answer"] = "undecided"
    table = answer_shares(judged, ["real", "gan", "vae", "dit"])
    assert list(table) == ["called_real", "called_generated", "undecided", "above_threshold"]
    assert table.loc["real"].tolist() == [1, 0, 0, 0] and table.loc["gan"].tolist() == [0.75, 0, 0.25, 1]
    assert table.loc[["vae", "dit"]].isna().all(axis=None)


def test_a_picture_is_upright_whether_its_file_is_given_or_opened(parts, tmp_path):
    exif, path = Image.Exif(), tmp_path / "turned.jpg"
    exif[0x0112] = 6
    path.write_bytes(encode(make_picture(5), "JPEG", exif=exif))
    for side in (None, 32):
        detector = Detector(*parts[2], aligned_side=side, real_scores=np.zeros(100))
        by_path, by_picture = detector.prepared(path), detector.prepared(Image.open(path))
        assert by_path == by_picture
        assert side or decode_image(by_path).size == make_picture(5).size[::-1]


def test_a_picture_is_turned_upright_once(parts, tmp_path):
    exif, turned = Image.Exif(), make_picture(5, 40, 24).transpose(Image.Transpose.ROTATE_90)
    exif[0x0112] = 6
    (tmp_path / "turned.png").write_bytes(encode(turned, exif=exif))
    (tmp_path / "upright.png").write_bytes(encode(make_picture(5, 40, 24)))
    for side in (None, 32):
        detector = Detector(*parts[2], aligned_side=side, real_scores=np.zeros(100))
        turned, upright = detector([tmp_path / "turned.png", tmp_path / "upright.png"])
        assert repr(turned).replace("turned.png", "upright.png") == repr(upright)


def test_a_picture_of_a_caller_keeps_what_it_knows(detector):
    picture = make_picture(3)
    picture.info["comment"] = "mine"
    detector.prepared(picture)
    assert picture.info == {"comment": "mine"}


def test_a_picture_of_too_many_pixels_is_unreadable_in_memory_too(detector):
    assert "more than the limit of" in detector(Image.new("1", (10_000, 9_000))).reason


@pytest.mark.parametrize("size", [(0, 0), (0, 4)])
def test_a_picture_without_a_pixel_is_unreadable(detector, size):
    verdict = detector(Image.new("RGB", size))
    assert verdict.answer == "undecided" and "pixels, that is none" in verdict.reason


def test_the_explorer_shows_what_was_uploaded_last(detector):
    explorer = PictureExplorer(detector, {})
    assert explorer.answer.value == "Upload a picture." and explorer.figure.value == b""

    def upload(seed: int, content: bytes) -> str:
        file = {"name": "mine.png", "type": "image/png", "size": len(content), "content": content}
        explorer.upload.value = ({**file, "last_modified": datetime.fromtimestamp(seed)},)
        return explorer.answer.value

    judged = [upload(seed, encode(make_picture(seed))) for seed in (0, 3)]  # two files of one name
    expected = detector([make_picture(seed) for seed in (0, 3)])
    assert [re.search("[01][.][0-9]{2}", one)[0] for one in judged] == [f"{one.score:.2f}" for one in expected]
    assert judged[0] != judged[1] and explorer.figure.value
    assert upload(9, b"no picture").startswith("It cannot be read") and explorer.figure.value == b""
