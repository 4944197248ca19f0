"""What other people's data look like: the right result, or one sentence that names the file, the line and the remedy."""

import io
import json
import os
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from conftest import ANSWERED, encode, make_picture

from itemkit.data.images import decode_image, encoded_bytes, image_id, inspect_images
from itemkit.data.layouts import NotAmongTheRows
from itemkit.data.load import load_images, read_card


def folder_card(place: Path, files: dict[str, bytes], generators: str = "[{name: sdxl}]") -> Path:
    lines = f"license: other\nitemkit:\n  repo: .\n  revision: local\n  layout: folder\n  generators: {generators}\n"
    place.mkdir(parents=True)
    (place / "README.md").write_text(f"---\n{lines}---\n## Composition\nmine\n")
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def long_card(place: Path, rows: pd.DataFrame, columns: str = "", extra: str = "", feature=None) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    columns = columns or "{image: image, generator: generator, content_id: content_id}"
    lines = f'license: other\nconfigs:\n- config_name: default\n  data_files: "*.parquet"\nitemkit:\n  repo: .\n{extra}'
    lines += f"  revision: local\n  layout: long\n  columns: {columns}\n  generators: [{{name: sdxl}}]\n"
    (place / "README.md").write_text(f"---\n{lines}---\n{ANSWERED}")
    table = datasets.Dataset.from_pandas(rows, preserve_index=False)
    table = table if feature is None else table.cast_column("label", feature)
    table.to_parquet(place / "data.parquet")
    return place


def png(seed: int) -> bytes:
    return encode(make_picture(seed))


def rows(*images, **others) -> pd.DataFrame:
    table = {"image": images, "generator": ["real", "sdxl"] * (len(images) // 2), "content_id": ["a"] * len(images)}
    return pd.DataFrame(table | others)


# a cache that knows what it holds


def test_a_table_that_has_changed_is_read_again(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), png(1)))
    assert load_images(read_card(card))["image_id"][0] == image_id(png(0))
    size = (card / "data.parquet").stat()
    long_card(card, rows(png(7), png(8)))
    os.utime(card / "data.parquet", ns=(size.st_atime_ns, size.st_mtime_ns + 1))
    assert load_images(read_card(card))["image_id"][:] == [image_id(png(7)), image_id(png(8))]


def test_two_folders_of_one_name_are_two_data_sets(tmp_path):
    for who, seed in (("alice", 0), ("bob", 50)):
        long_card(tmp_path / who / "photos", rows(png(seed), png(seed + 1)))
    found = [load_images(read_card(tmp_path / who / "photos"))["image_id"][0] for who in ("alice", "bob", "alice")]
    assert found == [image_id(png(seed)) for seed in (0, 50, 0)]


def test_a_picture_that_was_replaced_behind_its_path_has_its_own_id(tmp_path):
    card = tmp_path / "a"
    card.mkdir()
    for name, seed in (("0.png", 0), ("1.png", 1)):
        (card / name).write_bytes(png(seed))
    long_card(card, rows("0.png", "1.png"))
    assert load_images(read_card(card))["image_id"][0] == image_id(png(0))
    (card / "0.png").write_bytes(png(9))
    images = load_images(read_card(card))
    assert images["image_id"][0] == image_id(encoded_bytes(images[0]["image"])) == image_id(png(9))


# rows


HIDDEN = [
    "real/.ipynb_checkpoints/k.png",
    "real/@eaDir/k.png",
    "real/__MACOSX/k.png",
    "real/.DS_Store",
    "real/Thumbs.db",
]


@pytest.mark.parametrize("name", HIDDEN)
def test_what_systems_hide_beside_pictures_is_none(tmp_path, name):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/k.png": png(2), name: png(3)})
    assert len(load_images(read_card(card))) == 2


def test_linked_folders_count_and_a_circle_ends(tmp_path):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/k.png": png(2)})
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "m.png").write_bytes(png(3))
    (card / "real" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "round").symlink_to(card / "real")
    assert set(load_images(read_card(card))["image_id"]) == {image_id(png(seed)) for seed in (1, 2, 3)}


def test_a_folder_that_is_there_twice_counts_once_and_is_told(tmp_path):
    card = folder_card(tmp_path / "a", {"real/cats/k.png": png(1), "sdxl/k.png": png(2)})
    (card / "real" / "felines").symlink_to("cats")
    with pytest.warns(UserWarning, match="real/felines is .*real/cats once more, by a link; its files count once"):
        assert len(load_images(read_card(card))) == 2


def test_two_sources_that_are_one_folder_are_refused(tmp_path):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/k.png": png(2)}, "[{name: sdxl}, {name: flux}]")
    (card / "flux").symlink_to("sdxl")
    with pytest.raises(ValueError, match="card a: folder flux is sdxl once more, by a link; take one of them out"):
        load_images(read_card(card))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "real/shut/l.png": png(3), "sdxl/k.png": png(2)})
    scan = os.scandir

    def refused(place):
        if os.fspath(place).endswith("shut"):
            raise PermissionError(13, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refused)  # the tests may run as root, who may read everything
    with pytest.raises(
        ValueError, match="real/shut cannot be read \\(Permission denied\\); make it readable, or move it away"
    ):
        load_images(read_card(card))


