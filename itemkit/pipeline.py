"""Join the networks, shard by shard: inspect and describe images, locate and cut out what captions name, embed it all.

Every stage computes identical bytes once and keeps what its network said under a key of "which network, which settings,
which pixels, which words". It goes on where it was interrupted, and loads no network if everything is there. Without a
cache (None) the networks' stages keep nothing.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import chain
from math import ceil, floor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from datasets import Dataset, Features, Value
from datasets.config import HF_DATASETS_CACHE
from PIL import Image
from tqdm.auto import tqdm

from itemkit import scale
from itemkit.captions import Captioner, object_phrases
from itemkit.data.choices import check_names
from itemkit.data.images import (
    LONGEST,
    UnreadableImage,
    decode_image,
    encoded_bytes,
    image_id,
    inspect_images,
    pixel_count,
)
from itemkit.data.layouts import kept, place_of
from itemkit.data.perturb import perturb
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator
from itemkit.misalign import WHOLE
from itemkit.network import network_digest, spacy_folder
from itemkit.store import cached, digest

SHARD = 1024  # images, or texts: what an interruption costs at most
VERSION = {"version": 2}  # in every key: raise it when the code of a stage changes its numbers
FACTS = {"version": 2}  # the same, of what is seen of files
BOX = ["x0", "y0", "x1", "y1"]
DECODERS = min(8, os.cpu_count() or 1)  # threads: Pillow lets others work while it decodes
AHEAD = 2  # batches that are decoded while another is used
PIXELS = 2**26  # of a batch, a quarter of a gigabyte, unless a single picture has more
T = TypeVar("T")


def inspect(images: Dataset, cache: str | Path) -> pd.DataFrame:
    """Return what images.inspect_images does, a row for each row, and keep what it saw of each distinct image.

    Args:
        images: as load_images returns them.
        cache: a folder for what the files are.
    """
    tables = []
    for shard in _shards(images, "inspect"):
        key = FACTS | {"images": digest(shard["image_id"][:])}
        build = partial(inspect_images, shard.select_columns(["image_id", "image"]))
        tables.append(cached(Path(cache) / "files", key, build))
    rows = pd.DataFrame(images.remove_columns("image").to_dict())
    return rows.merge(pd.concat(tables, ignore_index=True), on="image_id", how="left", validate="many_to_one")


def describe(
    images: Dataset,
    captioner: Captioner,
    nouns: str | Path,
    cache: str | Path | None,
    phrase: str = "object",
    engine: str = "local",
    workers: int | None = None,
) -> pd.DataFrame:
    """Write a caption for each distinct image, and name the objects of each caption.

    Args:
        images: as load_images returns them.
        captioner: writes the captions, for real and generated images alike.
        nouns: the spaCy pipeline of object_phrases: a folder or a package.
        cache: a folder for what the networks say; None keeps nothing.
        phrase: one of captions.PHRASES.
        engine: one of scale.ENGINES: "ray" lets other processes and machines build what the cache does not hold.
        workers: of Ray, as scale.fill has them.

    Returns:
        image_id, caption, phrases (a list), status ("ok" or "unreadable"), reason; a row for each distinct image. An
        unreadable one has an empty caption; a caption without objects has an empty list.
    """
    spacy_folder(nouns)  # before hours of captioning, not after
    key = {} if cache is None else VERSION | captioner.spec

    def piece(shard: Dataset) -> tuple[dict, partial]:
        return key | {"images": digest(shard["image_id"][:])}, partial(_captions, shard, captioner)

    tables = [
        table.assign(phrases=name_objects(table["caption"].tolist(), nouns, cache, phrase))
        for table in _tables(cache, "captions", piece, images, "describe", engine, workers)
    ]
    return pd.concat(tables, ignore_index=True)[["image_id", "caption", "phrases", "status", "reason"]]


def name_objects(
    captions: list[str], nouns: str | Path, cache: str | Path | None, phrase: str = "object"
) -> list[list[str]]:
    """Return the object phrases of each caption, as captions.object_phrases finds them, and keep them.

    Args:
        captions: N texts.
        nouns, cache, phrase: as for describe.
    """
    key = VERSION | {"nouns": network_digest(spacy_folder(nouns)), "phrase": phrase, "captions": digest(captions)}
    named = _kept(cache, "phrases", key, partial(_phrases, captions, nouns, phrase))
    return named["phrases"].map(list).tolist()


def shuffle(captions: pd.DataFrame, groups: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Give each image the caption and phrases of another image of its group, real or generated alike.

    What a detector still knows with these words, it does not know from their fit.

    Args:
        captions: what describe returned.
        groups: a value for each image_id, its index; words stay inside a group (a split, a track).
        seed: of the order.

    Returns:
        captions with other words; unreadable images stay as they are.

    Raises:
        ValueError: a group of a single readable image, or an image without a group.
    """
    if missing := set(captions["image_id"]) - set(groups.index):
        raise ValueError(f"no group for {len(missing)} images; the first is {min(missing)}")
    random = np.random.default_rng(seed)
    readable = captions[captions["status"] == "ok"]
    shuffled = captions.copy()
    for group, rows in readable.groupby(groups.loc[readable["image_id"]].to_numpy()):
        if len(rows) < 2:
            raise ValueError(f"group {group!r} has one readable image; expected at least 2, to exchange their words")
        order = random.permutation(rows.index)
        shuffled.loc[order, ["caption", "phrases"]] = captions.loc[np.roll(order, 1), ["caption", "phrases"]].to_numpy()
    return shuffled


