"""Each shape that data sets come in, on a small one of that schema: one table comes out, and the notebooks run on it."""

import dataclasses
import io
import json
import runpy
from collections import Counter
from pathlib import Path

import av
import datasets
import numpy as np
import pandas as pd
import pytest
from conftest import ANSWERED, encode, make_picture
from matplotlib import pyplot
from matplotlib.figure import Figure

from itemkit.data import stream
from itemkit.data.hub import HubError
from itemkit.data.images import UnreadableImage, middle_frame
from itemkit.data.load import decode_image, encoded_bytes, load_images, on_tracks, pin, read_card
from itemkit.running.run import declared

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOURCES = ("real", "sd21", "dalle3")
PARTS = {"train": 24, "validation": 22, "test": 24}  # contents; 20 are enough for a head and for a number


def write_card(folder: Path, block: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\nlicense: cc0-1.0\nitemkit:\n{block}---\n{ANSWERED}")
    return folder


def block(**entries) -> str:
    lines = {"repo": "./data", "revision": "local", "generators": "[{name: sd21}, {name: dalle3}]"} | entries
    return "".join(f"  {name}: {value}\n" for name, value in lines.items())


def write_parts(folder: Path, parts: dict[str, list[dict]], **features) -> None:
    """Parquet files as the hub has them, one for each part, or several where the list is of lists."""
    for part, rows in parts.items():
        table = datasets.Dataset.from_list(rows)
        for column, feature in features.items():
            table = table.cast_column(column, feature)
        table.to_parquet(folder / "data" / f"{part}-00000.parquet")


def cell(number: int) -> dict:
    return {"bytes": encode(make_picture(number)), "path": None}


def contents(part: str) -> range:
    start = 100 * list(PARTS).index(part)
    return range(start, start + PARTS[part])


def make_clip(number: int, frames: int = 5, container: str = "mp4", codec: str = "libx264") -> bytes:
    """A clip that is black but for the frame in the middle."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as clip:
        video = clip.add_stream(codec, rate=8)
        video.width, video.height, video.pix_fmt = 48, 40, "yuv420p"
        for position in range(frames):
            shown = np.asarray(make_picture(number)) if position == frames // 2 else np.zeros((40, 48, 3), np.uint8)
            clip.mux(video.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        clip.mux(video.encode())
    return file.getvalue()


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """As NasrinImp/Defactify4_Train: a row for each caption, a column for each source, one part."""
    columns = ("coco_image", "sd21_image", "dalle_image")
    rows = [
        {"caption": f"caption {content}"} | {name: cell(3 * content + kind) for kind, name in enumerate(columns)}
        for content in range(230)
    ]
    generators = "[{name: sd21, value: sd21_image}, {name: dalle3, value: dalle_image}]"
    facts = {"layout": "wide", "real": "coco_image", "columns": "{content_id: caption}", "generators": generators}
    folder = write_card(tmp_path_factory.mktemp("wide"), block(**facts))
    write_parts(folder, {"train": rows}, **dict.fromkeys(columns, datasets.Image(decode=False)))
    return folder


LONG = {
    "layout": "long",
    "columns": "{image: Image, generator: Label_B, label: Label_A, content_id: Caption}",
    "real": "0",
    "generators": "[{name: sd21, value: 1}, {name: dalle3, value: 2}]",
}


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """As Rajarshi-Roy-research/Defactify_Image_Dataset: rows of one caption together, numbers for the sources."""
    parts = {
        part: [
            {
                "Caption": f"caption {content}",
                "Image": cell(3 * content + kind),
                "Label_A": min(kind, 1),
                "Label_B": kind,
            }
            for content in contents(part)
            for kind in range(3)
        ]
        for part in PARTS
    }
    folder = write_card(tmp_path_factory.mktemp("long"), block(**LONG))
    write_parts(folder, parts, Image=datasets.Image(decode=False))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """As UniversalFakeDetect, unpacked: a folder for each source; contents and splits by a table beside them."""
    root = write_card(tmp_path_factory.mktemp("folder"), block(layout="folder", repo="."))
    said = []
    for part in PARTS:
        for content in contents(part):
            for kind, source in enumerate(SOURCES):
                file = root / source / f"{content:05}.png"
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(cell(3 * content + kind)["bytes"])
                said.append({"file_name": f"{source}/{file.name}", "content_id": content, "split": part})
    pd.DataFrame(said).to_csv(root / "metadata.csv", index=False)
    return root


STREAMED = {
    "layout": "long",
    "streamed": "true",
    "columns": "{image: image_data, generator: model_name, label: label}",
    "labels": "[real, fake]",
    "generators": "[{name: sd21, value: stabilityai/sd-2-1}, {name: dalle3, value: DALL-E 3}]",
}


@pytest.fixture(scope="module")
def streamed(tmp_path_factory) -> Path:
    """As GenImage, OpenFake and CommunityForensics: bare bytes sorted by source, no contents, no validation part."""
    folder = write_card(tmp_path_factory.mktemp("streamed"), block(**STREAMED))
    names = {"real": ("", "real"), "sd21": ("stabilityai/sd-2-1", "fake"), "dalle3": ("DALL-E 3", "fake")}
    names["other"] = ("a generator that the card does not name", "fake")
    number = 0
    for part, many in (("train", 200), ("test", 40)):
        for position, (model, label) in enumerate(names.values()):
            rows = []
            for _ in range(many):
                rows.append({"image_data": cell(number)["bytes"], "model_name": model, "label": label})
                number += 1
            path = folder / "data" / f"{part}-{position:05}-of-00004.parquet"
            datasets.Dataset.from_list(rows).to_parquet(path)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """As GenVidBench: a clip for each row; the last cannot be decoded."""
    parts = {
        part: [
            {"clip": {"bytes": make_clip(3 * content + kind), "path": None}, "source": source, "prompt": f"p {content}"}
            for content in contents(part)
            for kind, source in enumerate(SOURCES)
        ]
        for part in PARTS
    }
    parts["test"][-1]["clip"]["bytes"] = b"no clip"
    facts = {"layout": "long", "video": "true", "columns": "{image: clip, generator: source, content_id: prompt}"}
    folder = write_card(tmp_path_factory.mktemp("video"), block(**facts))
    write_parts(folder, parts, clip=datasets.Video(decode=False))
    return folder


SHAPES = {"wide": None, "long": None, "folder": None, "streamed": 30, "video": None}  # and the limit it is read with


@pytest.fixture(params=SHAPES)
def shape(request):
    return read_card(request.getfixturevalue(request.param)), SHAPES[request.param]


def facts(images: datasets.Dataset) -> pd.DataFrame:
    return images.select_columns([name for name in images.column_names if name != "image"]).to_pandas()


def test_every_shape_gives_one_table(shape):
    card, limit = shape
    images = load_images(card, limit=limit)
    assert images.column_names == ["image", "image_id", "label", "generator", "content_id", "split"]
    table = facts(images)
    assert set(table.generator) == set(SOURCES) and set(table.split) == set(PARTS)
    assert (table.label == (table.generator != "real")).all()
    assert table.groupby("content_id").split.nunique().max() == 1
    assert table.groupby(["generator", "split"]).size().min() >= 20
    assert table.image_id.is_unique
    decode_image(encoded_bytes(images[0]["image"]))
    if card.has_contents:
        assert (table.groupby("content_id").generator.nunique() == 3).all()


def test_a_damaged_file_of_the_librarys_cache_is_set_aside_and_built_anew(shape, tmp_path, monkeypatch, capsys):
    card, limit = shape
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))

    def load() -> list[dict]:
        return on_tracks(load_images(card, limit=limit), ["aligned", "raw"], 32)[:]

    rows = load()
    assert load() == rows
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix not in (".lock", ".sha256")]
    assert len(files) >= (0 if card.layout == "folder" else 4)  # paths of files are not copied
    capsys.readouterr()
    for file in files:
        content = bytearray(file.read_bytes())
        content[np.random.default_rng(0).integers(len(content))] ^= 1
        file.write_bytes(content)
        assert load() == rows
        said = capsys.readouterr().out.splitlines()[0]
        assert said.startswith(f"{file} is not as it was written; it is set aside as ") and said.endswith("built anew")
        (aside,) = tmp_path.rglob("*.damaged")
        assert aside.read_bytes() == content
        aside.unlink()
        file.unlink()
        assert load() == rows and capsys.readouterr().out.startswith(f"{file} is gone; it is built anew")


def test_the_notebooks_run_on_every_shape(shape, networks, tiny_spacy, tmp_path, monkeypatch):
    card, limit = shape
    limit = 24 if card.layout == "wide" else limit  # of 230 contents; that all can be read is tested above
    save = Figure.savefig  # coarse: that the figures can be drawn is what is tested here
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: save(figure, path, dpi=72, **options))
    captioner, locator, encoder = networks
    values = {"results": str(tmp_path / "results"), "cache": str(tmp_path / "cache"), "card": str(card.path)}
    values |= {"captioner": str(captioner.name), "locator": str(locator.name), "encoder": str(encoder.name)}
    values |= {"nouns": str(tiny_spacy), "box_threshold": locator.threshold, "limit": limit, "tracks": ["aligned"]}
    values |= {"arms": ["image", "item", "metadata"], "seeds": [0], "draws": 50, "shown": 3}
    monkeypatch.chdir(NOTEBOOKS)
    for notebook in sorted(NOTEBOOKS.glob("0[0-4]_*.ipynb")):
        run_cells(notebook, values, tmp_path)
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "results" / "tables").glob("*.csv")}
    unseen = tables["04_unseen"]
    assert set(unseen.arm) == {"image", "item", "metadata"}
    predictions = pd.read_parquet(tmp_path / "results" / "predictions.parquet")
    assert set(predictions.train_on) == {"sd21", "dalle3"} and predictions.score.between(0, 1).all()
    assert tables["00_pictures"].set_index("generator").unreadable.sum() == int(card.video)


def run_cells(notebook: Path, values: dict, folder: Path) -> None:
    """Run the cells of a notebook, with the values of a profile, faster than in a kernel of their own."""
    cells = [one for one in json.loads(notebook.read_text())["cells"] if one["cell_type"] == "code"]
    sources = ["".join(one["source"]) for one in cells]
    parameters = ["parameters" in one["metadata"].get("tags", []) for one in cells].index(True)
    given = [f"{name} = {value!r}" for name, value in values.items() if name in declared(notebook)]
    script = folder / f"{notebook.stem}.py"
    script.write_text("\n".join([*sources[: parameters + 1], *given, *sources[parameters + 1 :]]))
    runpy.run_path(str(script), run_name="__main__")
    pyplot.close("all")


# what is particular to one


def test_rows_that_are_real_need_no_name_and_other_generators_are_passed_over(streamed):
    table = facts(load_images(read_card(streamed), limit=30))
    assert table.groupby(["split", "generator"]).size().unstack().to_numpy().tolist() == [
        [30] * 3,
        [30] * 3,
        [27, 21, 29],
    ]


def test_a_stream_is_read_once(streamed, monkeypatch):
    card = read_card(streamed)
    first = load_images(card, limit=25)
    monkeypatch.setattr("itemkit.data.layouts.first_rows", None)
    again = load_images(card, limit=25)
    assert facts(again).equals(facts(first))
    with pytest.raises(ValueError, match="'NoneType' object is not callable"):
        load_images(card, limit=26)


def test_a_stream_looks_into_so_many_files_and_no_more(streamed, monkeypatch):
    monkeypatch.setattr(stream, "FILES", 2)
    with pytest.raises(ValueError, match="none of the first .* rows is of .*, called .* there; the rows are of "):
        load_images(read_card(streamed), limit=20)


def test_a_part_without_what_is_sought_is_left_after_some_files(tmp_path, monkeypatch):
    card = read_card(write_card(tmp_path, block(**STREAMED)))  # as OpenFake: dalle3 is in the test part only
    monkeypatch.setattr(stream, "IDLE_FILES", 3)
    for number in range(20):
        names = ("real", "stabilityai/sd-2-1")
        rows = [
            {"image_data": cell(1000 * number + place)["bytes"], "model_name": names[place % 2], "label": "fake"}
            | ({"label": "real"} if place % 2 == 0 else {})
            for place in range(8)
        ]
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / "data" / f"train-{number:05}-of-00020.parquet")
    rows = [
        {"image_data": cell(50_000 + place)["bytes"], "model_name": name, "label": label}
        for place, (name, label) in enumerate(
            [("real", "real"), ("stabilityai/sd-2-1", "fake"), ("DALL-E 3", "fake")] * 6
        )
    ]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    read = Counter()
    monkeypatch.setattr(stream, "_encoded", lambda value, card: read.update(["rows"]) or {"bytes": value, "path": None})
    table = facts(load_images(card, limit=4))
    assert set(table.generator[table.split == "test"]) == set(SOURCES)
    assert set(table.generator[table.split == "train"]) == {"real", "sd21"}
    assert read["rows"] < 100  # not all of the train part, though dalle3 never came


def test_a_changed_file_is_read_again(tmp_path):
    card = read_card(write_card(tmp_path, block(**STREAMED)))
    made = []
    for start in (0, 100):
        rows = [
            {"image_data": cell(start + place)["bytes"], "model_name": name, "label": label}
            for place, (name, label) in enumerate(
                [("real", "real"), ("stabilityai/sd-2-1", "fake"), ("DALL-E 3", "fake")] * 9
            )
        ]
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
        made.append(set(load_images(card, limit=2)["image_id"]))
    assert not made[0] & made[1]


def test_streamed_data_need_a_limit(streamed):
    with pytest.raises(ValueError, match="card streamed0: .* is too large to be downloaded; give a limit, e.g. 100"):
        load_images(read_card(streamed))
    with pytest.raises(ValueError, match="limit is 0; expected at least 1, or None for all"):
        load_images(read_card(streamed), limit=0)


def test_a_stream_names_the_column_and_the_label_that_are_wrong(streamed):
    card = read_card(streamed)
    wrong = dataclasses.replace(card, columns=card.columns | {"image": "picture"})
    with pytest.raises(ValueError, match="unknown column of card streamed0: 'picture'; expected one of image_data, "):
        load_images(wrong, limit=5)
    with pytest.raises(ValueError, match=r"a row has label 'fake'; expected 'real' \(real\) or 1 \(generated\)"):
        load_images(dataclasses.replace(card, labels=["real", 1]), limit=5)


def test_a_wide_data_set_streamed_is_the_same_as_downloaded(wide):
    card = read_card(wide)
    downloaded = load_images(card, limit=4)
    streamed = load_images(dataclasses.replace(card, streamed=True), limit=4)
    assert facts(streamed).sort_values("image_id").to_numpy().tolist() == (
        facts(downloaded).sort_values("image_id").to_numpy().tolist()
    )


def test_what_nobody_has_verified_is_said(long):
    card = dataclasses.replace(read_card(long), unverified=["the order of the generators"])
    with pytest.warns(UserWarning, match="card long0, not yet compared with the data: the order of the generators"):
        load_images(card)


def test_the_order_of_generators_is_compared_with_the_names_that_the_data_set_gives(long, tmp_path):
    rows = [{"Caption": "a", "Image": cell(kind), "Label_A": min(kind, 1), "Label_B": kind} for kind in range(3)]
    for names, fits in (
        (["Real", "SD 2.1", "DALL-E 3"], True),
        (["0", "1", "2"], True),
        (["r", "DALL-E 3", "x"], False),
    ):
        card = read_card(write_card(tmp_path / "".join(names), block(**LONG)))
        kind = {"Image": datasets.Image(decode=False), "Label_B": datasets.ClassLabel(names=names)}
        write_parts(card.path, {"train": rows}, **kind)
        if fits:
            assert facts(load_images(card)).generator.tolist() == list(SOURCES)
        else:
            with pytest.raises(ValueError, match="says that 1 is sd21, but the data set calls it 'DALL-E 3'; correct"):
                load_images(card)


def test_a_card_may_use_the_names_of_numbered_generators(tmp_path):
    rows = [{"Caption": "a", "Image": cell(kind), "Label_B": kind} for kind in range(3)]
    own = {"columns": "{image: Image, generator: Label_B, content_id: Caption}", "real": "photo"}
    own["generators"] = "[{name: sd21, value: stable}, {name: dalle3, value: dalle}]"
    card = read_card(write_card(tmp_path, block(**LONG | own)))
    kind = {"Image": datasets.Image(decode=False), "Label_B": datasets.ClassLabel(names=["stable", "photo", "dalle"])}
    write_parts(tmp_path, {"train": rows}, **kind)
    assert facts(load_images(card)).generator.tolist() == ["sd21", "real", "dalle3"]


def test_without_validation_a_seventh_of_the_training_contents_is_taken(tmp_path):
    rows = [
        {"Caption": str(content), "Image": cell(kind), "Label_A": kind, "Label_B": kind}
        for content in range(700)
        for kind in range(2)
    ]
    card = read_card(write_card(tmp_path, block(**LONG | {"generators": "[{name: sd21, value: 1}]"})))
    write_parts(tmp_path, {"train": rows[:1200], "test": rows[1200:]}, Image=datasets.Image(decode=False))
    counts = facts(load_images(card)).split.value_counts()
    assert counts["test"] == 200 and 0.10 < counts["validation"] / 1200 < 0.18


def test_a_folder_that_is_not_there_is_named(tmp_path):
    card = read_card(write_card(tmp_path / "far", block(layout="folder", repo="./images")))
    with pytest.raises(FileNotFoundError, match="card far: .*images is not there; .*README.md says how to get it"):
        load_images(card)


@pytest.mark.parametrize("shape", ["long"], indirect=True)
def test_a_file_that_is_cut_short_is_named(shape, tmp_path):
    card, _ = shape
    target = write_card(tmp_path / "cut", block(**LONG))
    (target / "data").mkdir()
    content = (card.path / "data" / "test-00000.parquet").read_bytes()
    (target / "data" / "test-00000.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="card cut: .*data cannot be read .*; remove a file that is cut short"):
        load_images(read_card(target))


# from the hub


@pytest.fixture
def wide_on_hub(hub, wide, tmp_path) -> Path:
    name = f"someone/{tmp_path.name.replace('_', '-')}"
    hub.folders[f"datasets/{name}"] = wide / "data"
    text = (wide / "README.md").read_text()
    card = text.replace("./data", name).replace("revision: local", "revision: unknown\n  gigabytes: 0.01")
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "README.md").write_text(card)
    return tmp_path / "card"


def test_a_data_set_of_the_hub_is_pinned_announced_fetched_and_kept(hub, wide, wide_on_hub, tmp_path, capsys):
    card = read_card(wide_on_hub)
    with pytest.raises(
        ValueError, match=r"has revision 'unknown'; pin\(card, cache\) looks up the newest and keeps it"
    ):
        load_images(card)
    pinned = pin(card, tmp_path)
    images = load_images(pinned)
    assert f"fetching {card.repo}, 0.01 GB, licence cc0-1.0" in capsys.readouterr().out
    assert facts(images).equals(facts(load_images(read_card(wide))))
    hub.down = True
    assert facts(load_images(pin(card, tmp_path))).equals(facts(images))
    assert "fetching" not in capsys.readouterr().out


def test_with_a_limit_only_the_first_rows_are_read(hub, wide, wide_on_hub, tmp_path):
    card = pin(read_card(wide_on_hub), tmp_path)
    limited = facts(load_images(card, limit=3, generators=["sd21"]))
    expected = facts(load_images(read_card(wide), limit=3, generators=["sd21"]))
    order = ["image_id"]
    assert limited.sort_values(order).to_numpy().tolist() == expected.sort_values(order).to_numpy().tolist()
    hub.down = True
    assert facts(load_images(card, limit=3, generators=["sd21"])).equals(limited)
    with pytest.raises(HubError, match="is not here in full, and the hub cannot be reached"):
        load_images(card)


def test_with_a_limit_nothing_is_read_again_of_what_was_downloaded_as_a_whole(hub, wide, wide_on_hub, tmp_path):
    card = pin(read_card(wide_on_hub), tmp_path)
    load_images(card)
    hub.down = True
    order = ["image_id"]
    limited = facts(load_images(card, limit=3)).sort_values(order)
    assert (
        limited.to_numpy().tolist()
        == facts(load_images(read_card(wide), limit=3)).sort_values(order).to_numpy().tolist()
    )


# clips


@pytest.mark.parametrize("frames", [1, 2, 9, 12])
@pytest.mark.parametrize("container, codec", [("mp4", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")])
def test_the_middle_frame_is_taken(frames, container, codec):
    picture = decode_image(middle_frame(make_clip(5, frames, container, codec)))
    difference = np.abs(np.asarray(picture, float) - np.asarray(make_picture(5), float)).mean()
    assert picture.size == (48, 40) and difference < 15  # what the codecs change; a black frame is 100 away


def test_the_same_clip_gives_the_same_bytes():
    clip = make_clip(5)  # once: of ten thousand clips of the same pictures, x264 now and then writes one otherwise
    assert middle_frame(clip) == middle_frame(clip)


@pytest.mark.parametrize("broken", [b"", b"no clip at all", make_clip(5)[:300]])
def test_broken_clips_are_refused(broken):
    with pytest.raises(UnreadableImage, match="no clip that FFmpeg can decode"):
        middle_frame(broken)


def test_a_clip_that_takes_too_long_or_has_frames_too_large_is_refused(monkeypatch):
    clip = make_clip(5)
    monkeypatch.setattr("itemkit.data.images.PIXEL_LIMIT", 48 * 40 - 1)
    with pytest.raises(UnreadableImage, match="frames of 48 x 40 pixels, more than 1919"):
        middle_frame(clip)
    monkeypatch.undo()
    monkeypatch.setattr("itemkit.data.images.CLIP_SECONDS", -1)
    with pytest.raises(UnreadableImage, match="decoding took longer than -1 s"):
        middle_frame(clip)
