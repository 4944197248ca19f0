"""The embedded data set: its world, its frozen networks, its benchmark, its card, and how they are built."""

import io
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Image, load_dataset
from PIL import Image as Pillow

TOYWORLD = Path(__file__).resolve().parents[1] / "data_cards" / "toyworld"
GENERATORS = ["latent_diffusion", "latent_diffusion_b", "pixel_diffusion", "vq_autoregressive", "gan", "vae"]


@pytest.fixture
def build_file(monkeypatch):
    """Imports a file of build/; the files import each other as scripts do."""
    monkeypatch.syspath_prepend(str(TOYWORLD / "build"))
    return import_module


@pytest.fixture(autouse=True)
def same_torch_afterwards():
    """Stages set threads, determinism and the global seed, as they own their process; here they are guests."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    parts = load_dataset(str(TOYWORLD), cache_dir=str(tmp_path_factory.mktemp("cache")))  # not what was kept of others
    return {split: part.cast_column("image", Image(decode=False)).to_pandas() for split, part in parts.items()}


# the world


def test_a_true_box_holds_its_thing_and_nothing_more(build_file):
    renderer, world = build_file("renderer"), build_file("world")
    for noun in world.NOUNS:
        thing = world.Thing(noun, "red", 0.5, 0.5, 0.25)
        scene, empty = (world.Scene(things, "", "field", 0.5) for things in ((thing,), ()))
        pictures = [np.asarray(renderer.draw(one, np.random.default_rng(0)), dtype=int) for one in (scene, empty)]
        changed = np.abs(pictures[0] - pictures[1]).max(axis=-1) > 0
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / renderer.OVERSAMPLING
        np.testing.assert_allclose(drawn, renderer.boxes(scene)[0], atol=1.0, err_msg=noun)


def test_relations_are_true_and_nouns_differ(build_file):
    world, renderer = build_file("world"), build_file("renderer")
    for number in range(300):
        scene = world.sample_scene(np.random.default_rng([9, number]))
        assert len({thing.noun for thing in scene.things}) == len(scene.things)
        assert all(0 <= edge <= world.SIZE for box in renderer.boxes(scene) for edge in box)
        if scene.relation == "above":
            assert scene.things[0].y < scene.things[1].y
        if scene.relation == "next to":
            assert all(a.x < b.x for a, b in zip(scene.things, scene.things[1:], strict=False))


def test_captions_say_what_is_there_in_words_the_generators_know(build_file):
    world, language = build_file("world"), build_file("language")
    things = (world.Thing("car", "orange", 0.3, 0.3, 0.1), world.Thing("tree", "green", 0.3, 0.7, 0.1))
    texts = language.captions(world.Scene(things, "above", "snow", 0.5))
    assert texts[:2] == ["an orange car above a green tree in the snow", "a green tree below an orange car in the snow"]
    rows = language.tokens(texts)
    assert rows.shape == (len(texts), language.LENGTH) and (rows[:, 0] == language.START).all()
    assert ((rows == language.END).sum(dim=1) == 1).all() and rows.max() < language.VOCABULARY_SIZE


# the benchmark


def test_every_caption_stands_once_as_a_photograph_and_once_from_every_generator(benchmark):
    assert {split: len(rows) for split, rows in benchmark.items()} == {"train": 4200, "validation": 700, "test": 1400}
    for split, rows in benchmark.items():
        assert (rows["split"] == split).all()
        for _, group in rows.groupby("content_id"):
            assert group["generator"].tolist() == ["real", *GENERATORS]
            assert group["label"].tolist() == [0] + [1] * 6 and group["prompt"].nunique() == 1
            assert group["objects"].notna().tolist() == [True] + [False] * 6
            assert len(group["objects"].iloc[0]) == len(group["boxes"].iloc[0])


def test_no_prompt_and_no_content_stands_in_two_splits(benchmark):
    for column in ("prompt", "content_id"):
        values = [set(rows[column]) for rows in benchmark.values()]
        assert sum(map(len, values)) == len(set.union(*values)) == 900


def test_real_pictures_are_jpeg_and_generated_ones_png_of_one_size(benchmark):
    for label, expected in ((0, "JPEG"), (1, "PNG")):
        rows = benchmark["test"].query("label == @label").head(60)
        opened = [Pillow.open(io.BytesIO(image["bytes"])) for image in rows["image"]]
        assert {(image.format, image.size, image.mode) for image in opened} == {(expected, (64, 64), "RGB")}


def test_the_renderer_makes_the_benchmarks_photographs_byte_for_byte(build_file, benchmark):
    made = build_file("benchmark").contents(5)
    rows = benchmark["train"].query("label == 0").head(5)
    assert [photograph for _, photograph, _ in made] == [image["bytes"] for image in rows["image"]]
    assert [prompt for *_, prompt in made] == rows["prompt"].tolist()


def test_the_folder_is_small():
    files = [file for file in TOYWORLD.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert sum(file.stat().st_size for file in files) <= 60e6


# the frozen networks


def test_the_networks_load_by_stock_calls():
    import open_clip
    import spacy
    from transformers import BlipForConditionalGeneration, OwlViTForObjectDetection

    models = TOYWORLD / "models"
    for stock, name in ((BlipForConditionalGeneration, "captioner"), (OwlViTForObjectDetection, "detector")):
        _, report = stock.from_pretrained(models / name, output_loading_info=True)
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    clip, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{models / 'clip'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{models / 'clip'}")(["a red car"])
    assert clip.encode_text(tokens).shape == (1, 128)
    assert preprocess(Pillow.new("RGB", (30, 10))).shape == (3, 64, 64)
    assert [token.pos_ for token in spacy.load(models / "spacy")("a red car")] == ["DET", "ADJ", "NOUN"]


def test_the_figures_of_the_card_are_the_measured_ones_and_hold_the_bars(build_file):
    figures = json.loads((TOYWORLD / "figures.json").read_text())
    assert build_file("measure").tables(figures) in (TOYWORLD / "README.md").read_text()
    assert figures["captioner"]["noun named"] >= 0.95 and figures["captioner"]["colour and noun named"] >= 0.9
    best, _, alarms, _ = figures["detector"].values()
    assert best >= 0.95 and alarms <= 0.05
    assert figures["clip"]["recall@1 among 500 captions"] >= 0.75
    assert figures["clip"]["noun of a true crop, among 16"] >= 0.95
    assert figures["nouns"]["captions whose nouns are found exactly"] == 1
    assert sum(figures["generators"][name]["objects recognised"] >= 0.5 for name in GENERATORS) >= 4


def test_what_letters_do_is_what_the_card_says(build_file):
    letters = build_file("letters")
    stated = (TOYWORLD / "README.md").read_text().split("| a word |")[1].split("\n\n")[0].splitlines()[2:]
    stated = [[float(cell) for cell in line.split("|")[2:-1]] for line in stated]
    measured = letters.measure(letters.Detector.from_pretrained(letters.DETECTOR), letters.real_pictures())
    assert len(stated) == len(measured) == len(letters.KINDS)
    for said, found in zip(stated, measured.iloc[:, 1:].to_numpy(float), strict=True):
        np.testing.assert_allclose(found[:2], said[:2], atol=0.02)
        np.testing.assert_allclose(found[2:], said[2:], atol=2)  # another machine may round one of them otherwise


# how it is built


@pytest.mark.parametrize(("network", "length"), [("detector", 16), ("clip", 24)])
def test_a_rebuilt_tokenizer_numbers_the_words_as_the_saved_one(build_file, network, length):
    from transformers import CLIPTokenizer

    made = build_file("tokenizer").small_clip_tokenizer(network, length)
    saved = CLIPTokenizer.from_pretrained(TOYWORLD / "models" / network)
    assert made.get_vocab() == saved.get_vocab()
    words = " ".join(build_file("language").WORDS)
    assert made(words).input_ids == saved(words).input_ids
    assert len(made(words).input_ids) == len(words.split()) + 2  # start, one number a word, end


@pytest.fixture
def tiny_build(build_file, monkeypatch, tmp_path):
    """A planner and a VAE trained on 32 scenes for some steps; a call builds them into the folder it is given."""
    scenes, training, planner, vae = (build_file(name) for name in ("scenes", "training", "planner", "vae"))
    monkeypatch.setitem(scenes.STREAMS, "generators", (2, 32))
    for module in (planner, vae):
        monkeypatch.setattr(module, "STEPS", 20)
        monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(vae, "DUEL_BATCH", 4)
    monkeypatch.setattr(vae, "ROUNDS", [(12, 0.1), (12, 0.3)])
    monkeypatch.setattr(build_file("grain"), "STEPS", 12)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    # compiling asks for a compiler and a minute
    monkeypatch.setattr(build_file("transformer").CaptionedTransformer, "compile", lambda self: None)

    def build(name):
        work = tmp_path / name
        work.mkdir(exist_ok=True)
        scenes.render(work, work / "generators.npy")
        planner.build(work, work / "planner.pt")
        vae.build(work, work / "vae.pt")
        return work

    return build


def test_a_generator_is_built_twice_to_the_same_bytes_and_draws_the_same(tiny_build, build_file):
    first, second = tiny_build("first"), tiny_build("second")
    assert (first / "vae.pt").read_bytes() == (second / "vae.pt").read_bytes()
    drawn = [build_file("vae").sample(work, ["a red car in the snow"] * 2, 1, "vae") for work in (first, second)]
    assert drawn[0].shape == (2, 64, 64, 3) and (drawn[0] == drawn[1]).all()


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_bytes(tiny_build, build_file, monkeypatch):
    whole, training = tiny_build("whole"), build_file("training")

    def write_and_die(path, value, write=training.write):
        write(path, value)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "write", write_and_die)
        tiny_build("killed")
    assert torch.load(whole.parent / "killed" / "planner.checkpoint")["step"] == 10
    killed = tiny_build("killed")
    assert all((killed / name).read_bytes() == (whole / name).read_bytes() for name in ("planner.pt", "vae.pt"))


def test_the_strengths_of_grain_are_the_energies_of_the_cosine_transform(build_file):
    from scipy.fft import dctn

    grain = build_file("grain")
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = grain.strengths(image).exp() - grain.QUIET  # (2, 8, 8, 7)
    waves = dctn(image[1].mean(dim=0)[16:24, 40:48].numpy(), norm="ortho") ** 2
    distance = np.hypot(*np.meshgrid(range(8), range(8))).round()
    for band in range(1, 8):
        inside = distance == band if band < 7 else distance >= 7
        assert found[1, 2, 5, band - 1] == pytest.approx(waves[inside].mean(), rel=1e-4)


def test_grain_is_grey_and_as_strong_as_it_has_learned(build_file):
    grain = build_file("grain").Grain()
    for part in (grain.strength[-1].weight, grain.strength[-1].bias):
        torch.nn.init.zeros_(part)
    image = torch.rand(50, 1, 64, 64, generator=torch.manual_seed(0)).expand(-1, 3, -1, -1)  # no colour
    laid = grain(image) - image
    assert torch.allclose(laid[:, 0], laid[:, 1], atol=1e-6) and torch.allclose(laid[:, 0], laid[:, 2], atol=1e-6)
    coarse = (0.75**2 + 0.25**2) ** 2  # what is left of a noise's power where each pixel is the mean of four
    assert laid.std().item() == pytest.approx(np.log1p(np.exp(-3)) * np.sqrt(1 + coarse), rel=0.03)


def test_grain_keeps_light_and_halves_the_resolution_of_colour(build_file):
    grain = build_file("grain").Grain()
    torch.nn.init.constant_(grain.strength[-1].bias, -1e4)  # no noise
    torch.nn.init.zeros_(grain.strength[-1].weight)
    even = torch.arange(64) % 2 * 2.0 - 1
    specks = torch.zeros(1, 3, 64, 64)
    specks[:, 0], specks[:, 2] = even, -even  # red and blue by turns, the light the same everywhere
    light = torch.rand(1, 1, 64, 64, generator=torch.manual_seed(0))
    assert torch.allclose(grain(specks + light), light.expand(-1, 3, -1, -1), atol=1e-6)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    assert torch.allclose(grain(red), red, atol=1e-6)


def test_a_step_of_muon_turns_by_about_the_nearest_orthogonal_matrix(build_file):
    matrix = torch.randn(6, 40, generator=torch.manual_seed(0))
    for made in (build_file("muon").orthogonal(matrix), build_file("muon").orthogonal(matrix.T).T):
        left, strength, right = torch.linalg.svd(made, full_matrices=False)
        assert (strength > 0.6).all() and (strength < 1.3).all()
        nearest = torch.linalg.svd(matrix, full_matrices=False)
        assert torch.linalg.matrix_norm(left @ right - nearest.U @ nearest.Vh) < 0.05


def test_an_unknown_stage_is_refused_with_the_list():
    command = [sys.executable, TOYWORLD / "build" / "build.py", "gna"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "gna" in ended.stderr and "vq_autoregressive" in ended.stderr


def test_a_stage_without_those_it_needs_is_refused(build_file, monkeypatch, tmp_path, capsys):
    build = build_file("build")
    monkeypatch.setattr(build, "WORK", tmp_path)
    monkeypatch.setattr(sys, "argv", ["build.py", "gan"])
    with pytest.raises(SystemExit):
        build.main()
    assert "stage gan needs what is not there yet; first run: build.py generator_scenes" in capsys.readouterr().err


def test_what_a_killed_stage_left_is_not_taken_for_whole(build_file, tmp_path):
    build = build_file("build")
    stage = build.Stage(tmp_path / "models" / "spacy", (), "nouns")
    left = tmp_path / "models" / ".spacy-unfinished" / "spacy"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    build.run(stage, tmp_path)
    assert stage.makes.is_dir() and not (stage.makes / "half").exists()
    assert [path.name for path in stage.makes.parent.iterdir()] == ["spacy"]


def test_a_stage_that_cannot_write_is_one_clear_line(build_file, tmp_path, capsys):
    build = build_file("build")
    stage = build.Stage(Path("/dev/full/spacy"), (), "nouns")  # no folder can be made there
    with pytest.raises(SystemExit):
        build.run_all({"spacy": stage}, tmp_path, 1)
    assert "spacy: stopped" in capsys.readouterr().err
