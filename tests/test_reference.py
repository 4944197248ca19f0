"""The comparison with the reference, on tables written by hand."""

import json

import numpy as np
import pytest

from itemkit.paper.reference import compare, list_failures, profile_of, summarise, why_not_compared, write_reference

UNSEEN = "arm,train_on,mean,n\nimage,gan,0.5,200\nitem,gan,0.75,200\nitem,vae,,19\n"


@pytest.fixture
def folders(tmp_path):
    """The tables of a run and a reference, in a folder with a space in its name."""
    tables, reference = tmp_path / "a run" / "tables", tmp_path / "reference"
    tables.mkdir(parents=True)
    reference.mkdir()
    return tables, reference


def compare_one(folders, made: str, kept: str = UNSEEN, tolerance: float = 0.02) -> dict:
    """Compare two texts as tables of the same name."""
    for folder, text in zip(folders, (made, kept)):
        (folder / "04_unseen.csv").write_text(text)
    (row,) = compare(*folders, tolerance).to_dict("records")
    assert row["name"] == "04_unseen" and row["tolerance"] == tolerance
    return row


def test_equal_bytes_are_the_same(folders):
    row = compare_one(folders, UNSEEN)
    assert (row["status"], row["largest_difference"], row["where"]) == ("same", 0.0, "")


def test_a_missing_number_equals_a_missing_number_and_other_digits_of_a_number_are_no_difference(folders):
    row = compare_one(folders, UNSEEN.replace("0.75", "0.750"))
    assert (row["status"], row["largest_difference"], row["where"]) == ("within", 0.0, "")


def test_the_largest_difference_is_named_with_its_row_and_column(folders):
    row = compare_one(folders, UNSEEN.replace("0.5,", "0.51,").replace("0.75", "0.765"))
    assert row["status"] == "within" and row["largest_difference"] == pytest.approx(0.015)
    assert row["where"] == "row 2 (item, gan), mean: 0.765, in the reference 0.75"


@pytest.mark.parametrize(("value", "status"), [("0.7500001", "within"), ("0.78", "differs"), ("-0.75", "differs")])
def test_one_number_decides_by_the_tolerance(folders, value, status):
    row = compare_one(folders, UNSEEN.replace("0.75", value))
    assert row["status"] == status and row["largest_difference"] == pytest.approx(abs(float(value) - 0.75))


def test_the_tolerance_itself_passes_and_none_allows_nothing(folders):
    made = UNSEEN.replace("0.75", "0.875")  # exact in binary
    assert compare_one(folders, made, tolerance=0.125)["status"] == "within"
    assert compare_one(folders, made, tolerance=0)["status"] == "differs"


@pytest.mark.parametrize(("count", "status", "difference"), [(203, "within", 0.015), (205, "differs", 0.025)])
def test_a_number_beyond_one_differs_relative_to_the_reference(folders, count, status, difference):
    row = compare_one(folders, UNSEEN.replace("image,gan,0.5,200", f"image,gan,0.5,{count}"))
    assert row["status"] == status and row["largest_difference"] == pytest.approx(difference)
    assert row["where"] == f"row 1 (image, gan), n: {count}, in the reference 200"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("item,gan", "item,vae", 'row 2 (item), train_on: "vae", in the reference "gan"'),
        ("item,gan,0.75", "item,gan,", "row 2 (item, gan), mean: nothing, in the reference 0.75"),
        ("item,vae,,", "item,vae,0.6,", "row 3 (item, vae), mean: 0.6, in the reference nothing"),
        ("item,gan,0.75", "item,gan,inf", 'row 2 (item, gan), mean: "inf", in the reference 0.75'),
    ],
)
def test_text_and_what_is_no_number_must_be_equal_whatever_the_tolerance(folders, old, new, where):
    row = compare_one(folders, UNSEEN.replace(old, new), tolerance=1e9)
    assert row["status"] == "differs" and row["where"] == where
    assert np.isnan(row["largest_difference"])


def test_an_id_is_text_though_all_its_digits_are_decimal(folders):
    kept = "image_id,score\n0000000000000001,0.5\n12e4567890123456,0.5\n"
    assert compare_one(folders, kept.replace("0.5\n1", "0.51\n1"), kept)["status"] == "within"
    row = compare_one(folders, kept.replace("01,", "02,"), kept, tolerance=10)
    assert row["status"] == "differs" and row["where"].startswith("row 1, image_id:")


def test_a_sentence_may_change_its_words(folders):
    kept = "claim,mean\nitem beats image by 0.335,0.335\n"
    row = compare_one(folders, "claim,mean\nitem beats image by 0.336,0.336\n", kept)
    assert row["status"] == "within" and row["where"] == "row 1, mean: 0.336, in the reference 0.335"


@pytest.mark.parametrize(
    ("made", "where"),
    [
        ("arm,train_on,mean,n,std\nimage,gan,0.5,200,0\n", "column std is not in the reference"),
        ("arm,train_on,n\nimage,gan,200\n", "column mean of the reference is not there"),
        (UNSEEN + "text,gan,0.5,200\n", "the number of rows is 4, in the reference 3"),
    ],
)
def test_other_columns_and_rows_are_a_difference(folders, made, where):
    row = compare_one(folders, made)
    assert (row["status"], row["where"]) == ("differs", where)


def test_columns_are_matched_by_name(folders):
    assert compare_one(folders, "mean,arm\n0.5,item\n", "arm,mean\nitem,0.5\n")["status"] == "within"


