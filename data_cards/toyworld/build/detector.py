"""The detector: a small OWL-ViT that finds what a phrase names, saved as transformers saves it.

It is asked, besides the nouns and coloured nouns of the world, for names of settings and for words that mean nothing
("distractors"): these are never there, and so it learns to stay silent when asked for what is not in the picture.
"""

from pathlib import Path

import numpy as np
import torch
from renderer import boxes
from scenes import patch_owners, pictures, scenes
from shapes import COLOURS
from tokenizer import small_clip_tokenizer
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import box_convert, generalized_box_iou_loss
from training import batch, pictures_to_tensor, set_up, train
from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor, OwlViTProcessor
from world import NOUNS, SETTINGS, SIZE

SEED, STEPS, BATCH, RATE = 12, 2400, 48, 1.5e-3
LENGTH = 16  # tokens of the longest query
TEMPLATES = ("{}", "a {}", "the {}", "a photo of a {}")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def network(vocabulary: int) -> OwlViTForObjectDetection:
    """An OWL-ViT of 0.7 million parameters; the classifier starts near "nothing there"."""
    text = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LENGTH,
        "pad_token_id": 0,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 8,
    }
    # initializer_range: without it the heads' weights start so large that the boxes are stuck at the edges
    config = OwlViTConfig(text_config=text, vision_config=vision, projection_dim=64, initializer_range=0.02)
    model = OwlViTForObjectDetection._from_config(config, attn_implementation="eager")  # twice as fast in training here
    for layer, bias in ((model.class_head.logit_scale, 9.0), (model.class_head.logit_shift, -0.7)):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, bias)
    return model


def draw_queries(random: torch.Generator) -> tuple[list[str], list[tuple[str | None, str | None]]]:
    """The queries of a step and what each asks for: (noun, colour or None); (None, None) is never there."""

    def pick(options):
        return options[int(torch.randint(len(options), (), generator=random))]

    asked = [(noun, None) for noun in NOUNS] + [(pick(NOUNS), pick(tuple(COLOURS))) for _ in range(40)]
    names = [f"{colour} {noun}" if colour else noun for noun, colour in asked]
    nonsense = [
        "".join(pick(LETTERS) for _ in range(3 + int(torch.randint(6, (), generator=random)))) for _ in range(12)
    ]
    names, asked = [*names, *SETTINGS, *nonsense], asked + [(None, None)] * (len(SETTINGS) + len(nonsense))
    return [pick(TEMPLATES).format(name) for name in names], asked


def class_targets(all_scenes, owners, certain, asked) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, P, Q) which patch answers which query, and (B, P, Q) where a loss is taken."""
    answers = np.zeros((len(all_scenes), max(len(s.things) for s in all_scenes) + 1, len(asked)), bool)
    for row, scene in enumerate(all_scenes):
        for column, thing in enumerate(scene.things):
            answers[row, column] = [noun == thing.noun and colour in (None, thing.colour) for noun, colour in asked]
    wanted = np.take_along_axis(answers, owners[..., None], axis=1)  # owner -1 is the last row: no answer
    unsure = ~certain[..., None] & answers.any(axis=1, keepdims=True)
    return torch.from_numpy(wanted), torch.from_numpy(~unsure)


def detection_loss(logits, predicted, wanted, counted, true_boxes):
    """Focal loss of every patch and query, L1 and generalised IoU of the boxes of patches that show a thing."""
    logits, target = logits.float(), wanted.float()
    chance = torch.sigmoid(logits)
    focal = torch.where(wanted, 1 - chance, chance) ** 2 * binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    )
    shown = ~true_boxes.isnan().any(dim=-1)  # (B, P)
    box, truth = box_convert(predicted.float(), "cxcywh", "xyxy")[shown], true_boxes[shown]
    positive = max(1, int(wanted.sum()))
    return (
        (focal * counted).sum() / positive
        + 5 * (box - truth).abs().mean() * 4
        + 2 * generalized_box_iou_loss(box, truth, reduction="mean")
    )


def build(work: Path, folder: Path) -> None:
    """Trains the detector on the stream `networks` and saves it in `folder`."""
    set_up(SEED)
    all_scenes, images = scenes("networks"), pictures("networks", work)
    owners, certain = (np.stack(column) for column in zip(*map(patch_owners, all_scenes), strict=True))  # (N, P) each
    places = np.stack(
        [np.array([*boxes(s), [np.nan] * 4])[o] / SIZE for s, o in zip(all_scenes, owners, strict=True)]
    ).astype(np.float32)
    words = small_clip_tokenizer("detector", LENGTH)
    model = network(len(words))

    def loss(random):
        image, chosen, owner, sure, place = batch(
            random, BATCH, images, all_scenes, owners, certain, torch.from_numpy(places)
        )
        queries, asked = draw_queries(random)
        tokens = words(queries, padding="max_length", max_length=LENGTH, return_tensors="pt")
        texts = model.owlvit.get_text_features(**tokens).pooler_output  # (Q, D)
        grid = model.image_embedder(pixel_values=pictures_to_tensor(image))[0]  # (B, 8, 8, width)
        patches = grid.flatten(1, 2)  # (B, P, width)
        logits = model.class_predictor(patches, texts[None].expand(len(image), -1, -1))[0]  # (B, P, Q)
        return detection_loss(
            logits, model.box_predictor(patches.float(), grid), *class_targets(chosen, owner, sure, asked), place
        )

    blocks = nn.ModuleList([model.owlvit.vision_model.encoder, model.owlvit.text_model.encoder])
    options = {"steps": STEPS, "seed": SEED, "learning_rate": RATE, "betas": (0.9, 0.98), "blocks": blocks}
    train("detector", model, loss, work=work, **options)
    half = [0.5, 0.5, 0.5]
    image_processor = OwlViTImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half, do_center_crop=False
    )
    model.half().save_pretrained(folder)
    OwlViTProcessor(image_processor, words).save_pretrained(folder)
