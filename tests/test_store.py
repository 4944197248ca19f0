import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itemkit.data.files import check_seals, clear_parts, seal, whole
from itemkit.store import cached, digest

TABLE = pd.DataFrame({"image_id": ["a", "b"], "vector": [np.ones(3, np.float32), np.zeros(3, np.float32)]})
SPEC = {"network": "sha256:0", "threshold": 0.1}


def forbidden():
    raise AssertionError("the table was there and need not be built")


def test_digest_is_the_same_in_every_process_and_in_every_order():
    assert digest({"a": 1, "b": ["ü", 2.5]}) == digest({"b": ["ü", 2.5], "a": 1})
    code = "from itemkit.store import digest; print(digest({'a': 1, 'b': ['ü', 2.5]}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest({"a": 1, "b": ["ü", 2.5]})
    assert len(digest(0)) == 16 and digest(0.1) != digest(0.2) and digest([]) != digest({})


def test_a_table_is_built_once_and_reads_the_same(tmp_path):
    first = cached(tmp_path, SPEC, lambda: TABLE)
    second = cached(tmp_path, SPEC, forbidden)
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(first, TABLE)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == [digest(SPEC)]


def test_another_spec_is_another_table(tmp_path):
    cached(tmp_path, SPEC, lambda: TABLE)
    assert len(cached(tmp_path, SPEC | {"threshold": 0.2}, lambda: TABLE[:1])) == 1


def name_of(spec, content):
    total = hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode() + b"\0" + content)
    return f"{digest(spec)}-{total.hexdigest()[:16]}.parquet"


def test_the_name_holds_a_checksum_of_spec_and_content_and_the_file_its_spec(tmp_path):
    cached(tmp_path, SPEC, lambda: TABLE)
    (path,) = tmp_path.iterdir()
    assert path.name == name_of(SPEC, path.read_bytes())
    assert pq.read_schema(path).metadata[b"itemkit"] == b'{"network":"sha256:0","threshold":0.1}'


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    return bytes(content)


def test_whichever_bit_of_a_file_is_flipped_it_is_set_aside_and_built_anew(tmp_path, capsys):
    cached(tmp_path, SPEC, lambda: TABLE)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 200).tolist():
        path.write_bytes(damaged := flipped(path, place))
        pd.testing.assert_frame_equal(cached(tmp_path, SPEC, lambda: TABLE), TABLE)
        said = capsys.readouterr().out
        assert said == f"{path} is not as it was written; it is set aside as {path.name}.damaged and built anew\n"
        assert path.read_bytes() == whole and path.with_name(f"{path.name}.damaged").read_bytes() == damaged
    assert len(list(tmp_path.iterdir())) == 2


def fewer_rows(path, other):
    return table_bytes(pq.read_table(path).slice(0, 1))


def another_schema(path, other):
    return table_bytes(pa.table({"x": [1]}).replace_schema_metadata(pq.read_schema(path).metadata))


def table_bytes(table):
    pq.write_table(table, file := io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        fewer_rows,
        another_schema,
        lambda path, other: other.read_bytes(),
        lambda path, other: path.read_bytes()[:-20],
        lambda path, other: b"",
        lambda path, other: path.read_bytes() + b"\0",
    ],
)
def test_a_foreign_or_partial_file_under_the_right_name_is_not_believed(tmp_path, change, capsys):
    cached(tmp_path / "others", SPEC | {"threshold": 0.2}, lambda: TABLE[::-1])
    cached(tmp_path / "ours", SPEC, lambda: TABLE)
    (path,), (other,) = (tmp_path / "ours").iterdir(), (tmp_path / "others").iterdir()
    path.write_bytes(change(path, other))
    pd.testing.assert_frame_equal(cached(tmp_path / "ours", SPEC, lambda: TABLE), TABLE)
    assert "set aside" in capsys.readouterr().out
    pd.testing.assert_frame_equal(cached(tmp_path / "ours", SPEC, forbidden), TABLE)
    assert capsys.readouterr().out == ""


def test_a_file_of_another_spec_is_not_believed_under_the_name_of_ours(tmp_path):
    cached(tmp_path, SPEC | {"threshold": 0.2}, lambda: TABLE[:1])
    (other,) = tmp_path.iterdir()
    renamed = other.rename(tmp_path / f"{digest(SPEC)}-{other.name.split('-')[1]}")  # its checksum and all
    assert len(cached(tmp_path, SPEC, lambda: TABLE)) == 2
    assert renamed.with_name(f"{renamed.name}.damaged").exists()


