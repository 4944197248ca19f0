"""How right the frozen networks are, where a data set knows what its pictures show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

CORNERS = ["x0", "y0", "x1", "y1"]


def share_of(named: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> np.ndarray:
    """The share of each image's wanted nouns that are named: the recall of a caption, or with the two exchanged its precision.

    Args:
        named, wanted: N lists of nouns; repetitions count once.

    Returns:
        (N,) in [0, 1]; NaN where nothing is wanted.

    Raises:
        ValueError: not as many lists of one kind as of the other.
    """
    if len(named) != len(wanted):
        raise ValueError(f"expected two lists for each image; got {len(named)} and {len(wanted)}")
    pairs = [(set(one), set(other)) for one, other in zip(named, wanted, strict=True)]
    return np.array([len(one & other) / len(other) if other else np.nan for one, other in pairs])


def intersection_over_union(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How well each box agrees with the other one of its row.

    Args:
        box, other: (M, 4) x0, y0, x1, y1, in the same unit.

    Returns:
        (M,) in [0, 1]; 0 for a box without area.

    Raises:
        ValueError: arrays that are not both (M, 4).
    """
    if box.shape != other.shape or box.ndim != 2 or box.shape[1] != 4:
        raise ValueError(f"expected two arrays of shape (M, 4); got {box.shape} and {other.shape}")
    low, high = np.maximum(box[:, :2], other[:, :2]), np.minimum(box[:, 2:], other[:, 2:])  # (M, 2)
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(one[:, 2:] - one[:, :2], 0, None), axis=1) for one in (box, other)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(union, dtype=float), where=union > 0)


def correctness(
    pictures: pd.DataFrame, captions: pd.DataFrame, truths: pd.DataFrame, sought: pd.DataFrame, places: pd.DataFrame
) -> pd.DataFrame:
    """How often captioner and detector are right, for each source.

    Args:
        pictures: image_id, generator, content_id of the pictures to look at, in the order of the sources.
        captions: image_id, phrases: what the captioner said.
        truths: image_id, phrases: what is true of those of which it is known.
        sought: image_id, phrase, x0, y0, x1, y1: what the detector found when asked for true phrases.
        places: the same, true, of the pictures of which it is known; a content's things are there in each of its pictures.

    Returns:
        A row for each source: nouns_named, the share of true nouns in the caption; named_nouns_true, the share of the
        caption's nouns that are true; things_found, the share of true things that the detector finds; boxes_right, the
        share of true boxes of which it overlaps half or more. NaN where nothing is known of a source.
    """
    sources, pictures = pictures["generator"].unique(), pictures[pictures["image_id"].isin(truths["image_id"])]
    wanted, given = (
        table.set_index("image_id")["phrases"].reindex(pictures["image_id"]) for table in (truths, captions)
    )
    things = places.merge(pictures, on="image_id").groupby("content_id")["phrase"].agg(list)
    found = sought.groupby("image_id")["phrase"].agg(list)
    right = pd.DataFrame({"generator": pictures["generator"].to_numpy()})
    right["nouns_named"], right["named_nouns_true"] = share_of(given, wanted), share_of(wanted, given)
    right["things_found"] = share_of(
        [found.get(name, []) for name in pictures["image_id"]],
        [things.get(content, []) for content in pictures["content_id"]],
    )
    table = right.groupby("generator").mean().reindex(sources).rename_axis("generator")
    seen = places.merge(sought, on=["image_id", "phrase"], how="left", suffixes=("_true", ""))
    overlap = intersection_over_union(
        seen[CORNERS].to_numpy(float), seen[[f"{name}_true" for name in CORNERS]].to_numpy(float)
    )
    source = seen["image_id"].map(pictures.drop_duplicates("image_id").set_index("image_id")["generator"])
    table["boxes_right"] = pd.Series(overlap >= 0.5).groupby(source).mean()
    return table


def kept_by_networks(steps: list[tuple[dict, pd.Series, pd.DataFrame, pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """How much of an unperturbed picture each frozen network keeps, for each perturbation.

    Args:
        steps: for each perturbation, strength and kind of words: a dict of perturbation, strength and words ("anew" or
            "frozen"); the N image_ids of the perturbed pictures, in the order of the unperturbed ones; their captions,
            boxes and vectors. The unperturbed pictures come first.

    Returns:
        A row for each perturbation and strength: captioner, the share of captions, made anew, that name the same
        objects; detector, the share of the objects found in the unperturbed picture that are found again, with frozen
        captions; clip, the mean cosine of the two pictures' vectors.
    """
    rows, before = {}, None
    for step, image_ids, captions, boxes, vectors in steps:
        phrases = captions.set_index("image_id")["phrases"].loc[image_ids].map(set).tolist()
        found = boxes.groupby("image_id")["phrase"].agg(set)
        found = [found.get(name, set()) for name in image_ids]
        whole = np.stack(vectors[vectors["part"] == "whole"].set_index("image_id")["vector"].loc[image_ids])  # (N, D)
        before = before or (phrases, found, whole)
        row = rows.setdefault((step["perturbation"], step["strength"]), {})
        if step["words"] == "anew":
            row["captioner"] = np.mean([one == other for one, other in zip(phrases, before[0], strict=True)])
        else:
            again = sum(len(one & other) for one, other in zip(found, before[1], strict=True))
            row["detector"] = again / max(1, sum(map(len, before[1])))
            row["clip"] = np.sum(whole * before[2], axis=1).mean()
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["perturbation", "strength"]).reset_index()
    return table[["perturbation", "strength", "captioner", "detector", "clip"]]
