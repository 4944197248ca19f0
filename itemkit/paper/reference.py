"""Compare the tables of a run with those of the reference, which are committed, and write these anew.

results/reference/ holds the small tables of one run of one profile, what README.md shows of that run, and its
record.json, which names the profile and says what made the numbers.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

SMALL = 64_000  # bytes: a larger table is not kept, a reference is there to be read
SHOWN = ("figures/04_matrix.png", "verdict.txt")  # by README.md, from the reference
CLAIMS = {"caption", "claim"}  # columns of sentences; the numbers they tell stand in other columns
# Columns that move where an optimum is flat, or by whole pictures where a threshold does: shown, and not judged. One that is
# so in a single table stands with its name.
LOOSE = {"threshold", "temperature", "epochs", "above_threshold", "called_real", "called_generated"}
LOOSE |= {"true_positive_rate_at_5_percent_false_positives"}
LOOSE |= {
    f"07_mistakes.{kind}_misalignment" for kind in ("global", "local")
}  # means over nine pictures, where it is few
LOOSE |= {f"07_mistakes.{name}" for name in ("pictures", "score", "objects_found")}
LOOSE |= {f"03_validation.{kind}_accuracy" for kind in ("real", "generated", "balanced")}  # of 100 pictures of a class
LOOSE |= {"03_validation.balanced_accuracy_at_validation_threshold", "03_validation.expected_calibration_error"}
FAILED = ("differs", "missing")  # what a check fails on


def compare(tables: str | Path, reference: str | Path, tolerance: float) -> pd.DataFrame:
    """Compare each csv table of a run with the one of the same name in the reference.

    Rows are matched by order and columns by name. The difference of two numbers is |value - reference| / max(1,
    |reference|): absolute for a share or a ROC AUC, relative for a count. Text has to be equal, except in columns
    called caption or claim; a missing number equals a missing number. The columns of LOOSE are not compared.

    Args:
        tables: folder of the run's tables.
        reference: folder of the reference.
        tolerance: the largest difference that passes, from 0 on.

    Returns:
        One row for each table, by name: name; status: "same" (to the byte), "within" (the tolerance), "differs",
        "missing" (from the run) or "not in the reference"; largest_difference, NaN where it is no number; where: the
        place of the largest difference with both values, or what else differs; tolerance.

    Raises:
        ValueError: tolerance is no number from 0 on, or a file is no table.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance!r}; expected a number from 0 on")
    tables, reference = Path(tables), Path(reference)
    names = sorted({path.name for folder in (tables, reference) for path in folder.glob("*.csv")})
    rows = [(Path(name).stem, *_compare(tables / name, reference / name, tolerance)) for name in names]
    compared = pd.DataFrame(rows, columns=["name", "status", "largest_difference", "where"])
    return compared.astype({"largest_difference": float}).assign(tolerance=float(tolerance))


def summarise(compared: pd.DataFrame) -> str:
    """Say in a sentence or two how many tables of `compare` have which status."""
    count = compared.status.value_counts().reindex(["same", "within", *FAILED, "not in the reference"], fill_value=0)
    kept, tolerance = len(compared) - count["not in the reference"], compared.tolerance.max()
    return (
        f"Tables in the reference: {kept} ({count['same']} the same to the byte, {count['within']} within the tolerance "
        f"of {tolerance:g}, {count['differs']} beyond it, {count['missing']} not made by this run). "
        f"Tables not in the reference: {count['not in the reference']}."
    )


def list_failures(compared: pd.DataFrame) -> list[str]:
    """Say for each table of `compare` that differs or is missing by how much, and where; empty if all is well."""
    failed = compared[compared.status.isin(FAILED)]
    differences = failed.largest_difference.map(lambda value: "" if np.isnan(value) else f" by {value:.3g}")
    return [f"{row.name} {row.status}{by}: {row.where}" for row, by in zip(failed.itertuples(index=False), differences)]


def profile_of(reference: str | Path) -> str | None:
    """Return the profile whose run the reference is; None if there is no reference."""
    record = Path(reference, "record.json")
    return json.loads(record.read_text(encoding="utf-8"))["profile"] if record.exists() else None


def why_not_compared(reference: str | Path, profile: str) -> str:
    """Say in a sentence why a run of `profile` cannot be compared with the reference; empty if it can."""
    kept = profile_of(reference)
    if kept is None:
        return f"There is no reference yet; ./run_all.sh --reference {profile} makes one."
    return "" if kept == profile else f"The reference is a run of {kept}; there is none of {profile}."


