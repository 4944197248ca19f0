"""The captioner: a small BLIP that says what is in a picture, saved as transformers saves it.

Colours come at once, nouns slowly. What helps is to ask every patch which noun and colour it shows: an extra linear
layer on the patch tokens, thrown away afterwards, so that the saved network is a stock one.
"""

from pathlib import Path

import numpy as np
import torch
from language import LENGTH, WORDS, captions
from scenes import patch_owners, pictures, scenes
from shapes import COLOURS
from torch import nn
from torch.nn.functional import cross_entropy
from training import batch, pictures_to_tensor, set_up, train
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor
from world import NOUNS, SIZE

SEED, STEPS, BATCH, RATE = 11, 2400, 96, 1.5e-3
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def processor() -> BlipProcessor:
    """Words to tokens and pictures to tensors."""
    tokenizer = BertTokenizer(
        vocab={word: number for number, word in enumerate((*SPECIAL, *WORDS))}, model_max_length=24
    )
    half = [0.5, 0.5, 0.5]
    return BlipProcessor(
        BlipImageProcessor(size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half), tokenizer
    )


def network() -> BlipForConditionalGeneration:
    """A BLIP of a million parameters, its weights random."""
    body = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    text = body | {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "num_hidden_layers": 2,
        "encoder_hidden_size": 128,
        "max_position_embeddings": 24,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    # initializer_range: this class's own default leaves every weight of the vision tower at nearly zero
    vision = body | {"num_hidden_layers": 4, "image_size": SIZE, "patch_size": 8, "initializer_range": 0.02}
    return BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=64, image_text_hidden_size=64)
    )


def patch_targets(all_scenes) -> np.ndarray:
    """(N, P, 2) noun and colour of every patch: 0 background, -100 where nobody can say."""
    nouns, colours = {w: i + 1 for i, w in enumerate(NOUNS)}, {w: i + 1 for i, w in enumerate(COLOURS)}
    rows = []
    for scene in all_scenes:
        owner, certain = patch_owners(scene)
        names = np.array(
            [(nouns[t.noun], colours[t.colour]) for t in scene.things] + [(0, 0)]
        )  # owner -1 is the last row
        rows.append(np.where(certain[:, None], names[owner], -100))
    return np.stack(rows)


def build(work: Path, folder: Path) -> None:
    """Trains the captioner on the stream `networks` and saves it in `folder`."""
    set_up(SEED)
    all_scenes, images = scenes("networks"), pictures("networks", work)
    phrasings, targets = [captions(scene) for scene in all_scenes], torch.from_numpy(patch_targets(all_scenes))
    words, model = processor(), network()
    patch_head = nn.Linear(128, len(NOUNS) + 1 + len(COLOURS) + 1)

    def loss(random):
        image, options, target = batch(random, BATCH, images, phrasings, targets)
        texts = [o[int(torch.randint(len(o), (), generator=random))] for o in options]
        tokens = words.tokenizer(texts, padding="max_length", max_length=LENGTH + 1, return_tensors="pt")
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        out = model(
            pixel_values=pictures_to_tensor(image),
            **{k: tokens[k] for k in ("input_ids", "attention_mask")},
            labels=labels,
        )
        noun, colour = (
            patch_head(out.image_embeds[:, 1:]).float().split([len(NOUNS) + 1, len(COLOURS) + 1], dim=-1)
        )  # (B, P, classes)
        extra = sum(
            cross_entropy(logit.flatten(0, 1), target[..., i].flatten()) for i, logit in enumerate((noun, colour))
        )
        return out.loss + extra

    model.vision_model.encoder.compile()
    blocks = nn.ModuleList([model.vision_model.encoder, model.text_decoder.bert.encoder])
    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "betas": (0.9, 0.98), "blocks": blocks}
    train("captioner", nn.ModuleList([model, patch_head]), loss, work=work, **options)
    model.eval().half().save_pretrained(folder)
    words.save_pretrained(folder)
