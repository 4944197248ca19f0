"""Keep a data set to its own folder: its tables may come from strangers, and name any file of this machine, or an address."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow.compute as pc
import yaml
from datasets.data_files import resolve_pattern
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub import hf_hub_download, metadata_load
from huggingface_hub.errors import EntryNotFoundError

from itemkit.data.cards import Card
from itemkit.data.files import is_hidden
from itemkit.data.hub import explained

ARCHIVES = ("zip", "tar", "gzip", "bz2", "xz", "zstd")  # protocols of fsspec that only unpack what another one reads
PLAIN_MEMBERS = ("txt", "text", "transcript", "cls", "cls2", "index", "inx", "id", "json", "jsn")


@contextmanager
def members_as_bytes() -> Iterator[None]:
    """Let the library read only text, numbers and JSON of archives (webdataset); it would unpickle other members."""
    decoders = WebDataset.DECODERS
    WebDataset.DECODERS = {ending: decoders[ending] for ending in PLAIN_MEMBERS}
    try:
        yield
    finally:
        WebDataset.DECODERS = decoders


def check_data_files(card: Card, folder: Path | None) -> None:
    """Raise a ValueError if the first lines of a data set's README.md give files outside of it: the library would read them.

    The library passes over a pattern that matches nothing if another one does; of a local data set, that is refused, too.

    Args:
        card: of the data set.
        folder: where it lies; None: on the hub.
    """
    if folder is None:
        with explained(card.repo, "dataset", card.revision):
            try:
                readme = Path(hf_hub_download(card.repo, "README.md", revision=card.revision, repo_type="dataset"))
            except EntryNotFoundError:
                return
    else:
        readme = folder / datasets.config.REPOCARD_FILENAME
    other = readme.with_name(datasets.config.REPOYAML_FILENAME)
    with _named_if_no_yaml(card, readme):
        configs = (metadata_load(readme) or {}).get("configs") if readme.is_file() else None
    with _named_if_no_yaml(card, other):
        said = [configs, yaml.safe_load(other.read_text(encoding="utf-8")) if folder and other.is_file() else None]
    for text in _texts(said):
        if "://" in text or os.path.isabs(text) or ".." in Path(text).parts:
            raise ValueError(f"card {card.name}: {readme} names data files {text!r}; expected files of its own folder")
    for one in configs if card.is_local and isinstance(configs, list) else ():
        if not isinstance(one, dict) or one.get("config_name", "default") != (card.configuration or "default"):
            continue
        place = folder / str(one.get("data_dir") or "")
        for pattern in _patterns(one.get("data_files")):
            try:
                resolve_pattern(pattern, glob.escape(str(place)))
            except FileNotFoundError:
                raise ValueError(
                    f"card {card.name}: {readme} names data files {pattern!r}, and none is in {place}; correct `configs` there, "
                    "or put the files there"
                ) from None


@contextmanager
def _named_if_no_yaml(card: Card, file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f"card {card.name}: the lines of {file} that say what its files are cannot be read "
            f"({' '.join(str(error).split())}); correct them"
        ) from None


def _patterns(value: object) -> list[str]:
    """The patterns in an entry `data_files`: one, a list, a dict by split, or dicts of split and path."""
    if isinstance(value, dict):
        value = value["path"] if "path" in value else list(value.values())
    return [text for one in value for text in _patterns(one)] if isinstance(value, list) else _texts(value)


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    return (
        [text for one in value for text in _texts(one)] if isinstance(value, list) else [value] * isinstance(value, str)
    )


def placed(card: Card, images: datasets.Dataset, folder: Path) -> datasets.Dataset:
    """Return images whose table gives paths with the places of these files, all of them below its folder.

    Args:
        card: of the data set.
        images: one column `image` of {"bytes", "path"}.
        folder: where its tables lie, from which their paths are seen.

    Raises:
        ValueError: a path that leads out of the folder, or an address.
    """
    pointers = (pc.is_null(pc.struct_field(chunk, "bytes")) for chunk in images.data.column("image").chunks)
    if not any(pc.any(chunk).as_py() for chunk in pointers):
        return images
    allowed = [str(folder), str(folder.resolve()), str(datasets.config.EXTRACTED_DATASETS_PATH)]
    if card.is_local:  # `folder` may be one of links to its files
        allowed.append(str(card.folder.resolve()))
    return images.map(_placed, fn_kwargs={"allowed": allowed, "card": card.name}, desc="paths")


def _placed(row: dict, allowed: list[str], card: str) -> dict:
    cell = row["image"]
    if cell is None or cell["bytes"] is not None:
        return {}
    return {"image": {"bytes": None, "path": place(cell["path"], allowed, card)} if cell["path"] else None}


def place(path: str, allowed: list[str], card: str) -> str:
    """Return where a file is that a table names: seen from the first of the allowed folders, and below one of them.

    Links that lie in these folders are followed, for people link their pictures.

    Raises:
        ValueError: it is elsewhere, an address, or hidden.
    """
    if "://" in path:
        raise ValueError(
            f"card {card}: the column of images holds addresses such as {path}; download them, and give paths"
        )
    whole, roots = os.path.normpath(os.path.join(allowed[0], path)), [os.path.join(folder, "") for folder in allowed]
    real = os.path.realpath(whole) if os.path.isabs(path) and "\0" not in path else whole  # written through a link
    inside = [one[len(root) :] for one in (whole, real) for root in roots if one.startswith(root)]
    if not inside:
        raise ValueError(
            f"card {card}: the column of images names {path!r}, which is not below {allowed[0]}; move or link it into that "
            "folder, and name it as seen from there"
        )
    if any(map(is_hidden, inside[0].split(os.sep))):
        raise ValueError(
            f"card {card}: the column of images names {path!r}, which is hidden, and so not looked at for changes; call it "
            "otherwise, in the folder and in the table"
        )
    return whole


def place_in_stream(path: str, card: Card) -> str:
    """Return the address of a file that a streamed row names, inside its data set: on the hub, in a folder, or an archive there.

    Raises:
        ValueError: it is elsewhere.
    """
    *archives, file = path.split("::")
    unpacked = all(part.partition("://")[0] in ARCHIVES for part in archives)
    inside = f"hf://datasets/{card.repo}@{card.revision}/"
    if card.is_local and unpacked:
        return "::".join([*archives, place(file, [str(card.folder), str(card.folder.resolve())], card.name)])
    file = file if "://" in file or os.path.isabs(file) else inside + file
    if not unpacked or ".." in file.split("/") or not file.startswith(inside):
        raise ValueError(
            f"card {card.name}: the column of images names {path!r}, which is not in {card.repo}; only the data set itself "
            "is read"
        )
    return "::".join([*archives, file])
