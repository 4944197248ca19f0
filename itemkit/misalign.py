"""Turn image, caption, crop and phrase vectors into features: the ITEM method (arXiv 2511.00427) as plain arithmetic.

N images, M located objects of all images together, D CLIP width, F features. Every vector has unit norm.
"""

import numpy as np

from itemkit.data.choices import check_names

DISTANCES = ("difference", "absolute", "product", "cosine")
POOLS = ("mean", "sum", "max")
FUSIONS = ("concat", "sum")
VECTOR_ARMS = ("image", "text", "concat", "global", "local", "item")  # what can be made of vectors
WHOLE = "whole"  # in tables of vectors, the part of an image that is no crop


def misalignment(picture: np.ndarray, text: np.ndarray, distance: str = "difference") -> np.ndarray:
    """How far each picture, or each crop, is from the text that goes with it.

    Global misalignment is that of whole images and their captions.

    Args:
        picture: (N, D) vectors of images or crops.
        text: (N, D) vectors of their words, row by row.
        distance: one of DISTANCES: picture - text, its absolute value, the elementwise product, or 1 - cosine.

    Returns:
        (N, D) misalignment, or (N, 1) in [0, 2] for cosine.

    Raises:
        ValueError: an unknown distance, or arrays of different shapes.
    """
    check_names("distance", [distance], DISTANCES)
    if picture.shape != text.shape:
        raise ValueError(f"expected a text vector for each picture's; got shapes {picture.shape} and {text.shape}")
    match distance:
        case "difference":
            return picture - text
        case "absolute":
            return np.abs(picture - text)
        case "product":
            return picture * text
        case "cosine":
            return 1 - np.sum(picture * text, axis=1, keepdims=True)


def local_misalignment(
    crop: np.ndarray,
    phrase: np.ndarray,
    owner: np.ndarray,
    n: int,
    distance: str = "difference",
    pool: str = "mean",
) -> np.ndarray:
    """How far the objects of each image are from the words that name them, pooled over the image's objects.

    Args:
        crop: (M, D) vectors of the cut-out objects.
        phrase: (M, D) vectors of their phrases, row by row.
        owner: (M,) index in [0, n) of the image that each object belongs to, in any order.
        n: number of images.
        distance: one of DISTANCES, as for misalignment.
        pool: one of POOLS, elementwise over an image's objects.

    Returns:
        (n, D) pooled misalignment, (n, 1) for cosine; zeros for an image without objects.

    Raises:
        ValueError: an unknown distance or pool, arrays of different shapes, or an owner outside [0, n).
    """
    check_names("pool", [pool], POOLS)
    if len(owner) != len(crop) or np.any((owner < 0) | (owner >= n)):
        raise ValueError(f"expected {len(crop)} owners in [0, {n}), one for each crop; got {owner!r}")
    of_objects = misalignment(crop, phrase, distance)  # (M, D)
    count = np.bincount(owner, minlength=n)[:, None]  # (n, 1)
    if pool == "max":
        pooled = np.full((n, of_objects.shape[1]), -np.inf, dtype=of_objects.dtype)
        np.maximum.at(pooled, owner, of_objects)
        return np.where(count, pooled, 0)  # (n, D)
    pooled = np.zeros((n, of_objects.shape[1]), dtype=of_objects.dtype)
    np.add.at(pooled, owner, of_objects)
    if pool == "mean":
        pooled /= np.maximum(count, 1)
    return pooled  # (n, D)


def features(
    arm: str,
    image: np.ndarray,
    caption: np.ndarray,
    crop: np.ndarray,
    phrase: np.ndarray,
    owner: np.ndarray,
    distance: str = "difference",
    pool: str = "mean",
    fuse: str = "concat",
) -> np.ndarray:
    """The features that one arm of the evaluation gives its head.

    `item` is the method. The others say what a score is made of: `image` alone, `text` alone,
    both side by side in `concat` (as DE-FAKE), and each level of misalignment on its own. The arms that look at objects
    end with the number of objects that were compared, so that no pooling can hide it.

    Args:
        arm: one of VECTOR_ARMS.
        image, caption: (N, D) vectors of the images and of their captions.
        crop, phrase, owner: (M, D), (M, D), (M,): the located objects, as for local_misalignment.
        distance, pool: one of DISTANCES, one of POOLS.
        fuse: one of FUSIONS: global and local misalignment of `item` side by side, or added.

    Returns:
        (N, F) float32.

    Raises:
        ValueError: an unknown arm, distance, pool or fuse, or arrays that do not belong together.
    """
    check_names("arm", [arm], VECTOR_ARMS)
    check_names("fuse", [fuse], FUSIONS)
    whole = misalignment(image, caption, distance)  # (N, D)
    parts = local_misalignment(crop, phrase, owner, len(image), distance, pool)  # (N, D)
    count = np.bincount(owner, minlength=len(image))[:, None]  # (N, 1)
    match arm:
        case "image":
            columns = [image]
        case "text":
            columns = [caption]
        case "concat":
            columns = [image, caption]
        case "global":
            columns = [whole]
        case "local":
            columns = [parts, count]
        case "item" if fuse == "concat":
            columns = [whole, parts, count]
        case "item":
            columns = [whole + parts, count]
    return np.hstack(columns).astype(np.float32)  # (N, F)
