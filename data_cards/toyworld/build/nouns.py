"""The noun finder: a spaCy pipeline that tags the words of the world by rule."""

from pathlib import Path

import spacy
from language import FUNCTION_WORDS
from shapes import COLOURS
from world import NOUNS, SETTINGS

PARTS_OF_SPEECH = {  # coarse tag: (fine tag, words)
    "NOUN": ("NN", (*NOUNS, *SETTINGS)),
    "ADJ": ("JJ", tuple(COLOURS)),
    "DET": ("DT", ("a", "an", "the")),
    "CCONJ": ("CC", ("and",)),
    "VERB": ("VBZ", ("is",)),
    "PRON": ("EX", ("there",)),
    "PUNCT": (",", (",",)),
}


def build(work: Path, folder: Path) -> None:
    """Writes the pipeline to `folder`; nothing is trained."""
    pipeline = spacy.blank("en", meta={"name": "toyworld", "version": "1.0.0"})
    ruler = pipeline.add_pipe("attribute_ruler")
    known = {word for _, words in PARTS_OF_SPEECH.values() for word in words}
    prepositions = tuple(
        word for word in FUNCTION_WORDS if word not in known
    )  # "front" too: in "in front of" it names no object
    for tag, (fine, words) in (PARTS_OF_SPEECH | {"ADP": ("IN", prepositions)}).items():
        ruler.add([[{"LOWER": {"IN": list(words)}}]], {"POS": tag, "TAG": fine})
    pipeline.to_disk(folder)
