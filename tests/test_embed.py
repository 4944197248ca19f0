import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest
from conftest import make_picture

from itemkit.embed import ClipEncoder

PICTURES = [make_picture(seed, 40 + 30 * seed, 64) for seed in range(5)]
TEXTS = ["a red car", "", "the tree next to a house", "boat"]


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return ClipEncoder(tiny_clip, batch_size=2)


def vectors_by_hand(folder, pictures, texts):
    """Unit vectors of pictures and of texts by open_clip alone, one by one."""
    import open_clip
    import torch

    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    network.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        images = [network.encode_image(preprocess(picture)[None])[0].numpy() for picture in pictures]
        texts = [network.encode_text(tokenize([text]))[0].numpy() for text in texts]
    return [[one / np.linalg.norm(one) for one in vectors] for vectors in (images, texts)]


def test_vectors_equal_open_clip_one_by_one(encoder, tiny_clip):
    by_hand = vectors_by_hand(tiny_clip, PICTURES, TEXTS)
    for vectors, expected in zip((encoder.images(PICTURES), encoder.texts(TEXTS)), by_hand, strict=True):
        assert vectors.dtype == np.float32 and vectors.shape == (len(expected), 16)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_batch_size_does_not_matter(encoder):
    whole = dataclasses.replace(encoder, batch_size=100)
    np.testing.assert_allclose(encoder.images(PICTURES), whole.images(PICTURES), atol=1e-6)
    np.testing.assert_allclose(encoder.texts(TEXTS), whole.texts(TEXTS), atol=1e-6)


def lengths_read(encoder, texts, monkeypatch) -> tuple[np.ndarray, list[int]]:
    network, lengths = encoder._network[0], []
    read = network.encode_text

    def watched(tokens, **options):
        lengths.append(tokens.shape[1])
        return read(tokens, **options)

    monkeypatch.setattr(network, "encode_text", watched)
    return encoder.texts(texts), lengths


