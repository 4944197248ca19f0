"""Load frozen networks safely, and say exactly which network it was.

The only module that the leaves `captions`, `locate` and `embed` share: one place decides what may be loaded.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from itemkit.data.choices import check_names
from itemkit.data.files import checksum, is_hidden
from itemkit.data.hub import fetch, is_commit

DTYPES = ("float32", "bfloat16", "float16")
SLOW_ON_PILLOW = ("owlv2",)  # whose processor takes 0.3 s for a picture there, longer than the network on a GPU
# The files of a hub id that are fetched: no pickled weights, no code.
TRANSFORMERS_FILES = ["*.json", "*.txt", "*.safetensors"]
OPEN_CLIP_FILES = ["open_clip*.json", "open_clip*.safetensors", "*token*", "vocab*", "merges.txt", "spiece.model"]

# Entries of a configuration by which a library would run code, or read or ask for something outside the folder.
CODE = ("trust_remote_code", "auto_map")
OUTSIDE = ("hf_model_name", "base_model_name_or_path", "backbone", "use_pretrained_backbone")
OUTSIDE_AS_PATH = (
    "timm_model_name",
    "attn_implementation",
    "_attn_implementation",
    "vocab_file",
    "merges_file",
    "spm_file",
)
TOKENIZER_SETTINGS = {"clean", "strip_sep_token", "language"}  # of open_clip that are only settings


def network_digest(name: str | Path, revision: str | None = None) -> str:
    """Return an identity of a network that neither its folder's place nor its loading matters for.

    Args:
        name: a folder, or a Hugging Face Hub id.
        revision: the 40-digit commit of a hub id; a folder needs none.

    Returns:
        "sha256:..." over the names and bytes of a folder's files, or "<hub id>@<commit>".

    Raises:
        ValueError: `name` is no folder and `revision` is not a commit, so that the network may change unseen.
    """
    folder = Path(name)
    if not folder.is_dir():
        if not is_commit(revision):
            raise ValueError(
                f"no folder {str(name)!r}, and as a hub id it has revision {revision!r}; expected the 40 hex "
                "digits of a commit (itemkit.data.hub.resolve_revision looks up the newest, once)"
            )
        return f"{name}@{revision}"
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        inner = path.relative_to(folder)
        if path.name != "README.md" and not any(map(is_hidden, inner.parts)):
            total.update(inner.as_posix().encode() + b"\0" + bytes.fromhex(checksum(path)))
    return f"sha256:{total.hexdigest()}"


def spacy_folder(nouns: str | Path) -> Path:
    """Return the folder of a spaCy pipeline, itself a folder or an installed package.

    Raises:
        ValueError: it is neither.
    """
    if Path(nouns).is_dir():
        return Path(nouns)
    package = find_spec(nouns) if str(nouns).isidentifier() else None
    if package is None:
        raise ValueError(f"no spaCy pipeline {str(nouns)!r}: neither a folder nor a package; python -m spacy download")
    return Path(package.submodule_search_locations[0])


def network_spec(network) -> dict:
    """Return what a cache key must know of a Captioner, ObjectLocator or ClipEncoder: files, number type and device.

    The batch size belongs to it in half precision only: there it changes captions, in float32 nothing above 1e-5.
    """
    check_names("dtype", [network.dtype], DTYPES)
    spec = {
        "network": network_digest(network.name, network.revision),
        "dtype": network.dtype,
        "device": network.device.split(":")[0],
    }
    return spec if network.dtype == "float32" else spec | {"batch_size": network.batch_size}


def prepared(images: Sequence, prepare: Callable[[Image.Image], object]) -> list:
    """Return what `prepare` makes of each image, of one that is there several times once; what it made before stays."""
    distinct = {id(one): one for one in images}
    ready = {place: prepare(one) if isinstance(one, Image.Image) else one for place, one in distinct.items()}
    return [ready[id(one)] for one in images]


class Batches:
    """Apply a network to items batch by batch; a batch that does not fit into memory is halved, once.

    Args:
        network: a Captioner, ObjectLocator or ClipEncoder, for its name, batch_size and dtype.
    """

    def __init__(self, network) -> None:
        self.name, self.size, self.dtype, self.halved = network.name, network.batch_size, network.dtype, False

    def __call__(self, run: Callable[[list], list], items: list) -> list:
        """Return the results of `run` for N items, in their order.

        Raises:
            MemoryError: half the batch does not fit either, or in half precision, where the batch size changes results.
        """
        results = []
        while len(results) < len(items):
            try:
                results += run(items[len(results) : len(results) + self.size])
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
        return results

    def _halve(self, error: Exception) -> None:
        if self.halved or self.size == 1 or self.dtype != "float32":
            raise MemoryError(
                f"{self.name}: no memory for {self.size} at once in {self.dtype}; set a smaller batch_size, or free "
                "memory. What was computed before is kept"
            ) from error
        self.halved, self.size = True, self.size // 2
        warnings.warn(f"{self.name}: out of memory, goes on with {self.size} at once; results stay", stacklevel=4)


class Frozen:
    """What Captioner, ObjectLocator and ClipEncoder share; each says in `_network` how it is loaded."""

    def load(self) -> None:
        """Load the network, if it is not: before threads that call `prepare` would all do it."""
        self._network  # noqa: B018

    @cached_property
    def _in_batches(self) -> Batches:
        return Batches(self)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether torch ran out of memory, on a GPU (which has a type for it) or not (which has only a text)."""
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def devices() -> list[str]:
    """Return the kinds of device that torch can compute on here."""
    import torch

    return ["cpu", *(kind for kind in ("cuda", "xpu", "mps") if getattr(torch, kind).is_available())]


