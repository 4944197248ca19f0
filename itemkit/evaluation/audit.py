"""Audit a data set by its files alone: can real and generated be told apart without a look at a picture?

Also: does a picture of one split stand in another one?
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from itemkit.evaluation.metrics import MINIMUM_ROWS

# What tells without a look at a pixel. Of equally telling columns the first is named: the size in bytes comes last, as
# every other difference shows in it.
FACTS = ("format", "mode", "width", "height", "aspect_ratio", "quantization", "subsampling", "progressive", "bytes")
FOLDS = 5
SUSPECT = 0.6  # a ROC AUC that chance alone reaches in one set of six with 20 rows of a class, in none with 900
LEAK = 0.8  # files alone put four pairs in five into the right order: a detector's score is no evidence any more
TOO_FEW = "too few rows"
USES = {"train": "train on", "validation": "validate on", "test": "test on"}
DISTANCE = 4  # of 64 bits: JPEG 75 and half the size, alone or both, move 99 % of photographs and drawings no more
HASHES = ["pixel_hash", "perceptual_hash"]
BLOCK = 512, 4096  # pairs of hashes compared at once: what fits the processor's cache


def leak_audit(files: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """For each generator, tell its pictures from the real ones by FACTS of their files, cross-validated by content id.

    The number is the mean ROC AUC over FOLDS folds of a gradient-boosted tree classifier; a content id is never in two
    folds. Where `bytes` is all that varies in files of one encoder, it tells how well a picture compresses: that is a
    fact of the picture, and no leak of its file.

    Args:
        files: what inspect_images returned, of a single track; unreadable images are left out.
        seed: of the folds and of the classifier.

    Returns:
        A row for each generator, in order of appearance: generator; n, readable rows of the smaller class; roc_auc;
        low and high, of the lowest and the highest fold; verdict, "healthy" below SUSPECT, "suspect" below LEAK,
        "leak" from there on, but "texture" where aligned files differ in their bytes alone; column, the one of FACTS with
        the highest ROC AUC of its own, and column_roc_auc; varies, the columns that differ between any two of these
        files. With fewer than MINIMUM_ROWS rows of a class, or too few content ids to make folds of both classes,
        verdict is TOO_FEW and no number is given.

    Raises:
        ValueError: a missing column, or files of several tracks.
    """
    readable = _readable(files, ["label", "generator", "content_id", *FACTS])
    aligned = "track" in files and files["track"].eq("aligned").all()
    real, generated = readable[readable["label"] == 0], readable[readable["label"] == 1]
    rows = []
    for generator in tqdm(files.loc[files["label"] == 1, "generator"].unique(), desc="leak audit", unit="generator"):
        pair = pd.concat([real, generated[generated["generator"] == generator]])
        with threadpool_limits(
            1
        ):  # the trees are small: more threads wait for each other, on a busy machine for minutes
            row = {"generator": generator} | _audit(pair, seed)
        texture = aligned and row.get("varies") == "bytes" and row["verdict"] in ("suspect", "leak")
        rows.append(row | {"verdict": "texture"} if texture else row)
    names = ["generator", "n", "roc_auc", "low", "high", "verdict", "column", "column_roc_auc", "varies"]
    return pd.DataFrame(rows, columns=names)


def duplicates(files: pd.DataFrame, distance: int = DISTANCE, most: int = 100_000) -> pd.DataFrame:
    """Pairs of images in different splits that are the same, or look alike; count_copies counts them all.

    Args:
        files: what inspect_images returned, of a single track; unreadable images are left out.
        distance: 0 to 64, the most bits in which two perceptual hashes may differ. All pairs are compared.
        most: how many pairs to return; of ten thousand blank pictures there are millions.

    Returns:
        A row for each pair, the closest first: kind, "exact" for equal pixels, else "near"; distance, in bits; image_id,
        generator, content_id, split of the one, and other_image_id and so on of the other.

    Raises:
        ValueError: a missing column, files of several tracks, or a distance out of range.
    """
    shown = ["image_id", "generator", "content_id", "split"]
    readable = _readable(files, [*shown, *HASHES])
    pixels, hashes = _hashes(readable)

    def closest(pairs: list[np.ndarray]) -> np.ndarray:
        left, right = np.concatenate([np.empty((0, 2), int), *pairs]).T
        order = np.lexsort((np.bitwise_count(hashes[left] ^ hashes[right]), pixels[left] != pixels[right]))[:most]
        return np.stack([left[order], right[order]], axis=1)  # (P, 2)

    kept, count = [], 0
    for _, _, pairs in _close_pairs(readable["split"], hashes, distance):
        kept, count = [*kept, pairs], count + len(pairs)
        if count > 2 * most:
            kept, count = [closest(kept)], most
    left, right = closest(kept).T
    one, other = readable.iloc[left].reset_index(drop=True), readable.iloc[right].reset_index(drop=True)
    found = pd.DataFrame({"kind": np.where(pixels[left] == pixels[right], "exact", "near")})
    found["distance"] = np.bitwise_count(hashes[left] ^ hashes[right])
    return found.join(one[shown]).join(other[shown].add_prefix("other_"))


def too_few(
    files: pd.DataFrame, splits: Sequence[str] = ("train", "validation"), minimum: int = MINIMUM_ROWS
) -> dict[str, str]:
    """Say of each generator what it lacks for a head to be trained on it, or tested.

    Args:
        files: what inspect_images returned, of a single track.
        splits: of USES.
        minimum: readable pictures, no two of them the same, that real images and those of the generator need in each of
            these splits.

    Returns:
        A sentence for each generator that lacks something, by its name; empty if none does.
    """
    readable, sources = files[files["status"] == "ok"], files["generator"].unique()
    counts = readable.groupby(["generator", "split"])["pixel_hash"].nunique().unstack(fill_value=0)
    counts = counts.reindex(index=sources, columns=splits, fill_value=0)
    lacks = {
        source: [f"{row[split]} pictures to {USES[split]}" for split in splits if row[split] < minimum]
        for source, row in counts.iterrows()
    }
    real = lacks.pop("real", ["no pictures"])
    sentences = {}
    for source in (one for one in sources if one != "real"):
        lacking = [(name, " and ".join(found)) for name, found in (("real", real), (source, lacks[source])) if found]
        if lacking:
            told = ", and ".join(f"{name} has {found}" for name, found in lacking)
            sentences[source] = (
                f"{told}; {minimum} are needed: add pictures (or raise `limit`), or split them otherwise"
            )
    return sentences


def check_sources(files: pd.DataFrame) -> None:
    """Raise a ValueError that names a source of which no picture can be read: nothing could be said of it.

    Args:
        files: what inspect_images returned.
    """
    readable = set(files.loc[files["status"] == "ok", "generator"])
    for source, rows in files.groupby("generator", sort=False):
        if source not in readable:
            raise ValueError(
                f"none of the {rows['image_id'].nunique()} pictures of {source} can be read; the first is "
                f"{rows['image_id'].iloc[0]}: {rows['reason'].iloc[0]}. See that their files are there and whole, or name the "
                "other generators by `generators`"
            )


def contradictions(files: pd.DataFrame) -> pd.DataFrame:
    """Pictures that stand as real and as generated, by their pixels.

    Args:
        files: what inspect_images returned, of a single track; unreadable images are left out.

    Returns:
        pixel_hash, image_id, generator, content_id, split of each row of such a picture.
    """
    readable = _readable(files, ["label", "pixel_hash", "generator", "content_id", "split"])
    both = readable.groupby("pixel_hash")["label"].transform("nunique") > 1
    return readable.loc[both, ["pixel_hash", "image_id", "generator", "content_id", "split"]].sort_values("pixel_hash")


def count_pictures(files: pd.DataFrame) -> pd.DataFrame:
    """How many pictures of each source there are, and how many contents it shares with the real ones.

    Args:
        files: what inspect_images returned, of a single track.

    Returns:
        A row for each source, by its name: a column for each split; unreadable; copies, how many have the pixels of an
        earlier one of their split; content_ids, how many it shows; shared_with_real, the share of the contents of both that both show, NaN for "real".
    """
    sources = files["generator"].unique()
    splits = [split for split in ("train", "validation", "test") if split in set(files["split"])]
    shows = pd.crosstab(files["content_id"], files["generator"]).gt(0)[sources]  # (contents, sources)
    counts = pd.crosstab(files["generator"], files["split"])[splits].reindex(sources).rename_axis(columns=None)
    counts["unreadable"] = files["status"].ne("ok").groupby(files["generator"]).sum()
    again = files.duplicated(["generator", "split", "pixel_hash"]) & files["status"].eq("ok")
    counts["copies"] = again.groupby(files["generator"]).sum()
    counts["content_ids"] = shows.sum()
    real = shows["real"] if "real" in shows else pd.Series(False, shows.index)
    shared = shows.mul(real, axis=0).sum() / shows.astype(int).add(real, axis=0).gt(0).sum()
    counts["shared_with_real"] = shared.mask(counts.index == "real")
    return counts


def describe_files(files: pd.DataFrame) -> pd.DataFrame:
    """What the files of each source are like: format, medians of width, height and quantization, and size in kB.

    Args:
        files: what inspect_images returned, of a single track; unreadable images are left out.

    Returns:
        A row for each source and format: generator, format, width, height, quantization, kB_5_percent, kB_median,
        kB_95_percent.
    """
    kinds = files[files["status"] == "ok"].groupby(["generator", "format"], sort=False)
    size = kinds["bytes"].quantile([0.05, 0.5, 0.95]).unstack() / 1000
    size.columns = ["kB_5_percent", "kB_median", "kB_95_percent"]
    return kinds[["width", "height", "quantization"]].median().join(size).reset_index()


def count_copies(files: pd.DataFrame, distance: int = DISTANCE) -> pd.DataFrame:
    """How many pairs of pictures of two splits are the same or look alike.

    Args:
        files, distance: as for duplicates.

    Returns:
        A row for any two splits: split, other; pairs, how many there are; exact and near, how many of these are;
        both_real and one_content, how many of the exact and near ones are of two real pictures, and show one content.

    Raises:
        ValueError: as duplicates.
    """
    readable = _readable(files, ["generator", "content_id", "split", *HASHES])
    sizes = readable["split"].value_counts()
    splits = [split for split in ("train", "validation", "test") if split in sizes]
    counts = {pair: np.zeros(4, int) for pair in combinations(splits, 2)}
    pixels, hashes = _hashes(readable)
    content, real = pd.factorize(readable["content_id"])[0], readable["generator"].eq("real").to_numpy()
    for split, other, pairs in _close_pairs(readable["split"], hashes, distance):
        left, right = pairs.T
        same = pixels[left] == pixels[right]
        found = same, ~same, real[left] & real[right], content[left] == content[right]
        counts[tuple(sorted((split, other), key=splits.index))] += [one.sum() for one in found]
    names = ["split", "other", "pairs", "exact", "near", "both_real", "one_content"]
    return pd.DataFrame(
        [(*pair, sizes[pair[0]] * sizes[pair[1]], *found) for pair, found in counts.items()], columns=names
    )


def _readable(files: pd.DataFrame, needed: list[str]) -> pd.DataFrame:
    if missing := [column for column in [*needed, "status"] if column not in files]:
        raise ValueError(f"files lack {', '.join(missing)}; expected the table that inspect_images returns")
    if "track" in files and files["track"].nunique() > 1:
        raise ValueError(f"files of tracks {', '.join(files['track'].unique())}; expected one: each picture is in all")
    return files[files["status"] == "ok"]


def _audit(rows: pd.DataFrame, seed: int) -> dict:
    """The audit of one generator: its rows and the real ones."""
    label = rows["label"].to_numpy()
    n = min(np.sum(label == 0), np.sum(label == 1))
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    enough = n >= MINIMUM_ROWS and rows["content_id"].nunique() >= FOLDS
    folds = splitter.split(rows, label, rows["content_id"]) if enough else []
    folds = [fold for fold in folds if all(len(np.unique(label[part])) == 2 for part in fold)]
    if not folds:
        return {"n": n, "verdict": TOO_FEW}
    facts = rows[list(FACTS)].rank(method="dense")  # words become numbers too, and trees see no more than an order
    varies = [column for column in FACTS if facts[column].nunique() > 1]
    classifier = HistGradientBoostingClassifier(max_iter=50, min_samples_leaf=5, random_state=seed)
    own = {column: _roc_auc(classifier, facts[[column]], label, folds) for column in varies}
    if len(varies) > 1:
        values = _roc_auc(classifier, facts[varies], label, folds)
    else:
        values = own[varies[0]] if varies else np.full(FOLDS, 0.5)
    own = {column: areas.mean() for column, areas in own.items()}
    value, column = values.mean(), max(own, key=own.get, default="none")
    verdict = "healthy" if value < SUSPECT else "suspect" if value < LEAK else "leak"
    return {
        "n": n,
        "roc_auc": value,
        "low": values.min(),
        "high": values.max(),
        "verdict": verdict,
        "column": column,
        "column_roc_auc": own.get(column, 0.5),
        "varies": ", ".join(varies) or "none",
    }


def _roc_auc(classifier, facts: pd.DataFrame, label: np.ndarray, folds: list) -> np.ndarray:
    return cross_val_score(classifier, facts.to_numpy(), label, cv=folds, scoring="roc_auc", error_score="raise")


def _hashes(readable: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of N pictures: (N,) a number for each content of pixels, and (N,) the 64 bits of their perceptual hashes."""
    hashes = np.array([int(digits, 16) for digits in readable["perceptual_hash"]], np.uint64)
    return pd.factorize(readable["pixel_hash"])[0], hashes


def _close_pairs(split: pd.Series, hashes: np.ndarray, distance: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Two splits, and (P, 2) places of pictures in them whose perceptual hashes differ in at most `distance` bits."""
    if not 0 <= distance <= 64:
        raise ValueError(f"distance {distance}; expected 0 to 64 bits")
    code, splits = pd.factorize(split)
    for one, other in combinations(range(len(splits)), 2):
        left, right = np.flatnonzero(code == one), np.flatnonzero(code == other)
        for rows in np.split(left, range(BLOCK[0], len(left), BLOCK[0])):
            for others in np.split(right, range(BLOCK[1], len(right), BLOCK[1])):
                close = np.bitwise_count(hashes[rows, None] ^ hashes[others]) <= distance
                if close.any():
                    row, place = close.nonzero()
                    yield splits[one], splits[other], np.stack([rows[row], others[place]], axis=1)