def true_captions(pictures: pd.DataFrame, known: pd.DataFrame, nouns: str | Path, cache: str | Path) -> pd.DataFrame:
    """Return the true words of pictures in the form of describe, for a look at what the networks get wrong.

    Args:
        pictures: image_id, generator, content_id, status and reason of each picture, on one track.
        known: generator, content_id, true_caption of each picture, as load_images(..., truth=True) has them.
        nouns, cache: as for describe.

    Returns:
        As describe; no row of a picture whose card names no true caption.
    """
    columns = ["image_id", "caption", "phrases", "status", "reason"]
    if "true_caption" not in known:
        return pd.DataFrame(columns=columns)
    words = pictures.merge(
        known[["generator", "content_id", "true_caption"]], on=["generator", "content_id"], how="left"
    )
    words = words.rename(columns={"true_caption": "caption"}).dropna(subset="caption")
    words = words[words["caption"].str.strip() != ""].drop_duplicates("image_id", ignore_index=True)
    distinct = words["caption"].drop_duplicates()
    phrases = dict(zip(distinct, name_objects(distinct.tolist(), nouns, cache), strict=True))
    return words.assign(phrases=words["caption"].map(phrases))[columns]


def true_boxes(
    pictures: pd.DataFrame, known: pd.DataFrame, nouns: str | Path, cache: str | Path, distributed: pd.DataFrame
) -> pd.DataFrame:
    """Return where the things of pictures truly are, in the form of locate.

    Args:
        pictures, nouns, cache: as for true_captions; and track, width and height.
        known: generator, content_id, true_objects and true_boxes of each picture.
        distributed: width and height of the files as distributed, which the boxes are of.

    Returns:
        As locate, with a score of 1; no rows where the card names no boxes, or where pictures were made alike and are not
        known to have had this very size before: alignment may have moved what the boxes hold.
    """
    columns = ["image_id", "phrase", *BOX, "score"]
    sizes = pd.concat([pictures, distributed])[["width", "height"]].drop_duplicates()
    stayed = pictures["track"].eq("raw").all() or (len(distributed) > 0 and len(sizes) == 1)
    if "true_boxes" not in known or "true_caption" not in known or not stayed:
        return pd.DataFrame(columns=columns)
    things = known.explode(["true_objects", "true_boxes"]).dropna(subset="true_boxes")
    distinct = things["true_objects"].drop_duplicates()
    phrase = [phrases[-1] if phrases else "" for phrases in name_objects(distinct.tolist(), nouns, cache)]
    things["phrase"] = things["true_objects"].map(dict(zip(distinct, phrase, strict=True)))
    things[BOX] = things["true_boxes"].to_list()
    things = things.merge(pictures[["image_id", "generator", "content_id"]], on=["generator", "content_id"])
    return things.assign(score=1.0)[columns].drop_duplicates(["image_id", "phrase"], ignore_index=True)


def perturbed(images: Dataset, name: str, strength: float, seed: int = 0) -> Dataset:
    """Return the images after one perturbation, as PNG files, with the id of the original in `original_id`.

    Args:
        images: readable ones, as load_images returns them.
        name, strength: as perturb.perturb has them; "none" leaves the images as they are.
        seed: of the noise, together with each image's id.

    The library keeps them in a folder of their own: if one is damaged, nothing but these pictures is made anew.
    """
    features = Features(images.features | {"original_id": Value("string")})
    settings = {"name": name, "strength": strength, "seed": seed, "version": VERSION["version"]}
    # Where rows only name files, the library's fingerprint does not see their content; the ids do.
    place = place_of((images._fingerprint, images["image_id"][:], settings)) / "pictures.arrow"
    options = {"features": features, "cache_file_name": str(place), "desc": f"{name} {strength}"}
    return kept(images.map(_perturb, fn_kwargs=settings, **options))


