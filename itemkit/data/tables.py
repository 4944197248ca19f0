"""Open a data set by the library datasets, with the names in its tables of text as they are written."""

from pathlib import Path

import datasets
import pandas as pd
from datasets.packaged_modules.csv.csv import Csv, CsvConfig
from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder
from pyarrow import ArrowInvalid

from itemkit.data.cards import Card

COLUMNS = 1_000  # of a table of text, in which an empty cell may be written in one of these ways, as pandas has them
EMPTY = ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA")
EMPTY += ("NULL", "NaN", "None", "n/a", "nan", "null")

ODD = (AttributeError, KeyError, OverflowError, TypeError, ValueError)  # what the library raises on lines it cannot use


def opened(
    card: Card, place: str, streaming: bool = False, **options
) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """Return what datasets.load_dataset does, but that in a table of text (csv) 0001 and NA stay what they are.

    Args:
        card: of the data set.
        place: its folder, or its hub id.
        streaming: read over the network, and row by row.
        options: of datasets.load_dataset, such as cache_dir and revision.

    Raises:
        ValueError: the library cannot use what is there, or would change content ids; the message says what to do.
        DatasetsError, ArrowInvalid: of the library, for files that it cannot read.
    """
    if Path(place, datasets.config.DATASET_STATE_JSON_FILENAME).exists():
        raise ValueError(
            f"card {card.name}: {place} was written by save_to_disk; write it by to_parquet, or as an imagefolder"
        )
    try:
        builder = datasets.load_dataset_builder(place, card.configuration, **options)
        if isinstance(builder, Csv):
            builder.config.converters = dict.fromkeys(text_columns(card), str)
            builder.config.keep_default_na, builder.config.na_values = False, _empty(card, builder.config)
        if isinstance(builder, FolderBasedBuilder):
            _check_contents(card, builder)
        if streaming:
            return builder.as_streaming_dataset()
        builder.download_and_prepare()
        return builder.as_dataset()
    except ODD as error:
        named = isinstance(error, (datasets.exceptions.DatasetsError, ArrowInvalid))
        if named or str(error).startswith(f"card {card.name}: "):
            raise
        raise ValueError(
            f"card {card.name}: the library datasets cannot read {place} ({' '.join(str(error).split())}); the lines "
            "`configs` of its README.md say what is to be read"
        ) from None


def _check_contents(card: Card, builder: FolderBasedBuilder) -> None:
    """Refuse a metadata.csv beside pictures with content ids of which the library would make numbers: 1 of 0001 and of 01."""
    column, files = card.columns.get("content_id"), (builder.config.data_files or {}).values()
    for file in sorted({str(file) for part in files for file in part if Path(str(file)).name == "metadata.csv"}):
        options = {"usecols": lambda name: name == column, "chunksize": 10_000}  # as the library's: each has its kind
        for said, read in zip(pd.read_csv(file, dtype=str, **options), pd.read_csv(file, **options), strict=True):
            texts = said.get(column, pd.Series(dtype=str)).dropna()
            if len(odd := texts[texts != read.reindex(columns=[column])[column].astype(str).reindex(texts.index)]):
                raise ValueError(
                    f"card {card.name}: {file} has the content id {odd.iloc[0]!r}, which the library datasets reads as a number; "
                    "put a letter in front of each"
                )


def _empty(card: Card, config: CsvConfig) -> dict | list:
    """What is an empty cell of a table of text: NA and None are names in columns of text, and no number in others.

    Others are told by their places: the library takes a column's kind from its first rows, and later ones must fit.
    """
    if config.engine not in (None, "c") or len(config.sep or "") != 1:  # pandas' other reader knows no places
        return [""]
    return dict.fromkeys(range(COLUMNS), EMPTY) | dict.fromkeys(text_columns(card), "")


def text_columns(card: Card) -> list[str]:
    """Return the columns of a data set that are read as text: names, and what the card writes as text."""
    ours = ["content_id", "split", "true_caption"]
    ours += ["generator"] * any(isinstance(value, str) for value in card.values.values())
    ours += ["label"] * any(isinstance(label, str) for label in card.labels)
    return [card.columns[name] for name in ours if name in card.columns]
