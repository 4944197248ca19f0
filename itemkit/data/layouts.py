"""Read a data set in wide, long or folder layout, whole or its first rows: pictures, and what is known of each."""

import glob
import json
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path

import datasets
import pandas as pd
import pyarrow.compute as pc
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
from pyarrow import ArrowInvalid

from itemkit.data.cards import REQUIRED_COLUMNS, SPLITS, TRUTH_COLUMNS, Card
from itemkit.data.choices import check_names
from itemkit.data.files import check_seals, is_hidden, seal, whole
from itemkit.data.hub import HubError, explained, fetch, is_commit, local_folder
from itemkit.data.images import UnreadableImage, encoded_bytes, image_id, middle_frame
from itemkit.data.labels import (
    check_kinds,
    class_names,
    generator_names,
    generator_of,
    is_empty,
    label_values,
    part_splits,
    split_of,
)
from itemkit.data.places import check_data_files, members_as_bytes, placed
from itemkit.data.stream import first_rows
from itemkit.data.tables import opened, text_columns

STREAM = 4  # raise it when first_rows changes its result: the library cannot see that and would keep the old one

Rows = tuple[datasets.Dataset, pd.DataFrame]  # image; label, generator, content_id, split of each


class NotAmongTheRows(UserWarning):
    """Told of pictures that a table need not name: previews, or those of another configuration."""


def read_rows(card: Card, generators: list[str], limit: int | None) -> Rows:
    """Return every picture of a card, or where it is streamed the first of each source, and what is known of each.

    Args:
        card: of the hub as data.pin returns it.
        generators: names of the card; a folder of another one need not be there.
        limit: content ids of each split; matters only to a card that is streamed.

    Returns:
        image ({"bytes", "path"}, undecoded); label, generator, content_id, split and what the card names of TRUTH_COLUMNS.

    Raises:
        FileNotFoundError, HubError, ValueError: as data.load_images.
    """
    where = f"card {card.name}: {card.folder if card.is_local else card.repo}"
    if not card.is_local and not is_commit(card.revision):
        raise ValueError(f"{where} has revision {card.revision!r}; pin(card, cache) looks up the newest and keeps it")
    if card.streamed and limit is None:
        raise ValueError(f"{where} is too large to be downloaded; give a limit, e.g. 100, and no more is read")
    with _damage_named(where), members_as_bytes():
        if card.layout == "folder":
            return _read_folder(card, generators)
        if card.is_streamed(limit) and (card.streamed or not _is_here(card)):
            return _read_stream(card, generators, limit)
        return _read_tables(card)


def _is_here(card: Card) -> bool:
    return card.is_local or local_folder(card.repo, card.revision, "dataset") is not None


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Say what is wrong with files in a sentence that names them; what the library raises names a place in its cache."""
    try:
        yield
    except (datasets.exceptions.DatasetsError, datasets.data_files.EmptyDatasetError, ArrowInvalid) as error:
        cause = error.__cause__ or error
        if isinstance(cause, HubError) or str(cause).startswith(("card ", "unknown ")):  # our own, from inside a stream
            raise cause from None
        remedy = (
            "remove a file that is cut short, unpack archives, or say in `configs` of its README.md what is to be read"
        )
        if isinstance(cause, UnicodeDecodeError):
            remedy = "save its tables as UTF-8"
        if isinstance(error, FileNotFoundError):
            remedy = "correct `configs` of its README.md, or put the files there"
        raise ValueError(f"{where} cannot be read ({' '.join(str(cause).split())}); {remedy}") from error


def _read_stream(card: Card, generators: list[str], limit: int) -> Rows:
    """The first rows, read over the network once and kept: a later call with the same arguments asks nobody."""
    names = ["generator", "content_id", "split"]
    features = {"image": datasets.Image(decode=False)} | dict.fromkeys(names, datasets.Value("string"))
    sources = ("real", *generators)  # no list, which would be divided among several calls
    settings = {"card": card, "sources": sources, "limit": limit, "version": STREAM, "files": _sizes_and_times(card)}
    place = place_of(settings)
    options = {"cache_dir": str(place), "features": datasets.Features(features)}
    with _told_again(place / "told.json"):
        rows = kept(datasets.Dataset.from_generator(_stream, gen_kwargs=settings, **options))
    return rows.select_columns("image"), _labelled(rows.select_columns(names).to_pandas())


@contextmanager
def _told_again(record: Path) -> Iterator[None]:
    """Give the warnings of the first time inside again, each time that the library has kept what was made then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    if told := [str(one.message) for one in caught if one.category is UserWarning]:
        with whole(record) as part:
            part.write_text(json.dumps(told), encoding="utf-8")
        seal([record])
    for text in json.loads(record.read_text(encoding="utf-8")) if record.is_file() else ():
        warnings.warn(text, stacklevel=4)