def of_originals(captions: pd.DataFrame, changed: Dataset) -> pd.DataFrame:
    """Return the captions of the images that others were made of, under the ids of these.

    Args:
        captions: what describe returned for the originals.
        changed: as perturbed returns it.
    """
    ids = changed["image_id"][:]
    words = captions.set_index("image_id").loc[changed["original_id"][:]].reset_index(drop=True)
    return words.assign(image_id=ids)[list(captions)].drop_duplicates("image_id", ignore_index=True)


def _perturb(row: dict, name: str, strength: float, seed: int, version: int) -> dict:
    if name == "none":
        return {"original_id": row["image_id"]}
    picture = decode_image(encoded_bytes(row["image"]))
    file = BytesIO()
    perturb(picture, name, strength, seed + int(row["image_id"], 16)).save(file, "PNG", compress_level=1)
    encoded = file.getvalue()
    return {"image": {"bytes": encoded, "path": None}, "image_id": image_id(encoded), "original_id": row["image_id"]}


def locate(
    images: Dataset,
    captions: pd.DataFrame,
    locator: ObjectLocator,
    cache: str | Path | None,
    engine: str = "local",
    workers: int | None = None,
) -> pd.DataFrame:
    """Find the objects that the captions name.

    Args:
        images: as load_images returns them.
        captions: what describe returned for them.
        locator: finds one box for each phrase.
        cache: a folder for what the network says; None keeps nothing.
        engine, workers: as for describe.

    Returns:
        image_id, phrase, x0, y0, x1, y1 (pixels of the decoded image), score; a row for each object that was found.
    """
    phrases = dict(zip(captions["image_id"], captions["phrases"].map(list), strict=True))
    key = {} if cache is None else VERSION | locator.spec

    def piece(shard: Dataset) -> tuple[dict, partial]:
        wanted = [(name, phrases[name]) for name in shard["image_id"]]
        return key | {"phrases": digest(wanted)}, partial(_boxes, shard, dict(wanted), locator)

    tables = _tables(cache, "boxes", piece, images, "locate", engine, workers)
    return pd.concat(tables, ignore_index=True)


