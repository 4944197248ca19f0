"""What may be loaded, on what, and what happens when memory runs out."""

import shutil
import warnings
from types import SimpleNamespace

import pytest
from conftest import make_picture
from safetensors.torch import load_file, save_file

from itemkit.captions import Captioner
from itemkit.embed import ClipEncoder, check_activation
from itemkit.head import MLPHead
from itemkit.locate import ObjectLocator
from itemkit.network import Batches, check_device, is_out_of_memory, network_spec

PICTURES = [make_picture(seed) for seed in range(8)]


def batches(batch_size: int = 8, dtype: str = "float32") -> Batches:
    return Batches(SimpleNamespace(name="someone/network", batch_size=batch_size, dtype=dtype))


def limited(most: int, sizes: list[int]):
    """Doubles numbers, but has memory for `most` at once."""

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > most:
            raise MemoryError
        return [2 * item for item in items]

    return run


def test_a_batch_that_does_not_fit_is_halved_once_for_good_and_told():
    sizes, in_batches = [], batches()
    run = limited(4, sizes)
    with pytest.warns(UserWarning, match="someone/network: out of memory, goes on with 4 at once; results stay"):
        assert in_batches(run, list(range(10))) == list(range(0, 20, 2))
    assert sizes == [8, 4, 4, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert in_batches(run, [1] * 8) == [2] * 8
    assert sizes[4:] == [4, 4]


def test_if_half_does_not_fit_either_the_remedy_is_named():
    message = "someone/network: no memory for 4 at once in float32; set a smaller batch_size, or free memory. What was"
    with pytest.warns(UserWarning), pytest.raises(MemoryError, match=message):
        batches()(limited(3, []), [1] * 8)
    with pytest.raises(MemoryError, match="no memory for 1 at once"):
        batches(1)(limited(0, []), [1])


def test_in_half_precision_the_batch_size_changes_results_and_stays():
    with pytest.raises(MemoryError, match="no memory for 8 at once in bfloat16; set a smaller batch_size"):
        batches(8, "bfloat16")(limited(4, []), [1] * 8)


def test_other_errors_are_not_taken_for_memory():
    def broken(items):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        batches()(broken, [1])


def test_torch_says_on_a_processor_too_that_memory_ran_out():
    import torch

    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("kind", ["captioner", "locator", "encoder", "grounding locator"])
def test_every_network_gives_the_same_after_its_batch_was_halved(kind, request, monkeypatch):
    import torch

    made = {
        "captioner": lambda: Captioner(request.getfixturevalue("tiny_captioner"), batch_size=8),
        "locator": lambda: ObjectLocator(request.getfixturevalue("tiny_detector"), threshold=0, batch_size=8),
        "grounding locator": lambda: ObjectLocator(
            request.getfixturevalue("tiny_grounding_dino"), threshold=0, batch_size=8
        ),
        "encoder": lambda: ClipEncoder(request.getfixturevalue("tiny_clip"), batch_size=8),
    }[kind]

    def results(network):
        if isinstance(network, ObjectLocator):
            return [one for (one,) in network(PICTURES, [["car"]] * 8)]
        return network(PICTURES) if isinstance(network, Captioner) else network.images(PICTURES).tolist()

    whole = results(made())
    convolve, passes = torch.nn.Conv2d.forward, []

    def short_of_memory(self, pixels):
        passes.append(len(pixels))
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return convolve(self, pixels)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", short_of_memory)
    with pytest.warns(UserWarning, match="out of memory, goes on with 4 at once"):
        halved = results(made())
    assert 8 in passes
    if kind == "captioner":
        assert halved == whole
    elif kind == "encoder":
        for one, other in zip(halved, whole, strict=True):
            assert one == pytest.approx(other, abs=1e-6)
    else:
        for (box, score), (other_box, other_score) in zip(halved, whole, strict=True):
            assert box == pytest.approx(other_box, abs=1e-4) and score == pytest.approx(other_score, abs=1e-6)


def test_a_device_that_is_not_there_is_named_with_those_that_are():
    check_device("cpu")
    for device in ("cuda:99", "gpu"):
        with pytest.raises(ValueError, match=f"device '{device}' is asked for, but .* can use cpu.* set device"):
            check_device(device)


def test_no_network_is_loaded_for_a_device_that_is_not_there(tmp_path):
    for network in (Captioner, ObjectLocator, ClipEncoder):
        with pytest.raises(ValueError, match="device 'cuda:99' is asked for"):
            _ = network(tmp_path, device="cuda:99")._network


def test_only_safetensors_are_loaded_and_where_to_find_them_is_told(tiny_captioner, tmp_path):
    copy = shutil.copytree(tiny_captioner, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match="copy has no safetensors file, and .* give the 40 digits of its commit"
    ):
        Captioner(copy)(PICTURES)


@pytest.mark.parametrize("kind", ["tiny_captioner", "tiny_clip"])
def test_weights_that_are_cut_short_are_named(kind, request, tmp_path):
    copy = shutil.copytree(request.getfixturevalue(kind), tmp_path / "copy")
    (weights,) = copy.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match="the weights in .*copy are damaged .*; remove them, and they are fetched anew"
    ):
        Captioner(copy)(PICTURES) if kind == "tiny_captioner" else ClipEncoder(copy).images(PICTURES)


