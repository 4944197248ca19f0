"""Networks with random weights, tiny or of the size that photographs need, in the formats that their libraries write."""

import gzip
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

NOUNS = ("car", "tree", "house", "boat", "snow")
ADJECTIVES = ("red", "green", "blue")
OTHERS = ("a", "the", "next", "to", "in", "and")
HALF = [0.5, 0.5, 0.5]


def seeded(seed: int, build, *arguments):
    """What `build` makes of random numbers, the same each time and without a trace in those of others."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(*arguments)


def letter_tokenizer(length: int):
    """A tokenizer in the format of CLIP's that spells every word: the start is not 0, the end is the highest number."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["<pad>", *letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<pad>", model_max_length=length)


def openai_tokenizer():
    """The tokenizer of OpenAI's CLIP and of OWL, whose 49,408 entries open_clip brings along."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    text = gzip.decompress((files("open_clip") / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges = [tuple(line.split()) for line in text.split("\n")[1 : 49152 - 256 - 2 + 1]]
    letters = list(bytes_to_unicode().values())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="!", model_max_length=16)


def word_tokenizer(*more: str, size: int | None = None):
    """A tokenizer in the format of BERT's: some words, and as many others as give `size` entries, with BERT's numbers."""
    from transformers import BertTokenizer

    words = [*NOUNS, *ADJECTIVES, *OTHERS, *more]
    if size is None:
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    else:
        pieces = [f"word{number}" for number in range(size)]
        pieces[0], pieces[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pieces[2000 : 2000 + len(words)] = words
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})


def save_blip(folder: Path, config: dict, tokenizer, pixels: int, seed: int = 1, said: Sequence[str] = ()) -> Path:
    """A BLIP captioner (arXiv 2201.12086); if words are given, it says no others."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers import BlipImageProcessorPil as Pixels

    network = seeded(seed, BlipForConditionalGeneration, BlipConfig(**config))
    with torch.no_grad():
        network.text_decoder.cls.predictions.decoder.bias[tokenizer.convert_tokens_to_ids(list(said))] = 100
    network.save_pretrained(folder)
    size = {"height": pixels, "width": pixels}
    BlipProcessor(Pixels(size=size, image_mean=HALF, image_std=HALF), tokenizer).save_pretrained(folder)
    return folder


def save_owl(
    folder: Path, family: str, config: dict, tokenizer, pixels: int, spread: float = 0.3, seed: int = 2
) -> Path:
    """An OWL-ViT or OWLv2 detector, whose logits are plain cosines: scores spread around 0.5."""
    import torch
    import transformers

    name = {"owlvit": "OwlViT", "owlv2": "Owlv2"}[family]
    configured = getattr(transformers, f"{name}Config")(**config, initializer_range=spread)
    network = seeded(seed, getattr(transformers, f"{name}ForObjectDetection"), configured)
    with torch.no_grad():
        network.class_head.logit_scale.weight.zero_(), network.class_head.logit_scale.bias.zero_()
        network.class_head.logit_shift.weight.zero_(), network.class_head.logit_shift.bias.zero_()
    network.save_pretrained(folder)
    options = {"size": {"height": pixels, "width": pixels}, "image_mean": HALF, "image_std": HALF}
    options |= {"do_center_crop": False} if family == "owlvit" else {}
    image_processor = getattr(transformers, f"{name}ImageProcessorPil")(**options)
    getattr(transformers, f"{name}Processor")(image_processor, tokenizer).save_pretrained(folder)
    return folder


def save_grounding_dino(folder: Path, config: dict, tokenizer, pixels: dict, seed: int = 4) -> Path:
    """A Grounding DINO detector, whose scores are not all one."""
    import torch
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, GroundingDinoProcessor
    from transformers import GroundingDinoImageProcessorPil as Pixels

    network = seeded(seed, GroundingDinoForObjectDetection, GroundingDinoConfig(**config))
    with torch.no_grad():
        network.model.text_projection.weight.mul_(0.05)
    network.save_pretrained(folder)
    GroundingDinoProcessor(Pixels(size=pixels), tokenizer).save_pretrained(folder)
    return folder


def save_clip(folder: Path, model: dict, preprocess: dict, tokenizer=None, seed: int = 3) -> Path:
    """A CLIP network in open_clip's format; without a tokenizer it uses the one that open_clip brings along."""
    from open_clip import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
    settings = {name: value for name, value in model.items() if name != "custom_text"}
    build = CustomTextCLIP if model.get("custom_text") else CLIP
    network = seeded(seed, lambda: build(**settings))
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def sentence_tokenizer(size: int):
    """A tokenizer with as many entries as SigLIP 2's, which ends a text with <eos> and pads it with <pad>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*NOUNS, *ADJECTIVES, *OTHERS, ".", *(f"word{number}" for number in range(size))]
    vocabulary = {piece: number for number, piece in enumerate(["<pad>", "<eos>", "<unk>", *words][:size])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def save_real_size(name: str, folder: Path, said: Sequence[str] = ()) -> Path:
    """The architecture behind a hub id at its real size, with random weights in place of those that cannot be had here.

    Args:
        name: of one that photographs need.
        folder: a new one.
        said: the only words of a captioner; at random, it names nothing.
    """
    import open_clip

    if name.startswith("Salesforce/blip-image-captioning"):
        large = name.endswith("large")
        vision = {"image_size": 384, "initializer_range": 0.02}  # the library's default makes every weight vanish
        vision |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24} if large else {}
        vision |= {"num_attention_heads": 16 if large else 12}
        text = {"num_attention_heads": 12, "encoder_hidden_size": 1024 if large else 768}
        config = {"text_config": text, "vision_config": vision}
        return save_blip(folder, config, word_tokenizer(size=30524), 384, said=said)
    if name == "google/owlv2-base-patch16-ensemble":
        config = {"text_config": {}, "vision_config": {"image_size": 960}, "projection_dim": 512}
        return save_owl(folder, "owlv2", config, openai_tokenizer(), 960, spread=0.02)
    if name == "google/owlvit-base-patch32":
        return save_owl(folder, "owlvit", {"projection_dim": 512}, openai_tokenizer(), 768, spread=0.02)
    if name == "IDEA-Research/grounding-dino-tiny":
        backbone = {"model_type": "swin", "out_features": ["stage2", "stage3", "stage4"], "out_indices": [2, 3, 4]}
        config = {"backbone_config": backbone, "text_config": {"model_type": "bert"}}
        return save_grounding_dino(
            folder, config, word_tokenizer(".", size=30522), {"shortest_edge": 800, "longest_edge": 1333}
        )
    models = {"timm/vit_large_patch14_clip_224.openai": "ViT-L-14-quickgelu"}
    models |= {"timm/vit_base_patch32_clip_224.openai": "ViT-B-32-quickgelu"}
    models |= {"timm/ViT-B-16-SigLIP2-256": "ViT-B-16-SigLIP2-256"}
    model = open_clip.get_model_config(models[name])
    siglip = "SigLIP" in name
    preprocess = {
        "mean": HALF,
        "std": HALF,
        "interpolation": "bicubic",
        "resize_mode": "squash" if siglip else "shortest",
    }
    return save_clip(folder, model, preprocess, sentence_tokenizer(256_000) if siglip else None)