def test_a_picture_behind_a_linked_folder_that_has_changed_is_read_again(tmp_path):
    card, far = tmp_path / "a", tmp_path / "far"
    for folder in (card, far):
        folder.mkdir()
    for name, seed in (("0.png", 0), ("1.png", 1)):
        (far / name).write_bytes(png(seed))
    (card / "near").symlink_to(far)
    long_card(card, rows("near/0.png", "near/1.png"))
    assert load_images(read_card(card))["image_id"][0] == image_id(png(0))
    (far / "0.png").write_bytes(png(9))
    assert load_images(read_card(card))["image_id"][0] == image_id(png(9))


def test_equal_names_in_folders_of_one_source_are_other_contents(tmp_path):
    names = [
        f"{kind}/{thing}/{number}.png" for kind in ("real", "sdxl") for thing in ("cat", "dog") for number in range(3)
    ]
    card = folder_card(tmp_path / "a", {name: png(place) for place, name in enumerate(names)})
    assert len(set(load_images(read_card(card))["content_id"])) == 6
    card = folder_card(tmp_path / "b", {"real/one/k.png": png(1), "sdxl/other/k.png": png(2)})  # a pair, as ever
    assert set(load_images(read_card(card))["content_id"]) == {"k"}


def test_a_name_is_one_in_either_unicode_form(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    card = folder_card(tmp_path / "a", {f"real/{composed}.png": png(1), f"sdxl/{apart}.png": png(2)})
    (card / "metadata.csv").write_text(f"file_name,split\nreal/{apart}.png,test\nsdxl/{composed}.png,test\n")
    images = load_images(read_card(card))
    assert images["content_id"][:] == [composed, composed] and images["split"][:] == ["test", "test"]


def test_a_name_that_is_no_utf8_is_named(tmp_path):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/k.png": png(2)})
    try:
        Path(os.fsdecode(os.fsencode(card / "real") + b"/caf\xe9.png")).write_bytes(png(3))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with pytest.raises(ValueError, match=r"the name of b'.*caf\\xe9.png' is no UTF-8; rename it"):
        load_images(read_card(card))


def test_an_empty_folder_of_a_source_is_named(tmp_path):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/.hidden": b""})
    with pytest.raises(
        ValueError, match="folder .*sdxl holds no files; put pictures into it, or take it out of card a"
    ):
        load_images(read_card(card))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name;content_id\nreal/k.png;7\n", "has no column file_name, separated by commas; its first line is"),
        ("real/k.png,7\n", "has no column file_name"),
        ("file_name,content_id\nreal/k.png,7\nreal/k.png,8\n", "line 3: 'real/k.png' stands there twice"),
        (
            "file_name,content_id\nrael/k.png,7\n",
            "line 2: there is no file 'rael/k.png'; write it as seen from that folder",
        ),
        ("file_name,content_id\nreal/k.png,\u00e9\n", "is no table in UTF-8"),
        ("", "is no table in UTF-8, separated by commas"),
        ("file_name,split\nreal/k.png,test,\nsdxl/g.png,test,\n", "with as many cells in each line as in the first"),
        ("file_name,split\nreal/k.png,test\nsdxl/g.png,test,\n", "with as many cells in each line as in the first"),
        ("file_name,split\nreal/k.png,dev\n", "unknown split of .*metadata.csv: 'dev'"),
        ("file_name, split\nreal/k.png,dev\n", "unknown split of .*metadata.csv: 'dev'"),
        (
            "file_name,Split\nreal/k.png,test\n",
            "has a column 'Split'; if it is split, write it so, else call it otherwise",
        ),
        ("File Name,split\nreal/k.png,test\n", "has a column 'File Name'; if it is file_name, write it so"),
        ("file_name,split, split\nreal/k.png,test,train\n", "metadata.csv has two columns 'split'; remove one of them"),
        ("file_name,content ids\nreal/k.png,7\n", "has a column 'content ids'; if it is content_id, write it so"),
    ],
)
def test_what_is_wrong_with_metadata_is_said_with_its_line(tmp_path, text, message):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/g.png": png(2)})
    (card / "metadata.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as error:
        load_images(read_card(card))
    assert "metadata.csv" in str(error.value)


@pytest.mark.parametrize(
    "names",
    [
        ("real\\k.png", "sdxl\\g.png"),
        (" real/k.png", "sdxl/g.png "),
        ("./real/k.png", "./sdxl/g.png"),
        ("real/k.png", "sdxl/g.png"),
    ],
)
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_metadata_may_write_a_path_as_systems_do(tmp_path, names, start):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/g.png": png(2)})
    text = start + "file_name,content_id\n" + "".join(f"{name},7\n" for name in names)
    (card / "metadata.csv").write_text(text, encoding="utf-8")
    assert load_images(read_card(card))["content_id"][:] == ["7", "7"]


def test_an_empty_cell_of_metadata_says_nothing_and_na_is_a_name(tmp_path):
    names = ("real/k.png", "real/l.png", "real/m.png", "sdxl/n.png")
    card = folder_card(tmp_path / "a", {name: png(place) for place, name in enumerate(names)})
    said = "file_name,content_id,split\nreal/k.png, , test\nreal/l.png, \nreal/m.png,NA,\n"
    (card / "metadata.csv").write_text(said)
    images = load_images(read_card(card))
    assert images["content_id"][:] == ["k", "l", "NA", "n"] and images["split"][0] == "test"


def test_a_limit_keeps_every_source_of_pictures_that_are_not_paired(tmp_path):
    files = {
        f"{kind}/{kind}_{number:03}.png": png(100 * len(kind) + number)
        for kind in ("real", "sdxl")
        for number in range(60)
    }
    images = load_images(read_card(folder_card(tmp_path / "a", files)), limit=5)
    counts = pd.crosstab(images["generator"][:], images["split"][:])
    assert (counts[["train", "test"]] == 5).all(axis=None) and counts.validation.between(1, 5).all()


def test_a_limit_takes_contents_that_all_sources_show_first(tmp_path):
    names = [("real", name) for name in "abcd"] + [("sdxl", name) for name in "xcda"]
    table = pd.DataFrame(names, columns=["generator", "content_id"])
    table = table.assign(image=[png(seed) for seed in range(8)], split="train")
    card = long_card(
        tmp_path / "a", table, "{image: image, generator: generator, content_id: content_id, split: split}"
    )
    assert sorted(load_images(read_card(card), limit=2)["content_id"]) == ["a", "a", "c", "c"]


def test_empty_content_ids_are_named(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), png(1), content_id=["a", None]))
    with pytest.raises(
        ValueError, match="column 'content_id' is empty in 1 rows, first in row 2; fill it, or take content_id"
    ):
        load_images(read_card(card))
    card = long_card(tmp_path / "b", rows(png(0), png(1), content_id=[" ", ""]))
    with pytest.raises(ValueError, match="column 'content_id' is empty in 2 rows, first in row 1"):
        load_images(read_card(card))
    card = long_card(tmp_path / "c", rows(png(0), png(1), generator=[None, "sdxl"]))
    with pytest.raises(
        ValueError, match="column 'generator' is empty in 1 rows, .*; fill it, or give a column `label`"
    ):
        load_images(read_card(card))