NETWORKS = {
    "tiny_captioner": lambda folder: Captioner(folder)(PICTURES),
    "tiny_detector": lambda folder: ObjectLocator(folder)(PICTURES, [["car"]] * len(PICTURES)),
    "tiny_clip": lambda folder: ClipEncoder(folder).images(PICTURES),
    "head": lambda folder: MLPHead.from_pretrained(folder),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_that_are_not_finite_are_refused(kind, value, request, tmp_path):
    if kind == "head":
        MLPHead(4).save_pretrained(tmp_path / "copy")
    else:
        shutil.copytree(request.getfixturevalue(kind), tmp_path / "copy")
    (path,) = (tmp_path / "copy").glob("*.safetensors")
    weights = load_file(path)
    name = [name for name, tensor in weights.items() if tensor.is_floating_point()][-1]
    weights[name].view(-1)[-1] = value
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(
        ValueError, match="copy has weights that are not finite, the first in .*; fetch or train it anew"
    ):
        NETWORKS[kind](tmp_path / "copy")


def test_a_transformers_folder_that_leads_out_of_itself_is_refused(tiny_captioner, tmp_path, hub):
    copy = shutil.copytree(tiny_captioner, tmp_path / "copy")
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/network"}')
    with pytest.raises(
        ValueError, match="adapter_config.json has an entry 'base_model_name_or_path' of 'someone/network'"
    ):
        Captioner(copy)(PICTURES)
    assert hub.asked == []


def test_number_type_and_device_are_part_of_the_key_and_the_batch_size_in_half_precision(tiny_clip):
    specs = [
        network_spec(ClipEncoder(tiny_clip, device=device, dtype=dtype, batch_size=size))
        for device in ("cpu", "cuda")
        for dtype in ("float32", "bfloat16")
        for size in (1, 2)
    ]
    assert len({tuple(spec.items()) for spec in specs}) == 6  # float32: two devices; bfloat16: two devices, two sizes
    assert network_spec(ClipEncoder(tiny_clip, device="cuda:1")) == network_spec(
        ClipEncoder(tiny_clip, device="cuda:0")
    )
    with pytest.raises(ValueError, match="unknown dtype 'half'; expected one of float32, bfloat16, float16"):
        network_spec(ClipEncoder(tiny_clip, dtype="half"))


def test_weights_of_openai_run_with_quickgelu_or_not_at_all(tiny_clip):
    check_activation("timm/vit_base_patch32_clip_224.laion2b", tiny_clip)
    with pytest.raises(
        ValueError, match="holds weights of OpenAI, but its open_clip_config.json does not set quick_gelu"
    ):
        check_activation("timm/vit_large_patch14_clip_224.openai", tiny_clip)