def test_two_that_write_at_once_leave_one_file(tmp_path):
    def build():  # while another process does the same
        cached(tmp_path, SPEC, lambda: TABLE)
        return TABLE

    pd.testing.assert_frame_equal(cached(tmp_path, SPEC, build), TABLE)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_partial_file_is_never_read_nor_deleted(tmp_path):
    part = tmp_path / f"{digest(SPEC)}-0123456789abcdef.parquet.0123.part"
    part.write_bytes(b"PAR1 half a table")
    pd.testing.assert_frame_equal(cached(tmp_path, SPEC, lambda: TABLE), TABLE)
    assert part.read_bytes() == b"PAR1 half a table"


def test_a_failing_build_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path, SPEC, lambda: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_name_with_an_equals_sign_adds_no_column(tmp_path):
    assert list(cached(tmp_path / "run=1", SPEC, lambda: TABLE).columns) == ["image_id", "vector"]


def test_what_would_be_the_same_is_left_alone(tmp_path):
    file, folder = tmp_path / "a.csv", tmp_path / "head"
    folder.mkdir()
    for path in (file, folder / "weights", folder / "card"):
        path.write_text("old")
        os.utime(path, (1, 1))
    for text in ("old", "new"):  # as long, so that only the content tells
        with whole(file) as part:
            part.write_text(text)
        with whole(folder) as part:
            part.mkdir()
            (part / "weights").write_text("old")
            (part / "card").write_text(text)
        assert file.read_text() == (folder / "card").read_text() == text
        assert (file.stat().st_mtime == 1) == ((folder / "card").stat().st_mtime == 1) == (text == "old")
        assert (folder / "weights").stat().st_mtime == 1 and len(list(tmp_path.rglob("*"))) == 4


KILLED = """
import os, sys
from itemkit.data.files import whole
with whole(sys.argv[1]) as part:
    part.write_text("half of it")
    os.kill(os.getpid(), 9)
"""


def test_what_dead_processes_were_writing_is_cleared_away_and_nothing_else(tmp_path):
    (tmp_path / "inner").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "inner" / "table-1.csv"], check=False)
    (left,) = (tmp_path / "inner").iterdir()
    assert left.name.startswith(f"table-1.csv.{socket.gethostname()}-") and left.name.endswith(".part")
    dead = left.name.split("-")[-2]
    folder = left.with_name(left.name.replace("table-1", "head"))
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    kept = [f"a.{socket.gethostname()}-{os.getpid()}-{'0' * 32}.part", f"a.other-host-{dead}-{'0' * 32}.part", "a.csv"]
    persons = ["film.mkv.part", f"a.other-host-{dead}-0.part", "0123.part"]  # old, and none of ours
    old = f"a.other-host-{dead}-{'1' * 32}.part"
    for name in [*kept, *persons, old]:
        (tmp_path / name).write_text("")
    for name in [*persons, old]:
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    with whole(tmp_path / "now.csv") as part:
        part.write_text("")
        clear_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, *persons, "inner", "now.csv"])
    assert not list((tmp_path / "inner").iterdir())


def test_a_checksum_that_came_with_the_data_is_no_seal(tmp_path, capsys):
    (tmp_path / "a.parquet.sha256").write_text("0123  a.parquet")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a.parquet.sha256").symlink_to(tmp_path / "a.parquet.sha256")
    (tmp_path / "cache" / "table.arrow").write_bytes(b"rows")
    seal([tmp_path / "cache" / "table.arrow"])
    check_seals(tmp_path / "cache")
    assert capsys.readouterr().out == "" and (tmp_path / "cache" / "table.arrow").exists()
    (tmp_path / "cache" / "table.arrow").write_bytes(b"Rows")
    check_seals(tmp_path / "cache")
    assert "table.arrow is not as it was written" in capsys.readouterr().out and not list(
        (tmp_path / "cache").iterdir()
    )
    assert (tmp_path / "cache-table.arrow.damaged").read_bytes() == b"Rows"


def test_a_sealed_folder_may_be_a_link_and_hold_some(tmp_path, capsys):
    for folder in ("disk/cache", "data"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "table.arrow").write_bytes(b"rows")
    link = tmp_path / "cache"
    link.symlink_to(tmp_path / "disk" / "cache")
    (link / "files").symlink_to(tmp_path / "data")
    seal([link / "table.arrow"])
    (link / "table.arrow").write_bytes(b"Rows")
    check_seals(link)
    assert "table.arrow is not as it was written" in capsys.readouterr().out
    assert link.is_dir() and not list(link.iterdir()) and (tmp_path / "data" / "table.arrow").exists()
    assert (tmp_path / "disk" / "cache-table.arrow.damaged").read_bytes() == b"Rows"