def place_of(made_of: object) -> Path:
    """Return the folder where the library keeps what it makes of this, after a look at the seals of what is there.

    Args:
        made_of: all that the result depends on; the library's own key may lack a folder's place and content.
    """
    place = Path(datasets.config.HF_DATASETS_CACHE, "itemkit", sha256(repr(made_of).encode()).hexdigest()[:16])
    check_seals(place)
    return place


def kept(images: datasets.Dataset) -> datasets.Dataset:
    """Return what the library has made, with a seal on each file of its cache, by which the next run knows it."""
    files = {Path(file["filename"]) for file in images.cache_files}
    described = {file.with_name("dataset_info.json") for file in files}
    seal(sorted(files | {file for file in described if file.is_file()}))
    return images


def _sizes_and_times(card: Card) -> str:
    """What changes when a file of a local data set does; one of the hub is pinned."""
    files = data_files(card.folder) if card.is_local else []
    return repr([(str(file), *_size_and_time(file)) for file in files])


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:  # a link to what is gone: whoever reads it will say so
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _stream(card: Card, sources: tuple[str, ...], limit: int, version: int, files: str) -> Iterator[dict]:
    place, revision = (str(card.folder), None) if card.is_local else (card.repo, card.revision)
    check_data_files(card, card.folder if card.is_local else None)
    print(f"reading the first {limit} of each split: {card.summary}", flush=True)
    with nullcontext() if card.is_local else explained(card.repo, "dataset", card.revision):
        yield from first_rows(opened(card, place, revision=revision, streaming=True), card, sources, limit)


def _read_tables(card: Card) -> Rows:
    """A long or wide data set; its parts are the splits if it has several and no column says otherwise."""
    if card.is_local:
        folder, made_of = card.folder, (_sizes_and_times(card), text_columns(card))
    else:
        folder = _fetched(card)
        made_of = (card.repo, card.revision, text_columns(card))
    check_data_files(card, folder)
    cache = place_of(made_of)
    if card.is_local and glob.has_magic(str(folder)):
        folder = _linked(folder, cache / "files")
    parts = opened(card, str(folder), cache_dir=str(cache))
    read, splits = _read_wide if card.layout == "wide" else _read_long, part_splits(card, list(parts))
    rows = [one for name, part in parts.items() for one in read(card, kept(part), splits.get(name), folder)]
    parts, facts = zip(*rows, strict=True)
    images = datasets.concatenate_datasets(parts)
    if card.is_local:
        _warn_of_files_left_out(card, images)
    return images, pd.concat(facts, ignore_index=True)


def _fetched(card: Card) -> Path:
    if not _is_here(card):
        print(f"fetching {card.summary}", flush=True)
    return fetch(card.repo, card.revision, "dataset")


