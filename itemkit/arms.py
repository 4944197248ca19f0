"""The arms of the evaluation: what each of them sees of an image.

Those made of vectors are defined in misalign.features, the others here. All arms read the same tables, give their
features to the same head and train it on the same rows, so that a difference between two of them is one of what they see.
The exception is `linear`: it sees what `image` sees, and its head has no hidden layer.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd

from itemkit import misalign
from itemkit.data.choices import check_names
from itemkit.misalign import WHOLE

ARMS = (*misalign.VECTOR_ARMS, "linear", "shuffled", "metadata", "texture")
METADATA = ("width", "height", "bytes", "caption_words", "objects_named", "objects_found", "box_area")
TEXTURE = ("bytes", "high_frequencies", "local_variance")
OF_VECTORS = {"linear": "image", "shuffled": "item"}  # arms that differ in their head, or in their words
MISSING_BOX = ("drop", "whole image")


def feature_matrix(
    image_ids: Sequence[str],
    captions: pd.DataFrame,
    boxes: pd.DataFrame,
    vectors: pd.DataFrame,
    texts: pd.DataFrame,
    arm: str = "item",
    distance: str = "difference",
    pool: str = "mean",
    fuse: str = "concat",
    missing_box: str = "drop",
    files: pd.DataFrame | None = None,
) -> np.ndarray:
    """Return the features of N images, row by row; recomputed each time, from what the networks said.

    Args:
        image_ids: N readable images, in any order, repeated if need be.
        captions, boxes, vectors, texts: what describe (for the arm "shuffled": shuffle), locate and embed returned. An
            object that is not in `boxes` counts as not found, so that a filtered table shows what a higher threshold
            does.
        arm: one of ARMS: those of misalign.features; "linear", which is "image", for a head without a hidden layer;
            "shuffled", which is "item" with the words of other images; "metadata", the columns METADATA: sizes and counts,
            and no vector; and "texture", the columns TEXTURE, which need no look at what is shown.
        distance, pool, fuse: as misalign.features has them.
        missing_box: a noun without a box is dropped ("drop") or compared with the whole image ("whole image").
        files: what inspect_images returned; only the arms "metadata" and "texture" need it.

    Returns:
        (N, F) float32. An image without objects has zeros for them, and a count of zero.

    Raises:
        ValueError: an unknown choice, an image or text without a vector, or a feature that is not finite.
    """
    check_names("arm", [arm], ARMS)
    check_names("missing_box", [missing_box], MISSING_BOX)
    image_ids = list(image_ids)
    if arm in ("metadata", "texture"):
        if files is None:
            raise ValueError(f"the arm {arm} needs files=, the table that inspect_images returned")
        table = files.drop_duplicates("image_id").set_index("image_id").loc[image_ids]
        if arm == "metadata":
            table = _metadata(table, captions, boxes)
        columns = {"metadata": METADATA, "texture": TEXTURE}[arm]
        if lacking := [name for name in columns if name not in table]:
            raise ValueError(
                f"the arm {arm} needs {', '.join(lacking)} of each image, and files=, made by an earlier itemkit, has no such "
                "column; inspect the images again (in a run: all of its notebooks again, 00_data first)"
            )
        return _finite(table[list(columns)].to_numpy(np.float32), image_ids)  # (N, F)
    whole = _take(vectors, pd.DataFrame({"image_id": image_ids, "part": WHOLE}))  # (N, D)
    described = captions.set_index("image_id").loc[image_ids]
    caption = _take(texts, pd.DataFrame({"text": described["caption"]}))  # (N, D)
    count = described["phrases"].map(len)
    owner = np.repeat(np.arange(len(image_ids)), count)  # (M,)
    objects = pd.DataFrame({"image_id": described.index[owner], "text": list(chain(*described["phrases"]))})
    located = pd.MultiIndex.from_frame(boxes[["image_id", "phrase"]])
    found = pd.MultiIndex.from_frame(objects[["image_id", "text"]]).isin(located)
    objects["part"] = objects["text"].where(found, WHOLE)
    if missing_box == "drop":
        objects, owner = objects[found], owner[found]
    crop = _take(vectors, objects[["image_id", "part"]])  # (M, D)
    phrase = _take(texts, objects[["text"]])  # (M, D)
    kind = OF_VECTORS.get(arm, arm)
    return _finite(misalign.features(kind, whole, caption, crop, phrase, owner, distance, pool, fuse), image_ids)


def cosine_misalignment(
    image_ids: Sequence[str],
    captions: pd.DataFrame,
    boxes: pd.DataFrame,
    vectors: pd.DataFrame,
    texts: pd.DataFrame,
    missing_box: str = "drop",
) -> pd.DataFrame:
    """Return how far N pictures and their objects lie from their words, as one number each: 1 - cosine, in [0, 2].

    Args:
        image_ids, captions, boxes, vectors, texts, missing_box: as for feature_matrix.

    Returns:
        N rows, in order: global, of picture and caption; local, the mean over crops and their nouns, NaN where no object
        was compared; objects_found, how many were: those found, or all that are named where missing_box is "whole image".
    """
    said = captions, boxes, vectors, texts
    matrix = feature_matrix(image_ids, *said, arm="item", distance="cosine", missing_box=missing_box)
    table = pd.DataFrame({"global": matrix[:, 0], "local": matrix[:, 1], "objects_found": matrix[:, 2].astype(int)})
    return table.assign(local=table["local"].where(table["objects_found"] > 0))


def object_misalignment(
    captions: pd.DataFrame, boxes: pd.DataFrame, vectors: pd.DataFrame, texts: pd.DataFrame
) -> pd.DataFrame:
    """Return each object that a caption names and the detector found, with the misalignment of crop and noun.

    Args:
        captions, boxes, vectors, texts: as for feature_matrix.

    Returns:
        image_id, phrase, x0, y0, x1, y1 (pixels), score (of the detector), misalignment (1 - cosine, in [0, 2]).
    """
    named = captions[["image_id", "phrases"]].explode("phrases").rename(columns={"phrases": "phrase"})
    objects = named.drop_duplicates().merge(boxes, on=["image_id", "phrase"])  # without those of others' words
    crop = _take(vectors, objects[["image_id", "phrase"]].rename(columns={"phrase": "part"}))  # (M, D)
    word = _take(texts, objects[["phrase"]].rename(columns={"phrase": "text"}))  # (M, D)
    return objects.assign(misalignment=1 - np.sum(crop * word, axis=1))


def _metadata(files: pd.DataFrame, captions: pd.DataFrame, boxes: pd.DataFrame) -> pd.DataFrame:
    """The columns METADATA of N images, row by row. In files made alike, the size in bytes is a fact of the picture: zero here."""
    table = files[["width", "height", "bytes"]].copy()
    if "track" in files:
        table["bytes"] = table["bytes"].where(files["track"] != "aligned", 0)
    described = captions.set_index("image_id").loc[table.index]
    table["caption_words"] = described["caption"].str.split().str.len()
    table["objects_named"] = described["phrases"].map(len)
    named = described["phrases"].explode().rename("phrase").reset_index().drop_duplicates()
    found = named.merge(boxes, on=["image_id", "phrase"]).set_index("image_id")
    area = (found["x1"] - found["x0"]) * (found["y1"] - found["y0"])  # pixels
    table["objects_found"] = area.groupby(level=0).size().reindex(table.index).fillna(0)
    table["box_area"] = area.groupby(level=0).mean().reindex(table.index).fillna(0) / (table["width"] * table["height"])
    return table


def _finite(matrix: np.ndarray, image_ids: list[str]) -> np.ndarray:
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(broken):
        raise ValueError(f"{len(broken)} images have features that are not finite; the first is {image_ids[broken[0]]}")
    return matrix


def _take(table: pd.DataFrame, wanted: pd.DataFrame) -> np.ndarray:
    """The vectors of `table` for each row of `wanted`, by its columns: (rows, D)."""
    names = list(wanted.columns)
    place = pd.MultiIndex.from_frame(table[names]).get_indexer(pd.MultiIndex.from_frame(wanted))
    if (place < 0).any():
        missing = wanted[place < 0].iloc[0].to_dict()
        raise ValueError(f"no vector for {missing}: an unreadable image, or one that these tables were not made for")
    rows, place = np.unique(place, return_inverse=True)
    return (
        np.stack(table["vector"].iloc[rows].to_list())[place] if len(rows) else np.stack(table["vector"].to_list())[:0]
    )
