"""How good everything is: the figures of the card, on scenes that nothing was trained on, and its sample picture."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark import GENERATORS, SPLITS
from language import captions
from PIL import Image
from renderer import boxes
from scenes import decode, pictures, scenes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from training import batch, pictures_to_tensor, set_up
from world import NOUNS, SETTINGS, SIZE

from itemkit.captions import Captioner, object_phrases
from itemkit.data.images import aligned, inspect_images
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator

SEED, THRESHOLD = 71, 0.3  # THRESHOLD: the detector's stated one
MODELS = Path(__file__).resolve().parent.parent / "models"


def opened(arrays) -> list[Image.Image]:
    return [Image.fromarray(np.asarray(array)) for array in arrays]


def named(text: str, noun: str, colour: str = "") -> bool:
    """Whether a caption names the noun, with that colour if one is given."""
    return f" {colour} {noun} ".replace("  ", " ") in f" {text} ".replace(",", " ,")


def measure_captioner(all_scenes, images) -> dict:
    """Shares of the objects whose noun, and whose colour and noun, the caption names."""
    said = Captioner(MODELS / "captioner")(images)
    things = [(text, thing) for text, scene in zip(said, all_scenes, strict=True) for thing in scene.things]
    return {
        "noun named": np.mean([named(text, thing.noun) for text, thing in things]),
        "colour and noun named": np.mean([named(text, thing.noun, thing.colour) for text, thing in things]),
        "caption word for word one of the true ones": np.mean(
            [t in captions(s) for t, s in zip(said, all_scenes, strict=True)]
        ),
    }


def overlap(a, b) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def measure_detector(all_scenes, images) -> dict:
    """Whether the best box of a noun that is there is right, and how often one is found for a noun that is not."""
    asked = [*NOUNS, *SETTINGS]
    found = ObjectLocator(MODELS / "detector", threshold=0.0)(images, [asked] * len(images))
    right, seen, alarms, setting_alarms = [], [], [], []
    for scene, row in zip(all_scenes, found, strict=True):
        true = dict(zip((thing.noun for thing in scene.things), boxes(scene), strict=True))
        for word, (box, score) in zip(asked, row, strict=True):
            if word in true:
                right.append(overlap(box, true[word]) >= 0.5)
                seen.append(right[-1] and score >= THRESHOLD)
            else:
                (alarms if word in NOUNS else setting_alarms).append(score >= THRESHOLD)
    return {
        "best box of a noun that is there, IoU >= 0.5": np.mean(right),
        f"the same, and its score at least {THRESHOLD}": np.mean(seen),
        f"false alarms for nouns that are not there, at {THRESHOLD}": np.mean(alarms),
        f"a box for the name of a setting, at {THRESHOLD}": np.mean(setting_alarms),
    }


def measure_clip(all_scenes, images) -> dict:
    """Whether a picture finds its caption among 500, and a crop its noun among all."""
    encoder, chosen, said = ClipEncoder(MODELS / "clip"), [], set()
    for number, scene in enumerate(all_scenes):
        if said.isdisjoint(captions(scene)) and len(chosen) < 500:
            said.update(captions(scene))
            chosen.append(number)
    texts = encoder.texts([captions(all_scenes[number])[0] for number in chosen])
    similar = encoder.images([images[number] for number in chosen]) @ texts.T  # (500, 500)
    pairs = [
        (image.crop(tuple(round(edge) for edge in box)), thing.noun)
        for scene, image in zip(all_scenes, images, strict=True)
        for thing, box in zip(scene.things, boxes(scene), strict=True)
    ]
    guessed = (encoder.images([crop for crop, _ in pairs]) @ encoder.texts(list(NOUNS)).T).argmax(axis=1)
    return {
        "recall@1 among 500 captions": np.mean(similar.argmax(axis=1) == np.arange(len(chosen))),
        "noun of a true crop, among 16": np.mean(
            [NOUNS[guess] == noun for guess, (_, noun) in zip(guessed, pairs, strict=True)]
        ),
    }


def measure_nouns(all_scenes) -> dict:
    """Whether exactly the nouns of a caption are found, in every phrasing of every scene."""
    texts = [text for scene in all_scenes for text in captions(scene)]
    true = [[word for word in text.replace(",", "").split() if word in NOUNS or word in SETTINGS] for text in texts]
    return {
        "captions whose nouns are found exactly": np.mean(
            [a == b for a, b in zip(object_phrases(texts, MODELS / "spacy"), true, strict=True)]
        )
    }


def classify(train, train_label, test) -> np.ndarray:
    """Scores of the test pictures by a plain convolutional network trained from scratch for 300 steps."""
    set_up(SEED)
    widths = (3, 24, 48, 96)
    layers = [
        [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()] for a, b in itertools.pairwise(widths)
    ]
    model = nn.Sequential(
        *(layer for group in layers for layer in group), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 1)
    )
    optimizer, random = torch.optim.AdamW(model.parameters(), lr=2e-3), torch.Generator().manual_seed(SEED)
    for _ in range(300):
        image, label = batch(random, 64, train, train_label)
        loss = nn.functional.binary_cross_entropy_with_logits(model(pictures_to_tensor(image))[:, 0], label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model.eval()(pictures_to_tensor(test))[:, 0].numpy()


def aligned_files(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bytes and shares of high frequencies of the files that itemkit makes alike: what the arm texture sees."""
    files = [{"image": {"bytes": aligned(image, SIZE)}} for image in images]
    return tuple(inspect_images(files)[["bytes", "high_frequencies"]].to_numpy(float).T)