def test_in_a_wide_table_empty_contents_are_to_be_filled(tmp_path):
    table = pd.DataFrame({"real": [png(0)], "sdxl": [png(1)], "content_id": [""]})
    card = long_card(tmp_path / "a", table, "{content_id: content_id}")
    text = (card / "README.md").read_text()
    (card / "README.md").write_text(text.replace("layout: long", "layout: wide"))
    with pytest.raises(ValueError, match="column 'content_id' is empty in 1 rows, first in row 1; fill it$"):
        load_images(read_card(card))


@pytest.mark.parametrize("content", [None, "", " "])
def test_empty_content_ids_of_a_stream_are_named(tmp_path, content):
    card = long_card(tmp_path / "a", rows(png(0), png(1), content_id=["a", content]), extra="  streamed: true\n")
    with pytest.raises(ValueError, match="^card a: column 'content_id' is empty in a row; fill it"):
        load_images(read_card(card), limit=9)


def test_real_images_that_nothing_tells_are_refused(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), png(1)), extra="  real: null\n")
    with pytest.raises(
        ValueError, match="README.md has real null and no column `label`, which alone would tell its real"
    ):
        read_card(card)


def test_a_card_may_merge_lines_as_yaml_does(tmp_path):
    generators = "generators:\n  - &first {name: sdxl, year: 2023}\n  - {<<: *first, name: flux}"
    card = folder_card(tmp_path / "a", {})
    text = (card / "README.md").read_text().replace("generators: [{name: sdxl}]", generators)
    (card / "README.md").write_text(text)
    assert read_card(card).generators["flux"]["year"] == 2023


def test_a_row_without_a_label_is_not_generated_in_a_stream_either(tmp_path):
    table = rows(png(0), png(1), png(2), png(3), label=[0, 1, None, 1])
    columns = "{image: image, generator: generator, label: label}"
    card = long_card(tmp_path / "a", table, columns, "  streamed: true\n  real: null\n")
    with pytest.raises(ValueError, match="card a: column 'label' is empty in a row; fill it"):
        load_images(read_card(card), limit=9)


def test_pictures_that_no_table_names_are_told(tmp_path):
    beside = {"p/2.png": png(2), "p/.3.png": png(3), "p/notes.txt": b"none", "q/4.png": png(4), "preview.png": png(5)}
    card = folder_card(tmp_path / "a", {"p/0.png": png(0), "p/1.png": png(1)} | beside)
    (card / "p" / "link.png").symlink_to("0.png")
    long_card(card, rows("p/0.png", "p/1.png"))
    message = (
        "card a: 1 pictures beside those that its rows name are in none of the rows that were read, such as .*p/2.png"
    )
    with pytest.warns(NotAmongTheRows, match=message):
        assert len(load_images(read_card(card))) == 2


def csv_card(place: Path, table: str, columns: str = "", extra: str = "", name: str = "data.csv") -> Path:
    long_card(place, rows(png(0), png(1)), columns, extra)
    (place / "data.parquet").unlink()
    (place / "README.md").write_text((place / "README.md").read_text().replace("*.parquet", "*.csv"))
    for seed in range(4):
        (place / f"{seed}.png").write_bytes(png(seed))
    (place / name).write_text(table)
    return place


@pytest.mark.parametrize("said", [["0001", "01", "0e1", "7"], ["0001", "01", "0e1", "NA"]])
@pytest.mark.parametrize("limit", [None, 9])  # as a whole, and as a stream
def test_names_in_a_table_of_text_are_text(tmp_path, limit, said):
    """pandas would make 1 of 0001 and of 01, 0 of 0e1, and nothing of NA."""
    lines = [f"{seed}.png,{'real' if seed % 2 else 'sdxl'},{content}" for seed, content in enumerate(said)]
    table = "\n".join(["image,generator,content_id", *lines])
    card = csv_card(tmp_path / "a", table, extra="  streamed: true\n" * (limit is not None))
    assert sorted(load_images(read_card(card), limit=limit)["content_id"][:]) == sorted(said)


