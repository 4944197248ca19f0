"""Build a table once, and keep it under a name that says what it was built from."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from itemkit.data.files import whole

SPEC_KEY = b"itemkit"  # where a cached parquet file carries its own spec


def digest(value: object) -> str:
    """Return 16 hex digits that name a JSON value: equal values give equal digits, in every process."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:16]


def cached(folder: str | Path, spec: dict, build: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table that `spec` describes, calling `build` only if `folder` does not hold it yet.

    The result always comes from the file, so that a first and a later call give the same types. A file with its final
    name is complete: it is written under a unique `.part` name, synced, then renamed. Nothing is ever deleted.

    Args:
        folder: where the tables of one stage stand; made if absent.
        spec: everything that changes the table's content, as a JSON value.
        build: makes the table; not called if the file is there.

    Raises:
        ValueError: the file is damaged, or was built from another spec.
    """
    path = Path(folder) / f"{digest(spec)}.parquet"
    if not path.exists():
        _write(path, build(), spec)
    try:
        table = pq.read_table(path, partitioning=None)  # a folder called a=b would become a column
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged ({error}); remove this file and run again") from error
    if (table.schema.metadata or {}).get(SPEC_KEY) != _canonical(spec).encode():
        raise ValueError(f"{path} was not built from the spec its name stands for; remove this file and run again")
    return table.to_pandas()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _write(path: Path, frame: pd.DataFrame, spec: dict) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**table.schema.metadata, SPEC_KEY: _canonical(spec)})
    with whole(path) as part:
        pq.write_table(table, part)
