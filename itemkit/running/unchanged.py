"""Which notebooks a run leaves as they are: nothing that they rest on has changed, and all that they made is there."""

import os
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from importlib.metadata import distributions
from pathlib import Path

from itemkit.data.cards import read_card
from itemkit.data.hub import resolve_revision
from itemkit.running.needs import NETWORKS
from itemkit.store import digest

PACKAGE = Path(__file__).resolve().parents[1]
ALSO_MADE = {"03_train": ["heads/**/*"], "04_cross_generator": ["detector/*", "verdict.txt"]}  # beside what notes name


def foundations(values: dict) -> dict[str, object]:
    """Return names of all that the notebooks of a run rest on, beside each other, their own code and their values.

    Files go by what is in them, hub ids by their commit.

    Args:
        values: of every parameter of the notebooks; paths are seen from the working directory.
    """
    card, cache = read_card(values["card"]), values["cache"]
    roles = [*NETWORKS, "nouns"]
    folders = [card.path, *([card.folder] if card.is_local else []), *(Path(values[role]) for role in roles)]
    commits = {role: resolve_revision(values[role], values[f"{role}_revision"], cache) for role in NETWORKS}
    commits["data set"] = None if card.is_local else resolve_revision(card.repo, card.commit, cache, "dataset")
    return {
        "code": _code(),
        "libraries": sorted({f"{found.name} {found.version}" for found in distributions()}),
        "machine": [sys.version, platform.platform(), os.cpu_count(), os.environ.get("OMP_NUM_THREADS")],
        "commits": commits,
        "folders": [_contents(folder, _files(folder)) for folder in folders],
        "others": _contents(Path.cwd(), map(Path, values.get("others", ()))),
    }


def count_unchanged(results: Path, steps: list[tuple[Path, dict]], rests_on: dict) -> int:
    """Return how many notebooks, from the first one on, are as a run on the same foundations left them.

    The last one is not among them: the report shows how the others compare with the reference.

    Args:
        results: the folder of results.
        steps: the notebooks of the run in order, each with its values.
        rests_on: as foundations returned it.

    Raises:
        RecordError: as record.read_record.
    """
    from itemkit.record import git, read_record, without_data  # loads torch

    notes, left_out, commit = read_record(results)["steps"], without_data(results), git("rev-parse", "HEAD")
    for place, (notebook, values) in enumerate(steps[:-1]):
        if notebook.stem in left_out:
            continue
        note = notes.get(notebook.stem, {})
        if note.get("commit") != commit or note.get("state") != _state(results, notebook, values, rests_on, note):
            return place
    return len(steps) - 1


def mark(results: Path, notebook: Path, values: dict, rests_on: dict) -> None:
    """Note what a notebook that has just been run rests on and made; not if the code was changed while it ran."""
    from itemkit.record import note_state, read_record  # loads torch

    note = read_record(results)["steps"].get(notebook.stem)
    if note is not None and _code() == rests_on["code"]:
        note_state(results, notebook.stem, _state(results, notebook, values, rests_on, note))


def _state(results: Path, notebook: Path, values: dict, rests_on: dict, note: dict) -> str:
    own = [f"tables/{notebook.name[:2]}_*", f"figures/{notebook.name[:2]}_*", f"notebooks/{notebook.name}"]
    made = {path for pattern in [*own, *ALSO_MADE.get(notebook.stem, [])] for path in results.glob(pattern)}
    made |= {results / name for name in note.get("made", ())}
    said = {name: value for name, value in note.items() if name != "state"}
    files = [_contents(notebook.parent, [notebook]), _contents(results, made)]
    return digest([rests_on, values, said, *files])


def _code() -> str:
    return _contents(PACKAGE, (path for path in _files(PACKAGE) if "__pycache__" not in path.parts))


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; links are followed, each folder once."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in names)


def _contents(root: Path, files: Iterator[Path]) -> str:
    """A name of the names, seen from a folder, and the bytes of files."""
    files = sorted(files)
    with ThreadPoolExecutor() as pool:
        return digest(
            [[os.path.relpath(path, root), of] for path, of in zip(files, pool.map(_content, files), strict=True)]
        )


def _content(path: Path) -> str | None:
    """A name of the bytes of a file; None of what cannot be read, and of anything else, which may have no end."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    return None
