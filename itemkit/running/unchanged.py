"""Which notebooks a run leaves as they are: nothing that they rest on has changed, and all that they made is there."""

import json
import os
import platform
import re
import site
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path

from itemkit.data.cards import Card, read_card
from itemkit.data.files import checksum, is_hidden
from itemkit.data.hub import resolve_revision
from itemkit.network import spacy_folder
from itemkit.running.needs import NETWORKS
from itemkit.store import digest

PACKAGE = Path(__file__).resolve().parents[1]
BESIDE = ("**/*.py", "matplotlibrc")  # the notebooks, which their cells may use
ALSO_MADE = {"03_train": ["heads/**/*"], "04_cross_generator": ["detector/*", "verdict.txt"]}  # besides what notes name
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")  # on which last digits may hang
READ_NEVERTHELESS = ".huggingface.yaml"  # hidden, but the library `datasets` asks it
LARGE = 10**9  # bytes, which take a second or two


class Unchanged:
    """What the notebooks of a run rest on when it begins, and by it which of them would make the same again.

    Files go by what is in them, hub ids by their commit, libraries by their version.

    Args:
        results: the folder of results.
        steps: the notebooks of the run in order, each with its values.
        values: those of all of them together; paths are seen from the working directory, the notebooks' folder.

    Raises:
        FileNotFoundError, ValueError: the card cannot be read, or the folder that it names is not there.
    """

    def __init__(self, results: Path, steps: list[tuple[Path, dict]], values: dict) -> None:
        self._results, self._steps, self._place = results, steps, steps[0][0].parent
        self._tables, card = values.get("others", ()), read_card(values["card"])
        self._folders = _folders(card, values)
        names = [_commits(card, values), _libraries(), _machine(values["device"])]
        files = self._files()
        self._before = _stamps(files)
        if (size := sum(size for size, _ in self._before.values())) > LARGE:
            print(f"looking for changes in {len(files)} files of {size / 1e9:.1f} GB", flush=True)
        with ThreadPoolExecutor() as pool:
            self._contents = dict(zip(files, pool.map(_content, files.values()), strict=True))
        common = {name: content for name, content in self._contents.items() if not name.startswith(("cells", "scores"))}
        self._foundations = digest([names, common])

    def count(self) -> int:
        """Return how many notebooks, from the first one on, are as a run that rested on the same left them.

        The last one is not among them: the report shows how the others compare with the reference.

        Raises:
            RecordError: as record.read_record.
        """
        if not (self._results / "record.json").exists():
            return 0
        from itemkit.record import git, read_record, without_data  # takes seconds

        notes, left_out = read_record(self._results)["steps"], without_data(self._results)
        commit = git("rev-parse", "HEAD")
        for place, (notebook, values) in enumerate(self._steps[:-1]):
            note = notes.get(notebook.stem, {})
            same = note.get("commit") == commit and note.get("state") == self._state(notebook, values, note)
            if notebook.stem not in left_out and not same:
                return place
        return len(self._steps) - 1

    def mark(self, notebook: Path, values: dict) -> None:
        """Note what a notebook that has just been run rests on and made; not if a file of the former has changed since."""
        from itemkit.record import note_state, read_record  # takes seconds

        note = read_record(self._results)["steps"].get(notebook.stem)
        if changed := sorted(dict(self._before.items() ^ _stamps(self._files()).items())):
            _, _, first = changed[0].partition(" ")
            print(f"  {first} was changed while this ran; the next run does it again", flush=True)
        elif note:
            note_state(self._results, notebook.stem, self._state(notebook, values, note))

    def _files(self) -> dict[str, Path]:
        """All files that the run rests on, by names that do not tell where the project stands."""
        found = {}
        for place, folder in enumerate(self._folders):
            found |= {f"{place} {path.relative_to(folder)}": path for path in _below(folder)}
        found |= {f"cells {notebook.name}": notebook for notebook, _ in self._steps}
        found |= {f"scores {table}": self._place / table for table in self._tables}
        for path in (path for pattern in BESIDE for path in self._place.glob(pattern)):
            found[f"beside {path.relative_to(self._place)}"] = path
        return {os.fsencode(name).decode(errors="backslashreplace"): path for name, path in found.items()}

    def _state(self, notebook: Path, values: dict, note: dict) -> str:
        """A name of all that a notebook says and rests on, of its note, and of all that it made."""
        made = made_by(self._results, notebook.stem, note)
        made = {str(path.relative_to(self._results)): _content(path) for path in made}
        said = {name: value for name, value in note.items() if name != "state"}
        sources = [f"cells {notebook.name}", *(f"scores {table}" for table in values.get("others", ()))]
        all_of_it = [[self._contents[name] for name in sources], values, self._foundations, said, made]
        return digest(json.dumps(all_of_it, sort_keys=True))  # as text, since a fact may be NaN


def made_by(results: Path, step: str, note: dict) -> set[Path]:
    """Return the files that a notebook left in a folder of results.

    Args:
        results: the folder.
        step: the notebook's name.
        note: its note, as record.read_record returns it.
    """
    own = [f"tables/{step[:2]}_*", f"figures/{step[:2]}_*", f"notebooks/{step}.ipynb", *ALSO_MADE.get(step, [])]
    found = {path for pattern in own for path in results.glob(pattern) if path.is_file()}
    return found | {results / name for name in note.get("made", ())}


def _folders(card: Card, values: dict) -> list[Path]:
    """Where the code, the card, its data and the networks lie, without those that lie in another one."""
    named = [PACKAGE, card.path, *([card.folder] if card.is_local else []), spacy_folder(values["nouns"])]
    folders = list(dict.fromkeys(Path(name).resolve() for name in [*named, *(values[role] for role in NETWORKS)]))
    return [folder for folder in folders if not set(folders) & set(folder.parents)]


def _commits(card: Card, values: dict) -> list[str | None]:
    """Of the networks and the data set, where they come from a hub."""
    networks = [resolve_revision(values[role], values[f"{role}_revision"], values["cache"]) for role in NETWORKS]
    return [*networks, None if card.is_local else resolve_revision(card.repo, card.commit, values["cache"], "dataset")]


def _libraries() -> list[str]:
    """Without those inside a library, which may add a folder of its own to sys.path once it is imported, as Ray does."""
    installed = {Path(place) for place in [*site.getsitepackages(), site.getusersitepackages()]}
    places = [place for place in sys.path if not installed & set(Path(place).parents)]
    return sorted({f"{found.name} {found.version}" for found in distributions(path=places)})


def _machine(device: str) -> list:
    """What last digits may hang on."""
    known = Path("/proc/cpuinfo")
    processor = re.findall(r"^(?:model name|flags)\b.*", known.read_text() if known.exists() else "", re.MULTILINE)[:2]
    if device.startswith("cuda"):
        from torch.cuda import get_device_name

        processor.append(get_device_name(device))
    return [sys.version, platform.machine(), *processor, os.cpu_count(), *map(os.environ.get, VARIABLES)]


def _stamps(files: dict[str, Path]) -> dict[str, tuple[int, int]]:
    """Size and time of each file; of one that is not there, none."""
    found = {name: path.stat() for name, path in files.items() if path.exists()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones; links are followed, each folder once."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        if (real := os.path.realpath(place)) in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in names if not is_hidden(name) or name == READ_NEVERTHELESS)


def _content(path: Path) -> str | None:
    """A name of what is in a file, of a notebook what its cells say; None of what is no file or cannot be read."""
    try:
        if not path.is_file():
            return None
        if path.suffix == ".ipynb":  # what it showed to whoever saved it last does not matter
            return digest([cell["source"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]])
        return checksum(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
