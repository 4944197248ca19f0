"""The protocol: train a head on real pictures and those of one generator (or a few), and score the others."""

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from itemkit.data.files import whole
from itemkit.head import MLPHead, fit, predict
from itemkit.store import digest

VERSION = {"version": 1}  # in the key of each kept head: raise it when the code of head.fit changes its numbers


class Setting(NamedTuple):
    """What heads are trained on that differ in their generators and seeds alone."""

    features: np.ndarray  # (N, F)
    rows: pd.DataFrame  # N rows: generator, label and split, and whatever is to stand beside a score
    train_on: list[tuple[str, ...]]  # the generators of each head
    hidden: int = 128  # width of the hidden layer


def cross_generator(
    settings: Mapping[Hashable, Setting], seeds: list[int], cache: str | Path
) -> Iterator[tuple[Hashable, tuple[str, ...], int, MLPHead, pd.DataFrame]]:
    """Train a head for each setting, group of generators and seed, and score all pictures that no head was trained on.

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
        ValueError: as head.fit.
    """
    count = sum(len(setting.train_on) for setting in settings.values()) * len(seeds)
    with tqdm(total=count, desc="train", unit="head") as bar:
        for name, (features, rows, train_on, hidden) in settings.items():
            label, split = rows["label"].to_numpy(), rows["split"].to_numpy()
            kept = split != "train"
            for group in train_on:
                own = rows["generator"].isin(["real", *group]).to_numpy()
                for seed in seeds:
                    head = train(features[own], label[own], split[own], cache, seed, hidden)
                    yield name, group, seed, head, rows[kept].assign(score=predict(head, features[kept]))
                    bar.update()


def train(features: np.ndarray, label: np.ndarray, split: np.ndarray, cache: str | Path, seed: int, hidden: int = 128):
    """Train a head on the rows of the split "train", stop it on those of "validation", and keep it in the cache.

    Args:
        features, label, split: (N, F), (N,), (N,) rows of real images and of the generators to train on; others than
            those of the two splits are left out.
        cache: a folder for what was trained.
        seed, hidden: as head.fit has them.

    Returns:
        The MLPHead, with its history.

    Raises:
        ValueError: as head.fit.
    """
    training, validation = split == "train", split == "validation"
    rows = [features[training], label[training], features[validation], label[validation]]
    named = [hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in rows]
    folder = Path(cache) / "heads" / digest(VERSION | {"rows": named, "seed": seed, "hidden": hidden})
    if not folder.exists():
        head = fit(*rows, seed=seed, hidden=hidden)
        with whole(folder) as part:
            head.save_pretrained(part)
            pd.DataFrame(head.history).to_csv(part / "history.csv", index=False)
    head = MLPHead.from_pretrained(folder)
    head.history = pd.read_csv(folder / "history.csv").to_dict("records")
    return head
