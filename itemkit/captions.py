"""Describe images in words, and name the objects of a description."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from itemkit.data.choices import check_names
from itemkit.network import Batches, load_network, network_spec

PHRASES = {"noun": "N+", "modified noun": "A*N+"}  # patterns over parts of speech: A adjective, N noun


@dataclass(frozen=True)
class Captioner:
    """A frozen network that writes one short caption for each image, by greedy search without a prompt.

    Constructing one is cheap: the network is loaded at the first call, and not at all if every caption is cached.

    Args:
        name: a folder, or a hub id (BLIP, GIT and others that AutoModelForImageTextToText knows).
        revision: the 40-digit commit of a hub id.
        device: as torch writes it, e.g. "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16". Captions depend on the batch size in the two half precisions.
        max_new_tokens: the longest caption, in the network's tokens, or fewer where the network has fewer positions.
        batch_size: images in one forward pass.
    """

    name: str | Path
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    max_new_tokens: int = 40
    batch_size: int = 32

    @property
    def spec(self) -> dict:
        """What decides the captions, as a cache key needs it; known without loading the network."""
        return network_spec(self) | {"max_new_tokens": self.max_new_tokens}

    def __call__(self, images: list[Image.Image]) -> list[str]:
        """Return one caption for each of N RGB images; an empty string where the network has nothing to say."""
        return self._in_batches(self._describe, images)

    def _describe(self, images: list[Image.Image]) -> list[str]:
        processor, network = self._network
        pixels = processor(images=images, return_tensors="pt").pixel_values  # (N, 3, height, width)
        tokens = network.generate(
            pixel_values=pixels.to(self.device, network.dtype),
            max_new_tokens=self._longest,
            num_beams=1,
            do_sample=False,
        )  # (N, length)
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    @property
    def _longest(self) -> int:
        # A caption that never ends would run past the last position, which some networks answer with an IndexError.
        text = self._network[1].config.get_text_config()
        return min(self.max_new_tokens, getattr(text, "max_position_embeddings", self.max_new_tokens + 1) - 1)

    @cached_property
    def _in_batches(self) -> Batches:
        return Batches(self)

    @cached_property
    def _network(self):
        return load_network("AutoModelForImageTextToText", self.name, self.revision, self.device, self.dtype)


def object_phrases(captions: list[str], pipeline: str | Path, phrase: str = "noun") -> list[list[str]]:
    """Return the object phrases of each caption, in lower case, in their order, each once.

    Neighbouring nouns are one phrase ("traffic light"); "modified noun" adds the adjectives before ("red car").

    Args:
        captions: N texts.
        pipeline: a spaCy pipeline that tags parts of speech: a folder, or an installed package such as en_core_web_sm.
        phrase: "noun" or "modified noun".

    Raises:
        ValueError: unknown `phrase`, or the pipeline does not tag parts of speech.
        OSError: no such pipeline.
    """
    check_names("phrase", [phrase], PHRASES)
    import spacy

    nlp = spacy.load(pipeline)
    if not {"tagger", "morphologizer", "attribute_ruler"} & set(nlp.pipe_names):
        raise ValueError(f"spaCy pipeline {str(pipeline)!r} does not tag parts of speech; it has {nlp.pipe_names}")
    return [_phrases(doc, PHRASES[phrase]) for doc in nlp.pipe(captions)]


def _phrases(doc, pattern: str) -> list[str]:
    tags = "".join({"NOUN": "N", "ADJ": "A"}.get(token.pos_, "-") for token in doc)  # one letter for each token
    found = [doc[match.start() : match.end()].text.lower() for match in re.finditer(pattern, tags)]
    return list(dict.fromkeys(found))