@pytest.mark.parametrize("limit", [None, 9])
def test_a_number_that_is_lacking_in_a_column_that_nobody_reads_stops_nothing(tmp_path, limit):
    """The library takes the kind of a column from the first 10,000 rows of a table of text."""
    lines = [f"{row % 4}.png,{'real' if row % 2 else 'sdxl'},{row // 2},0.5" for row in range(10_000)]
    table = "\n".join(["image,generator,content_id,score", *lines, "0.png,real,NA,NA"])
    card = csv_card(tmp_path / "a", table, extra="  streamed: true\n" * (limit is not None))
    images = load_images(read_card(card), limit=limit)
    assert len(images) == (10_001 if limit is None else 2 * 3 * 9)
    assert ("NA" in images["content_id"][:]) == (limit is None)


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize(
    ("generators", "labels", "cells"),
    [
        ('{name: sdxl, value: "2022"}', "[0, 1]", ("2021,0", "2022,1")),
        ("{name: sdxl, value: 2022}", '["0", "1"]', ("2021,0", "2022,1")),
        ("{name: sdxl, value: 2022}, {name: flux, value: a}", "[0, 1]", ("2021,False", "2022,True")),
        ("{name: sdxl, value: NA}", "[n, y]", ("2021,n", "NA,y")),
    ],
)
def test_a_number_is_the_same_as_a_text_and_as_a_number(tmp_path, generators, labels, cells, limit):
    columns = "{image: image, generator: generator, label: label}"
    extra = f"  labels: {labels}\n  real: 2021\n" + "  streamed: true\n" * (limit is not None)
    table = f"image,generator,label\n0.png,{cells[0]}\n1.png,{cells[1]}\n"
    card = csv_card(tmp_path / "a", table, columns, extra)
    text = (card / "README.md").read_text().replace("[{name: sdxl}]", f"[{generators}]")
    (card / "README.md").write_text(text)
    images = load_images(read_card(card), generators=["sdxl"], limit=limit)
    assert sorted(images["generator"][:]) == ["real", "sdxl"]


def test_a_card_that_now_names_another_column_has_it_read_as_text(tmp_path):
    data = csv_card(tmp_path / "a", "image,generator,content_id,part\n0.png,real,a,01\n1.png,sdxl,b,1\n")
    said, card = (data / "README.md").read_text().replace("repo: .", "repo: ../a"), tmp_path / "b" / "README.md"
    card.parent.mkdir()
    card.write_text(said)
    load_images(read_card(card))
    said = said.replace("content_id}", "content_id, split: part}")
    card.write_text(said.replace("  generators", '  splits: {train: "01", test: "1"}\n  generators'))
    assert load_images(read_card(card))["split"][:] == ["train", "test"]


def test_a_number_in_a_typed_table_is_the_text_of_the_card(tmp_path):
    table = rows(png(0), png(1)).assign(generator=[0, 2022])
    card = long_card(tmp_path / "a", table, extra='  real: "0"\n')
    (card / "README.md").write_text(
        (card / "README.md").read_text().replace("{name: sdxl}", '{name: sdxl, value: "2022"}')
    )
    assert load_images(read_card(card))["generator"][:] == ["real", "sdxl"]


def card_beside_pictures(place: Path, contents: tuple[str, ...], limit: int | None) -> Path:
    lines = [f"{row % 2}.png,{('real', 'sdxl')[row % 2]},{content}" for row, content in enumerate(contents)]
    table = "\n".join(["file_name,generator,content_id", *lines])
    card = csv_card(place, table, extra="  streamed: true\n" * (limit is not None), name="metadata.csv")
    for seed in (2, 3):
        (card / f"{seed}.png").unlink()
    said = (card / "README.md").read_text()
    (card / "README.md").write_text(said.replace('configs:\n- config_name: default\n  data_files: "*.csv"\n', ""))
    return card


@pytest.mark.parametrize("limit", [None, 9])
def test_content_ids_too_large_for_the_library_are_an_error_of_one_sentence(tmp_path, limit):
    card = card_beside_pictures(tmp_path / "a", ("1" * 30, "2" * 30), limit)
    with pytest.raises(ValueError, match="card a: .* cannot .*read .*Python int too large"):
        load_images(read_card(card), limit=limit)


@pytest.mark.parametrize("limit", [None, 9])  # as a whole, and as a stream
@pytest.mark.parametrize(
    ("contents", "odd"),
    [
        (("7", "12"), None),
        (("0001", "a"), None),
        (("0001", "01"), "0001"),
        (("0e1", "12"), "0e1"),
        (("True", "true"), "true"),
        (("a", "b") * 5_000 + ("0001", "01"), "0001"),  # of which the library takes 10,000 at a time
    ],
)
def test_content_ids_beside_pictures_that_the_library_takes_for_numbers_are_refused(tmp_path, contents, odd, limit):
    card = card_beside_pictures(tmp_path / "a", contents, limit)
    if odd is None:
        assert sorted(load_images(read_card(card), limit=limit)["content_id"][:]) == sorted(contents)
    else:
        with pytest.raises(ValueError, match=f"card a: .*metadata.csv has the content id '{odd}', which the library"):
            load_images(read_card(card), limit=limit)


@pytest.mark.parametrize("text", ["", "file_name,content_id\nx.png,0001\n"])
def test_metadata_that_nobody_reads_may_hold_anything(tmp_path, text):
    card = long_card(tmp_path / "a", rows(png(0), png(1), content_id=[1, 2]))
    (card / "previews").mkdir()
    (card / "previews" / "metadata.csv").write_text(text)
    assert load_images(read_card(card))["content_id"][:] == ["1", "2"]


