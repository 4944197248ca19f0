"""Say of a row of a data set, by its card, who made its picture, and which split it belongs to."""

import hashlib
import math
import re
from collections.abc import Hashable, Mapping

import datasets
from datasets.data_files import SPLIT_KEYWORDS

from itemkit.data.cards import SPLITS, Card
from itemkit.data.choices import check_names


def check_kinds(card: Card, features: Mapping[str, object]) -> None:
    """Raise a ValueError that names a column of lists or of members, where each row must hold one text or number."""
    for name in ("content_id", "split", "label", "generator"):
        column = card.columns.get(name)
        if column and type(features[column]) not in (datasets.Value, datasets.ClassLabel):
            raise ValueError(
                f"card {card.name}: column {column!r} holds {features[column]}; expected a text or a number in each row"
            )


def generator_names(card: Card, feature: object = None) -> dict[Hashable, str]:
    """Return our name for each value of a long data set's generator column.

    Args:
        card: of the data set.
        feature: of the column. If it is a ClassLabel, with a name for each number, the card may use either.

    Raises:
        ValueError: the card uses numbers, and the data set gives one of them the name of another generator, or of the same.
    """
    told = class_names(feature)
    numbers = [told.index(value) if value in told else value for value in card.values.values()]
    coded = dict(zip(numbers, card.values, strict=True))
    if twice := [number for place, number in enumerate(numbers) if number in numbers[:place]]:
        raise ValueError(
            f"card {card.name} has the value {told[twice[0]]!r} twice, by its name and by its number {twice[0]}; each says one "
            "thing only"
        )
    plain = {_letters(name): name for name in card.values}
    for number, name in enumerate(told):
        if plain.get(_letters(name), coded.get(number)) != coded.get(number):
            raise ValueError(
                f"card {card.name} says that {number} is {coded.get(number)}, but the data set calls it {name!r}; "
                "correct the order of the card's generators"
            )
    return {one: name for value, name in coded.items() for one in ([value] if told else _spellings(value))}


def generator_of(card: Card, names: dict[Hashable, str], value: Hashable, label: Hashable = None) -> str | None:
    """Return "real" or the name of the generator of one row, None for a value that the card does not name.

    A row whose label says real is real, whatever its generator column holds, unless that is a generator. If the card
    says `real: null`, not even then: a data set may keep its real images with the generator that they were paired with.

    Args:
        card: of the data set.
        names: as generator_names returns them.
        value: what the generator column holds.
        label: what the label column holds; None if there is none.

    Raises:
        ValueError: a label that is none of the card's two, or contradicts the generator.
    """
    source = names.get(value)
    if label is None:
        return source
    if label not in card.labels:
        real, generated = card.labels
        raise ValueError(
            f"card {card.name}: a row has label {label!r}; expected {real!r} (real) or {generated!r} (generated)"
        )
    is_real = label == card.labels[0]
    if source is None or card.real is None:
        return "real" if is_real else source
    if is_real != (source == "real"):
        raise ValueError(f"card {card.name}: a row of {source} has label {label!r}, which contradicts its generator")
    return source


def is_empty(card: Card, name: str, value: object) -> bool:
    """Return whether a cell of the column `name` holds nothing: null, or blanks that the card does not give a meaning."""
    meant = {"generator": card.values.values(), "label": card.labels}.get(name, ())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and not value.strip() and value not in meant


REAL_WORDS = {"real", "human", "authentic", "natural", "genuine", "photo", "photograph"}
GENERATED_WORDS = {"fake", "generated", "ai", "aigenerated", "synthetic", "artificial"}


def label_values(card: Card, feature: object, values: list) -> list:
    """Return the labels of rows as the card writes them.

    Args:
        card: of the data set.
        feature: of the label column. If it is a ClassLabel, with a name for each number, the card may use either.
        values: of the rows.

    Raises:
        ValueError: the card uses numbers, and the data set calls that of real images fake, or the other way round.
    """
    names = class_names(feature)
    if not names:
        written = {one: label for label in card.labels for one in _spellings(label)}
        return [written.get(value, value) for value in values]
    if set(card.labels) <= set(names):
        return [names[value] if isinstance(value, int) and 0 <= value < len(names) else value for value in values]
    for label, wrong, what in zip(card.labels, (GENERATED_WORDS, REAL_WORDS), ("real", "generated"), strict=True):
        name = names[label] if isinstance(label, int) and 0 <= label < len(names) else ""
        if _letters(name) in wrong:
            raise ValueError(
                f"card {card.name} says that label {label} is {what}, but the data set calls it {name!r}; correct `labels` "
                "of the card: first that of real images, then that of generated ones"
            )
    return values


def class_names(feature: object) -> list[str]:
    """Return the names of a column of numbers that has one for each (a ClassLabel); none of any other column."""
    return getattr(feature, "names", None) or []


def part_splits(card: Card, parts: list[str]) -> dict[str, str]:
    """Return the split that each part of a data set is, by its name; nothing if a column or a hash decides.

    A data set in several parts but without validation rows has "train+validation": split_of divides it.

    Raises:
        ValueError: a part whose name is no split, here or on the card.
    """
    if "split" in card.columns or len(parts) == 1:
        return {}
    # A folder dev/, which a card may name, is called validation by the library.
    absent = {ours: theirs for ours, theirs in card.splits.items() if theirs not in parts}
    renamed = {str(ours): ours for ours, words in SPLIT_KEYWORDS.items() if absent.get(ours) in words}
    known = renamed | card.split_names
    check_names(f"split of card {card.name}:", parts, known)
    splits = {part: str(known[part]) for part in parts}
    if "validation" in splits.values():
        return splits
    return {part: "train+validation" if split == "train" else split for part, split in splits.items()}


def split_of(content_id: str, part: str | None = None) -> str:
    """Return the split of a content by a hash of its id: the same on every machine, for ever.

    Args:
        content_id: what a picture shows.
        part: what part_splits says of its part. None gives 60 % train, 10 % validation and 30 % test,
            "train+validation" 6 : 1, and a split gives itself.
    """
    if part in SPLITS:
        return part
    tenth = int(hashlib.sha256(content_id.encode()).hexdigest(), 16) % (10 if part is None else 7)
    return "train" if tenth < 6 else "validation" if tenth < 7 else "test"


def _spellings(value: Hashable) -> list[Hashable]:
    """A value as a card and a table may each write it: 2022 or "2022"."""
    number = int(value) if isinstance(value, str) and re.fullmatch("0|-?[1-9][0-9]*", value) else value
    return [value, number, str(value)]


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
