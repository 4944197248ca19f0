"""Read a card, and give its images in a fixed order, with label, generator, content id and split."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import datasets
import pandas as pd
from pyarrow import ArrowInvalid

from itemkit.cards import (
    SPLITS,
    TRUTH_COLUMNS,
    UNKNOWN,
    Card,
    check_names,
    part_splits,
    read_card,
    source_names,
    source_of,
    split_of,
)
from itemkit.hub import HubError, explained, fetch, is_commit, local_folder, resolve_revision
from itemkit.images import (
    UnreadableImage,
    aligned_bytes,
    decode_image,
    encoded_bytes,
    image_id,
    inspect_images,
    middle_frame,
)
from itemkit.stream import first_rows

__all__ = [
    "Card",
    "decode_image",
    "encoded_bytes",
    "image_id",
    "inspect_images",
    "load_images",
    "on_tracks",
    "pin",
    "read_card",
]
TRACKS = ("aligned", "raw")  # every picture made a JPEG file of one size and quality, and as distributed
ALIGNMENT = 1  # raise it when aligned_bytes changes its result: the library cannot see that and would keep the old one
STREAM = 1  # likewise for first_rows

Rows = tuple[datasets.Dataset, pd.DataFrame]  # image; label, generator, content_id, split of each


def pin(card: Card, cache: str | Path) -> Card:
    """Return the card with a revision that never changes: its own, or the newest, looked up once and kept in the cache.

    Raises:
        HubError: nothing is recorded and the hub does not tell; the message says what to do.
    """
    if card.is_local:
        return card
    revision = None if card.revision == UNKNOWN else card.revision
    return replace(card, revision=resolve_revision(card.repo, revision, cache, "dataset"))


def load_images(
    card: Card,
    splits: list[str] | None = None,
    generators: list[str] | None = None,
    limit: int | None = None,
    truth: bool = False,
) -> datasets.Dataset:
    """Return the images of a card, undecoded: a broken picture keeps its row.

    A content in two splits stays in the later one, with a warning. A data set of the hub is downloaded once. With a limit, one in wide layout, and any that its card calls streamed, is
    read over the network up to there, and what was read is kept.

    Args:
        card: as read_card returns it; one of the hub as pin returns it.
        splits: of "train", "validation", "test"; None for all.
        generators: names of the card; None for all. Real images always stay.
        limit: the first so many content ids of each split, with all their images, so that each keeps its pair; of a
            card without content ids the first so many images of each split and generator.
        truth: add those of true_caption, true_objects and true_boxes that the card names. They tell whether a network
            is right, and are never an input: prompts on one side and captions on the other tell the classes apart.

    Returns:
        image ({"bytes", "path"}), image_id, label, generator, content_id, split; N rows in the data set's order.

    Raises:
        ValueError: a split, generator or column that is not there (the message lists those that are), a label that is
            neither real nor generated or contradicts its generator, a streamed card without a limit, a revision that
            is not pinned, or files that cannot be read.
        FileNotFoundError: the folder that the card names is not there.
        HubError: the data set is not here and cannot be fetched; the message says what to do.
    """
    splits = SPLITS if splits is None else splits
    generators = list(card.generators) if generators is None else generators
    check_names("split", splits, SPLITS)
    check_names("generator", generators, card.generators)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1, or None for all")
    for claim in card.unverified:
        warnings.warn(f"card {card.name}, not yet compared with the data: {claim}", stacklevel=2)
    table, facts = _read(card, generators, limit)
    facts = facts.reset_index(drop=True)
    kept = ~_in_a_later_split(card, facts)
    kept &= facts["split"].isin(splits) & facts["generator"].isin(["real", *generators])
    if limit is not None:
        groups = ["split"] if card.has_contents else ["split", "generator"]
        first = facts[kept].drop_duplicates("content_id").groupby(groups).head(limit)["content_id"]
        kept &= facts["content_id"].isin(first)
    rows = kept.to_numpy().nonzero()[0]
    facts = facts.iloc[rows].reset_index(drop=True)
    facts = facts if truth else facts.drop(columns=[name for name in TRUTH_COLUMNS if name in facts])
    images = _identified(card, table.select(rows))
    return datasets.concatenate_datasets([images, datasets.Dataset.from_pandas(facts)], axis=1)


def _in_a_later_split(card: Card, facts: pd.DataFrame) -> pd.Series:
    """Whether a content of a row stands in a later split, too: then it stays there, and nothing tested was trained on."""
    place = facts["split"].map(SPLITS.index)
    earlier = place < place.groupby(facts["content_id"]).transform("max")
    if earlier.any():
        contents = facts["content_id"][earlier]
        warnings.warn(
            f"card {card.name}: {contents.nunique()} content ids stand in more than one split, such as "
            f"{contents.iloc[0]!r}; their {len(contents)} pictures in train or validation are left out",
            stacklevel=3,
        )
    return earlier


def on_tracks(images: datasets.Dataset, tracks: list[str], side: int) -> datasets.Dataset:
    """Return the images once for each track, with a column `track`; everything after this sees two kinds of pictures.

    Args:
        images: as load_images returns them.
        tracks: of TRACKS: "raw" is the files as distributed; in "aligned" all are JPEG files of one size and quality,
            with an image_id of their own. An unreadable picture keeps its bytes and its image_id.
        side: of an aligned picture, in pixels.

    Returns:
        The columns of `images` and `track`; track by track, in the order of `images`.

    Raises:
        ValueError: an unknown track; the message lists those that are.
    """
    check_names("track", tracks, TRACKS)
    parts = []
    for track in tracks:
        settings = {"side": side, "alignment": ALIGNMENT}
        part = images if track == "raw" else images.map(_align, fn_kwargs=settings, desc="align")
        parts.append(part.add_column("track", [track] * len(part)))
    return datasets.concatenate_datasets(parts)


def _align(row: dict, side: int, alignment: int) -> dict:
    try:
        encoded = aligned_bytes(encoded_bytes(row["image"]), side)
    except UnreadableImage:
        return {}
    return {"image": {"bytes": encoded, "path": None}, "image_id": image_id(encoded)}


def _read(card: Card, generators: list[str], limit: int | None) -> Rows:
    where = f"card {card.name}: {card.folder if card.is_local else card.repo}"
    if not card.is_local and not is_commit(card.revision):
        raise ValueError(f"{where} has revision {card.revision!r}; pin(card, cache) looks up the newest and keeps it")
    if card.streamed and limit is None:
        raise ValueError(f"{where} is too large to be downloaded; give a limit, e.g. 100, and no more is read")
    with _damage_named(where):
        if card.layout == "folder":
            return _read_folder(card, generators)
        if card.is_streamed(limit):
            return _read_stream(card, generators, limit)
        return _read_tables(card)


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
    if card.is_local:
        folder = card.folder
    else:
        if local_folder(card.repo, card.revision, "dataset") is None:
            print(f"fetching {card.summary}", flush=True)
        folder = fetch(card.repo, card.revision, "dataset")
    parts = datasets.load_dataset(str(folder), card.configuration)
    read, splits = _read_wide if card.layout == "wide" else _read_long, part_splits(card, list(parts))
    rows = [one for name, part in parts.items() for one in read(card, part, splits.get(name))]
    images, facts = zip(*rows, strict=True)
    return datasets.concatenate_datasets(images), pd.concat(facts, ignore_index=True)


def _read_long(card: Card, part: datasets.Dataset, split: str | None) -> list[Rows]:
    """One row for each image."""
    images = _images(card, part, card.columns["image"])
    facts = _facts(card, part, images, split)
    names = source_names(card, part.features.get(card.columns["generator"]))
    values = facts["generator"].tolist()
    labels = facts["label"].tolist() if "label" in facts else [None] * len(values)
    sources = [source_of(card, names, value, label) for value, label in zip(values, labels, strict=True)]
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


def _identified(card: Card, images: datasets.Dataset) -> datasets.Dataset:
    """The images with their ids; of clips, the frame in the middle. The library keeps both for files that it knows."""
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
    contents = facts["content_id"].astype(str) if card.has_contents else _identified(card, images)["image_id"][:]
    facts["content_id"] = contents
    if "split" not in facts:
        return facts.assign(split=[split_of(content, split) for content in facts["content_id"]])
    ours = {card.splits.get(name, name): name for name in SPLITS}
    check_names(f"split of card {card.name}:", facts["split"].unique(), ours)
    return facts.assign(split=facts["split"].map(ours))


def _labelled(facts: pd.DataFrame) -> pd.DataFrame:
    names = ["label", "generator", "content_id", "split", *(name for name in TRUTH_COLUMNS if name in facts)]
    return facts.assign(label=facts["generator"].ne("real").astype(int))[names]
