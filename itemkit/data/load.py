"""Read a card, and give its images in a fixed order, with label, generator, content id and split."""

import warnings
from dataclasses import replace
from pathlib import Path

import datasets
import pandas as pd

from itemkit.data.cards import SPLITS, TRUTH_COLUMNS, Card, read_card
from itemkit.data.choices import check_names
from itemkit.data.hub import resolve_revision
from itemkit.data.images import UnreadableImage, aligned_bytes, decode_image, encoded_bytes, image_id, inspect_images
from itemkit.data.layouts import identified, kept, read_rows

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
ALIGNMENT = 2  # raise it when aligned_bytes changes its result: the library cannot see that and would keep the old one


def pin(card: Card, cache: str | Path) -> Card:
    """Return the card with a revision that never changes: its own, or the newest, looked up once and kept in the cache.

    Raises:
        HubError: nothing is recorded and the hub does not tell; the message says what to do.
    """
    if card.is_local:
        return card
    return replace(card, revision=resolve_revision(card.repo, card.commit, cache, "dataset"))


def load_images(
    card: Card,
    splits: list[str] | None = None,
    generators: list[str] | None = None,
    limit: int | None = None,
    truth: bool = False,
) -> datasets.Dataset:
    """Return the images of a card, undecoded: a broken picture keeps its row.

    A content in two splits stays in the later one, with a warning. A data set of the hub is downloaded once. With a
    limit, one in wide layout that is not here, and any that its card calls streamed, is read over the network up to
    there, and what was read is kept.

    Args:
        card: as read_card returns it; one of the hub as pin returns it.
        splits: of "train", "validation", "test"; None for all.
        generators: names of the card; None for all. Real images always stay.
        limit: the first so many content ids of each split that all sources show, with all their images, so that each
            keeps its pair; where sources do not share as many, the first so many of each split and source.
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
    table, facts = read_rows(card, generators, limit)
    facts = facts.reset_index(drop=True)
    _check_sources(card, facts, generators)
    chosen = ~_in_a_later_split(card, facts)
    chosen &= facts["split"].isin(splits) & facts["generator"].isin(["real", *generators])
    if limit is not None:
        chosen &= _within(limit, facts[chosen]).reindex(facts.index, fill_value=False)
    rows = chosen.to_numpy().nonzero()[0]
    facts = facts.iloc[rows].reset_index(drop=True)
    facts = facts if truth else facts.drop(columns=[name for name in TRUTH_COLUMNS if name in facts])
    images = identified(card, table.select(rows))
    _warn_of_contradictions(card, images, facts)
    return datasets.concatenate_datasets([images, datasets.Dataset.from_pandas(facts)], axis=1)


def _check_sources(card: Card, facts: pd.DataFrame, generators: list[str]) -> None:
    absent = [source for source in ("real", *generators) if not facts["generator"].eq(source).any()]
    if absent:
        said = f"card {card.name}: no picture is of {absent[0]}, called {card.values.get(absent[0])!r} there; correct the card"
        if absent[0] == "real" or len(absent) == len(generators):
            raise ValueError(said)
        warnings.warn(f"{said}, or leave it out", stacklevel=3)


def _within(limit: int, facts: pd.DataFrame) -> pd.Series:
    """Whether a row is of the first `limit` contents of its split that all sources show, or else of those of its source."""
    sources = facts.groupby("split")["generator"].transform("nunique")
    shared = facts.groupby(["split", "content_id"])["generator"].transform("nunique") == sources
    enough = (
        facts[shared].groupby("split")["content_id"].nunique().reindex(facts["split"].unique(), fill_value=0) >= limit
    )
    paired = facts["split"].map(enough)
    group = facts["generator"].where(~paired, "all sources")
    chosen = facts[shared | ~paired].assign(group=group).drop_duplicates(["split", "group", "content_id"])
    chosen = chosen.groupby(["split", "group"]).head(limit)
    wanted = pd.MultiIndex.from_frame(chosen[["split", "group", "content_id"]])
    return pd.Series(pd.MultiIndex.from_arrays([facts["split"], group, facts["content_id"]]).isin(wanted), facts.index)


def _warn_of_contradictions(card: Card, images: datasets.Dataset, facts: pd.DataFrame) -> None:
    image_ids = pd.Series(images["image_id"][:])
    labels = facts["label"].groupby(image_ids).nunique()
    first = dict(zip(image_ids[::-1], image_ids.index[::-1], strict=True))  # the row where each stands first
    both = [one for one in labels.index[labels > 1] if _has_content(images[first[one]])]
    if both:
        sources = facts["generator"][image_ids.eq(both[0])].unique()
        warnings.warn(
            f"card {card.name}: {len(both)} pictures stand as real and as generated; the first, {both[0]}, as "
            f"{' and as '.join(sources)}",
            stacklevel=3,
        )


def _has_content(row: dict) -> bool:
    """Whether there is a file with something in it: all empty cells, and all files that are gone, have one image_id."""
    try:
        return len(encoded_bytes(row["image"])) > 0
    except UnreadableImage:
        return False


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
        part = images if track == "raw" else kept(images.map(_align, fn_kwargs=settings, desc="align"))
        parts.append(part.add_column("track", [track] * len(part)))
    return datasets.concatenate_datasets(parts)


def _align(row: dict, side: int, alignment: int) -> dict:
    try:
        encoded = aligned_bytes(encoded_bytes(row["image"]), side)
    except UnreadableImage:
        return {}
    return {"image": {"bytes": encoded, "path": None}, "image_id": image_id(encoded)}
