"""CLIP: pictures and words on one sphere, trained on whole scenes with captions and on crops with the names of things.

Both are needed, since the method compares a picture with its caption and a crop with its noun. Saved as open_clip
saves it, so that `local-dir:` loads it.
"""

import json
from pathlib import Path

import numpy as np
import torch
from language import captions
from open_clip.model import CLIP
from PIL import Image
from renderer import boxes
from safetensors.torch import save_file
from scenes import pictures, scenes
from tokenizer import small_clip_tokenizer
from torch import nn
from torch.nn.functional import cross_entropy
from training import batch, pictures_to_tensor, set_up, train
from world import SIZE

SEED, STEPS, SCENES, CROPS, RATE = 13, 600, 144, 64, 1.5e-3  # SCENES and CROPS a step
LENGTH, WIDTH = 24, 128
HALF = [0.5, 0.5, 0.5]


def configuration(vocabulary: int) -> dict:
    """open_clip_config.json: what `local-dir:` reads."""
    return {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {
                "image_size": SIZE,
                "layers": 4,
                "width": 128,
                "head_width": 32,
                "patch_size": 8,
                "mlp_ratio": 2.0,
            },
            "text_cfg": {
                "context_length": LENGTH,
                "vocab_size": vocabulary,
                "width": 128,
                "heads": 4,
                "layers": 3,
                "hf_tokenizer_name": "local",
                "tokenizer_kwargs": {"clean": "lower"},
            },
        },
        # squash: a crop is stretched to the square; nothing of a tall or wide object is cut off
        "preprocess_cfg": {
            "size": [SIZE, SIZE],
            "mean": HALF,
            "std": HALF,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def network(vocabulary: int) -> CLIP:
    """A CLIP of 1.5 million parameters."""
    model = configuration(vocabulary)["model_cfg"]
    text = {key: value for key, value in model["text_cfg"].items() if key != "tokenizer_kwargs"}
    return CLIP(WIDTH, model["vision_cfg"], text)


def contrast(image: torch.Tensor, text: torch.Tensor, true: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss where several texts are true of a picture: true (B, B) says which, and they share the target."""
    logits = scale * image @ text.T  # (B, B)
    true = true.float()
    return (
        cross_entropy(logits, true / true.sum(1, keepdim=True))
        + cross_entropy(logits.T, true.T / true.T.sum(1, keepdim=True))
    ) / 2


def draw_crops(chosen_scenes, images: torch.Tensor, random: torch.Generator):
    """One object of each scene, cut out as carelessly as a detector does: crops, phrases and (B, B) which are true."""
    crops, names, things = [], [], []
    for scene, image in zip(chosen_scenes, images.numpy(), strict=True):
        number = int(torch.randint(len(scene.things), (), generator=random))
        x0, y0, x1, y1 = boxes(scene)[number]
        shake = (torch.rand(4, generator=random) - 0.5).numpy() * 0.3 * np.array([x1 - x0, y1 - y0] * 2)
        left, top, right, bottom = np.clip(np.array([x0, y0, x1, y1]) + shake, 0, SIZE)
        box = (int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom)))
        crops.append(np.asarray(Image.fromarray(image).crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
        thing = scene.things[number]
        things.append(thing)
        names.append(thing.noun if torch.rand((), generator=random) < 0.6 else f"{thing.colour} {thing.noun}")
    true = torch.tensor([[name in (thing.noun, f"{thing.colour} {thing.noun}") for name in names] for thing in things])
    return torch.from_numpy(np.stack(crops)), names, true


def build(work: Path, folder: Path) -> None:
    """Trains CLIP on the stream `networks` and saves it in `folder`."""
    set_up(SEED)
    all_scenes, images = scenes("networks"), pictures("networks", work)
    phrasings = [captions(scene) for scene in all_scenes]
    words = small_clip_tokenizer("clip", LENGTH)
    model = network(len(words))

    def loss(random):
        image, options = batch(random, SCENES, images, phrasings)
        texts = [o[int(torch.randint(len(o), (), generator=random))] for o in options]
        true = torch.tensor([[text in o for text in texts] for o in options])
        crops, names, named = draw_crops(*batch(random, CROPS, all_scenes, images), random)
        tokens = words(texts + names, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
        seen, said, scale = model(pictures_to_tensor(torch.cat([image, crops])), tokens)[:3]
        seen, said, scale = seen.float(), said.float(), scale.float().clamp(max=100)
        return contrast(seen[:SCENES], said[:SCENES], true, scale) + contrast(
            seen[SCENES:], said[SCENES:], named, scale
        )

    blocks = nn.ModuleList([model.visual.transformer, model.transformer])
    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "betas": (0.9, 0.98), "blocks": blocks}
    train("clip", model, loss, work=work, **options)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: value.half().contiguous() for key, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / "open_clip_config.json").write_text(json.dumps(configuration(len(words)), indent=2) + "\n")
    words.save_pretrained(folder)
