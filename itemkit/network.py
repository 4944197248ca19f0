"""Load frozen networks safely, and say exactly which network it was.

The only module that the leaves `captions`, `locate` and `embed` share: one place decides what may be loaded.
"""

import hashlib
import re
from pathlib import Path

DTYPES = ("float32", "bfloat16", "float16")


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
        if not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
            raise ValueError(
                f"no folder {str(name)!r}, and as a hub id it has revision {revision!r}; expected the 40 hex "
                "digits of a commit (huggingface_hub.model_info(name).sha tells the newest)"
            )
        return f"{name}@{revision}"
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        inner = path.relative_to(folder)
        if path.name != "README.md" and not any(part.startswith((".", "__pycache__")) for part in inner.parts):
            with path.open("rb") as file:
                total.update(inner.as_posix().encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{total.hexdigest()}"


def network_spec(network) -> dict:
    """Return what a cache key must know of a Captioner, ObjectLocator or ClipEncoder: files, number type and device.

    The batch size belongs to it in half precision only: there it changes captions, in float32 nothing above 1e-5.
    """
    if network.dtype not in DTYPES:
        raise ValueError(f"unknown dtype {network.dtype!r}; expected one of {', '.join(DTYPES)}")
    spec = {
        "network": network_digest(network.name, network.revision),
        "dtype": network.dtype,
        "device": network.device.split(":")[0],
    }
    return spec if network.dtype == "float32" else spec | {"batch_size": network.batch_size}


def load_network(auto_class: str, name: str | Path, revision: str | None, device: str, dtype: str):
    """Load a processor and a network by transformers: safetensors only, no remote code, every weight there, eval mode.

    Args:
        auto_class: the transformers class that loads the network, e.g. "AutoModelForImageTextToText".

    Returns:
        (processor, network). The processor works on Pillow, whose resampling does not depend on torchvision's version.

    Raises:
        OSError: no such network, or it has no safetensors file.
        ValueError: the file lacks weights, which transformers would fill with random numbers.
    """
    import torch
    import transformers

    safe = {"revision": revision, "trust_remote_code": False}
    processor = transformers.AutoProcessor.from_pretrained(name, backend="pil", **safe)
    network, report = getattr(transformers, auto_class).from_pretrained(
        name, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, **safe
    )
    if report["missing_keys"]:
        raise ValueError(f"{name} lacks weights: {', '.join(sorted(report['missing_keys']))}")
    return processor, network.eval().to(device)