def test_values_that_have_names_are_told_by_their_names(tmp_path):
    names = datasets.ClassLabel(names=["real", "sdxl", "flux"])
    table = rows(png(0), png(1), png(2), png(3), label=[0, 1, 2, 2])
    columns = "{image: image, generator: label}"
    card = long_card(tmp_path / "a", table, columns, feature=names)
    with pytest.raises(ValueError, match="value of card a for a generator: 'flux'; expected one of real, sdxl$"):
        load_images(read_card(card))
    card = long_card(tmp_path / "b", table, columns, "  streamed: true\n", feature=names)
    for _ in range(2):  # the second time, from what was kept
        with pytest.warns(
            UserWarning, match="card b: 2 of the first 4 rows are of 'flux', which the card does not name"
        ):
            assert len(load_images(read_card(card), limit=9)) == 2


def test_a_part_that_the_library_renames_is_the_split_of_the_card(tmp_path):
    for name, split in (("a", "  splits: {validation: dev}\n"), ("b", "  splits: {validation: val, test: eval}\n")):
        card = long_card(tmp_path / name, rows(png(0), png(1)), extra=split)
        said = (card / "README.md").read_text()
        (card / "README.md").write_text(
            said.replace('configs:\n- config_name: default\n  data_files: "*.parquet"\n', "")
        )
        for place, folder in enumerate(("train", split.split(": ")[2].strip("}\n").split(",")[0], "test")):
            (card / folder).mkdir()
            rows(png(2 * place), png(2 * place + 1)).assign(content_id=folder).to_parquet(card / folder / "0.parquet")
        (card / "data.parquet").unlink()
        assert load_images(read_card(card))["split"][:] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2


def test_a_part_beside_the_one_that_the_card_names_is_not_that_split_too(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), png(1)), extra="  splits: {validation: dev}\n")
    parts = "".join(f"  - {{split: {part}, path: data.parquet}}\n" for part in ("train", "validation", "dev", "test"))
    said = (card / "README.md").read_text().replace('  data_files: "*.parquet"\n', f"  data_files:\n{parts}")
    (card / "README.md").write_text(said)
    with pytest.raises(ValueError, match="unknown split of card a: 'validation'; expected one of .*dev"):
        load_images(read_card(card))


def test_cells_that_hold_no_picture_by_its_usual_names_are_refused(tmp_path):
    card = long_card(tmp_path / "a", rows({"content": png(0)}, {"content": png(1)}))
    with pytest.raises(ValueError, match="card a: column 'image' holds .*content.*; expected bytes and path"):
        load_images(read_card(card))


def test_empty_cells_and_empty_files_contradict_nobody(tmp_path, recwarn):
    for name, empty in (("a", ""), ("b", None)):
        files = {"0.png": png(0), "1.png": png(1)} | ({"2.png": b"", "3.png": b""} if empty is not None else {})
        card = folder_card(tmp_path / name, files)
        images = list(files) + [None, None] * (empty is None)
        long_card(card, rows(*images, content_id=list("abcd")))
        assert len(load_images(read_card(card))) == 4
    assert not [one for one in recwarn if "stand as real and as generated" in str(one.message)]


def test_a_folder_on_the_hub_is_fetched_as_any_other_data_set(tmp_path, monkeypatch, capsys):
    files = {
        f"{source}/{number}.png": png(number + 9 * len(source)) for source in ("real", "sdxl") for number in (0, 1)
    }
    there = folder_card(tmp_path / "there", files)
    card = folder_card(tmp_path / "card", {})
    text = (card / "README.md").read_text()
    (card / "README.md").write_text(text.replace("repo: .", "repo: a/b").replace("local", "a" * 40) + ANSWERED)
    monkeypatch.setattr("itemkit.data.layouts.fetch", lambda *asked: there)
    assert load_images(read_card(card))["content_id"][:] == ["0", "1", "0", "1"]
    assert "fetching a/b, of unknown size" in capsys.readouterr().out
    (card / "README.md").write_text((card / "README.md").read_text().replace("layout:", "streamed: true\n  layout:"))
    with pytest.raises(ValueError, match="has layout folder and streamed true; folders are read whole"):
        read_card(card)


def test_a_path_may_be_written_through_a_link_or_with_brackets(tmp_path):
    card = csv_card(tmp_path / "a[1]", "")
    (tmp_path / "link").symlink_to(card)
    lines = f"image,generator,content_id\n{tmp_path}/link/0.png,real,a\n{card}/1.png,sdxl,a\n"
    (card / "data.csv").write_text(lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotAmongTheRows)
        assert load_images(read_card(card))["image_id"][:] == [image_id(png(0)), image_id(png(1))]
    (tmp_path / "elsewhere.png").write_bytes(png(5))
    (card / "data.csv").write_text(lines.replace(f"{card}/1.png", f"{tmp_path}/elsewhere.png"))
    with pytest.raises(ValueError, match="elsewhere.png', which is not below"):
        load_images(read_card(card))


def test_a_path_with_a_nul_is_a_picture_that_cannot_be_read(tmp_path):
    card = csv_card(tmp_path / "a", "image,generator,content_id\n0\0.png,real,a\n1.png,sdxl,a\n")
    assert inspect_images(load_images(read_card(card)))["status"].tolist() == ["unreadable", "ok"]


