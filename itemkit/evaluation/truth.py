"""How right the frozen networks are, where a data set knows what its pictures show."""

from collections.abc import Sequence

import numpy as np


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
