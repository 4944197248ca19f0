"""Read and check a data card: what code knows of a data set stands there and nowhere else."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from itemkit.data.choices import OnceLoader, check_names
from itemkit.data.hub import is_commit

DATA_CARDS = Path(__file__).resolve().parents[2] / "data_cards"
SPLITS = ("train", "validation", "test")
SECTIONS = ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance")
REQUIRED_SECTIONS = {"long": SECTIONS, "wide": SECTIONS, "folder": ("Composition",)}  # by layout
REQUIRED_COLUMNS = {"long": ("image", "generator"), "wide": ("content_id",), "folder": ()}
TRUTH_COLUMNS = ("true_caption", "true_objects", "true_boxes")  # of a long data set; to check networks, never an input
OPTIONAL_COLUMNS = {"long": ("content_id", "split", "label", *TRUTH_COLUMNS), "wide": ("split",), "folder": ()}
KINDS = {  # of the entries of a card
    "repo": (str,),
    "revision": (str,),
    "layout": (str,),
    "generators": (list,),
    "columns": (dict,),
    "splits": (dict,),
    "real": (str, int, type(None)),
    "labels": (list,),
    "configuration": (str, type(None)),
    "pictures": (int, str),
    "gigabytes": (int, float, str),
    "streamed": (bool,),
    "video": (bool,),
    "unverified": (list,),
}
NAME = r"[^\s=+\-@./\\<>\[\]|`\x00-\x1f\x7f][^/\\<>\[\]|`\x00-\x1f\x7f]{0,99}"  # of a generator
# Names that other rows and columns of the tables have.
TAKEN = ("real", "elsewhere", "mean", "std", "minimum", "all", "arm", "object")
UNKNOWN = "unknown"  # what a card says where nobody has looked; the loader then says so, too


@dataclass(frozen=True)
class Card:
    """A data set, as its card describes it; data_cards/TEMPLATE.md explains each entry."""

    name: str
    path: Path  # the card's folder
    license: str
    repo: str
    revision: str  # "local", 40 hex digits, or "unknown"
    layout: str
    generators: dict[str, dict]  # our name -> family, year, value and whatever else the card says
    columns: dict[str, str] = field(default_factory=dict)  # our name -> the data set's
    splits: dict[str, str] = field(default_factory=dict)  # our name -> the data set's
    real: object = "real"  # what the data set calls its real images; None: only their label tells
    labels: list = field(default_factory=lambda: [0, 1])  # what the data set calls real and generated
    configuration: str | None = None  # of a hub data set that has several
    pictures: int | None = None  # in all; None where unknown, as for gigabytes
    gigabytes: float | None = None  # of the download
    streamed: bool = False  # too large to be downloaded as a whole: only with a limit
    video: bool = False  # the files are clips, and the frame in the middle of each is its picture
    unverified: list[str] = field(default_factory=list)  # what the card assumes and nobody has seen

    @property
    def values(self) -> dict[str, object]:
        """What the data set calls "real" and each generator: a value (long), a column (wide) or a folder."""
        real = {} if self.real is None else {"real": self.real}
        return real | {name: facts["value"] for name, facts in self.generators.items()}

    @property
    def split_names(self) -> dict[str, str]:
        """Our split for each of the data set's; one to which the card gives a name has that one only."""
        unnamed = {name: name for name in SPLITS if name not in self.splits}
        return unnamed | {theirs: ours for ours, theirs in self.splits.items()}

    @property
    def summary(self) -> str:
        """Where the data set is, how large, and under which licence, for a line before it is fetched."""
        size = "of unknown size" if self.gigabytes is None else f"{self.gigabytes:g} GB"
        place = "a folder here" if self.is_local else f"{self.repo}, {size}"
        return f"{place}, licence {self.license}"

    @property
    def has_contents(self) -> bool:
        """Whether pictures may share what they show; otherwise each is a content of its own."""
        return self.layout != "long" or "content_id" in self.columns

    @property
    def is_local(self) -> bool:
        """Whether `repo` is a folder, as seen from the card, and not a hub id."""
        return self.repo.startswith(".") or (self.path / self.repo).is_dir()

    @property
    def commit(self) -> str | None:
        """The revision that the card asks for; None for the newest."""
        return None if self.revision == UNKNOWN else self.revision

    @property
    def folder(self) -> Path:
        """Where a local data set lies.

        Raises:
            FileNotFoundError: it is not there; the message says where to read how to get it.
        """
        if not (folder := self.path / self.repo).is_dir():
            raise FileNotFoundError(
                f"card {self.name}: {folder} is not there; {self.path / 'README.md'} says how to get it"
            )
        return folder

    def is_streamed(self, limit: int | None) -> bool:
        """Whether only the first rows are read, over the network: always, or since `limit` asks for no more.

        In wide layout all pictures of a content lie in one row, so that its first rows are the first contents.
        """
        return self.streamed or (self.layout == "wide" and limit is not None and not self.is_local)