def test_first_lines_that_are_no_yaml_are_named_with_their_file(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), png(1)), extra="  real: real\n")
    data = tmp_path / "data"
    data.mkdir()
    shutil.move(card / "data.parquet", data)
    (card / "README.md").write_text((card / "README.md").read_text().replace("repo: .", "repo: ../data"))
    for name, text in (("README.md", "---\nconfigs: [\n---\n"), (".huggingface.yaml", "a: [")):
        (data / name).write_text(text)
        with pytest.raises(
            ValueError, match=f"card a: the lines of .*{name} that say what its files are cannot be read"
        ):
            load_images(read_card(card))
        (data / name).unlink()
    (data / "state.json").write_text("{}")
    with pytest.raises(ValueError, match="card a: .*data was written by save_to_disk; write it by to_parquet"):
        load_images(read_card(card))


@pytest.mark.parametrize("limit", [None, 9])  # as a whole, and as a stream
@pytest.mark.parametrize("values", [[0, 2], ["0", "2"], datasets.ClassLabel(names=["0", "1", "2"])])
def test_splits_may_be_numbers(tmp_path, values, limit):
    feature = values if isinstance(values, datasets.ClassLabel) else None
    table = rows(png(0), png(1), label=[0, 2] if feature else values)
    columns = "{image: image, generator: generator, content_id: generator, split: label}"
    streamed = "  streamed: true\n" * (limit is not None)
    extra = streamed + '  splits: {train: "0", validation: "1", test: "2"}\n'
    card = long_card(tmp_path / "a", table, columns, extra, feature)
    assert load_images(read_card(card), limit=limit)["split"][:] == ["train", "test"]
    card = long_card(tmp_path / "b", table, columns, streamed, feature)
    with pytest.raises(ValueError, match="^unknown split of card b: '0'; expected one of train, validation, test$"):
        load_images(read_card(card), limit=limit)


def test_a_split_that_the_card_names_is_not_the_one_of_that_name(tmp_path):
    columns = "{image: image, generator: generator, split: split}"
    for ours, theirs in (("validation", "test"), ("test", "validation")):
        table = rows(png(0), png(1), split=["train", theirs])
        card = long_card(tmp_path / ours, table, columns, f"  splits: {{{ours}: {theirs}}}\n")
        assert load_images(read_card(card))["split"][:] == ["train", ours]


def test_a_generator_by_its_name_and_another_one_by_its_number_are_refused(tmp_path):
    feature = datasets.ClassLabel(names=["photo", "stable"])
    columns = "{image: image, generator: label, content_id: content_id}"
    card = long_card(tmp_path / "a", rows(png(0), png(1), label=[0, 1]), columns, "  real: photo\n", feature)
    text = (card / "README.md").read_text()
    (card / "README.md").write_text(
        text.replace("[{name: sdxl}]", "[{name: sd21, value: stable}, {name: flux, value: 1}]")
    )
    with pytest.raises(ValueError, match="card a has the value 'stable' twice, by its name and by its number 1; each"):
        load_images(read_card(card))


def test_one_column_may_say_two_things(tmp_path):
    columns = "{image: image, generator: generator, label: generator}"
    card = long_card(tmp_path / "a", rows(png(0), png(1)), columns, "  labels: [real, sdxl]\n")
    assert load_images(read_card(card))["label"][:] == [0, 1]
    card = long_card(tmp_path / "b", rows(png(0), png(1)), columns)
    with pytest.raises(ValueError, match="card b: a row has label 'real'; expected 0 \\(real\\) or 1"):
        load_images(read_card(card))


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("label", [[[0], [1]], [{"is": 0}, {"is": 1}]])
def test_a_column_of_lists_or_members_is_named(tmp_path, label, limit):
    table = rows(png(0), png(1), label=label)
    extra = "  streamed: true\n" * (limit is not None)
    card = long_card(tmp_path / "a", table, "{image: image, generator: generator, label: label}", extra)
    with pytest.raises(ValueError, match="^card a: column 'label' holds .*; expected a text or a number in each row"):
        load_images(read_card(card), limit=limit)


@pytest.mark.parametrize("cells", [[1, 2], [["a.png"], ["b.png"]]])
def test_a_column_of_images_that_holds_none_is_named(tmp_path, cells):
    card = long_card(tmp_path / "a", rows(*cells), "{image: image, generator: generator}")
    with pytest.raises(ValueError, match="card a: column 'image' holds .*; expected pictures, or their paths"):
        load_images(read_card(card))


def test_tables_that_lie_beside_pictures_are_to_be_named(tmp_path):
    files = {f"p/{seed}.png": png(seed) for seed in range(3)} | {"metadata.csv": b"file_name,x\np/0.png,1\n"}
    card = long_card(folder_card(tmp_path / "a", files), rows("p/0.png", "p/1.png"))
    said = (card / "README.md").read_text()
    assert set(load_images(read_card(card), generators=["sdxl"])["generator"]) == {"real", "sdxl"}
    (card / "README.md").write_text(said.replace('configs:\n- config_name: default\n  data_files: "*.parquet"\n', ""))
    with pytest.raises(ValueError, match="'generator'; expected one of .*; if another file has it, name that one in"):
        load_images(read_card(card))