def _warn_of_files_left_out(card: Card, images: datasets.Dataset) -> None:
    """Tell of pictures that lie beside those that a table names, and are in no row that was read."""
    named = set()
    for chunk in images.data.column("image").chunks:  # not a byte of a picture is read
        paths = pc.struct_field(chunk, "path").filter(pc.is_null(pc.struct_field(chunk, "bytes"))).to_pylist()
        named.update(path for path in paths if path and "\0" not in path)
    folders = sorted({os.path.dirname(path) for path in named})
    beside = [os.path.join(folder, name) for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
    left = [path for path in beside if path not in named and _is_picture(Path(path))]
    real = set(map(os.path.realpath, named)) if left else set()  # either may be a link
    if left := sorted(path for path in left if os.path.realpath(path) not in real):
        warnings.warn(
            f"card {card.name}: {len(left)} pictures beside those that its rows name are in none of the rows that were read, "
            f"such as {os.path.realpath(left[0])}; they are left out",
            NotAmongTheRows,
            stacklevel=2,
        )


def _is_picture(file: Path) -> bool:
    return not is_hidden(file.name) and file.suffix.lower() in ImageFolder.EXTENSIONS


def _linked(folder: Path, place: Path) -> Path:
    """A folder of links to the files of another one, in whose path the library would take brackets for a pattern."""
    for file in data_files(folder):
        link = place / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(file)
    return place


def _read_long(card: Card, part: datasets.Dataset, split: str | None, folder: Path) -> list[Rows]:
    """One row for each image."""
    images = _images(card, part, card.columns["image"], folder)
    facts = _facts(card, part, images, split)
    names = generator_names(card, part.features.get(card.columns["generator"]))
    values = facts["generator"].where(facts["generator"].notna(), None).tolist()
    labels = [None] * len(values)
    if "label" in facts:
        labels = label_values(card, part.features[card.columns["label"]], facts["label"].tolist())
    sources = [generator_of(card, names, value, label) for value, label in zip(values, labels, strict=True)]
    if unknown := [value for value, source in zip(values, sources, strict=True) if source is None]:
        told = dict(enumerate(class_names(part.features[card.columns["generator"]])))
        known = dict.fromkeys(told.get(value, value) for value in card.values.values())
        check_names(f"value of card {card.name} for a generator:", [told.get(unknown[0], unknown[0])], known)
    return [(images, _labelled(facts.assign(generator=sources)))]


def _read_wide(card: Card, part: datasets.Dataset, split: str | None, folder: Path) -> list[Rows]:
    """One column for the real images and one for each generator."""
    columns = {name: _images(card, part, column, folder) for name, column in card.values.items()}
    facts = _facts(card, part, columns["real"], split)
    return [(images, _labelled(facts.assign(generator=name))) for name, images in columns.items()]


def _read_folder(card: Card, generators: list[str]) -> Rows:
    """A folder real/ and one for each generator; metadata.csv may give content_id and split of some files."""
    root = card.folder if card.is_local else _fetched(card)
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    sources = {name: str(folder) for name, folder in card.values.items() if name in ("real", *generators)}
    check_names(f"folder of card {card.name}:", sources.values(), folders)
    seen = {}
    for folder in sources.values():
        if (first := seen.setdefault(os.path.realpath(root / folder), folder)) != folder:
            raise ValueError(f"card {card.name}: folder {folder} is {first} once more, by a link; take one of them out")
    files = [(file, name) for name, folder in sources.items() for file in picture_files(root / folder)]
    if empty := [folder for name, folder in sources.items() if name not in {name for _, name in files}]:
        raise ValueError(
            f"folder {root / empty[0]} holds no files; put pictures into it, or take it out of card {card.name}"
        )
    names = pd.DataFrame(
        [
            (name, _name(Path(file.stem)), _name(file.relative_to(root / sources[name]).with_suffix("")))
            for file, name in files
        ],
        columns=["generator", "stem", "path"],
        index=[_name(file.relative_to(root)) for file, _ in files],
    )
    # A name that stands in two folders of one source, as cat/0 and dog/0, is no content by itself.
    several = names.groupby(["generator", "stem"])["path"].nunique().gt(1).any()
    facts = names[["generator"]].assign(content_id=names["path" if several else "stem"])
    others = {str(folder) for folder in [*card.values.values(), *folders]} - set(sources.values())
    said = _read_metadata(root / "metadata.csv", facts.index, others)
    facts["content_id"] = said["content_id"].reindex(facts.index).fillna(facts["content_id"])
    facts["split"] = said["split"].reindex(facts.index).fillna(facts["content_id"].map(split_of))
    check_names(f"split of {root / 'metadata.csv'}:", facts["split"].unique(), SPLITS)
    column = datasets.Features({"image": datasets.Image(decode=False)})
    images = datasets.Dataset.from_dict({"image": [str(file) for file, _ in files]}, features=column)
    return images, _labelled(facts)


def data_files(folder: Path) -> list[Path]:
    """The files of a data set: those that picture_files names, and the library's own hidden one."""
    return [*picture_files(folder), *folder.glob(datasets.config.REPOYAML_FILENAME)]


def picture_files(folder: Path) -> list[Path]:
    """The files below a folder, in order, through links, without what systems and Jupyter hide beside pictures.

    A folder that is there twice, by a link, counts once, and is told of.

    Raises:
        ValueError: a folder that cannot be read, or a name that is no UTF-8.
    """
    found, seen = [], {os.path.realpath(folder): folder}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        inside = {name: Path(place, name) for name in sorted(folders) if not is_hidden(name)}
        folders[:] = inside
        for name, path in inside.items():
            if (first := seen.setdefault(os.path.realpath(path), path)) != path:
                warnings.warn(f"{path} is {first} once more, by a link; its files count once", stacklevel=2)
                folders.remove(name)
        for name in names:
            if not is_hidden(name):
                try:
                    name.encode()
                except UnicodeEncodeError:
                    raise ValueError(
                        f"the name of {os.fsencode(os.path.join(place, name))!r} is no UTF-8; rename it"
                    ) from None
                found.append(Path(place, name))
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise ValueError(f"folder {error.filename} cannot be read ({error.strerror}); make it readable, or move it away")


def _name(path: Path) -> str:
    return unicodedata.normalize("NFC", path.as_posix())


def _read_metadata(path: Path, files: pd.Index, others: set[str]) -> pd.DataFrame:
    """What metadata.csv says of files: content_id and split by file name; of those in `others` it may speak, too."""
    columns = ["content_id", "split"]
    if not path.is_file():
        return pd.DataFrame(columns=columns, dtype=str)
    try:
        with warnings.catch_warnings():  # index_col=False: a comma at the end of each line would move all columns
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False, index_col=False)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path} is no table in UTF-8, separated by commas, with as many cells in each line as in the first "
            f"({' '.join(str(error).split())})"
        ) from None
    table.columns = table.columns.str.strip()
    near = {re.sub("[^a-z]", "", name): name for name in ("file_name", *columns)}
    for name in table:
        if (meant := near.get(re.sub("[^a-z]", "", name.lower()).removesuffix("s"))) and meant != name:
            raise ValueError(f"{path} has a column {name!r}; if it is {meant}, write it so, else call it otherwise")
    if twice := table.columns[table.columns.duplicated()].tolist():
        raise ValueError(f"{path} has two columns {twice[0]!r}; remove one of them")
    if "file_name" not in table:
        raise ValueError(f"{path} has no column file_name, separated by commas; its first line is {', '.join(table)!r}")
    named = table["file_name"].str.replace("\\", "/").str.removeprefix("./").map(lambda name: _name(Path(name)))
    named = named.where(named.isin(files), named.str.strip())
    for line, (name, twice) in enumerate(zip(named, named.duplicated(), strict=True), start=2):
        if twice:
            raise ValueError(f"{path}, line {line}: {name!r} stands there twice; remove one of the lines")
        if name not in files and name.split("/")[0] not in others:
            raise ValueError(
                f"{path}, line {line}: there is no file {name!r}; write it as seen from that folder, as real/a.png"
            )
    said = table.set_index(named).reindex(columns=columns, fill_value="")
    return said.apply(lambda cells: cells.str.strip()).replace("", None)  # an empty cell says nothing


