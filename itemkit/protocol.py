"""The protocol: train a head on real pictures and those of one generator (or a few), and score the others."""

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from tqdm.auto import tqdm

from itemkit.head import MLPHead, fit_together, predict
from itemkit.store import keep, kept

EPOCH = ("epoch", "training_loss", "validation_loss")  # of a head's history
VERSION = {"version": 3}  # in the key of each kept head: raise it when head.fit_together changes its numbers


class Setting(NamedTuple):
    """What heads are trained on that differ in their generators and seeds alone."""

    features: np.ndarray  # (N, F)
    rows: pd.DataFrame  # N rows: generator, label and split, and whatever is to stand beside a score
    train_on: list[tuple[str, ...]]  # the generators of each head
    hidden: int = 128  # width of the hidden layer; 0: none


def cross_generator(
    settings: Mapping[Hashable, Setting], seeds: list[int], cache: str | Path
) -> Iterator[tuple[Hashable, tuple[str, ...], int, MLPHead, pd.DataFrame]]:
    """Train a head for each setting, group of generators and seed, and score all validation and test pictures.

    A head sees the real pictures and those of its generators: rows of the split "train" to learn from, rows of
    "validation" to stop by. It then scores all rows of "validation" and "test", of whatever generator. A head that was
    trained before is taken from the cache.

    Args:
        settings: by a name of each.
        seeds: of the heads.
        cache: a folder for what was trained.

    Yields:
        (name of the setting, generators, seed, the MLPHead with its history, rows with a column `score`), setting by
        setting, group by group, seed by seed.

    Raises:
        ValueError: as head.fit_together.
    """
    count = sum(len(setting.train_on) for setting in settings.values()) * len(seeds)
    with tqdm(total=count, desc="train", unit="head") as bar:
        for name, (features, rows, train_on, hidden) in settings.items():
            split, kept = rows["split"].to_numpy(), rows[rows["split"] != "train"]
            wanted, label = list(product(train_on, seeds)), rows["label"].to_numpy()
            seen = [rows["generator"].isin(["real", *group]).to_numpy() for group, _ in wanted]  # by each head
            training, validation = (
                [np.flatnonzero(mask & (split == name)) for mask in seen] for name in ("train", "validation")
            )
            heads = train(features, label, training, validation, [seed for _, seed in wanted], cache, hidden)
            for (group, seed), head in zip(wanted, heads, strict=True):
                yield name, group, seed, head, kept.assign(score=predict(head, features[split != "train"]))
            bar.update(len(wanted))


def turns(rows: pd.DataFrame) -> pd.Series:
    """Return a number for each row, so that the rows with a number below n hold the first n contents of every source.

    Where all sources show the same contents in the same order, it is the place of the content: contents a, a, b, b of
    real and gan have 0, 0, 1, 1. A content that stands at several places counts at the earliest.

    Args:
        rows: generator and content_id of each picture.
    """
    first = rows.drop_duplicates(["generator", "content_id"])
    turn = first.groupby("generator").cumcount().groupby(first["content_id"]).min()
    return rows["content_id"].map(turn)


def train(
    features: np.ndarray,
    label: np.ndarray,
    training: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    seeds: Sequence[int],
    cache: str | Path,
    hidden: int = 128,
) -> list[MLPHead]:
    """Train heads as head.fit_together does, and keep each in the cache; those that are there are not trained again.

    Args:
        features, label, training, validation, seeds, hidden: as head.fit_together has them.
        cache: a folder for what was trained.

    Returns:
        The heads, each with its history.

    Raises:
        ValueError: as head.fit_together.
    """
    folder, specs = Path(cache, "heads"), []
    for learnt, held_out, seed in zip(training, validation, seeds, strict=True):
        arrays = [np.ascontiguousarray(array[rows]) for rows in (learnt, held_out) for array in (features, label)]
        named = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
        specs.append(VERSION | {"rows": named, "seed": int(seed), "hidden": hidden})
    contents = [kept(folder, spec, ".safetensors") for spec in specs]
    new = [place for place, content in enumerate(contents) if content is None]
    lacking = [[values[place] for place in new] for values in (training, validation, seeds)]
    for place, head in zip(new, fit_together(features, label, *lacking, hidden=hidden), strict=True):
        contents[place] = keep(folder, specs[place], ".safetensors", _packed(head))
    return [_unpacked(content) for content in contents]


def _packed(head: MLPHead) -> bytes:
    """A head with its history, as the bytes of one file."""
    history = torch.tensor([list(epoch.values()) for epoch in head.history], dtype=torch.float64)  # (epochs, 3)
    return safetensors.torch.save(head.state_dict() | {"history": history})


def _unpacked(content: bytes) -> MLPHead:
    weights = safetensors.torch.load(content)
    history = weights.pop("history").tolist()
    hidden = len(weights["layers.0.weight"]) if "layers.3.weight" in weights else 0
    head = MLPHead(len(weights["mean"]), hidden)
    head.load_state_dict(weights)
    head.history = [dict(zip(EPOCH, (int(epoch), *losses), strict=True)) for epoch, *losses in history]
    return head.eval()