@pytest.mark.parametrize(
    ("patterns", "lost"),
    [
        ('"tables/*.parquet"', "tables/*.parquet"),
        ('["*.parquet", "more-*.parquet"]', "more-*.parquet"),
        ('[{split: train, path: "*.parquet"}, {split: test, path: ["test.*"]}]', "test.*"),
        ('{train: "*.parquet", test: "test.*"}', "test.*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_its_place(tmp_path, patterns, lost):
    card = long_card(tmp_path / "a [v2]", rows(png(0), png(1)))
    text = (card / "README.md").read_text()
    (card / "README.md").write_text(text.replace('"*.parquet"', patterns))
    with pytest.raises(ValueError) as error:
        load_images(read_card(card))
    assert f"README.md names data files {lost!r}, and none is in {card}; correct `configs` there" in str(error.value)


def test_files_that_the_library_cannot_read_are_named_with_a_remedy(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), png(1)))
    (card / "data.parquet").unlink()
    with pytest.raises(
        ValueError, match="card a: .* names data files '\\*.parquet', and none is in .*; correct `configs`"
    ):
        load_images(read_card(card))
    said = (card / "README.md").read_text()
    (card / "README.md").write_text(said.replace("*.parquet", "*.csv"))
    (card / "data.csv").write_bytes("image,generator,content_id\na.png,real,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match="card a: .* cannot be read .*; save its tables as UTF-8"):
        load_images(read_card(card))
    (card / "data.csv").unlink()
    (card / "README.md").write_text(said.replace('configs:\n- config_name: default\n  data_files: "*.parquet"\n', ""))
    with pytest.raises(ValueError, match="card a: .* cannot be read .*; correct `configs` of its README.md, or put"):
        load_images(read_card(card))
    with zipfile.ZipFile(card / "pictures.zip", "w") as archive:
        for name in ("real/0.png", "sdxl/0.png"):
            archive.writestr(name, png(0))
    with pytest.raises(
        ValueError, match="card a: .* cannot be read .*; remove a file that is cut short, unpack archives"
    ):
        load_images(read_card(card))


def test_a_missing_file_keeps_its_row_and_the_others_go_on(tmp_path):
    card = tmp_path / "a"
    card.mkdir()
    (card / "0.png").write_bytes(png(0))
    inspected = inspect_images(load_images(read_card(long_card(card, rows("0.png", "nope.png")))))
    assert inspected.status.tolist() == ["ok", "unreadable"]
    assert "nope.png" in inspected.reason[1] and inspected.image_id.is_unique


@pytest.mark.parametrize("extra", ["", "  streamed: true\n"])
def test_a_link_to_what_is_gone_keeps_its_row_and_one_that_nobody_names_is_none(tmp_path, extra):
    card = tmp_path / "a"
    card.mkdir()
    (card / "0.png").write_bytes(png(0))
    for name in ("1.png", "old.png"):
        (card / name).symlink_to("gone.png")
    inspected = inspect_images(load_images(read_card(long_card(card, rows("0.png", "1.png"), extra=extra)), limit=9))
    assert inspected.status.tolist() == ["ok", "unreadable"]


def test_an_empty_cell_of_a_stream_is_a_picture_without_bytes(tmp_path):
    card = long_card(tmp_path / "a", rows(png(0), None), extra="  streamed: true\n")
    assert inspect_images(load_images(read_card(card), limit=9)).reason.tolist() == ["", "no bytes"]


@pytest.mark.parametrize("extra", ["", "  streamed: true\n"])
def test_a_hidden_file_that_a_table_names_is_refused(tmp_path, extra):
    card = tmp_path / ".a"
    (card / ".img").mkdir(parents=True)
    (card / ".img" / "0.png").write_bytes(png(0))
    (card / "1.png").write_bytes(png(1))
    assert len(load_images(read_card(long_card(card, rows("1.png", "1.png"), extra=extra)), limit=9)) == 2
    with pytest.raises(ValueError, match="names '.img/0.png', which is hidden, and so not looked at for changes"):
        load_images(read_card(long_card(card, rows("1.png", ".img/0.png"), extra=extra)), limit=9)


def test_addresses_are_no_paths(tmp_path):
    card = long_card(tmp_path / "a", rows("https://example.org/0.png", "https://example.org/1.png"))
    with pytest.raises(
        ValueError, match="the column of images holds addresses such as https://example.org/0.png; download"
    ):
        load_images(read_card(card))


def test_brackets_in_a_path_are_no_pattern(tmp_path):
    card = long_card(tmp_path / "data [v2]", rows(png(0), png(1)))
    assert len(load_images(read_card(card))) == 2
    shutil.rmtree(card)
    card = long_card(tmp_path / "data [v2]", rows(png(5), png(6)))
    assert load_images(read_card(card))["image_id"][0] == image_id(png(5))


# contradictions


@pytest.mark.parametrize(
    ("names", "labels", "stored", "found"),
    [
        (["real", "fake"], "[0, 1]", [0, 1], [0, 1]),
        (["fake", "real"], "[1, 0]", [1, 0], [0, 1]),
        (["fake", "real"], "[real, fake]", [1, 0], [0, 1]),
        (["a", "b"], "[0, 1]", [0, 1], [0, 1]),
        (
            ["fake", "real"],
            "[0, 1]",
            [1, 0],
            "says that label 0 is real, but the data set calls it 'fake'; correct `labels`",
        ),
        (["x", "REAL"], "[0, 1]", [1, 0], "says that label 1 is generated, but the data set calls it 'REAL'"),
    ],
)
def test_the_names_of_the_label_column_are_asked(tmp_path, names, labels, stored, found):
    table = rows(png(0), png(1), generator=["sdxl", "sdxl"], label=stored)
    columns = "{image: image, generator: generator, content_id: content_id, label: label}"
    extra = f"  real: null\n  labels: {labels}\n"
    card = long_card(tmp_path / "a", table, columns, extra, datasets.ClassLabel(names=names))
    streamed = long_card(tmp_path / "b", table, columns, extra + "  streamed: true\n", datasets.ClassLabel(names=names))
    for place, limit in ((card, None), (streamed, 9)):
        if isinstance(found, str):
            with pytest.raises(ValueError, match=found):
                load_images(read_card(place), limit=limit)
        else:
            assert load_images(read_card(place), limit=limit)["label"][:] == found


def test_a_picture_under_both_labels_is_told(tmp_path):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/k.png": png(2), "sdxl/copy.png": png(1)})
    with pytest.warns(
        UserWarning, match="1 pictures stand as real and as generated; the first, .*, as real and as sdxl"
    ):
        load_images(read_card(card))


# what a file carries beside its pixels


def with_exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    segment = b"Exif\0\0II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0)
    picture = encode(make_picture(1), "JPEG")
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + picture[2:]


BAD = [
    (0x011A, 2, 4, b"abc\0"),
    (0x0103, 9, 1, struct.pack("<i", -5)),
    (0x0213, 1, 1, b"\1\0\0\0"),
    (0x0100, 2, 4, b"abc\0"),
]


@pytest.mark.parametrize("bad", [None, *BAD], ids=str)
def test_malformed_exif_costs_no_photograph_and_its_orientation_counts(bad):
    turned = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
    assert decode_image(with_exif(*[turned, bad][: 1 if bad is None else 2])).size == (40, 48)


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_as_pillow_turns_it(orientation):
    from PIL import Image, ImageOps

    encoded = with_exif((0x0112, 3, 1, struct.pack("<HH", orientation, 0)))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode_image(encoded)), np.asarray(expected))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", bytes(50)])
