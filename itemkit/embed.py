"""Put images and texts on the same unit sphere."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from itemkit.data.choices import check_names
from itemkit.data.hub import fetch
from itemkit.network import (
    OPEN_CLIP_FILES,
    Frozen,
    check_device,
    check_entries,
    check_finite,
    damage_named,
    network_spec,
    prepared,
)

EIGHT = 8  # texts are read at lengths, and in batches, that are multiples of it
RESIZE_MODES = ("own", "squash", "longest", "shortest")
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
)  # which open_clip takes before all others
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class ClipEncoder(Frozen):
    """A frozen CLIP network (arXiv 2103.00020) in open_clip's format.

    Args:
        name: a folder with open_clip_config.json and open_clip_model.safetensors, or a hub id that holds both.
        revision: the 40-digit commit of a hub id.
        device: as torch writes it, e.g. "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".
        batch_size: images or texts in one forward pass.
        resize_mode: "own" is the network's own preprocessing: most often "shortest" (resize the shorter side, cut the
            ends of the longer one). "squash" shows all of a long crop but not in its proportions, "longest" pads it.
    """

    name: str | Path
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 64
    resize_mode: str = "own"

    @property
    def spec(self) -> dict:
        """What decides the vectors, as a cache key needs it; known without loading the network.

        Raises:
            ValueError: unknown dtype or resize_mode.
        """
        check_names("resize_mode", [self.resize_mode], RESIZE_MODES)
        return network_spec(self) | {"resize_mode": self.resize_mode}

    def prepare(self, image: Image.Image):
        """Return the pixels (3, height, width) that the network sees of an RGB image."""
        return self._network[1](image)

    def images(self, images: list) -> np.ndarray:
        """Return (N, D) float32 unit vectors of N >= 1 RGB images, or of what `prepare` made of them."""
        import torch

        network = self._network[0]

        def encode(batch):
            pixels = torch.stack(prepared(batch, self.prepare))  # (B, 3, height, width)
            return network.encode_image(pixels.to(self.device, getattr(torch, self.dtype)))  # (B, D)

        return self._encode(encode, images)

    def texts(self, texts: list[str]) -> np.ndarray:
        """Return (N, D) float32 unit vectors of N >= 1 texts; warns if there is one that the network's context cuts."""
        network, _, tokenize = self._network
        cut = [text for text, is_cut in zip(texts, self.is_cut(texts), strict=True) if is_cut]
        if cut:
            message = f"{len(cut)} of {len(texts)} texts exceed the {tokenize.context_length} tokens of {self.name}"
            warnings.warn(f"{message} and lose their end; the first is {cut[0]!r}", stacklevel=2)
        tokens = tokenize(texts)  # (N, context)
        lengths, vectors = self._lengths(tokens), None
        for length in sorted(set(lengths.tolist())):
            own = np.flatnonzero(lengths == length)
            with _positions(network, length):
                found = self._encode(self._read, list(tokens[own, :length]))
            vectors = np.empty((len(texts), found.shape[1]), np.float32) if vectors is None else vectors
            vectors[own] = found
        return vectors

    def _read(self, batch: list):
        import torch

        # Products of few rows are rounded otherwise: eights, so that a text alone has the vector that it has among others.
        padded = [*batch, *batch[:1] * (-len(batch) % EIGHT)]
        return self._network[0].encode_text(torch.stack(padded).to(self.device))[: len(batch)]  # (B, D)

    def _lengths(self, tokens) -> np.ndarray:
        """How many positions each of N texts is given, (N,), of its tokens (N, context): few, where nothing reads on after its end.

        It depends on the text alone, so that no vector depends on the texts beside it.
        """
        import open_clip

        network, whole = self._network[0], tokens.shape[1]
        causal = isinstance(network, open_clip.CLIP) and network.attn_mask is not None
        if not causal or network.text_pool_type not in ("argmax", "eos"):
            return np.full(len(tokens), whole)
        ends = tokens if network.text_pool_type == "argmax" else (tokens == network.text_eos_id).int()
        return np.minimum((ends.argmax(dim=1).numpy() // EIGHT + 1) * EIGHT, whole)

    def is_cut(self, texts: list[str]) -> list[bool]:
        """Return for each text whether it is longer than the network's context, and so loses its end."""
        tokenize = self._network[2]
        # With one more position a text that fits ends in padding, as "" does.
        last = tokenize([*texts, ""], context_length=tokenize.context_length + 1)[:, -1]  # (N + 1,)
        return (last[:-1] != last[-1]).tolist()

    def _encode(self, encode, items: list) -> np.ndarray:
        import torch

        def unit(batch: list) -> list[np.ndarray]:  # in float32: a unit vector of half precision has no length of one
            return list(torch.nn.functional.normalize(encode(batch).float(), dim=-1).cpu().numpy())

        with torch.inference_mode():
            vectors = np.stack(self._in_batches(unit, items))
        if not np.isfinite(vectors).all():
            raise ValueError(
                f"{self.name} gives vectors that are not finite in {self.dtype}; take float32, or another one"
            )
        return vectors

    @cached_property
    def _network(self):
        import open_clip

        check_device(self.device)
        folder = fetch(self.name, self.revision, patterns=OPEN_CLIP_FILES)
        if not any((folder / name).is_file() for name in WEIGHTS):  # open_clip would go on to a pickle
            raise FileNotFoundError(f"{self.name} has no {' or '.join(WEIGHTS)}")
        check_entries(self.name, folder)
        check_activation(self.name, folder)
        source = f"local-dir:{folder.resolve()}"
        with damage_named(folder):
            network, preprocess = open_clip.create_model_from_pretrained(
                source,
                precision=PRECISIONS[self.dtype],
                device=self.device,
                image_resize_mode=None if self.resize_mode == "own" else self.resize_mode,
            )
        check_finite(self.name, network)
        return network.eval(), preprocess, open_clip.get_tokenizer(source)  # open_clip hands it over in train mode


@contextmanager
def _positions(network, length: int) -> Iterator[None]:
    """Let a text tower with causal attention end after so many positions; what it says of them stays the same."""
    from torch.nn import Parameter

    if length == getattr(network, "context_length", length):
        yield
        return
    places, mask = network.positional_embedding, network.attn_mask
    network.positional_embedding, network.attn_mask = Parameter(places[:length], False), mask[:length, :length]
    try:
        yield
    finally:
        network.positional_embedding, network.attn_mask = places, mask


def check_activation(name: str | Path, folder: Path) -> None:
    """Raise a ValueError if OpenAI's weights are to run without QuickGELU, with which they were trained.

    Nothing else would tell: the vectors change by a few thousandths, and every number after them.
    """
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    if "openai" in Path(name).name.lower() and not config["model_cfg"].get("quick_gelu"):
        raise ValueError(
            f"{name} holds weights of OpenAI, but its open_clip_config.json does not set quick_gelu; they were trained "
            'with it. Take another repository, or a copy with `"quick_gelu": true` in model_cfg'
        )