def write_reference(results: str | Path, reference: str | Path) -> list[str]:
    """Replace the reference with the tables of a run, up to 64 kB each, what README.md shows, the record, and the detector.

    Args:
        results: folder of the run, named as its profile, with tables/, figures/, verdict.txt and record.json.
        reference: made if absent; tables in it that the run did not make are removed.

    Returns:
        The names of the files written.

    Raises:
        FileNotFoundError: the run lacks a file; nothing has been changed.
    """
    results, reference = Path(results), Path(reference)
    tables = sorted(path for path in results.glob("tables/*.csv") if path.stat().st_size <= SMALL)
    files = [*tables, *(results / name for name in SHOWN)]
    if lacking := [path.name for path in (*files, results / "record.json") if not path.is_file()]:
        raise FileNotFoundError(f"{results} lacks {', '.join(lacking)}; run all notebooks of the profile")
    record = {"profile": results.name} | json.loads((results / "record.json").read_text(encoding="utf-8"))
    reference.mkdir(parents=True, exist_ok=True)
    for path in reference.glob("*.csv"):
        path.unlink()
    for path in files:
        shutil.copyfile(path, reference / path.name)
    if (results / "detector").is_dir():
        shutil.rmtree(reference / "detector", ignore_errors=True)
        shutil.copytree(results / "detector", reference / "detector")
    text = json.dumps(record, indent=2) + "\n"
    (reference / "record.json").write_text(text, encoding="utf-8", newline="\n")
    return [*(path.name for path in files), "record.json"]


def _compare(made: Path, kept: Path, tolerance: float) -> tuple[str, float, str]:
    """Status, largest difference and its place, of one table."""
    if not kept.exists():
        return "not in the reference", np.nan, ""
    if not made.exists():
        return "missing", np.nan, "this run made no such table"
    if made.read_bytes() == kept.read_bytes():
        return "same", 0.0, ""
    new, old = _read(made), _read(kept)
    if extra := [name for name in new if name not in old]:
        return "differs", np.nan, f"column {', '.join(extra)} is not in the reference"
    if lost := [name for name in old if name not in new]:
        return "differs", np.nan, f"column {', '.join(lost)} of the reference is not there"
    if len(new) != len(old):
        return "differs", np.nan, f"the number of rows is {len(new)}, in the reference {len(old)}"
    return _compare_cells(new[old.columns], old, tolerance, kept.stem)


def _compare_cells(new: pd.DataFrame, old: pd.DataFrame, tolerance: float, table: str) -> tuple[str, float, str]:
    judged = [name for name in old if not {name, f"{table}.{name}"} & (CLAIMS | LOOSE)]
    gaps = pd.DataFrame({name: _gap(new[name], old[name]) for name in judged})
    if gaps.empty or not gaps.to_numpy().any():
        return "within", 0.0, ""
    row, column = np.unravel_index(gaps.to_numpy().argmax(), gaps.shape)
    largest, name = gaps.iat[row, column], gaps.columns[column]
    words = [old.at[row, other] for other in gaps if other != name and pd.isna(_number(old[other])[row])]
    key = ", ".join(word for word in words[:3] if word)
    place = f"row {row + 1}{f' ({key})' if key else ''}, {name}"
    where = f"{place}: {_short(new.at[row, name])}, in the reference {_short(old.at[row, name])}"
    return ("within" if largest <= tolerance else "differs"), (largest if np.isfinite(largest) else np.nan), where


def _gap(new: pd.Series, old: pd.Series) -> pd.Series:
    """Difference of each pair of cells: 0 where the text is equal, infinite where it is not and is no number."""
    made, kept = _number(new), _number(old)
    gap = (made - kept).abs() / kept.abs().clip(lower=1)
    return gap.fillna(np.inf).mask(new == old, 0.0)


def _number(column: pd.Series) -> pd.Series:
    """Cells as numbers, NaN where they are none; an id is text, though all its digits may be decimal ones."""
    return pd.to_numeric(column, errors="coerce") * (np.nan if str(column.name).endswith("_id") else 1.0)


def _short(cell: str) -> str:
    number = pd.to_numeric(cell, errors="coerce")
    return f"{number:.4g}" if np.isfinite(number) else f'"{cell}"' if cell else "nothing"


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} is not a table ({error}); run the notebooks again, or restore the file") from None