def _images(card: Card, part: datasets.Dataset, column: str, folder: Path) -> datasets.Dataset:
    _check_columns(card, part, [column])
    if isinstance(part.features[column], dict) and "bytes" not in part.features[column]:
        raise ValueError(f"card {card.name}: column {column!r} holds {part.features[column]}; expected bytes and path")
    images = part.select_columns([column]).rename_columns({column: "image"})
    kind = datasets.Video if isinstance(part.features[column], datasets.Video) else datasets.Image
    try:
        images = images.cast_column("image", kind(decode=False))
    except (NotImplementedError, TypeError):  # of numbers, and of lists
        raise ValueError(
            f"card {card.name}: column {column!r} holds {part.features[column]}; expected pictures, or their paths"
        ) from None
    return kept(placed(card, images, folder))


def _check_columns(card: Card, part: datasets.Dataset, columns: Iterable[str]) -> None:
    try:
        check_names(f"column of card {card.name}:", columns, part.column_names)
    except ValueError as error:  # of several kinds of files, as tables beside pictures, the library chooses one
        there = "; if another file has it, name that one in `configs` of the README.md there" * card.is_local
        raise ValueError(f"{error}{there}") from None


def identified(card: Card, images: datasets.Dataset) -> datasets.Dataset:
    """Return the images with their ids; of clips, the frame in the middle. The library keeps both for files it knows."""
    if card.video:
        features = datasets.Features({"image": datasets.Image(decode=False)})
        images = kept(images.map(_middle_frame, features=features, desc="middle frames"))
    return kept(images.map(_identify, desc="image ids"))


