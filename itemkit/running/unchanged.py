"""Which notebooks a run leaves as they are: nothing that they rest on has changed, and all that they made is there."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from functools import cached_property
from hashlib import file_digest
from importlib.metadata import distributions
from pathlib import Path

from itemkit.data.cards import read_card
from itemkit.data.hub import resolve_revision
from itemkit.running.needs import NETWORKS
from itemkit.store import digest

PACKAGE = Path(__file__).resolve().parents[1]
ROLES = (*NETWORKS, "nouns")
ALSO_MADE = {"03_train": ["heads/**/*"], "04_cross_generator": ["detector/*", "verdict.txt"]}  # beside what notes name


class Unchanged:
    """What a run rests on, and by it which of its notebooks would make the same again.

    Files go by what is in them, which takes a second for each gigabyte or two, and hub ids by their commit.

    Args:
        results: the folder of results.
        steps: the notebooks of the run in order, each with its values; paths are seen from their folder.
    """

    def __init__(self, results: Path, steps: list[tuple[Path, dict]]) -> None:
        self.results, self.steps = results, steps
        self._code = _package()

    @cached_property
    def _foundations(self) -> dict[str, object]:
        """All that notebooks rest on beside their code, their values and each other; empty if they are one's own."""
        values = {name: value for _, parameters in self.steps for name, value in parameters.items()}
        if not {*ROLES, "card"} <= set(values):
            return {}
        with chdir(self.steps[0][0].parent):
            card = read_card(values["card"])
            commits = [resolve_revision(values[role], values[f"{role}_revision"], values["cache"]) for role in NETWORKS]
            commits += [None if card.is_local else resolve_revision(card.repo, card.commit, values["cache"], "dataset")]
            folders = [card.path, card.folder if card.is_local else card.path, *(Path(values[role]) for role in ROLES)]
            return {
                "libraries": sorted({f"{found.name} {found.version}" for found in distributions()}),
                "machine": [sys.version, platform.platform(), os.cpu_count(), os.environ.get("OMP_NUM_THREADS")],
                "commits": commits,
                "folders": [_contents(folder, _files(folder)) for folder in dict.fromkeys(map(Path.resolve, folders))],
            }

    def count(self) -> int:
        """Return how many notebooks, from the first one on, are as a run that rested on the same left them.

        The last one is not among them: the report shows how the others compare with the reference.

        Raises:
            RecordError: as record.read_record.
        """
        if not (self.results / "record.json").exists() or not self._foundations:
            return 0
        from itemkit.record import git, read_record, without_data  # loads torch

        notes, left_out = read_record(self.results)["steps"], without_data(self.results)
        commit = git("rev-parse", "HEAD")
        for place, (notebook, values) in enumerate(self.steps[:-1]):
            note = notes.get(notebook.stem, {})
            same = note.get("commit") == commit and note.get("state") == self._state(notebook, values, note)
            if notebook.stem not in left_out and not same:
                return place
        return len(self.steps) - 1

    def mark(self, notebook: Path, values: dict) -> None:
        """Note what a notebook that has just been run rests on and made; not if the code has been changed meanwhile."""
        from itemkit.record import note_state, read_record  # loads torch

        note = read_record(self.results)["steps"].get(notebook.stem)
        if note is not None and self._foundations and _package() == self._code:
            note_state(self.results, notebook.stem, self._state(notebook, values, note))

    def _state(self, notebook: Path, values: dict, note: dict) -> str:
        """A name of what a notebook says, of all that it rests on, of its note, and of all that it made."""
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = [cell["source"] for cell in cells]  # and not what they showed to whoever saved it last
        own = [f"tables/{notebook.name[:2]}_*", f"figures/{notebook.name[:2]}_*", f"notebooks/{notebook.name}"]
        made = {path for pattern in [*own, *ALSO_MADE.get(notebook.stem, [])] for path in self.results.glob(pattern)}
        made |= {self.results / name for name in note.get("made", ())}
        said = {name: value for name, value in note.items() if name != "state"}
        scores = _contents(notebook.parent, (notebook.parent / table for table in values.get("others", ())))
        return digest([sources, values, scores, self._code, self._foundations, said, _contents(self.results, made)])


def _package() -> str:
    """A name of itemkit's code, as it stands now."""
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


def _contents(root: Path, files: Iterable[Path]) -> str:
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
