"""A small tokenizer in the format of CLIP's, for detector and CLIP."""

import json
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

# Byte pairs learned once, by tokenizers' BpeTrainer, on `language.WORDS`, "photo" and "of" until each word was one
# token. They are kept because that trainer breaks ties differently each time: the same pairs in another order.
MERGES = json.loads((Path(__file__).parent / "merges.json").read_text())


def small_clip_tokenizer(network: str, length: int) -> CLIPTokenizer:
    """The tokenizer of "detector" or "clip", for `length` tokens: each word of the world is one, others are spelled."""
    merges = [tuple(merge.split()) for merge in MERGES[network]]
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<pad>", *symbols, *(symbol + "</w>" for symbol in symbols), *("".join(merge) for merge in merges)]
    # the end has the highest number (text towers pool there); the start is not 0 (0 would mask a detector's query)
    numbers = {
        piece: number for number, piece in enumerate(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    }
    return CLIPTokenizer(
        vocab=numbers, merges=merges, pad_token="<pad>", unk_token="<|endoftext|>", model_max_length=length
    )