@pytest.mark.parametrize("pool", ["argmax", "eos"])
def test_texts_are_read_no_further_than_they_need_and_say_the_same(tiny_clip, monkeypatch, pool):
    encoder, texts = ClipEncoder(tiny_clip), ["boat", "a" * 75, "a red car next to a tree", "", "a" * 13, "a" * 14]
    network, _, tokenize = encoder._network
    places, mask = network.positional_embedding, network.attn_mask
    network.text_pool_type, network.text_eos_id = pool, int(tokenize([""]).max())
    whole = network.encode_text(tokenize(texts)).detach().numpy()
    vectors, lengths = lengths_read(encoder, texts, monkeypatch)
    assert lengths == [8, 16, 24, 77]
    np.testing.assert_allclose(vectors, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
    assert network.positional_embedding is places and network.attn_mask is mask


def test_a_text_alone_has_the_vector_that_it_has_among_others(tiny_clip):
    encoder, texts = (
        ClipEncoder(tiny_clip),
        ["boat", "a red car", "a red car next to a tree", "", *("a" * n for n in range(1, 60))],
    )
    among = encoder.texts(texts)
    for count in (1, 2, 3, 5, 11):
        alone = [encoder.texts(texts[place : place + count]) for place in range(0, len(texts), count)]
        np.testing.assert_array_equal(np.concatenate(alone), among)


@pytest.mark.parametrize("change", [{"text_pool_type": "last"}, {"attn_mask": None}])
def test_texts_are_read_whole_where_what_follows_their_end_counts(tiny_clip, monkeypatch, change):
    encoder = ClipEncoder(tiny_clip)
    for name, value in change.items():
        setattr(encoder._network[0], name, value)
    assert lengths_read(encoder, ["boat", "a red car"], monkeypatch)[1] == [77]


def test_a_text_that_is_cut_is_told(encoder):
    fits, cut = "a" * 75, "a" * 76  # a token for each letter, a start and an end: 77 positions
    assert encoder.is_cut([fits, cut, "", "car"]) == [False, True, False, False]
    with pytest.warns(UserWarning, match=f"1 of 3 texts exceed the 77 tokens .* the first is '{cut}'"):
        encoder.texts([fits, cut, "car"])


def test_resize_mode(encoder):
    wide = [make_picture(1, 200, 64)]
    own = encoder.images(wide)
    shortest, squash = (dataclasses.replace(encoder, resize_mode=mode).images(wide) for mode in ("shortest", "squash"))
    np.testing.assert_array_equal(own, shortest)  # this network's own
    assert np.abs(own - squash).max() > 1e-3
    assert dataclasses.replace(encoder, resize_mode="squash").spec != encoder.spec
    with pytest.raises(ValueError, match="unknown resize_mode 'crop'; expected one of own, squash, longest, shortest"):
        _ = dataclasses.replace(encoder, resize_mode="crop").spec


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_and_float32(encoder, dtype):
    half = dataclasses.replace(encoder, dtype=dtype)
    assert half.images(PICTURES).dtype == np.float32
    assert (half.images(PICTURES) * encoder.images(PICTURES)).sum(axis=1).min() > 0.99
    assert (half.texts(TEXTS) * encoder.texts(TEXTS)).sum(axis=1).min() > 0.99


def test_the_network_is_in_evaluation_mode(encoder):
    assert not encoder._network[0].training


def test_only_safetensors(tiny_clip, tmp_path):
    import torch
    from safetensors.torch import load_file

    copy = shutil.copytree(tiny_clip, tmp_path / "copy")
    torch.save(load_file(copy / "open_clip_model.safetensors"), copy / "open_clip_pytorch_model.bin")
    (copy / "open_clip_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no open_clip_model.safetensors"):
        ClipEncoder(copy).images(PICTURES)


def test_missing_weights_are_an_error(tiny_clip, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(tiny_clip, tmp_path / "copy")
    weights = load_file(copy / "open_clip_model.safetensors")
    weights.pop("ln_final.weight")
    save_file(weights, copy / "open_clip_model.safetensors")
    with pytest.raises(RuntimeError, match="ln_final.weight"):
        ClipEncoder(copy).images(PICTURES)


def with_entry(folder, file, path, value):
    """Set one entry of a JSON file, made if absent: path is a list of keys."""
    config = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    inner = config
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    (folder / file).write_text(json.dumps(config))
    return folder


TEXT, VISION = ["model_cfg", "text_cfg"], ["model_cfg", "vision_cfg"]


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("open_clip_config.json", [*TEXT, "tokenizer_kwargs", "trust_remote_code"], True),
        ("tokenizer_config.json", ["auto_map"], {"AutoTokenizer": ["evil.Tokenizer", None]}),
    ],
)
def test_a_folder_that_asks_for_its_own_code_is_refused_before_a_library_sees_it(
    tiny_clip, tmp_path, file, path, value
):
    folder = with_entry(shutil.copytree(tiny_clip, tmp_path / "clip"), file, path, value)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(
        ValueError, match=f"{file} has an entry '(trust_remote_code|auto_map)', which lets code of that"
    ):
        ClipEncoder(folder).texts(["a car"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("open_clip_config.json", [*TEXT, "hf_model_name"], "someone/text-tower"),
        ("open_clip_config.json", [*VISION, "timm_model_name"], "hf_hub:someone/image-tower"),
        ("open_clip_config.json", [*VISION, "timm_model_name"], "local-dir:elsewhere"),
        ("open_clip_config.json", [*TEXT, "tokenizer_kwargs", "tokenizer_file"], "elsewhere.json"),
        ("open_clip_config.json", [*TEXT, "tokenizer_kwargs"], ["trust_remote_code"]),
        ("adapter_config.json", ["base_model_name_or_path"], "someone/network"),
        ("tokenizer_config.json", ["vocab_file"], "/etc/passwd"),
        ("config.json", ["attn_implementation"], "someone/kernel"),
        ("config.json", ["inner", "backbone"], "resnet50"),
        ("model.safetensors.index.json", ["weight_map", "weight"], "../elsewhere.safetensors"),
    ],
)
def test_a_folder_that_leads_out_of_itself_is_refused_and_nobody_is_asked(tiny_clip, tmp_path, file, path, value, hub):
    folder = with_entry(shutil.copytree(tiny_clip, tmp_path / "clip"), file, path, value)
    with pytest.raises(ValueError, match=f"{file} has an entry .* which lets a library read or ask for more"):
        ClipEncoder(folder).texts(["a car"])
    assert hub.asked == []


def test_what_published_folders_say_besides_is_no_reason_to_refuse_them(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "clip")
    with_entry(folder, "tokenizer_config.json", ["special_tokens_map_file"], "/home/someone/special_tokens_map.json")
    with_entry(folder, "tokenizer_config.json", ["name_or_path"], "someone/tokenizer")
    with_entry(
        folder, "open_clip_config.json", [*TEXT, "hf_tokenizer_name"], "someone/tokenizer"
    )  # open_clip takes ours
    with_entry(folder, "config.json", ["backbone"], None)
    np.testing.assert_array_equal(ClipEncoder(folder).texts(TEXTS), ClipEncoder(tiny_clip).texts(TEXTS))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b'{"a":' * 100_000])
def test_a_configuration_that_is_no_json_is_named(tiny_clip, tmp_path, content):
    folder = shutil.copytree(tiny_clip, tmp_path / "clip")
    (folder / "open_clip_config.json").write_bytes(content)
    with pytest.raises(ValueError, match="open_clip_config.json is no JSON .* fetch it anew"):
        ClipEncoder(folder).texts(["a car"])


def test_a_pickle_beside_a_safetensors_file_of_another_name_is_not_loaded(tiny_clip, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    folder = shutil.copytree(tiny_clip, tmp_path / "clip")
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_decoy_model.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FileNotFoundError, match="has no open_clip_model.safetensors or open_clip_pytorch"):
        ClipEncoder(folder).texts(["a car"])
    (folder / "open_clip_decoy_model.safetensors").rename(folder / "open_clip_pytorch_model.safetensors")
    np.testing.assert_array_equal(ClipEncoder(folder).texts(TEXTS), ClipEncoder(tiny_clip).texts(TEXTS))
    assert not (tmp_path / "ran").exists()
