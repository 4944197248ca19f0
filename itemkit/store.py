"""Build a table once, and keep it under a name that says what it was built from."""

import hashlib
import json
import os
import platform
import subprocess
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a parquet table that an earlier notebook wrote.

    Raises:
        FileNotFoundError: it is not there; the message says what to run.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no {path}; run the notebooks before this one, or ./run_all.sh, which runs them all")
    return pd.read_parquet(path, partitioning=None)


def provenance(parameters: dict) -> dict:
    """Return what a result needs to be made again: commit, versions, machine, parameters and the time (UTC).

    `commit` and `clean` (no uncommitted change) are None outside a git checkout.
    """
    status = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "clean": None if status is None else status == "",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package.name: package.version for package in sorted(distributions(), key=lambda one: one.name)},
        "parameters": parameters,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _write(path: Path, frame: pd.DataFrame, spec: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**table.schema.metadata, SPEC_KEY: _canonical(spec)})
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    with part.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
