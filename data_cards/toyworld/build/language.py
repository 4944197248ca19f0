"""The language of the world: what a scene is called, in several phrasings, and its words as numbers."""

import numpy as np
import torch
from shapes import COLOURS
from world import NOUNS, SETTINGS, Scene

LENGTH = 20  # tokens of the longest caption, with its start and end


def noun_phrase(noun: str, colour: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {noun}"


def captions(scene: Scene) -> list[str]:
    """All true captions of a scene; the things stand in the scene's order, or mirrored with the relation's converse."""
    a, *others = [noun_phrase(thing.noun, thing.colour) for thing in scene.things]
    if not others:
        whats = [a, f"there is {a}"]
    elif len(others) == 2:
        whats = [f"{a}, {others[0]} and {others[1]}", f"{a} next to {others[0]} and {others[1]}"]
    else:
        (b,) = others
        whats = {
            "next to": [f"{a} next to {b}", f"{a} and {b}", f"{a} beside {b}"],
            "above": [f"{a} above {b}", f"{b} below {a}"],
            "in front of": [f"{a} in front of {b}", f"{b} behind {a}"],
        }[scene.relation]
    place = SETTINGS[scene.setting][0]
    return [f"{what} {place}" for what in whats] + [f"{place} {what}" for what in whats[1:]]


def caption(scene: Scene, random: np.random.Generator) -> str:
    """One of the true captions, drawn at random."""
    return str(random.choice(captions(scene)))


FUNCTION_WORDS = [
    "a",
    "an",
    "the",
    "and",
    "in",
    "on",
    "at",
    "by",
    "next",
    "to",
    "beside",
    "above",
    "below",
    "front",
    "of",
    "behind",
    "there",
    "is",
    ",",
]
WORDS = (*NOUNS, *COLOURS, *SETTINGS, *FUNCTION_WORDS)  # every word a caption can hold
PAD, START, END, FIRST_WORD = 0, 1, 2, 3


def tokens(texts: list[str]) -> torch.Tensor:
    """(B, LENGTH) token numbers: START, one number a word, END, then PAD. The generators read captions through it."""
    table = {word: number + FIRST_WORD for number, word in enumerate(WORDS)}
    rows = torch.full((len(texts), LENGTH), PAD)
    for row, text in zip(rows, texts, strict=True):
        numbers = [START, *(table[word] for word in text.replace(",", " ,").split()), END]
        row[: len(numbers)] = torch.tensor(numbers)
    return rows


def caption_tokens(scenes: list[Scene], seed: int) -> torch.Tensor:
    """(N, LENGTH) tokens of one caption of each scene, drawn at random but always the same for one seed."""
    return tokens([caption(scene, np.random.default_rng([seed, number])) for number, scene in enumerate(scenes)])


VOCABULARY_SIZE = FIRST_WORD + len(WORDS)
