"""Build something once, and keep it under a name that says what it was built from and what it holds."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from itemkit.data.files import whole

if TYPE_CHECKING:
    import pandas as pd

SPEC_KEY = b"itemkit"  # where a cached parquet file carries its own spec, for whoever opens one


def digest(value: object) -> str:
    """Return 16 hex digits that name a JSON value: equal values give equal digits, in every process."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:16]


def cached(folder: str | Path, spec: dict, build: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table that `spec` describes, calling `build` only if `folder` does not hold it, whole and undamaged.

    The result always comes from the bytes of the file, so that a first and a later call give the same types.

    Args:
        folder: where the tables of one stage stand; made if absent.
        spec: everything that changes the table's content, as a JSON value.
        build: makes the table; not called if the file is there.
    """
    content = kept(folder, spec, ".parquet")
    if content is None:
        table = pa.Table.from_pandas(build(), preserve_index=False)
        file = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, SPEC_KEY: _canonical(spec)}), file)
        content = keep(folder, spec, ".parquet", file.getvalue())
    return pq.read_table(pa.BufferReader(content)).to_pandas()


def kept(folder: str | Path, spec: dict, suffix: str) -> bytes | None:
    """Return what `keep` has put into `folder` for `spec`, or None.

    A file's name holds a checksum of its spec and its bytes. One that does not fit, since a disk or a hand has changed it
    or put it in another one's place, is set aside under the ending `.damaged`, and that is said in a line.

    Args:
        folder, spec, suffix: as for keep.
    """
    for path in sorted(Path(folder).glob(f"{digest(spec)}-*{suffix}")):
        content = path.read_bytes()
        if path.name == _name(spec, suffix, content):
            return content
        path.replace(aside := path.with_name(f"{path.name}.damaged"))
        print(f"{path} is not as it was written; it is set aside as {aside.name} and built anew", flush=True)
    return None


def keep(folder: str | Path, spec: dict, suffix: str, content: bytes) -> bytes:
    """Write the bytes that `spec` describes, and return them.

    A file with its final name is complete: it is written under a unique `.part` name, synced, then renamed.

    Args:
        folder: where files of this kind stand; made if absent.
        spec: everything that changes the content, as a JSON value.
        suffix: of the file's name, e.g. ".parquet".
        content: of the file.
    """
    with whole(Path(folder, _name(spec, suffix, content))) as part:
        part.write_bytes(content)
    return content


def _name(spec: dict, suffix: str, content: bytes) -> str:
    total = hashlib.sha256(_canonical(spec).encode() + b"\0" + content)
    return f"{digest(spec)}-{total.hexdigest()[:16]}{suffix}"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
