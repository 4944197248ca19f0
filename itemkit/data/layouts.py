"""Read a data set in wide, long or folder layout, whole or its first rows: pictures, and what is known of each."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import datasets
import pandas as pd
from pyarrow import ArrowInvalid

from itemkit.data.cards import SPLITS, TRUTH_COLUMNS, Card
from itemkit.data.choices import check_names
from itemkit.data.hub import HubError, explained, fetch, is_commit, local_folder
from itemkit.data.images import UnreadableImage, encoded_bytes, image_id, middle_frame
from itemkit.data.labels import generator_names, generator_of, part_splits, split_of
from itemkit.data.stream import first_rows

STREAM = 1  # raise it when first_rows changes its result: the library cannot see that and would keep the old one

Rows = tuple[datasets.Dataset, pd.DataFrame]  # image; label, generator, content_id, split of each


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
    with _damage_named(where):
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
    except (datasets.exceptions.DatasetsError, ArrowInvalid) as error:
        cause = error.__cause__ or error
        if type(cause) in (ValueError, HubError):  # our own, from inside a stream
            raise cause from None
        raise ValueError(
            f"{where} cannot be read ({cause}); if a file is cut short, remove it and run again"
        ) from error


def _read_stream(card: Card, generators: list[str], limit: int) -> Rows:
    """The first rows, read over the network once and kept: a later call with the same arguments asks nobody."""
    names = ["generator", "content_id", "split"]
    features = {"image": datasets.Image(decode=False)} | dict.fromkeys(names, datasets.Value("string"))
    sources = ("real", *generators)  # no list, which would be divided among several calls
    settings = {"card": card, "sources": sources, "limit": limit, "version": STREAM, "files": _state(card)}
    rows = datasets.Dataset.from_generator(_stream, features=datasets.Features(features), gen_kwargs=settings)
    return rows.select_columns("image"), _labelled(rows.select_columns(names).to_pandas())


def _state(card: Card) -> str:
    """What changes when a file of a local data set does; one of the hub is pinned."""
    files = sorted(file for file in card.folder.rglob("*") if file.is_file()) if card.is_local else []
    return repr([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _stream(card: Card, sources: tuple[str, ...], limit: int, version: int, files: str) -> Iterator[dict]:
    place, revision = (str(card.folder), None) if card.is_local else (card.repo, card.revision)
    print(f"reading the first {limit} of each split: {card.summary}", flush=True)
    with explained(card.repo, "dataset", card.revision):
        parts = datasets.load_dataset(place, card.configuration, revision=revision, streaming=True)
        yield from first_rows(parts, card, sources, limit)


def _read_tables(card: Card) -> Rows:
    """A long or wide data set; its parts are the splits if it has several and no column says otherwise."""
    if card.is_local:  # the library's own key of a folder may lack its place and its files' content
        folder, key = card.folder, sha256(_state(card).encode()).hexdigest()[:16]
        cache = Path(datasets.config.HF_DATASETS_CACHE, "local", key)
    else:
        cache = None
        if not _is_here(card):
            print(f"fetching {card.summary}", flush=True)
        folder = fetch(card.repo, card.revision, "dataset")
    parts = datasets.load_dataset(str(folder), card.configuration, cache_dir=cache and str(cache))
    read, splits = _read_wide if card.layout == "wide" else _read_long, part_splits(card, list(parts))
    rows = [one for name, part in parts.items() for one in read(card, part, splits.get(name))]
    images, facts = zip(*rows, strict=True)
    return datasets.concatenate_datasets(images), pd.concat(facts, ignore_index=True)


def _read_long(card: Card, part: datasets.Dataset, split: str | None) -> list[Rows]:
    """One row for each image."""
    images = _images(card, part, card.columns["image"])
    facts = _facts(card, part, images, split)
    names = generator_names(card, part.features.get(card.columns["generator"]))
    values = facts["generator"].tolist()
    labels = facts["label"].tolist() if "label" in facts else [None] * len(values)
    sources = [generator_of(card, names, value, label) for value, label in zip(values, labels, strict=True)]
    unknown = [value for value, source in zip(values, sources, strict=True) if source is None]
    check_names(f"value of card {card.name} for a generator:", unknown, names)
    return [(images, _labelled(facts.assign(generator=sources)))]


def _read_wide(card: Card, part: datasets.Dataset, split: str | None) -> list[Rows]:
    """One column for the real images and one for each generator."""
    columns = {name: _images(card, part, column) for name, column in card.values.items()}
    facts = _facts(card, part, columns["real"], split)
    return [(images, _labelled(facts.assign(generator=name))) for name, images in columns.items()]


def _read_folder(card: Card, generators: list[str]) -> Rows:
    """A folder real/ and one for each generator; metadata.csv may give content_id and split of some files."""
    root = card.folder
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    sources = {name: folder for name, folder in card.values.items() if name in ("real", *generators)}
    check_names(f"folder of card {card.name}:", sources.values(), folders)
    files = [
        (file, name)
        for name, folder in sources.items()
        for file in sorted((root / folder).rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    ]
    facts = pd.DataFrame(
        {"generator": [name for _, name in files], "content_id": [file.stem for file, _ in files]},
        index=[file.relative_to(root).as_posix() for file, _ in files],
    )
    said = pd.DataFrame(columns=["content_id", "split"], dtype=str)
    if (root / "metadata.csv").is_file():
        said = pd.read_csv(root / "metadata.csv", dtype=str).set_index("file_name").reindex(columns=said.columns)
        said = said.astype(str)  # a column that is not there would be one of numbers
        others = [file for file in said.index if file.split("/")[0] not in sources.values()]
        check_names(f"file of {root / 'metadata.csv'}:", said.index.drop(others), facts.index)
    facts["content_id"] = said["content_id"].reindex(facts.index).fillna(facts["content_id"])
    facts["split"] = said["split"].reindex(facts.index).fillna(facts["content_id"].map(split_of))
    check_names(f"split of {root / 'metadata.csv'}:", facts["split"].unique(), SPLITS)
    column = datasets.Features({"image": datasets.Image(decode=False)})
    images = datasets.Dataset.from_dict({"image": [str(file) for file, _ in files]}, features=column)
    return images, _labelled(facts)


def _images(card: Card, part: datasets.Dataset, column: str) -> datasets.Dataset:
    check_names(f"column of card {card.name}:", [column], part.column_names)
    images = part.select_columns([column]).rename_columns({column: "image"})
    kind = datasets.Video if isinstance(part.features[column], datasets.Video) else datasets.Image
    return images.cast_column("image", kind(decode=False))


def identified(card: Card, images: datasets.Dataset) -> datasets.Dataset:
    """Return the images with their ids; of clips, the frame in the middle. The library keeps both for files it knows."""
    if card.video:
        features = datasets.Features({"image": datasets.Image(decode=False)})
        images = images.map(_middle_frame, features=features, desc="middle frames")
    return images.map(_identify, desc="image ids")


def _middle_frame(row: dict) -> dict:
    clip = encoded_bytes(row["image"])
    try:
        return {"image": {"bytes": middle_frame(clip), "path": None}}
    except UnreadableImage:
        return {"image": {"bytes": clip, "path": None}}  # no image either: its row stays, as unreadable


def _identify(row: dict) -> dict:
    return {"image_id": image_id(encoded_bytes(row["image"]))}


def _facts(card: Card, part: datasets.Dataset, images: datasets.Dataset, split: str | None) -> pd.DataFrame:
    """The columns of one part that are no images, under our names; `split` is what part_splits says of it."""
    columns = {theirs: ours for ours, theirs in card.columns.items() if ours != "image"}
    check_names(f"column of card {card.name}:", columns, part.column_names)
    facts = part.select_columns(list(columns)).to_pandas().rename(columns=columns)
    contents = facts["content_id"].astype(str) if card.has_contents else identified(card, images)["image_id"][:]
    facts["content_id"] = contents
    if "split" not in facts:
        return facts.assign(split=[split_of(content, split) for content in facts["content_id"]])
    ours = {card.splits.get(name, name): name for name in SPLITS}
    check_names(f"split of card {card.name}:", facts["split"].unique(), ours)
    return facts.assign(split=facts["split"].map(ours))


def _labelled(facts: pd.DataFrame) -> pd.DataFrame:
    names = ["label", "generator", "content_id", "split", *(name for name in TRUTH_COLUMNS if name in facts)]
    return facts.assign(label=facts["generator"].ne("real").astype(int))[names]