def embed(
    images: Dataset,
    captions: pd.DataFrame,
    boxes: pd.DataFrame,
    encoder: ClipEncoder,
    cache: str | Path | None,
    engine: str = "local",
    workers: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put images, the crops of their objects, captions and phrases on CLIP's unit sphere.

    A crop is the box, rounded outwards to whole pixels, and at least one pixel in each direction.

    Args:
        images: as load_images returns them.
        captions, boxes: what describe and locate returned for them.
        encoder: makes the vectors.
        cache: a folder for what the network says; None keeps nothing.
        engine, workers: as for describe; texts are few, and made here.

    Returns:
        (vectors, texts). vectors: image_id, part ("whole" or the phrase), vector ((D,) float32); nothing for an
        unreadable image. texts: text, vector, cut (whether CLIP saw only its beginning), each distinct text once.

    Raises:
        ValueError: a box that is not finite.
    """
    if (odd := ~np.isfinite(boxes[BOX].to_numpy(float)).all(axis=1)).any():
        raise ValueError(
            f"box of {boxes['phrase'][odd].iloc[0]!r} in picture {boxes['image_id'][odd].iloc[0]} is not finite"
        )
    readable = set(captions.loc[captions["status"] == "ok", "image_id"])
    crops = {}
    for name, *crop in boxes[["image_id", "phrase", *BOX]].itertuples(index=False):
        crops.setdefault(name, []).append(crop)
    key = {} if cache is None else VERSION | encoder.spec

    def piece(shard: Dataset) -> tuple[dict, partial]:
        wanted = [(name, crops.get(name, [])) for name in shard["image_id"] if name in readable]
        return key | {"crops": digest(wanted)}, partial(_vectors, shard, dict(wanted), encoder)

    vectors = list(_tables(cache, "vectors", piece, images, "embed", engine, workers))
    texts = []
    said = sorted({*captions.loc[captions["status"] == "ok", "caption"], *chain(*captions["phrases"])})
    for start in range(0, len(said), SHARD):
        some = said[start : start + SHARD]
        build = partial(_texts, some, encoder)
        texts.append(_kept(cache, "texts", key | {"texts": digest(some)}, build))
    none = pd.DataFrame(columns=["text", "vector", "cut"])
    return pd.concat(vectors, ignore_index=True), pd.concat(texts, ignore_index=True) if texts else none


def _kept(cache: str | Path | None, stage: str, key: dict, build: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    return build() if cache is None else cached(Path(cache) / stage, key, build)


def _tables(
    cache: str | Path | None,
    stage: str,
    piece: Callable[[Dataset], tuple[dict, partial]],
    images: Dataset,
    name: str,
    engine: str,
    workers: int | None,
) -> Iterator[pd.DataFrame]:
    """The table of each shard, of which `piece` gives key and build."""
    check_names("engine", [engine], scale.ENGINES)
    if engine == "ray" and cache is not None:
        scale.fill(Path(cache) / stage, map(piece, _shards(images, name, quiet=True)), workers)
    for key, build in map(piece, _shards(images, name, quiet=cache is None)):
        yield _kept(cache, stage, key, build)


def _shards(images: Dataset, stage: str, quiet: bool = False) -> Iterator[Dataset]:
    if not len(images):
        raise ValueError(f"{stage}: there are no images; expected at least one")
    distinct = images.select(pd.Series(images["image_id"][:]).drop_duplicates().index)
    with tqdm(
        total=len(distinct), desc=stage, unit="image", leave=None, disable=quiet
    ) as bar:  # none inside another one
        for start in range(0, len(distinct), SHARD):
            shard = distinct.select(range(start, min(start + SHARD, len(distinct))))
            yield shard
            bar.update(len(shard))


def _captions(shard: Dataset, captioner: Captioner) -> pd.DataFrame:
    rows = []
    captioner.load()
    for names, decoded in _ahead(shard, captioner.batch_size, captioner.prepare):
        texts = iter(captioner([pixels for pixels, _ in decoded if pixels is not None]))
        for name, (pixels, reason) in zip(names, decoded, strict=True):
            rows.append((name, next(texts), "ok", "") if pixels is not None else (name, "", "unreadable", reason))
    return pd.DataFrame(rows, columns=["image_id", "caption", "status", "reason"])


def _read(image: dict, name: str) -> tuple[bytes, str, int]:
    """The bytes of a picture, or none and why, and its pixels; refuses those of another one than the name, their checksum, says."""
    try:
        encoded, reason = encoded_bytes(image), ""
    except UnreadableImage as error:
        encoded, reason = b"", str(error)
    found = image_id(reason.encode() or encoded)
    if found != name and re.fullmatch(
        "[0-9a-f]{16}", name
    ):  # a name of another form is no checksum, and somebody's own
        raise ValueError(
            f"picture {name} ({image['path'] or 'kept by the library datasets'}) is now {found}: its file has changed since "
            f"it was first read, or was damaged; run 00 again, and if that does not help, remove {HF_DATASETS_CACHE}"
        )
    return encoded, reason, pixel_count(encoded)


def _decode(prepare: Callable[[Image.Image], T], encoded: bytes, reason: str) -> tuple[T | None, str]:
    try:
        picture = decode_image(encoded)
    except UnreadableImage as error:
        return None, reason or str(error)
    return prepare(picture), ""


def _itself(picture: Image.Image) -> Image.Image:
    return picture


def _phrases(texts: list[str], nouns: str | Path, phrase: str) -> pd.DataFrame:
    distinct = list(dict.fromkeys(texts))
    found = dict(zip(distinct, object_phrases(distinct, nouns, phrase), strict=True))
    # The word "whole" cannot name a part beside the whole image, and it is no object.
    return pd.DataFrame({"phrases": [[one for one in found[text] if one != WHOLE] for text in texts]})


def _boxes(shard: Dataset, wanted: dict[str, list[str]], locator: ObjectLocator) -> pd.DataFrame:
    rows = []
    named = [name for name, phrases in wanted.items() if phrases]
    if named:
        locator.load()
    for names, prepared in _readable(shard, named, locator.batch_size, locator.prepare):
        phrases = [wanted[name] for name in names]
        for name, asked, found in zip(names, phrases, locator(prepared, phrases), strict=True):
            rows += [(name, phrase, *one[0], one[1]) for phrase, one in zip(asked, found, strict=True) if one]
    table = pd.DataFrame(rows, columns=["image_id", "phrase", *BOX, "score"])
    return table.astype({"image_id": str, "phrase": str} | dict.fromkeys([*BOX, "score"], float))  # also if it is empty


def _vectors(shard: Dataset, wanted: dict[str, list], encoder: ClipEncoder) -> pd.DataFrame:
    rows = []
    parts = _parts(_readable(shard, list(wanted), encoder.batch_size), wanted, encoder.batch_size)
    if wanted:
        encoder.load()
    with ThreadPoolExecutor(DECODERS) as threads:
        for named, pixels in _in_advance(parts, lambda *part: encoder.prepare(cut_out(*part)), threads):
            rows += [(*name, vector) for name, vector in zip(named, encoder.images(pixels), strict=True)]
    return pd.DataFrame(rows, columns=["image_id", "part", "vector"]).astype({"image_id": str, "part": str})


def _texts(texts: list[str], encoder: ClipEncoder) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "vector": list(encoder.texts(texts)), "cut": encoder.is_cut(texts)})


def _parts(
    pictures: Iterable[tuple[list[str], list[Image.Image]]], wanted: dict[str, list], size: int
) -> Iterator[tuple[list[tuple[str, str]], list[tuple[Image.Image, list]]]]:
    """Batches of the names of parts, and the picture and box of each; the crops of one picture may be thousands."""
    for names, batch in pictures:
        parts = [
            ((name, part), (picture, box))
            for name, picture in zip(names, batch, strict=True)
            for part, *box in [(WHOLE,), *wanted[name]]
        ]
        for start in range(0, len(parts), size):
            yield tuple(map(list, zip(*parts[start : start + size], strict=True)))


def _readable(
    shard: Dataset, names: list[str], size: int, prepare: Callable[[Image.Image], T] = _itself
) -> Iterator[tuple[list[str], list[T]]]:
    """Batches of names and of what was made of the decoded pictures, all of them readable."""
    chosen = set(names)
    shard = shard.select([row for row, name in enumerate(shard["image_id"]) if name in chosen])
    for found, decoded in _ahead(shard, size, prepare):
        if lost := [reason for made, reason in decoded if made is None]:
            raise UnreadableImage(lost[0])
        yield found, [made for made, _ in decoded]


def _ahead(
    shard: Dataset, size: int, prepare: Callable[[Image.Image], T]
) -> Iterator[tuple[list[str], list[tuple[T | None, str]]]]:
    """Batches of names and of what was made of the decoded pictures (None, and why, if one is unreadable)."""
    with ThreadPoolExecutor(DECODERS) as threads:
        yield from _in_advance(_batches(shard, size, threads), partial(_decode, prepare), threads)


def _in_advance(
    batches: Iterable[tuple[list, list[tuple]]], work: Callable, threads: ThreadPoolExecutor
) -> Iterator[tuple[list, list]]:
    """Batches of names and of what threads made of the arguments beside them, while a network is busy.

    A batch waits while another is used and the next one is being made: a shard of large pictures need not fit into memory.
    """
    waiting = deque()
    for names, arguments in batches:
        waiting.append((names, [threads.submit(work, *one) for one in arguments]))
        if len(waiting) > AHEAD:
            names, made = waiting.popleft()
            yield names, [one.result() for one in made]
    for names, made in waiting:
        yield names, [one.result() for one in made]


def _batches(shard: Dataset, size: int, threads: ThreadPoolExecutor) -> Iterator[tuple[list[str], list[tuple]]]:
    """Names of `size` pictures at a time and what `_read` says of them, or of fewer with more than PIXELS pixels."""
    for batch in shard.iter(size):
        names, read, pixels = [], [], 0
        found = threads.map(_read, batch["image"], batch["image_id"])
        for name, (*one, more) in zip(batch["image_id"], found, strict=True):
            if names and pixels + more > PIXELS:
                yield names, read
                names, read, pixels = [], [], 0
            names, read, pixels = [*names, name], [*read, one], pixels + more
        yield names, read


def cut_out(image: Image.Image, box: list[float]) -> Image.Image:
    """Return a crop: the box (x0, y0, x1, y1) rounded outwards to whole pixels of the picture, at least one each way.

    Without a box it is the whole picture. A crop more than LONGEST times as long as wide is widened to that.
    """
    if not box:
        return image
    across, down = _outwards(box[0], box[2], image.width), _outwards(box[1], box[3], image.height)
    least = ceil(
        max(across[1] - across[0], down[1] - down[0]) / LONGEST
    )  # a thread would fill the memory, once enlarged
    (left, right), (top, bottom) = _widened(*across, image.width, least), _widened(*down, image.height, least)
    return image.crop((left, top, right, bottom))


def _outwards(low: float, high: float, side: int) -> tuple[int, int]:
    """The pixels that an interval touches, of those that there are, and at least one."""
    first = min(max(floor(low), 0), side - 1)
    return first, min(max(ceil(high), first + 1), side)


def _widened(first: int, last: int, side: int, least: int) -> tuple[int, int]:
    """At least so many pixels, around those from `first` to `last`."""
    more = max(0, min(least, side) - (last - first))
    first = max(0, min(first - more // 2, side - (last - first) - more))
    return first, max(last, first + min(least, side))
