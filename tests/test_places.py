"""Data sets from strangers: their tables and archives reach nothing outside their folder, ask nobody, and run nothing."""

import io
import pickle
import tarfile

import datasets
import numpy as np
import pandas as pd
import pytest
from conftest import ANSWERED, encode, make_picture

from itemkit.data.cards import read_card
from itemkit.data.images import encoded_bytes
from itemkit.data.load import load_images
from itemkit.data.places import place_in_stream


def write_card(folder, data_files="*.parquet", extra=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(
        f"""---
license: cc0-1.0
configs:
- config_name: default
  data_files: "{data_files}"
itemkit:
  repo: .
  revision: local
  layout: long
  columns: {{image: image, generator: generator}}
  generators: [{{name: gan}}]
{extra}---
{ANSWERED}"""
    )
    return folder


def names(other):
    """Rows of twenty pictures, of which one stands elsewhere."""
    paths = [f"pictures/{seed}.png" for seed in range(19)] + [other]
    return {"image": paths, "generator": ["real", "gan"] * 10}


def write_pictures(folder):
    (folder / "pictures").mkdir(parents=True)
    for seed in range(20):
        (folder / "pictures" / f"{seed}.png").write_bytes(encode(make_picture(seed)))


def as_texts(folder, rows):
    pd.DataFrame(rows).to_parquet(folder / "images.parquet")


def as_pointers(folder, rows):
    features = datasets.Features({"image": datasets.Image(decode=False), "generator": datasets.Value("string")})
    cells = [{"bytes": None, "path": path} for path in rows["image"]]
    table = datasets.Dataset.from_dict(rows | {"image": cells}, features=features)
    table.to_pandas().to_parquet(folder / "images.parquet")  # `Dataset.to_parquet` would put the bytes in


WRITERS = {"texts": as_texts, "pointers": as_pointers}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("write", WRITERS)
def test_pictures_below_the_folder_are_read_wherever_the_work_is_done(write, streamed, tmp_path, monkeypatch):
    folder = write_card(tmp_path / "card", extra="  streamed: true\n" if streamed else "")
    write_pictures(folder)
    WRITERS[write](folder, names("pictures/../pictures/19.png"))
    monkeypatch.chdir(tmp_path)
    images = load_images(read_card(folder), limit=100)
    read = {encoded_bytes(image) for image in images["image"]}
    assert read == {path.read_bytes() for path in (folder / "pictures").iterdir()} and len(images) == 20


@pytest.mark.parametrize("write", WRITERS)
def test_a_damaged_table_of_places_is_set_aside_and_built_anew(write, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = write_card(tmp_path / "card")
    write_pictures(folder)
    WRITERS[write](folder, names("pictures/19.png"))

    def load():
        return load_images(read_card(folder))[:]

    rows = load()
    files = sorted((tmp_path / "cache").rglob("*.arrow"))
    assert len(files) == 4  # as read, with places, with ids, and with ids where contents are chosen
    for file in files:
        content = file.read_bytes()
        place = content.index(b"pictures/") + 9  # another path is another picture, without a word
        for damaged in (content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], content[: place // 2]):
            file.write_bytes(damaged)
            capsys.readouterr()
            assert load() == rows
            assert capsys.readouterr().out.startswith(f"{file} is not as it was written; it is set aside as ")
            (aside,) = tmp_path.rglob("*.damaged")
            assert aside.read_bytes() == damaged
            aside.unlink()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "other",
    [
        "/etc/passwd",
        "../outside.png",
        "pictures/../../outside.png",
        "../card-and-more/a.png",
        "ADDRESS/a.png",
        "file:///etc/passwd",
        "zip://a.png::ADDRESS/a.zip",
    ],
)
def test_a_path_that_leads_out_of_the_folder_is_refused_and_no_address_is_asked(write, streamed, other, tmp_path, hub):
    folder = write_card(tmp_path / "card", extra="  streamed: true\n" if streamed else "")
    write_pictures(folder)
    for outside in (tmp_path / "outside.png", tmp_path / "card-and-more" / "a.png"):
        outside.parent.mkdir(exist_ok=True)
        outside.write_bytes(encode(make_picture(99)))
    WRITERS[write](folder, names(other.replace("ADDRESS", datasets.config.HF_ENDPOINT)))
    with pytest.raises(ValueError, match="card card: the column of images (names|holds addresses)"):
        load_images(read_card(folder), limit=100)
    assert hub.asked == []


def test_a_streamed_row_may_name_files_of_its_own_repository_only(tmp_path):
    text = (write_card(tmp_path / "card") / "README.md").read_text()
    text = text.replace("repo: .", "repo: a/b").replace("revision: local", f"revision: {'a' * 40}")
    (tmp_path / "card" / "README.md").write_text(text)
    card, inside = read_card(tmp_path / "card"), f"hf://datasets/a/b@{'a' * 40}"
    for path in (f"{inside}/real/a.png", f"zip://a.png::{inside}/all.zip"):
        assert place_in_stream(path, card) == path
    assert place_in_stream("real/a.png", card) == f"{inside}/real/a.png"
    for path in (
        f"hf://datasets/c/d@{'a' * 40}/a.png",
        f"{inside}/../../c/d/a.png",
        "/etc/passwd",
        "../../c/d/a.png",
        "http://127.0.0.1/a.png",
        f"http://127.0.0.1/a.png::{inside}/all.zip",
    ):
        with pytest.raises(ValueError, match="which is not in a/b; only the data set itself is read"):
            place_in_stream(path, card)


@pytest.mark.parametrize("place", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize("data_files", ["../*.parquet", "/etc/*.csv", "ADDRESS/images.parquet"])
def test_a_card_names_no_data_files_outside_its_folder(data_files, place, tmp_path, hub):
    data_files = data_files.replace("ADDRESS", datasets.config.HF_ENDPOINT)
    folder = write_card(tmp_path / "card", data_files if place == "README.md" else "*.parquet")
    if place != "README.md":
        (folder / place).write_text(f'configs:\n- config_name: default\n  data_files: "{data_files}"\n')
    write_pictures(folder)
    as_texts(folder, names("pictures/19.png"))
    as_texts(tmp_path, names("pictures/19.png"))
    with pytest.raises(ValueError, match="names data files .*; expected files of its own folder"):
        load_images(read_card(folder))
    assert hub.asked == []


def test_the_files_of_a_data_set_on_the_hub_are_its_own_even_if_only_streamed(tmp_path, hub):
    name = f"someone/{tmp_path.name.replace('_', '-')}"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text(
        '---\nconfigs:\n- config_name: default\n  data_files: "/etc/*.csv"\n---\n'
    )
    hub.folders[f"datasets/{name}"] = tmp_path / "data"
    text = (write_card(tmp_path / "card", extra="  streamed: true\n") / "README.md").read_text()
    text = text.replace("repo: .", f"repo: {name}").replace(
        "revision: local", f"revision: {hub.commit(f'datasets/{name}')}"
    )
    (tmp_path / "card" / "README.md").write_text(text)
    with pytest.raises(ValueError, match="names data files '/etc/"):
        load_images(read_card(tmp_path / "card"), limit=2)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("ending", ["pth", "npy", "npz", "pickle"])
def test_an_archive_with_a_pickle_runs_nothing_and_its_pictures_are_read(ending, tmp_path):
    folder = write_card(tmp_path / "card", "*.tar")
    text = (
        (folder / "README.md")
        .read_text()
        .replace("image: image", "image: png")
        .replace("generator: g", "generator: txt.g")
    )
    (folder / "README.md").write_text(text.replace("txt.generator", "txt"))
    file = io.BytesIO()
    if ending == "npy":
        np.save(file, np.array([Evil(tmp_path / "ran")]), allow_pickle=True)
    else:
        file.write(pickle.dumps(Evil(tmp_path / "ran")))
    with tarfile.open(folder / "images.tar", "w") as archive:
        for seed in range(20):
            members = {
                "png": encode(make_picture(seed)),
                "txt": ["real", "gan"][seed % 2].encode(),
                ending: file.getvalue(),
            }
            for name, content in members.items():
                entry = tarfile.TarInfo(f"{seed:02}.{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    images = load_images(read_card(folder))
    assert {encoded_bytes(image) for image in images["image"]} == {encode(make_picture(seed)) for seed in range(20)}
    assert not (tmp_path / "ran").exists()