def read_card(path: str | Path) -> Card:
    """Read a data card.

    Args:
        path: the card's folder, its README.md, or a name under data_cards/.

    Raises:
        FileNotFoundError: no such card; the message lists those under data_cards/.
        ValueError: it lacks a licence, an entry or a section, or has an entry that nothing reads; each is named.
    """
    file = _find(path)
    try:
        document = DatasetCard.load(file)
        if found := REGEX_YAML_BLOCK.search(file.read_text(encoding="utf-8")):
            yaml.load(found[2], OnceLoader)
    except (ValueError, yaml.YAMLError) as error:  # its own message has no name
        raise ValueError(
            f"card {file} cannot be read ({' '.join(str(error).split())}); correct its first lines"
        ) from None
    front = document.data.to_dict()
    block = dict(front["itemkit"]) if isinstance(front.get("itemkit"), dict) else {}
    _check_kinds(file, block)
    if lacking := _lacking(front, block, document.text):
        raise ValueError(f"card {file} lacks {', '.join(lacking)}")
    known = set(Card.__dataclass_fields__) - {"name", "path", "license"}
    check_names(f"entry of itemkit in card {file}:", block, sorted(known))
    columns = REQUIRED_COLUMNS[block["layout"]] + OPTIONAL_COLUMNS[block["layout"]]
    check_names("entry of columns", block.get("columns", ()), columns)
    check_names("entry of splits", block.get("splits", ()), SPLITS)
    unknown = {"family": UNKNOWN, "year": UNKNOWN}
    # as a run's record has them, which is JSON; YAML takes 2022 for a number, and 2022-08-22 for a date
    generators = [json.loads(json.dumps(one, default=str)) | {"name": str(one["name"])} for one in block["generators"]]
    block["generators"] = {one["name"]: unknown | {"value": one["name"]} | one for one in generators}
    block |= {name: None for name in ("pictures", "gigabytes") if block.get(name) == UNKNOWN}
    license = front.get("license_name", "other") if front["license"] == "other" else front["license"]
    card = Card(name=file.parent.name, path=file.parent, license=str(license), **block)
    if card.is_local and card.revision != "local":
        raise ValueError(f"card {file} has revision {card.revision!r}; expected 'local', as {card.repo!r} is a folder")
    if not card.is_local and card.revision != UNKNOWN and not is_commit(card.revision):
        raise ValueError(
            f"card {file} has revision {card.revision!r}; expected 40 hex digits, as {card.repo!r} is no folder here, "
            f"or {UNKNOWN!r}: then the newest one is looked up once, and kept"
        )
    if card.layout != "long" and not isinstance(card.real, str):
        raise ValueError(
            f"card {file} has real {card.real!r}; expected the {card.layout} data set's name of real images"
        )
    if card.real is None and "label" not in card.columns:
        raise ValueError(
            f"card {file} has real null and no column `label`, which alone would tell its real images; add one"
        )
    if card.layout == "folder" and card.streamed and not card.is_local:
        raise ValueError(
            f"card {file} has layout folder and streamed true; folders are read whole: take `streamed` out"
        )
    if len(card.labels) != 2:
        raise ValueError(f"card {file} has labels {card.labels!r}; expected two: of real images, and of generated ones")
    return card