def check_device(device: str) -> None:
    """Raise a ValueError if torch cannot compute on `device`; the message says what it can compute on."""
    import torch

    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"device {device!r} is asked for, but this torch ({torch.__version__}) can use {' and '.join(devices())}"
            f" only ({str(error).splitlines()[0].partition('. ')[0]}); set device accordingly, or install a torch for it"
        ) from None


def check_entries(name: str | Path, folder: Path, code: bool = True) -> None:
    """Refuse a folder whose configurations would let a library run code, or read or ask for what is outside the folder.

    Args:
        name: of the network, for the message.
        folder: where its files are.
        code: whether to refuse entries that ask for code, too: the library is not told otherwise.

    Raises:
        ValueError: naming the file and its entry; or a file is no JSON.
    """
    for path in sorted([*folder.rglob("*config*.json"), *folder.rglob("*.index.json")]):
        for entry, value in _entries(path):
            if code and entry in CODE and value:
                raise ValueError(
                    f"{name}: {path.name} has an entry {entry!r}, which lets code of that folder run; code of networks is "
                    "never run. Remove the entry if the network works without it, or take another one"
                )
            if _leads_outside(entry, value) or (path.name.endswith(".index.json") and _is_place(value)):
                raise ValueError(
                    f"{name}: {path.name} has an entry {entry!r} of {value!r}, which lets a library read or ask for more "
                    "than that folder; nothing else is read. Take a network that is complete in itself"
                )


def _leads_outside(entry: str, value: object) -> bool:
    if entry == "tokenizer_kwargs":
        return not isinstance(value, dict) or not TOKENIZER_SETTINGS.issuperset(value)
    return bool(entry in OUTSIDE and value) or (entry in OUTSIDE_AS_PATH and _is_place(value))


def _is_place(value: object) -> bool:
    """Whether a value is more than a name: a path, a hub id, an address."""
    return isinstance(value, str) and any(mark in value for mark in "/\\:")


def _entries(path: Path) -> list[tuple[str, object]]:
    """Names and values of all entries of a JSON file, however deep."""
    entries = []
    try:
        json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: entries.extend(pairs) or dict(pairs))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); fetch it anew") from None
    return entries


def check_finite(name: str | Path, network) -> None:
    """Raise a ValueError if a weight of a torch module is NaN or infinite: all that it computes would be."""
    for entry, weights in network.state_dict().items():
        if weights.is_floating_point() and not weights.isfinite().all():
            raise ValueError(f"{name} has weights that are not finite, the first in {entry}; fetch or train it anew")


@contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Turn what safetensors says of a file that is cut short into a ValueError that names it and the remedy."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ValueError(
            f"the weights in {folder} are damaged ({error}); remove them, and they are fetched anew"
        ) from None


def load_network(auto_class: str, name: str | Path, revision: str | None, device: str, dtype: str):
    """Load a processor and a network by transformers: safetensors only, no remote code, every weight there, eval mode.

    Args:
        auto_class: the transformers class that loads the network, e.g. "AutoModelForImageTextToText".

    Returns:
        (processor, network). The processor works on Pillow, whose resampling does not depend on torchvision's version,
        but for SLOW_ON_PILLOW.

    Raises:
        HubError: it is not here and cannot be fetched; the message says what to do.
        FileNotFoundError: it has no safetensors file.
        OSError: the folder holds no network.
        ValueError: no such device; a configuration that leads out of the folder; or the file is cut short, has weights that
            are not finite, or lacks some, which transformers would fill with random numbers.
    """
    import torch
    import transformers

    check_device(device)
    folder = fetch(name, revision, patterns=TRANSFORMERS_FILES)
    if not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{name} has no safetensors file{f' at revision {revision}' if revision else ''}, and weights in other "
            "formats, which may run code, are never loaded; on the hub a converted copy often waits as a pull request: "
            "give the 40 digits of its commit as the revision"
        )
    check_entries(name, folder, code=False)  # since transformers is told to run none
    family = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    backend = "torchvision" if family in SLOW_ON_PILLOW else "pil"
    processor = transformers.AutoProcessor.from_pretrained(folder, backend=backend, trust_remote_code=False)
    settings = {"use_safetensors": True, "output_loading_info": True, "trust_remote_code": False}
    with damage_named(folder):
        network, report = getattr(transformers, auto_class).from_pretrained(
            folder, dtype=getattr(torch, dtype), **settings
        )
    if report["missing_keys"]:
        raise ValueError(f"{name} lacks weights: {', '.join(sorted(report['missing_keys']))}")
    check_finite(name, network)
    return processor, network.eval().to(device)
