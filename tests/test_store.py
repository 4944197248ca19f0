import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
    assert [path.name for path in tmp_path.iterdir()] == [f"{digest(SPEC)}.parquet"]


def test_another_spec_is_another_table(tmp_path):
    cached(tmp_path, SPEC, lambda: TABLE)
    assert len(cached(tmp_path, SPEC | {"threshold": 0.2}, lambda: TABLE[:1])) == 1


def test_the_spec_is_in_the_file_and_is_checked(tmp_path):
    cached(tmp_path, SPEC, lambda: TABLE)
    path = tmp_path / f"{digest(SPEC)}.parquet"
    assert pq.read_schema(path).metadata[b"itemkit"] == b'{"network":"sha256:0","threshold":0.1}'
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ValueError, match="was not built from the spec.*remove this file"):
        cached(tmp_path, SPEC, forbidden)


def test_a_damaged_file_is_named_and_kept(tmp_path):
    cached(tmp_path, SPEC, lambda: TABLE)
    path = tmp_path / f"{digest(SPEC)}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        cached(tmp_path, SPEC, forbidden)
    assert path.exists()


def test_a_partial_file_is_never_read_nor_deleted(tmp_path):
    part = tmp_path / f"{digest(SPEC)}.parquet.0123.part"
    part.write_bytes(b"PAR1 half a table")
    pd.testing.assert_frame_equal(cached(tmp_path, SPEC, lambda: TABLE), TABLE)
    assert part.read_bytes() == b"PAR1 half a table"


def test_a_failing_build_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path, SPEC, lambda: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_name_with_an_equals_sign_adds_no_column(tmp_path):
    assert list(cached(tmp_path / "run=1", SPEC, lambda: TABLE).columns) == ["image_id", "vector"]
