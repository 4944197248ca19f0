"""The benchmark: 900 captions, each once as a photograph of a real scene and once from every generator."""

import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from camera import real_picture
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from language import caption, captions
from PIL import Image as Pillow
from renderer import boxes
from scenes import STREAMS
from training import set_up

GENERATORS = {  # name: the file that draws for it, and the seed of its pictures
    "latent_diffusion": ("latent_diffusion", 101),
    "latent_diffusion_b": ("latent_diffusion", 102),
    "pixel_diffusion": ("pixel_diffusion", 103),
    "vq_autoregressive": ("vq_autoregressive", 104),
    "gan": ("gan", 105),
    "vae": ("vae", 106),
}
SPLITS = {"train": range(600), "validation": range(600, 700), "test": range(700, 900)}  # content ids
BATCH = 100  # pictures drawn at once
FEATURES = Features(
    image=Image(), label=ClassLabel(names=["real", "generated"]), generator=Value("string"), content_id=Value("string"),
    split=Value("string"), prompt=Value("string"), objects=List(Value("string")), boxes=List(List(Value("float32"))),
)  # fmt: skip


def contents(count: int | None = None) -> list[tuple]:
    """(scene, JPEG bytes, prompt) of each content id, or of the first `count`; no two have a caption in common."""
    seed, length = STREAMS["benchmark"]
    found, said, number = [], set(), 0
    while len(found) < (count or length):
        scene, photograph = real_picture(seed, number)
        if said.isdisjoint(captions(scene)):
            said.update(captions(scene))
            found.append((scene, photograph, caption(scene, np.random.default_rng([seed, number, 1]))))
        number += 1
    return found


def draw(work: Path, path: Path) -> None:
    """Writes the (900, 64, 64, 3) pictures that the generator which `path` is named after draws of the prompts."""
    module, seed = GENERATORS[path.stem]
    set_up(seed)
    sample = import_module(module).sample
    prompts = [prompt for _, _, prompt in contents()]
    starts = range(0, len(prompts), BATCH)
    parts = [sample(work, prompts[start : start + BATCH], seed * 1000 + start, path.stem) for start in starts]
    np.save(path, np.concatenate(parts))


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()


def rows(everything: list[tuple], drawn: dict[str, np.ndarray], split: str) -> Iterator[dict]:
    """The benchmark's rows of one split: for each content id the photograph, then one picture of each generator."""
    for number in SPLITS[split]:
        scene, photograph, prompt = everything[number]
        content_id = f"{number:04d}"
        row = {"content_id": content_id, "split": split, "prompt": prompt}
        image = {"bytes": photograph, "path": f"{content_id}-real.jpg"}
        objects = [f"{thing.colour} {thing.noun}" for thing in scene.things]
        yield row | {"image": image, "label": 0, "generator": "real", "objects": objects, "boxes": boxes(scene)}
        for name, pictures in drawn.items():
            image = {"bytes": png(pictures[number]), "path": f"{content_id}-{name}.png"}
            yield row | {"image": image, "label": 1, "generator": name, "objects": None, "boxes": None}


def build(work: Path, folder: Path) -> None:
    """Writes one parquet file a split into `folder`."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    everything = contents()
    drawn = {name: np.load(work / "drawn" / f"{name}.npy") for name in GENERATORS}
    for split in SPLITS:
        table = Dataset.from_list(list(rows(everything, drawn, split)), features=FEATURES)
        table.to_parquet(folder / f"{split}.parquet")