def _middle_frame(row: dict) -> dict:
    try:
        clip = encoded_bytes(row["image"])
    except UnreadableImage:
        return {}
    try:
        return {"image": {"bytes": middle_frame(clip), "path": None}}
    except UnreadableImage:
        return {"image": {"bytes": clip, "path": None}}  # no image either: its row stays, as unreadable


def _identify(row: dict) -> dict:
    try:
        return {"image_id": image_id(encoded_bytes(row["image"]))}
    except UnreadableImage as error:  # its file is not there: its row stays, under the id of what is said of it
        return {"image_id": image_id(str(error).encode())}


def _facts(card: Card, part: datasets.Dataset, images: datasets.Dataset, split: str | None) -> pd.DataFrame:
    """The columns of one part that are no images, under our names; `split` is what part_splits says of it."""
    columns = {ours: theirs for ours, theirs in card.columns.items() if ours != "image"}
    _check_columns(card, part, columns.values())
    check_kinds(card, part.features)
    table = part.select_columns(list(dict.fromkeys(columns.values()))).to_pandas()
    facts = pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items()})
    needed = ["content_id", "split", "label", *(["generator"] if "label" not in facts else [])]
    for name in (name for name in ("content_id", "split", "label", "generator") if name in facts):
        empty = facts[name].map(lambda value, name=name: is_empty(card, name, value)).astype(bool)
        if name in needed and empty.any():
            instead = f", or take {name} out of the card's columns" * (name not in REQUIRED_COLUMNS[card.layout])
            if name == "generator":
                instead = ", or give a column `label`, which tells"
            raise ValueError(
                f"card {card.name}: column {columns[name]!r} is empty in {empty.sum()} rows, first in row "
                f"{int(empty.to_numpy().argmax()) + 1}; fill it{instead}"
            )
    contents = facts["content_id"].astype(str) if card.has_contents else identified(card, images)["image_id"][:]
    facts["content_id"] = contents
    if "split" not in facts:
        return facts.assign(split=[split_of(content, split) for content in facts["content_id"]])
    told = class_names(part.features[columns["split"]])
    theirs = facts["split"].map(dict(enumerate(told)) if told else str)
    check_names(f"split of card {card.name}:", theirs.unique(), card.split_names)
    return facts.assign(split=theirs.map(card.split_names))


def _labelled(facts: pd.DataFrame) -> pd.DataFrame:
    names = ["label", "generator", "content_id", "split", *(name for name in TRUTH_COLUMNS if name in facts)]
    return facts.assign(label=facts["generator"].ne("real").astype(int))[names]