def _check_kinds(file: Path, block: dict) -> None:
    """Raise a ValueError that names the first entry of another kind than the card's template has it."""
    for name, kinds in KINDS.items():
        if name in block and (not isinstance(block[name], kinds) or isinstance(block[name], bool) > (bool in kinds)):
            expected = " or ".join(kind.__name__ for kind in kinds).replace("NoneType", "null")
            quoted = ", in quotes if it is a text" if isinstance(block[name], bool) and str in kinds else ""
            raise ValueError(f"card {file}: itemkit.{name} is {block[name]!r}; expected a {expected}{quoted}")
    for name in ("pictures", "gigabytes"):
        if isinstance(block.get(name), str) and block[name] != UNKNOWN:
            raise ValueError(f"card {file}: itemkit.{name} is {block[name]!r}; expected a number, or {UNKNOWN!r}")
    generators, real = block.get("generators", ()), block.get("real", "real")
    if odd := [one for one in generators if not isinstance(one, dict)]:
        raise ValueError(
            f"card {file}: a generator is {odd[0]!r}; expected lines such as {{name: sdxl, family: diffusion}}"
        )
    values = [one[name] for one in generators for name in ("name", "value") if name in one]
    if odd := [one for one in [*values, *block.get("labels", ())] if type(one) not in (str, int)]:
        written = ', in quotes if it is a text, as "no"; in a column of true and false, false is 0, and true is 1'
        raise ValueError(
            f"card {file}: a name or value of a generator, or a label, is {odd[0]!r}; expected a text or a number"
            + written * isinstance(odd[0], bool)  # YAML takes no, yes, off and on for these
        )
    names = [str(one["name"]) for one in generators if "name" in one]
    plain = [name.casefold() for name in names]
    if alike := [
        name for place, name in enumerate(names) if plain.index(name.casefold()) < place and name not in names[:place]
    ]:
        raise ValueError(
            f"card {file}: a generator is called {alike[0]!r} and another {names[plain.index(alike[0].casefold())]!r}; their names "
            "become those of folders, and must differ in more than upper case (`value` may say what the data call them)"
        )
    if odd := [name for name in names if not re.fullmatch(NAME, name)]:
        raise ValueError(
            f"card {file}: a generator is called {odd[0]!r}; its name becomes one of folders and of rows: expected it to begin "
            "with none of = + - @ . and to hold no / \\ < > [ ] | ` or control characters (`value` may say what the data call it)"
        )
    if taken := [name for name in names if name in TAKEN]:
        raise ValueError(
            f"card {file}: a generator is called {taken[0]!r}, as rows and columns of the tables are; call it otherwise (`value` "
            "may say what the data call it)"
        )
    said = [one.get("value", one.get("name")) for one in generators] + [real] * (real is not None)
    lists = {"name of a generator": names, "value of a generator, or of `real`": said, "label": block.get("labels", [])}
    lists["value of splits"] = list(block.get("splits", {}).values())
    for kind, ours in lists.items():
        if twice := [one for place, one in enumerate(ours) if str(one) in map(str, ours[:place])]:  # a folder 1 is "1"
            raise ValueError(f"card {file}: {twice[0]!r} stands there twice as {kind}; each says one thing only")
    entries = [(name, *pair) for name in ("columns", "splits") for pair in block.get(name, {}).items()]
    if odd := [one for one in entries if not isinstance(one[2], str)]:
        name, ours, theirs = odd[0]
        raise ValueError(
            f"card {file}: itemkit.{name}.{ours} is {theirs!r}; expected a name, in quotes if it is a number, yes or no"
        )


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
    lacking += [f"itemkit.generators: name in {one}" for one in block.get("generators", ()) if "name" not in one]
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
