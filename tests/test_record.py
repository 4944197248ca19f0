"""The record of a run: what notebooks may rely on, and what is refused before anything is computed or written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itemkit.data.images import decode_image, encoded_bytes, inspect_images
from itemkit.paper.notebooks import FOLDER, STEPS, declared
from itemkit.pipeline import describe, embed, locate, shuffle
from itemkit.record import MAKES, RecordError, Run, forget, manual_changes, read_record, without_data


def start(results: Path, step: str, values: dict, **others) -> Run:
    """Open a notebook as its first cell does: its parameters, with those of `values` that it declares, and `others`."""
    own = {name: values.get(name, value) for name, value in declared(FOLDER / f"{step}.ipynb").items()}
    return Run(results, step, own | others | {"unrelated": object()})


def make(results: Path, values: dict, *steps: str) -> None:
    """Do what the notebooks do that a run is made of, without their tables and figures."""
    for step in steps:
        run = start(results, step, values)
        if step == "00_data":
            run.write("images.parquet", inspect_images(run.images))
        if step == "01_captions":
            captions = describe(run.images, run.captioner, run.nouns, run.values["cache"], run.values["phrase"])
            groups = run.files.drop_duplicates("image_id").set_index("image_id")
            run.write("captions.parquet", captions)
            run.write("shuffled.parquet", shuffle(captions, groups.track + " " + groups.split))
        if step == "02_misalignment":
            captions = run.read("captions.parquet")
            boxes = locate(run.images, captions, run.locator, run.values["cache"])
            vectors, texts = embed(run.images, captions, boxes, run.encoder, run.values["cache"])
            for name, table in (("boxes", boxes), ("vectors", vectors), ("texts", texts)):
                run.write(f"{name}.parquet", table)
        if step == "03_train":
            scores = run.files[["image_id", "track"]].assign(score=0.5)
            run.write("predictions.parquet", scores)
            run.write("heads.csv", scores.head(1))
        run.close()


@pytest.fixture(scope="module")
def values(tiny_card, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy, tmp_path_factory):
    folders = {"card": tiny_card, "captioner": tiny_captioner, "locator": tiny_detector, "encoder": tiny_clip}
    folders |= {"nouns": tiny_spacy, "cache": tmp_path_factory.mktemp("cache")}
    return {name: str(folder) for name, folder in folders.items()} | {"aligned_side": 32, "box_threshold": 0.56}


@pytest.fixture(scope="module")
def finished(values, tmp_path_factory):
    results = tmp_path_factory.mktemp("results") / "tiny"
    make(results, values, *MAKES)
    return results


@pytest.fixture
def results(finished, tmp_path):
    """A copy of a run that has come to its heads."""
    return Path(shutil.copytree(finished, tmp_path / "tiny"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# what a notebook gets


def test_a_later_notebook_gets_all_in_one_line_with_the_values_of_the_run(results, values):
    run = start(results, "06_robustness", values)
    assert run.values["limit"] is None and run.values["box_threshold"] == 0.56 and run.values["phrase"] == "object"
    assert (
        run.track == "aligned" and run.sources == ["real", "smooth", "noisy"] and run.generators == ["smooth", "noisy"]
    )
    assert run.captioner.name == values["captioner"] and run.captioner.batch_size == 32
    assert run.locator.threshold == 0.56 and run.encoder.dtype == "float32"
    assert run.choices == {"distance": "difference", "pool": "mean", "fuse": "concat", "missing_box": "drop"}
    ids = run.files[run.files.track == "raw"].image_id.iloc[:3]
    assert run.features(ids, "item").shape == (3, 33) and run.features(ids, "shuffled").shape == (3, 33)
    assert run.features(ids, "item", distance="cosine").shape == (3, 3)
    assert run.head_folder("item", "smooth", 0) == results / "heads" / "aligned" / "item-smooth-0"


def test_pictures_come_by_id_and_track_whatever_the_order(results, values):
    run = start(results, "07_explain", values)
    rows = run.files[run.files.track == "raw"].iloc[[40, 2, 17, 2]]
    found = run.pictures(rows)
    assert found["image_id"][:] == rows.image_id.tolist() and set(found["track"][:]) == {"raw"}
    one = run.files[run.files.track == "aligned"].image_id.iloc[5]
    row = next(row for row in run.images if row["image_id"] == one)
    assert run.picture(one).tobytes() == decode_image(encoded_bytes(row["image"])).tobytes()
    with pytest.raises(RecordError, match=f"picture {rows.image_id.iloc[0]} is not on track aligned of .*another run"):
        run.picture(rows.image_id.iloc[0])


def test_a_folder_can_be_looked_at_without_being_a_notebook(results):
    before = contents(results)
    run = Run(results)
    assert set(run.steps) == set(MAKES) and len(run.said) == 4
    assert contents(results) == before


@pytest.mark.parametrize("name", ["NA", "1", "null", "nan"])
def test_generators_are_called_as_the_card_calls_them(results, values, name):
    run = start(results, "04_cross_generator", values)
    keys = {"track": "aligned", "arm": "item", "train_on": name, "seed": 0}
    run.write("heads.csv", pd.DataFrame([keys | {"temperature": 2.0, "threshold": None}]))
    run.write("predictions.parquet", pd.DataFrame([keys | {"generator": name, "score": 0.5}]))
    assert run.read("heads.csv").train_on.tolist() == [name] and run.read("heads.csv").threshold.isna().all()
    assert run.predictions()[["train_on", "temperature"]].values.tolist() == [[name, 2.0]]


def test_what_cannot_be_trained_on_is_said(results, values):
    run = start(results, "03_train", values)
    with pytest.raises(ValueError, match="unknown generator to train on 'smoth'; expected one of smooth, noisy"):
        run.trained_on(["smoth"])
    with pytest.raises(
        ValueError, match="nothing to train on: real has 12 pictures to train on and 2 .*; 20 are needed"
    ):
        run.trained_on()
    more = [run.files.assign(pixel_hash=run.files.pixel_hash + str(copy)) for copy in range(10)]
    run.files = pd.concat(more, ignore_index=True)
    assert run.trained_on() == ["smooth", "noisy"] and run.trained_on(["noisy"]) == ["noisy"]
    run.files = run.files.assign(split=run.files.split.where(run.files.generator != "noisy", "test"))
    assert run.trained_on() == ["smooth"]


def test_a_detector_names_only_what_it_was_trained_on(results, values):
    run = start(results, "04_cross_generator", values)
    assert run.train_detector()[0].facts["made_of"]["trained on"] == "real pictures, smooth, noisy"
    run.files = run.files.assign(split=run.files.split.where(run.files.generator != "noisy", "test"))
    detector, judged = run.train_detector()
    assert detector.facts["made_of"]["trained on"] == "real pictures, smooth"
    assert "noisy" in set(judged.generator)


def test_a_run_without_item_has_nothing_to_compare(results, values):
    values = values | {"arms": ["image"]}
    make(results, values, "03_train")
    with pytest.raises(RecordError, match="trained no arm item, .* run it again with item among arms"):
        start(results, "04_cross_generator", values).predictions()


@pytest.mark.parametrize("tables", [["other/item.csv"], ["a/npr.csv", "b/npr.csv"], ["texture.csv"], ["npr"], [None]])
def test_two_detectors_never_share_a_name(results, tables):
    run = Run(results)
    for ask in (run.others, run.predictions):
        with pytest.raises(ValueError, match="others holds .*; expected tables such as npr.csv"):
            ask(tables)


def test_each_notebook_notes_when_it_ran_from_which_commit_and_with_which_values(results, values):
    run = start(results, "04_cross_generator", values, draws=7)
    assert read_record(results)["steps"]["04_cross_generator"]["ended"] is None
    run.write("metrics.csv", pd.DataFrame({"value": [1]}))
    run.close()
    note = read_record(results)["steps"]["04_cross_generator"]
    assert (
        note["values"]["draws"] == 7 and note["by"] == "hand" and "commit" in note and note["ended"] >= note["started"]
    )
    assert list(note["made"]) == ["metrics.csv"] and note["versions"]["torch"].startswith("2.")
    first = read_record(results)["steps"]
    assert first["00_data"]["facts"]["card"]["revision"] == "local"
    assert first["01_captions"]["facts"]["captioner"]["network"].startswith("sha256:")
    assert list(first) == [*MAKES, "04_cross_generator"]


# what is refused


OTHERS = [
    ({"limit": 150}, "limit = 150", "limit = null"),
    ({"generators": ["smooth"]}, 'generators = ["smooth"]', "generators = null"),
]
OTHERS += [({"tracks": ["raw", "aligned"]}, 'tracks = ["raw", "aligned"]', 'tracks = ["aligned", "raw"]')]
OTHERS += [({"tracks": ["raw"]}, 'tracks = ["raw"]', 'tracks = ["aligned", "raw"]')]


@pytest.mark.parametrize("step", ["02_misalignment", "05_ablations", "06_robustness", "07_explain"])
@pytest.mark.parametrize(("other", "given", "noted"), OTHERS, ids=lambda part: str(part)[:20])
def test_other_values_than_those_of_the_run_are_refused_and_nothing_is_written(
    results, values, step, other, given, noted
):
    before = contents(results)
    with pytest.raises(RecordError) as error:
        start(results, step, values, **other)
    text = str(error.value)
    assert text.startswith(f"{step} was given {given}, but 00_data was run with {noted}; run 00_data")
    assert text.endswith("again with it, or use another `results`") and "\n" not in text
    assert contents(results) == before


def test_a_phrase_or_a_missing_box_of_ones_own_is_refused_too(results, values):
    with pytest.raises(
        RecordError, match='05_ablations was given phrase = "modified noun", but 01_captions was run with'
    ):
        start(results, "05_ablations", values, phrase="modified noun")
    with pytest.raises(
        RecordError, match='07_explain was given missing_box = "whole image", but 02_misalignment was run'
    ):
        start(results, "07_explain", values, missing_box="whole image")


@pytest.mark.parametrize(
    ("again", "step", "message"),
    [
        ({"limit": 5}, "02_misalignment", "01_captions was made with limit = null, and 00_data was run with limit = 5 since; run 01_captions again"),
        ({"limit": 5}, "06_robustness", "run 01_captions, 02_misalignment and 03_train again, or use another `results`"),
        ({"tracks": ["raw"]}, "07_explain", r'01_captions was made with tracks = \["aligned", "raw"\], and 00_data was run with tracks = \["raw"\] since'),
        ({"generators": ["noisy"]}, "05_ablations", r'with generators = null, and 00_data was run with generators = \["noisy"\] since'),
    ],
)  # fmt: skip
def test_what_was_made_before_00_was_run_with_other_values_is_refused(results, values, again, step, message):
    make(results, values | again, "00_data")
    before = contents(results)
    with pytest.raises(RecordError, match=message):
        start(results, step, values)
    assert contents(results) == before
    make(results, values, "00_data")  # as it was: the same bytes, so that all that rests on them holds again
    start(results, step, values)


def test_a_notebook_whose_words_are_gone_says_so(results, values):
    make(results, values | {"phrase": "modified noun"}, "01_captions")
    with pytest.raises(
        RecordError, match='02_misalignment was made with phrase = "object", and 01_captions was run with'
    ):
        start(results, "03_train", values)
    make(results, values | {"phrase": "modified noun"}, "02_misalignment")
    start(results, "03_train", values)


def test_the_report_refuses_a_table_of_another_run(results, values):
    start(results, "04_cross_generator", values).close()
    make(results, values | {"limit": 5}, *MAKES)
    with pytest.raises(
        RecordError, match="04_cross_generator was made with limit = null, .* run 04_cross_generator again"
    ):
        start(results, "08_report", values)
    start(results, "04_cross_generator", values).close()
    assert start(results, "08_report", values).values["limit"] == 5


@pytest.mark.parametrize(("step", "first"), [("03_train", "00_data"), ("06_robustness", "00_data")])
def test_a_folder_that_lacks_a_step_says_which_notebook_makes_it(tmp_path, values, step, first):
    with pytest.raises(RecordError, match=f"lacks what {first} makes; run {first}, .* first"):
        start(tmp_path / "new", step, values)
    assert not (tmp_path / "new").exists()


def test_a_step_that_did_not_end_is_not_relied_on(results, values):
    start(results, "02_misalignment", values)
    with pytest.raises(
        RecordError, match="02_misalignment began .* and has not ended; run 02_misalignment and 03_train again"
    ):
        start(results, "07_explain", values)


def test_a_cell_left_out_is_told_when_the_notebook_ends(results, values):
    run = start(results, "01_captions", values | {"phrase": "modified noun"})
    run.write("captions.parquet", run.read("captions.parquet"))
    with pytest.raises(
        RecordError, match="01_captions has not written shuffled.parquet since it was opened; run all cells"
    ):
        run.close()


def test_parameters_that_were_not_run_are_asked_for(results):
    with pytest.raises(
        RecordError, match="04_cross_generator has no value of results, metric, draws and others; run its parameters"
    ):
        Run(results, "04_cross_generator", {})


def test_the_report_names_the_notebook_whose_value_was_changed(results, values):
    start(results, "06_robustness", values).close()
    with pytest.raises(RecordError, match="robustness_contents = 30; run 06_robustness again with it, or use another"):
        start(results, "08_report", values, robustness_contents=7)


def test_labels_that_have_changed_are_refused(results, values, tmp_path):
    card = Path(shutil.copytree(values["card"], tmp_path / "cards" / "tiny"))
    make(results, values | {"card": str(card)}, *MAKES)
    table = pd.read_parquet(card / "images.parquet")
    swapped = {"smooth": "noisy", "noisy": "smooth"}
    table["generator"] = table["generator"].replace(swapped)
    table.to_parquet(card / "images.parquet", index=False)
    with pytest.raises(RecordError, match="the pictures of card tiny are no longer those of"):
        start(results, "02_misalignment", values | {"card": str(card)}).images  # noqa: B018


def test_pictures_that_have_changed_are_refused(results, values, tmp_path):
    card = Path(shutil.copytree(values["card"], tmp_path / "cards" / "tiny"))
    make(results, values | {"card": str(card)}, *MAKES)
    table = pd.read_parquet(card / "images.parquet")
    table.iloc[::-1].to_parquet(card / "images.parquet", index=False)
    with pytest.raises(
        RecordError, match="the pictures of card tiny are no longer those of .*; run 00_data, 01_captions, "
    ):
        start(results, "07_explain", values | {"card": str(card)}).images  # noqa: B018


def test_a_network_that_has_changed_is_refused(results, values, tmp_path):
    other = Path(shutil.copytree(values["encoder"], tmp_path / "clip"))
    make(results, values | {"encoder": str(other)}, "02_misalignment", "03_train")
    assert start(results, "06_robustness", values).encoder.name == str(other)
    (other / "added.txt").write_text("another network")
    with pytest.raises(
        RecordError, match="encoder was .* when 02_misalignment was run, and is .* now; run 02_misalignment and"
    ):
        start(results, "06_robustness", values).encoder  # noqa: B018


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1, "steps": {"00_da', "record.json is damaged; restore it, or remove .* or use another `results`"),
        ("[]", "record.json is damaged"),
        ('{"format": 1, "steps": {"00_data": {}}}', "record.json is damaged"),
        ('{"format": 1, "steps": {"01_captions": {"values": {}, "ended": "", "made": {}, "rests_on": {"00_data": ""}}}}', "is damaged"),
        ('{"format": 7, "steps": {}}', "record.json has format 7, this version of itemkit 1; remove .*, or use another `results`"),
        (None, "was made by a version of itemkit without records; remove it, or use another `results`"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", ["00_data", "06_robustness"])
def test_a_record_that_cannot_be_read_stops_every_notebook_and_nothing_is_overwritten(
    results, values, text, message, step
):
    path = results / "record.json"
    path.unlink() if text is None else path.write_text(text)
    before = contents(results)
    with pytest.raises(RecordError, match=message) as error:
        start(results, step, values)
    assert "\n" not in str(error.value) and contents(results) == before


def test_two_notebooks_open_side_by_side_both_keep_their_notes(results, values):
    one, other = start(results, "04_cross_generator", values), start(results, "07_explain", values)
    other.close()
    one.close()
    steps = read_record(results)["steps"]
    assert steps["04_cross_generator"]["ended"] and steps["07_explain"]["ended"]


# the detector of a run


def test_the_detector_of_a_run_scores_files_as_the_protocol_did_to_the_last_digit(results, values):
    run = start(results, "04_cross_generator", values)
    detector, judged = run.train_detector()
    raw = run.files[run.files.track == "raw"].set_index(["generator", "content_id"])["image_id"]
    names = [raw[row.generator, row.content_id] for row in judged.itertuples()]
    pictures = [run.picture(name, "raw") for name in names]
    verdicts = replace(detector, temperature=1.0)(pictures)
    assert [verdict.score for verdict in verdicts] == judged["score"].astype(float).tolist()
    assert [verdict.answer for verdict in verdicts] == judged["answer"].tolist()
    assert len(detector.real_scores) == ((run.files.generator == "real") & (run.files.split == "validation")).sum() / 2
    assert set(detector.tested_scores) == {"real", "smooth", "noisy"}
    with pytest.raises(ValueError, match="unknown notebook of the run '09_own'; expected one of 00_data"):
        Run(results, "09_own", {})


# hands


def test_hands_are_told_of(results, values, monkeypatch):
    monkeypatch.setattr("itemkit.record.git", lambda *words: "" if words[0] == "status" else "a" * 40)
    monkeypatch.setenv("ITEMKIT_RUN", "run_all.sh")
    make(results, values, *MAKES)
    run = start(results, "06_robustness", values)
    run.table(pd.DataFrame({"a": [1]}), "06_mine", "A claim.")
    run.close()
    assert manual_changes(results) == []
    monkeypatch.delenv("ITEMKIT_RUN")
    monkeypatch.setattr("itemkit.record.git", lambda *words: " M a.py" if words[0] == "status" else "b" * 40)
    run = start(results, "06_robustness", values)
    run.table(pd.DataFrame({"a": [2]}), "06_mine", "A claim.")
    run.close()
    by_hand, changed, commits = manual_changes(results)
    assert by_hand.startswith("06_robustness was run by hand, 2")
    assert changed == "Code with uncommitted changes ran 06_robustness."
    assert commits == "The notebooks were run from several commits: aaaaaaa and bbbbbbb."
    table = results / "tables" / "06_mine.csv"
    table.write_text(table.read_text().replace("2", "3"))
    assert manual_changes(results)[-1] == "tables/06_mine.csv is no longer as 06_robustness left it."


def test_a_table_is_written_whole_or_not_at_all(results, values, monkeypatch):
    run = start(results, "04_cross_generator", values)
    run.write("metrics.csv", pd.DataFrame({"value": [1]}))
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda self, path, **_: Path(path).write_text("val") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.write("metrics.csv", pd.DataFrame({"value": [2]}))
    monkeypatch.undo()
    assert run.read("metrics.csv").value.tolist() == [1]
    assert not list(results.glob("*.part"))


def test_the_record_is_plain_json_that_the_page_can_show(finished):
    record = json.loads((finished / "record.json").read_text())
    assert set(record["steps"]) <= set(STEPS) and np.isfinite(record["steps"]["00_data"]["seconds"])


# too little data


def told(results: Path, values: dict, **facts) -> None:
    run = start(results, "00_data", values)
    run.write("images.parquet", run.files)
    for name, fact in facts.items():
        run.tell(name, fact)
    run.close()


def test_notebooks_without_data_say_why_and_the_report_can_be_made(results, values):
    few = {"smooth": "smooth has 2 pictures to validate on; 20 are needed", "noisy": "noisy has 3"}
    told(results, values, generators=["smooth", "noisy"], too_few=few)
    assert set(without_data(results)) == set(STEPS[3:8])
    with pytest.raises(RecordError, match="05_ablations has nothing to show: smooth has 2 pictures to validate on; 20"):
        start(results, "05_ablations", values)
    start(results, "02_misalignment", values)
    forget(results, ["02_misalignment", *without_data(results)])
    assert list(start(results, "08_report", values).steps) == ["00_data", "01_captions", "08_report"]


def test_one_generator_leaves_none_to_be_tested_on(results, values):
    told(results, values, generators=["smooth"], too_few={})
    assert set(without_data(results)) == set(STEPS[4:8])
    assert "smooth is the only generator" in without_data(results)["04_cross_generator"]
    told(results, values, generators=["smooth", "noisy"], too_few={"noisy": "noisy has 3"})
    assert without_data(results) == {}


def test_too_few_pictures_to_test_on_leave_nothing_to_say_of_unseen_generators(results, values):
    lacking = {"smooth": "smooth has 9 pictures to test on", "noisy": "noisy has 3"}
    told(results, values, generators=["smooth", "noisy"], too_few={}, too_few_to_test=lacking)
    assert without_data(results) == dict.fromkeys(STEPS[4:8], "smooth has 9 pictures to test on; noisy has 3")
    told(results, values, generators=["smooth", "noisy"], too_few={}, too_few_to_test={"noisy": "noisy has 3"})
    assert without_data(results) == {}  # smooth is left, unseen by the heads of noisy
    values = values | {"train_on": ["smooth"]}
    told(results, values, generators=["smooth", "noisy"], too_few={}, too_few_to_validate={"noisy": "noisy has 3"})
    assert without_data(results) == {}  # smooth is left, unseen by the heads of noisy
    facts = {"too_few": {"noisy": "few"}, "too_few_to_validate": {"noisy": "noisy has 3"}}
    told(results, values, generators=["smooth", "noisy"], **facts)
    assert without_data(results) == {"05_ablations": "noisy has 3"}  # which tests no row
    told(
        results,
        values,
        generators=["smooth", "noisy"],
        too_few={"noisy": "few"},
        too_few_to_test={"noisy": "noisy has 3"},
    )
    assert set(without_data(results)) == set(STEPS[4:8])


def test_heads_of_one_generator_are_of_use_where_another_one_is_tested(results, values):
    start(results, "03_train", values, train_on=["smooth"])
    told(results, values, generators=["smooth", "noisy"], too_few={}, too_few_to_test={"noisy": "noisy has 3"})
    assert set(without_data(results)) == set(STEPS[4:8])  # noisy would be the one that is tested
    told(results, values, generators=["smooth", "noisy"], too_few={}, too_few_to_test={"smooth": "smooth has 3"})
    assert without_data(results) == {}


def test_the_report_of_one_generator_asks_for_no_notebook_that_has_nothing_to_show(results, values):
    run = start(results, "04_cross_generator", values)
    run.close()
    run = start(results, "00_data", values)
    run.write("images.parquet", inspect_images(run.images))
    run.tell("generators", ["smooth"])
    run.close()
    make(results, values, "01_captions", "02_misalignment", "03_train")
    assert "08_report" in start(results, "08_report", values).steps


def test_what_a_notebook_made_before_is_gone_once_it_is_opened_again(results, values):
    for kind in ("tables", "figures"):
        (results / kind).mkdir(exist_ok=True)
        for name in ("02_truth.csv", "03_validation.csv"):
            (results / kind / name).write_text("of an earlier card")
    run = start(results, "02_misalignment", values)
    for kind in ("tables", "figures"):
        assert [path.name for path in (results / kind).iterdir()] == ["03_validation.csv"]
    assert run.step == "02_misalignment"


def test_heads_that_were_not_trained_are_asked_for_by_name(results):
    pd.DataFrame({"track": "aligned", "arm": ["item"], "train_on": "smooth", "seed": 0}).to_csv(results / "heads.csv")
    run = Run(results)
    for arms, seeds, told in (
        (["item", "image"], [0], "image with seed 0"),
        (["item"], [7, 8], "item with seed 7 or 8"),
    ):
        with pytest.raises(RecordError, match=f"03_train has trained no head of {told}; name others, or run it again"):
            run.heads(arms, seeds)
