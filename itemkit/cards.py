"""Read a data card: what code knows of a data set stands there and nowhere else."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import DatasetCard

DATA_CARDS = Path(__file__).resolve().parents[1] / "data_cards"
SPLITS = ("train", "validation", "test")
SECTIONS = ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance")
REQUIRED_SECTIONS = {"long": SECTIONS, "wide": SECTIONS, "folder": ("Composition",)}  # by layout
REQUIRED_COLUMNS = {"long": ("image", "generator", "content_id"), "wide": ("content_id",), "folder": ()}
OPTIONAL_COLUMNS = ("split", "label")
TRUTH_COLUMNS = ("true_caption", "true_objects", "true_boxes")  # of a long data set; to check networks, never an input


@dataclass(frozen=True)
class Card:
    """A data set, as its card describes it; data_cards/TEMPLATE.md explains each entry."""

    name: str
    path: Path  # the card's folder
    license: str
    repo: str
    revision: str
    layout: str
    generators: dict[str, dict]  # our name -> family, year, value and whatever else the card says
    columns: dict[str, str] = field(default_factory=dict)  # our name -> the data set's
    splits: dict[str, str] = field(default_factory=dict)  # our name -> the data set's
    real: object = "real"  # what the data set calls its real images

    @property
    def values(self) -> dict[str, object]:
        """What the data set calls "real" and each generator: a value (long), a column (wide) or a folder."""
        return {"real": self.real} | {name: facts["value"] for name, facts in self.generators.items()}

    @property
    def is_local(self) -> bool:
        """Whether `repo`, as seen from the card, is a folder on this machine and not a hub id."""
        return (self.path / self.repo).is_dir()


def read_card(path: str | Path) -> Card:
    """Read a data card.

    Args:
        path: the card's folder, its README.md, or a name under data_cards/.

    Raises:
        FileNotFoundError: no such card; the message lists those under data_cards/.
        ValueError: it lacks a licence, an entry or a section, or has an entry that nothing reads; each is named.
    """
    file = _find(path)
    document = DatasetCard.load(file)
    front = document.data.to_dict()
    block = dict(front.get("itemkit") or {})
    if lacking := _lacking(front, block, document.text):
        raise ValueError(f"card {file} lacks {', '.join(lacking)}")
    known = set(Card.__dataclass_fields__) - {"name", "path", "license"}
    check_names(f"entry of itemkit in card {file}:", block, sorted(known))
    columns = (
        REQUIRED_COLUMNS[block["layout"]] + OPTIONAL_COLUMNS + (TRUTH_COLUMNS if block["layout"] == "long" else ())
    )
    check_names("entry of columns", block.get("columns", ()), columns)
    check_names("entry of splits", block.get("splits", ()), SPLITS)
    unknown = {"family": "unknown", "year": "unknown"}
    block["generators"] = {one["name"]: unknown | {"value": one["name"]} | one for one in block["generators"]}
    card = Card(name=file.parent.name, path=file.parent, license=str(front["license"]), **block)
    if card.is_local and card.revision != "local":
        raise ValueError(f"card {file} has revision {card.revision!r}; expected 'local', as {card.repo!r} is a folder")
    if not card.is_local and not re.fullmatch("[0-9a-f]{40}", str(card.revision)):
        raise ValueError(
            f"card {file} has revision {card.revision!r}; expected 40 hex digits, as {card.repo!r} is no folder here"
        )
    return card


def check_names(kind: str, given: Iterable, known: Iterable) -> None:
    """Raise a ValueError that names the first unknown one of `given`, and all that are known."""
    known = list(known)
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"unknown {kind} {unknown[0]!r}; expected one of {', '.join(map(str, known))}")


def _find(path: str | Path) -> Path:
    for place in (Path(path), DATA_CARDS / path):
        file = place if place.name == "README.md" else place / "README.md"
        if file.is_file():
            return file.resolve()
    known = sorted(file.parent.name for file in DATA_CARDS.glob("*/README.md"))
    raise FileNotFoundError(f"no card {str(path)!r}; expected a folder with a README.md, or one of {', '.join(known)}")


def _lacking(front: dict, block: dict, text: str) -> list[str]:
    """What a card must have and has not: entries by their path, sections by their heading."""
    layout = block.get("layout")
    lacking = [] if front.get("license") else ["license"]
    lacking += [f"itemkit.{name}" for name in ("repo", "revision", "layout", "generators") if not block.get(name)]
    lacking += [f"itemkit.generators: name in {one}" for one in block.get("generators") or () if "name" not in one]
    if layout:
        check_names("layout", [layout], REQUIRED_COLUMNS)
        columns = block.get("columns", ())
        lacking += [f"itemkit.columns.{name}" for name in REQUIRED_COLUMNS[layout] if name not in columns]
    sections = REQUIRED_SECTIONS.get(layout, SECTIONS)
    return lacking + [f"section '{name}'" for name in sections if not _section(text, name)]


def _section(text: str, name: str) -> str:
    """The text under the heading "## name", up to the next heading; silence is no answer, so an empty one lacks."""
    found = re.search(rf"^## {name}[^\n]*\n(.*?)(?=^#|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""
