"""Take the first rows of a data set that is too large, or too many, to be downloaded."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product

import fsspec
import numpy as np
from datasets import IterableDataset

from itemkit.data.cards import SPLITS, Card
from itemkit.data.choices import check_names
from itemkit.data.images import encoded_bytes, image_id
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
from itemkit.data.places import place_in_stream

FILES = 64  # of a part, that are looked into: more would be a download
IDLE = 200  # rows of a file in a row that give nothing new, after which it is left
IDLE_FILES = 16  # files in a row that give nothing new, after which their part is: it may lack what is still sought


def first_rows(
    parts: Mapping[str, IterableDataset], card: Card, sources: tuple[str, ...], limit: int
) -> Iterator[dict]:
    """Yield one row for each image until each split of each source has `limit` content ids, or enough was looked at.

    Pictures of one content lie together, so that files are read in their order. Pictures without content ids are often
    sorted by generator, so that files are read in a random one, the same each time, and a few rows of each.

    Args:
        parts: as datasets.load_dataset(..., streaming=True) returns them.
        card: of the data set, in wide or long layout.
        sources: "real" and the names of generators; others are passed over.
        limit: content ids of each split and source.

    Returns:
        Dicts of image ({"bytes", "path"}), generator, content_id and split.

    Raises:
        ValueError: a column that is not there, or a source of which no image was found; the message says what was.
    """
    columns = [*card.columns.values(), *(card.values[one] for one in sources if card.layout == "wide")]
    columns = list(dict.fromkeys(columns))  # one may say two things
    splits, seen, found, unnamed = part_splits(card, list(parts)), Counter(), Counter(), Counter()
    for name, part in parts.items():
        check_names(f"column of card {card.name}:", columns, part.column_names or columns)
        split = splits.get(name)
        chosen = {group: set() for group in product(SPLITS if split is None else split.split("+"), sources)}
        if part.features:
            check_kinds(card, part.features)
        names = generator_names(card, (part.features or {}).get(card.columns.get("generator")))
        barren = 0
        for rows in _files(part.select_columns(columns), card):
            if barren == IDLE_FILES or not _wanted(chosen, limit):
                break
            before = found.total()
            for one in _still_sought(rows, card, names, split, chosen, limit, seen, unnamed):
                found[one["generator"]] += 1
                yield one
            barren = 0 if found.total() > before else barren + 1
    for value, count in unnamed.items():
        warnings.warn(
            f"card {card.name}: {count} of the first {seen.total()} rows are of {value!r}, which the card does not name, and are "
            "left out",
            stacklevel=2,
        )
    if missing := [source for source in sources if not found[source]]:
        raise ValueError(
            f"card {card.name}: none of the first {seen.total()} rows is of {missing[0]}, called "
            f"{card.values.get(missing[0])!r} there; the rows are of {', '.join(map(repr, seen)) or 'nothing'}"
        )


def _still_sought(
    rows: IterableDataset,
    card: Card,
    names: dict,
    split: str | None,
    chosen: dict,
    limit: int,
    seen: Counter,
    unnamed: Counter,
) -> Iterator[dict]:
    """The images of one file that are still sought, until nothing new has come for a while; keeps all counts."""
    sources, idle = tuple(dict.fromkeys(source for _, source in chosen)), 0
    features = rows.features or {}
    told = dict(enumerate(class_names(features.get(card.columns.get("split")))))
    called = dict(enumerate(class_names(features.get(card.columns.get("generator")))))
    for row in rows:
        value = row.get(card.columns.get("generator"))
        value = called.get(value, value)
        seen[value] += 1
        idle += 1
        if card.layout == "wide":
            images = _wide(row, card, sources)
        elif (source := _source(row, card, names, features)) is None:
            unnamed[value] += 1
            images = ()
        else:
            images = _long(row, card, source) if source in sources else ()
        for one in images:
            one["split"] = _split(row, card, split, one["content_id"], told)
            contents = chosen.get((one["split"], one["generator"]))
            if contents is not None and (one["content_id"] in contents or len(contents) < limit):
                contents.add(one["content_id"])
                idle = 0
                yield one
        if idle == IDLE or not _wanted(chosen, limit):
            return


def _wanted(chosen: dict[tuple[str, str], set], limit: int) -> bool:
    return any(len(contents) < limit for contents in chosen.values())


def _files(part: IterableDataset, card: Card) -> Iterator[IterableDataset]:
    encoded = part if part.features is None else part.decode(False)
    files = range(part.num_shards)
    if not card.has_contents:
        files = np.random.default_rng(0).permutation(part.num_shards).tolist()
    for file in files[:FILES]:
        yield encoded.shard(part.num_shards, file)


def _wide(row: dict, card: Card, sources: tuple[str, ...]) -> Iterator[dict]:
    content = str(_filled(row, card, "content_id"))
    for source in sources:
        yield {"image": _encoded(row[card.values[source]], card), "generator": source, "content_id": content}


def _source(row: dict, card: Card, names: dict, features: Mapping) -> str | None:
    label = None
    if column := card.columns.get("label"):
        (label,) = label_values(card, features.get(column), [_filled(row, card, "label")])
    return generator_of(card, names, row[card.columns["generator"]], label)


def _long(row: dict, card: Card, source: str) -> Iterator[dict]:
    image = _encoded(row[card.columns["image"]], card)
    content = str(_filled(row, card, "content_id")) if card.has_contents else image_id(encoded_bytes(image))
    yield {"image": image, "generator": source, "content_id": content}


def _filled(row: dict, card: Card, name: str) -> object:
    """A cell that may not be empty: without it a picture would count as generated, or show what all such rows show."""
    column = card.columns[name]
    if is_empty(card, name, row[column]):
        raise ValueError(f"card {card.name}: column {column!r} is empty in a row; fill it, or take its rows out")
    return row[column]


def _encoded(cell: dict | bytes | str | None, card: Card) -> dict:
    """A cell of the image column with its bytes, wherever in the data set it points to."""
    if isinstance(cell, str):
        cell = {"bytes": None, "path": cell}
    if not isinstance(cell, dict):
        return {"bytes": cell or b"", "path": None}  # an empty cell is kept as a picture without bytes
    if cell["bytes"] is None and cell["path"]:
        try:
            with fsspec.open(place_in_stream(cell["path"], card)) as file:
                return {"bytes": file.read(), "path": None}
        except FileNotFoundError:  # as where nothing is streamed, the row stays, with what is said of its file
            return {"bytes": None, "path": cell["path"]}
    return {"bytes": cell["bytes"] or b"", "path": None}


def _split(row: dict, card: Card, part: str | None, content: str, told: dict[int, str]) -> str:
    if "split" not in card.columns:
        return split_of(content, part)
    value = row[card.columns["split"]]
    name = told.get(value, str(value))
    check_names(f"split of card {card.name}:", [name], card.split_names)
    return card.split_names[name]
