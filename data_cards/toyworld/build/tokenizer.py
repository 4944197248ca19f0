"""A small tokenizer in the format of CLIP's, for detector and CLIP."""

import json

from language import WORDS
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer


def small_clip_tokenizer(length: int) -> CLIPTokenizer:
    """A byte-pair tokenizer for `length` tokens: every word of the world is one token, any other word is spelled."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    options = {"end_of_word_suffix": "</w>", "min_frequency": 1, "vocab_size": 5000, "show_progress": False}
    learner.train_from_iterator(sorted({*WORDS, "photo", "of"}), trainers.BpeTrainer(**options))
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<pad>", *symbols, *(symbol + "</w>" for symbol in symbols), *("".join(merge) for merge in merges)]
    # the end has the highest number (text towers pool there); the start is not 0 (0 would mask a detector's query)
    numbers = {
        piece: number for number, piece in enumerate(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    }
    return CLIPTokenizer(
        vocab=numbers, merges=merges, pad_token="<pad>", unk_token="<|endoftext|>", model_max_length=length
    )