def test_every_table_of_either_side_has_a_row_by_name(folders):
    tables, reference = folders
    for folder, name in ((reference, "05_gone"), (tables, "06_new"), (tables, "00_both"), (reference, "00_both")):
        (folder / f"{name}.csv").write_text(UNSEEN)
    (reference / "verdict.txt").write_text("no table")
    compared = compare(*folders, 0.02)
    assert compared.set_index("name").status.to_dict() == {
        "00_both": "same",
        "05_gone": "missing",
        "06_new": "not in the reference",
    }
    assert list_failures(compared) == ["05_gone missing: this run made no such table"]
    assert summarise(compared) == (
        "Tables in the reference: 2 (1 the same to the byte, 0 within the tolerance of 0.02, 0 beyond it, 1 not made by "
        "this run). Tables not in the reference: 1."
    )


def test_a_failure_says_by_how_much_where_it_is_a_number(folders):
    tables, reference = folders
    for name, value in (("00_text", "vae,0.5"), ("01_number", "gan,0.6")):
        (reference / f"{name}.csv").write_text("generator,mean\ngan,0.5\n")
        (tables / f"{name}.csv").write_text(f"generator,mean\n{value}\n")
    assert list_failures(compare(*folders, 0.02)) == [
        '00_text differs: row 1, generator: "vae", in the reference "gan"',
        "01_number differs by 0.1: row 1 (gan), mean: 0.6, in the reference 0.5",
    ]


def test_without_tables_there_is_an_empty_comparison(folders):
    compared = compare(*folders, 0.02)
    assert compared.empty and list_failures(compared) == []
    assert list(compared) == ["name", "status", "largest_difference", "where", "tolerance"]


@pytest.mark.parametrize("tolerance", [-0.1, float("nan")])
def test_a_tolerance_is_a_number_from_0_on(folders, tolerance):
    with pytest.raises(ValueError, match="expected a number from 0 on"):
        compare(*folders, tolerance)


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3,4\n1\n1,2,3,4,5\n"])
def test_a_damaged_file_is_named(folders, text):
    with pytest.raises(ValueError, match="04_unseen.csv is not a table"):
        compare_one(folders, text)


@pytest.fixture
def results(tmp_path):
    """A run of the profile `tiny` with a small table and one that is too large."""
    results = tmp_path / "results" / "tiny"
    for folder in ("tables", "figures"):
        (results / folder).mkdir(parents=True)
    (results / "tables" / "04_unseen.csv").write_text(UNSEEN)
    (results / "tables" / "04_unseen.md").write_text("no csv")
    (results / "tables" / "05_large.csv").write_text("a\n" + "1\n" * 40_000)
    (results / "figures" / "04_matrix.png").write_bytes(b"picture")
    (results / "verdict.txt").write_text("It does.\n")
    (results / "record.json").write_text('{"commit": "abc"}')
    return results


def test_a_reference_holds_the_small_tables_what_the_readme_shows_and_what_made_it(results):
    reference = results.parent / "reference"
    reference.mkdir()
    (reference / "03_gone.csv").write_text("a\n1\n")
    names = write_reference(results, reference)
    assert sorted(names) == ["04_matrix.png", "04_unseen.csv", "record.json", "verdict.txt"]
    assert sorted(path.name for path in reference.iterdir()) == sorted(names)
    assert (reference / "04_matrix.png").read_bytes() == b"picture"
    assert json.loads((reference / "record.json").read_text()) == {"profile": "tiny", "commit": "abc"}
    statuses = compare(results / "tables", reference, 0).set_index("name").status
    assert statuses.to_dict() == {"04_unseen": "same", "05_large": "not in the reference"}


@pytest.mark.parametrize("name", ["figures/04_matrix.png", "verdict.txt", "record.json"])
def test_a_run_that_lacks_a_file_leaves_the_reference_as_it_was(results, name):
    reference = results.parent / "reference"
    reference.mkdir()
    (reference / "03_kept.csv").write_text("a\n1\n")
    (results / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name.split('/')[-1]}; run all notebooks"):
        write_reference(results, reference)
    assert [path.name for path in reference.iterdir()] == ["03_kept.csv"]


def test_only_a_run_of_the_same_profile_is_compared(results):
    reference = results.parent / "reference"
    assert profile_of(reference) is None
    assert why_not_compared(reference, "tiny") == (
        "There is no reference yet; ./run_all.sh --reference tiny makes one."
    )
    write_reference(results, reference)
    assert profile_of(reference) == "tiny" and why_not_compared(reference, "tiny") == ""
    assert why_not_compared(reference, "photographs") == (
        "The reference is a run of tiny; there is none of photographs."
    )


def test_what_moves_where_an_optimum_is_flat_is_not_judged(folders):
    head = "arm,roc_auc,threshold,temperature,epochs\n"
    assert (
        compare_one(folders, f"{head}item,0.9,0.4,1.2,30\n", f"{head}item,0.9,0.5,1.3,36\n", 0.01)["status"] == "within"
    )
    assert (
        compare_one(folders, f"{head}item,0.8,0.4,1.2,30\n", f"{head}item,0.9,0.4,1.2,30\n", 0.01)["status"]
        == "differs"
    )


def test_a_count_that_moves_with_a_threshold_is_not_judged_in_its_table_alone(tmp_path):
    for folder, count in (("new", 370), ("old", 300)):
        (tmp_path / folder).mkdir()
        for name in ("07_mistakes", "00_pictures"):
            (tmp_path / folder / f"{name}.csv").write_text(f"called,pictures,score\nreal,{count},0.5\n")
    compared = compare(tmp_path / "new", tmp_path / "old", 0.01).set_index("name")
    assert compared.status["07_mistakes"] == "within" and compared.status["00_pictures"] == "differs"
