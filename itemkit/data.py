"""Read a card, and give its images in a fixed order, with label, generator, content id and split."""

import hashlib

import datasets
import pandas as pd

from itemkit.cards import SPLITS, TRUTH_COLUMNS, Card, check_names, read_card
from itemkit.images import UnreadableImage, aligned_bytes, decode_image, encoded_bytes, image_id, inspect_images

__all__ = [
    "Card",
    "decode_image",
    "encoded_bytes",
    "image_id",
    "inspect_images",
    "load_images",
    "on_tracks",
    "read_card",
]
TRACKS = ("aligned", "raw")  # every picture made a JPEG file of one size and quality, and as distributed
ALIGNMENT = 1  # raise it when aligned_bytes changes its result: the library cannot see that and would keep the old one

Rows = tuple[datasets.Dataset, pd.DataFrame]  # images, and label, generator, content_id, split of each


def load_images(
    card: Card,
    splits: list[str] | None = None,
    generators: list[str] | None = None,
    limit: int | None = None,
    truth: bool = False,
) -> datasets.Dataset:
    """Return the images of a card, undecoded: a broken picture keeps its row.

    Args:
        card: as read_card returns it.
        splits: of "train", "validation", "test"; None for all.
        generators: names of the card; None for all. Real images always stay.
        limit: the first so many content ids of each split, with all their images, so that each keeps its pair.
        truth: add those of true_caption, true_objects and true_boxes that the card names. They tell whether a network
            is right, and are never an input: prompts on one side and captions on the other tell the classes apart.

    Returns:
        image ({"bytes", "path"}), image_id, label, generator, content_id, split; N rows in the data set's order.

    Raises:
        ValueError: a split, generator or column that is not there (the message lists those that are), a label that
            contradicts its generator, or a content id in two splits.
    """
    splits = SPLITS if splits is None else splits
    generators = list(card.generators) if generators is None else generators
    check_names("split", splits, SPLITS)
    check_names("generator", generators, card.generators)
    images, facts = _read_folder(card) if card.layout == "folder" else _read_tables(card)
    if (splits_of := facts.groupby("content_id")["split"].nunique()).gt(1).any():
        raise ValueError(f"card {card.name}: content id {splits_of.idxmax()!r} stands in more than one split")
    ids = images.map(_identify, remove_columns="image", desc="image ids")  # datasets keeps those of files it knows
    facts = facts.reset_index(drop=True)
    facts = facts if truth else facts.drop(columns=[name for name in TRUTH_COLUMNS if name in facts])
    table = datasets.concatenate_datasets([images, ids, datasets.Dataset.from_pandas(facts)], axis=1)
    kept = facts["split"].isin(splits) & facts["generator"].isin(["real", *generators])
    if limit is not None:
        first = facts.drop_duplicates("content_id").groupby("split").head(limit)["content_id"]
        kept &= facts["content_id"].isin(first)
    return table.select(kept.to_numpy().nonzero()[0])


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


def _identify(row: dict) -> dict:
    return {"image_id": image_id(encoded_bytes(row["image"]))}


def _read_tables(card: Card) -> Rows:
    """A long or wide data set; its parts are the splits if it has several and no column says otherwise."""
    if card.is_local:
        parts = datasets.load_dataset(str(card.path / card.repo))
    else:
        parts = datasets.load_dataset(card.repo, revision=card.revision)
    read = _read_wide if card.layout == "wide" else _read_long
    rows = [one for name, part in parts.items() for one in read(card, part, name if len(parts) > 1 else None)]
    images, facts = zip(*rows, strict=True)
    return datasets.concatenate_datasets(images), pd.concat(facts, ignore_index=True)


def _read_long(card: Card, part: datasets.Dataset, split: str | None) -> list[Rows]:
    """One row for each image."""
    facts = _facts(card, part, split)
    names = {value: name for name, value in card.values.items()}
    check_names(f"value of card {card.name} for a generator:", facts["generator"].unique().tolist(), names)
    facts["generator"] = facts["generator"].map(names)
    return [(_images(card, part, card.columns["image"]), _labelled(card, facts))]


def _read_wide(card: Card, part: datasets.Dataset, split: str | None) -> list[Rows]:
    """One column for the real images and one for each generator."""
    facts = _facts(card, part, split)
    return [
        (_images(card, part, column), _labelled(card, facts.assign(generator=name)))
        for name, column in card.values.items()
    ]


def _read_folder(card: Card) -> Rows:
    """A folder real/ and one for each generator; metadata.csv may give content_id and split of some files."""
    root = card.path / card.repo
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    check_names(f"folder of card {card.name}:", card.values.values(), folders)
    files = [
        (file, name)
        for name, folder in card.values.items()
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
        check_names(f"file of {root / 'metadata.csv'}:", said.index, facts.index)
    facts["content_id"] = said["content_id"].reindex(facts.index).fillna(facts["content_id"])
    facts["split"] = said["split"].reindex(facts.index).fillna(facts["content_id"].map(_split_of))
    check_names(f"split of {root / 'metadata.csv'}:", facts["split"].unique(), SPLITS)
    column = datasets.Features({"image": datasets.Image(decode=False)})
    images = datasets.Dataset.from_dict({"image": [str(file) for file, _ in files]}, features=column)
    return images, _labelled(card, facts)


def _images(card: Card, part: datasets.Dataset, column: str) -> datasets.Dataset:
    check_names(f"column of card {card.name}:", [column], part.column_names)
    images = part.select_columns([column]).rename_columns({column: "image"})
    return images.cast_column("image", datasets.Image(decode=False))


def _facts(card: Card, part: datasets.Dataset, split: str | None) -> pd.DataFrame:
    """The columns of one part that are no images, under our names; `split` is the part's name if that is its split."""
    columns = {theirs: ours for ours, theirs in card.columns.items() if ours != "image"}
    check_names(f"column of card {card.name}:", columns, part.column_names)
    facts = part.select_columns(list(columns)).to_pandas().rename(columns=columns)
    facts["content_id"] = facts["content_id"].astype(str)
    if "split" not in facts:
        facts["split"] = facts["content_id"].map(_split_of) if split is None else split
    names = {card.splits.get(name, name): name for name in SPLITS}
    check_names(f"split of card {card.name}:", facts["split"].unique(), names)
    return facts.assign(split=facts["split"].map(names))


def _labelled(card: Card, facts: pd.DataFrame) -> pd.DataFrame:
    label = facts["generator"].ne("real").astype(int)
    if "label" in facts and (wrong := facts["label"].ne(label)).any():
        raise ValueError(f"card {card.name}: row {wrong.idxmax()} has a label that contradicts its generator")
    names = ["label", "generator", "content_id", "split", *(name for name in TRUTH_COLUMNS if name in facts)]
    return facts.assign(label=label)[names]


def _split_of(content_id: str) -> str:
    """60 % train, 10 % validation, 30 % test, by a hash of the content id: the same on every machine, for ever."""
    tenth = int(hashlib.sha256(content_id.encode()).hexdigest(), 16) % 10
    return "train" if tenth < 6 else "validation" if tenth < 7 else "test"