def measure_generators(data: Path) -> dict[str, dict]:
    """For real pictures and each generator: what the captioner recognises, and how easily it is told from real."""
    # not by the library, which would give what it has kept of an earlier data set in a folder of this name
    table = pd.concat([pd.read_parquet(data / f"{split}.parquet") for split in SPLITS], ignore_index=True)
    arrays = np.stack([decode(image["bytes"]) for image in table["image"]])  # (N, 64, 64, 3)
    encoder, images = ClipEncoder(MODELS / "clip"), opened(arrays)
    table["said"] = Captioner(MODELS / "captioner")(images)
    vectors = encoder.images(images)
    table["bytes"], table["high frequencies"] = aligned_files(images)
    table["caption cosine"] = (vectors * encoder.texts(table["said"].tolist())).sum(axis=1)
    table["prompt cosine"] = (vectors * encoder.texts(table["prompt"].tolist())).sum(axis=1)
    wanted = dict(table.loc[table["label"] == 0, ["content_id", "objects"]].values)
    figures = {}
    for name in ("real", *GENERATORS):
        rows = table[table["generator"] == name]
        things = [(said, *thing.split()) for said, one in rows[["said", "content_id"]].values for thing in wanted[one]]
        nouns = [named(said, noun) for said, colour, noun in things]
        figures[name] = {
            "objects recognised": np.mean(nouns),
            "their colour right": np.mean(
                [named(said, noun, colour) for (said, colour, noun), ok in zip(things, nouns, strict=True) if ok]
            ),
            "high frequencies": rows["high frequencies"].mean(),
        }
        if name == "real":
            continue
        both = table["generator"].isin(["real", name])
        train, test = (np.flatnonzero(both & (table["split"] == split)) for split in ("train", "test"))
        label = table["label"].to_numpy()
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(vectors[train], label[train])
        plain = classify(
            torch.from_numpy(arrays[train]), torch.from_numpy(label[train]).float(), torch.from_numpy(arrays[test])
        )
        figures[name] |= {
            "AUC of a plain image classifier": roc_auc_score(label[test], plain),
            "AUC of a linear probe on CLIP": roc_auc_score(label[test], probe.decision_function(vectors[test])),
            "AUC of few bytes": roc_auc_score(label[test], -table["bytes"].to_numpy()[test]),
            "AUC of a low caption cosine": roc_auc_score(label[test], -table["caption cosine"].to_numpy()[test]),
            "AUC of a low prompt cosine": roc_auc_score(label[test], -table["prompt cosine"].to_numpy()[test]),
        }
    return figures


def tables(figures: dict) -> str:
    """The card's tables: one line for each figure of the networks, one for each source of the benchmark."""
    lines = ["| network | figure | measured |", "|---|---|---|"]
    for network in ("captioner", "detector", "clip", "nouns"):
        lines += [f"| {network} | {name} | {value:.3f} |" for name, value in figures[network].items()]
    names = list(figures["generators"]["gan"])
    lines += ["", f"| source | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for source, row in figures["generators"].items():
        lines.append(f"| {source} | {' | '.join(f'{row[name]:.3f}' if name in row else '' for name in names)} |")
    return "\n".join(lines)


def build(work: Path, path: Path) -> None:
    """Measures everything, prints it, and writes it to `path` as JSON."""
    torch.set_num_threads(1)
    all_scenes, images = scenes("measure"), opened(pictures("measure", work))
    figures = {
        "captioner": measure_captioner(all_scenes, images),
        "detector": measure_detector(all_scenes, images),
        "clip": measure_clip(all_scenes, images),
        "nouns": measure_nouns(all_scenes),
        "generators": measure_generators(MODELS.parent / "data"),
    }
    path.write_text(json.dumps(figures, indent=2, default=lambda value: round(float(value), 4)) + "\n")
    print(tables(json.loads(path.read_text())))
