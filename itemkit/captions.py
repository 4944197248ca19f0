"""Describe images in words, and name the objects of a description."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import yaml
from PIL import Image

from itemkit.data.choices import check_names
from itemkit.network import Frozen, load_network, network_digest, network_spec, prepared

PHRASES = {"object": "N+", "noun": "N+", "modified noun": "A*N+"}  # patterns over parts of speech: A adjective, N noun


@dataclass(frozen=True)
class Captioner(Frozen):
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

    def __call__(self, images: list) -> list[str]:
        """Return one caption for each of N RGB images, or of what `prepare` made of them; "" where there is nothing to say."""
        return self._in_batches(self._describe, images)

    def prepare(self, image: Image.Image):
        """Return the pixels (3, height, width) that the network sees of an RGB image."""
        return self._network[0](images=image, return_tensors="pt").pixel_values[0]

    def _describe(self, images: list) -> list[str]:
        import torch

        processor, network = self._network
        pixels = torch.stack(prepared(images, self.prepare))  # (N, 3, height, width)
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
    def _network(self):
        return load_network("AutoModelForImageTextToText", self.name, self.revision, self.device, self.dtype)


# Entries by which a spaCy pipeline is made of files that are not its own.
OUTSIDE = ("@readers", "@callbacks", "source")


def object_phrases(captions: list[str], pipeline: str | Path, phrase: str = "object") -> list[list[str]]:
    """Return the object phrases of each caption, in lower case, in their order, each once.

    "noun" takes neighbouring nouns as one phrase ("traffic light"), and "modified noun" the adjectives before, too ("red
    car"). "object" means what can be found in a picture: it counts proper names as nouns, keeps compounds and words with a
    hyphen whole, and leaves out words that only lead to an object; object_words.yaml lists them. With a pipeline that does
    not parse English, it is "noun".

    Args:
        captions: N texts.
        pipeline: a spaCy pipeline that tags parts of speech: a folder, or an installed package such as en_core_web_sm.
        phrase: "object", "noun" or "modified noun".

    Raises:
        ValueError: unknown `phrase`, or the pipeline does not tag parts of speech.
        OSError: no such pipeline.
    """
    check_names("phrase", [phrase], PHRASES)
    nlp = _pipeline(str(pipeline), network_digest(pipeline) if Path(pipeline).is_dir() else None)
    if not {"tagger", "morphologizer", "attribute_ruler"} & set(nlp.pipe_names):
        raise ValueError(f"spaCy pipeline {str(pipeline)!r} does not tag parts of speech; it has {nlp.pipe_names}")
    if phrase == "object" and nlp.lang == "en" and "parser" in nlp.pipe_names:
        return [_objects(doc) for doc in nlp.pipe(captions)]
    return [_phrases(doc, PHRASES[phrase]) for doc in nlp.pipe(captions)]


@lru_cache(maxsize=2)  # loading takes five times as long as a picture
def _pipeline(name: str, content: str | None):
    """A spaCy pipeline, loaded anew when the content of its folder is another."""
    import spacy

    config = spacy.util.load_config(Path(name, "config.cfg")) if content else {}  # a package is code that was installed
    entries = [entry for part in ("nlp", "components") for entry in _entries(config.get(part, {}))]
    if outside := [entry for entry in entries if entry in OUTSIDE]:
        raise ValueError(
            f"the config.cfg of spaCy pipeline {name!r} has an entry {outside[0]!r}, which reads more than its own folder; "
            "take a pipeline that is complete in itself"
        )
    return spacy.load(name)


def _entries(config: dict) -> Iterator[str]:
    """The names of all entries of a configuration, however deep."""
    for name, value in config.items():
        yield name
        yield from _entries(value) if isinstance(value, dict) else ()


def _phrases(doc, pattern: str) -> list[str]:
    tags = "".join({"NOUN": "N", "ADJ": "A"}.get(token.pos_, "-") for token in doc)  # one letter for each token
    found = [doc[match.start() : match.end()].text.lower() for match in re.finditer(pattern, tags)]
    return list(dict.fromkeys(found))


@cache
def _known() -> dict[str, frozenset[str]]:
    """The words of object_words.yaml, by list; those with spaces stand between commas."""
    lists = yaml.safe_load((files("itemkit") / "object_words.yaml").read_text(encoding="utf-8"))
    return {
        name: frozenset(map(str.strip, re.split(",|\\s" if "," not in text else ",", text)))
        for name, text in lists.items()
    }


def _objects(doc) -> list[str]:
    """The phrases of a parsed English caption that name things: runs of nouns that lead to nothing else."""
    words = _words(doc)  # (text, part of speech)
    found, run = [], []
    for place, (text, kind) in enumerate([*words, ("", "")]):
        if kind in ("NOUN", "PROPN"):
            run.append((text, kind))
            continue
        while len(run) > 1 and run[0][1] == "PROPN" and run[-1][1] == "NOUN":
            run.pop(0)  # the costume of Batman
        if run and not _leads(words, place - len(run), place):
            found.append(" ".join(word for word, _ in run))
        run = []
    return list(dict.fromkeys(found))


def _words(doc) -> list[tuple[str, str]]:
    """Words and parts of speech of a caption, compounds and what is joined by hyphens as one word."""
    words = []
    for token in doc:
        joined = words and ("-" in (token.text, words[-1][0][-1:])) and not doc[token.i - 1].whitespace_
        if joined:
            words[-1] = (words[-1][0] + token.lower_, token.pos_ if token.text != "-" else words[-1][1])
        elif not token.is_space:
            words.append((token.lower_, token.pos_))
    for length in (3, 2):
        for place in range(len(words) - length, -1, -1):
            text = " ".join(word for word, _ in words[place : place + length])
            if {text, text.removesuffix("s"), text.removesuffix("es")} & _known()["compounds"]:
                words[place : place + length] = [(text, "NOUN")]
    return words


def _leads(words: list[tuple[str, str]], start: int, end: int) -> bool:
    """Whether the nouns from `start` to `end` only lead to an object, as in "on top of a bus" or "a photo of a dog"."""
    if end - start > 1:
        return False
    word, before, after = (
        words[start][0],
        *([text for text, _ in part] for part in (words[:start], words[end : end + 2])),
    )
    of = after[:1] == ["of"] or after == ["up", "of"]
    where = [text for text in before[-2:] if text not in ("the", "a", "an", "each")][-1:]
    inside = bool(where) and where[0] in ("in", "on", "at", "to", "from", "during", "into", "by", "towards", "toward")
    kinds = {name for name, known in _known().items() if word in known}
    return bool((of and kinds & {"parts", "media", "places"}) or (inside and kinds & {"places", "times"}))