def test_exif_that_is_no_exif_is_passed_over(exif):
    assert decode_image(encode(make_picture(1), "JPEG", exif=exif)).size == (48, 40)


# cards


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("repo: 7", "itemkit.repo is 7; expected a str"),
        ("generators: sdxl", "itemkit.generators is 'sdxl'; expected a list"),
        ("generators: [sdxl]", "a generator is 'sdxl'; expected lines such as {name: sdxl"),
        ("streamed: yes please", "itemkit.streamed is 'yes please'; expected a bool"),
        ("columns: [image]", "itemkit.columns is \\['image'\\]; expected a dict"),
        ("splits: {test: 1}", "itemkit.splits.test is 1; expected a name, in quotes if it is a number"),
        ("labels: 1", "itemkit.labels is 1; expected a list"),
        ("pictures: many\n\tof them", "cannot be read"),
        ("gigabytes: [1]", "itemkit.gigabytes is \\[1\\]; expected a int or float or str"),
        ("video: 1", "itemkit.video is 1; expected a bool"),
        ("real: false", "itemkit.real is False; expected a str or int or null, in quotes if it is a text"),
        ("labels: [0, 0]", "0 stands there twice as label; each says one thing only"),
        ("splits: {validation: dev, test: dev}", "'dev' stands there twice as value of splits"),
        ("generators: [{name: sdxl}, {name: sdxl, value: x}]", "'sdxl' stands there twice as name of a generator"),
        (
            "generators: [{name: sdxl}, {name: b, value: sdxl}]",
            "'sdxl' stands there twice as value of a generator, or of `real`",
        ),
        ("generators: [{name: sdxl, value: real}]", "'real' stands there twice as value of a generator, or of `real`"),
        (
            'generators: [{name: a, value: 2022}, {name: b, value: "2022"}]',
            "'2022' stands there twice as value of a generator, or of `real`",
        ),
        ("generators: [{name: sdxl, value: no}]", "is False; expected a text or a number, in quotes if it is a text"),
        ("labels: [no, yes]", 'a label, is False; expected a text or a number, in quotes if it is a text, as "no"'),
        ("splits: {train: no}", "itemkit.splits.train is False; expected a name, in quotes if it is a number, yes or"),
        (
            "generators: [{name: SDXL}, {name: sdxl}]",
            "a generator is called 'sdxl' and another 'SDXL'; their names become",
        ),
        ("revision: local\n  revision: local", "cannot be read \\('revision' stands there twice\\)"),
        ("generators: [{name: real, value: x}]", "a generator is called 'real', as rows and columns of the tables are"),
        (
            "generators: [{name: mean}]",
            "a generator is called 'mean', as rows and columns of the tables are; call it otherwise",
        ),
    ],
)
def test_an_entry_of_another_kind_is_named(tmp_path, line, message):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "sdxl/k.png": png(2)})
    text = (card / "README.md").read_text()
    name = line.split(":")[0]
    kept = "".join(one for one in text.splitlines(keepends=True) if not one.strip().startswith(f"{name}:"))
    (card / "README.md").write_text(kept.replace("itemkit:\n", f"itemkit:\n  {line}\n"))
    with pytest.raises(ValueError, match=message) as error:
        read_card(card)
    assert "README.md" in str(error.value) and "\n" not in str(error.value)


def test_a_folder_may_be_called_2022(tmp_path):
    card = folder_card(tmp_path / "a", {"real/k.png": png(1), "2022/k.png": png(2)}, "[{name: 2022}]")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_images(read_card(card))["generator"][:] == ["real", "2022"]


def test_what_a_card_says_of_a_generator_can_be_noted_as_json(tmp_path):
    card = folder_card(tmp_path / "a", {}, "[{name: sdxl, year: 2022-08-22, steps: {1: 30}}]")
    said = read_card(card).generators["sdxl"]
    assert said["year"] == "2022-08-22" and json.loads(json.dumps(said)) == said
