"""Exported pictures are there whole or not at all, and those that 06 perturbs are among them."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from test_field import folder_card, png

from itemkit.data.load import load_images, on_tracks, read_card
from itemkit.data.perturb import steps
from itemkit.evaluation.others import perturbed_id
from itemkit.pipeline import inspect
from itemkit.protocol import turns
from itemkit.running import export as module
from itemkit.running.command import main
from itemkit.running.export import export

ROOT = Path(__file__).parents[1]
CONTENTS, TESTED = range(10, 40), 20  # of each source, and how many of the test split are perturbed


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A profile `mine` of thirty contents; of the test split one is a copy of another one, and one of a training picture."""
    files = {f"real/{content}.png": png(content) for content in CONTENTS}
    files |= {f"sdxl/{content}.png": png(100 + content) for content in CONTENTS}
    files["sdxl/17.png"], files["real/18.png"] = files["sdxl/16.png"], files["real/10.png"]
    rows = [(name, "train" if int(Path(name).stem) < 16 else "test") for name in files]
    root = tmp_path / "project"
    card = folder_card(root / "data_cards" / "mine", files)
    pd.DataFrame(rows, columns=["file_name", "split"]).to_csv(card / "metadata.csv", index=False)
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    values = f"card: {card}\naligned_side: 32\nrobustness_contents: {TESTED}\nperturbations: [jpeg]\n"
    (root / "notebooks" / "params" / "mine.yaml").write_text(values)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return root


def test_the_perturbed_pictures_are_those_of_06(project, tmp_path):
    manifest, left_out = export("mine", tmp_path / "out", with_perturbed=True, root=project)
    images = on_tracks(load_images(read_card(project / "data_cards" / "mine")), ["aligned", "raw"], 32)
    known = {"run": SimpleNamespace(files=inspect(images, tmp_path / "cache"), track="aligned"), "turns": turns}
    notebook = json.loads((project / "notebooks" / "06_robustness.ipynb").read_text())
    lines = [line for cell in notebook["cells"] for line in cell["source"] if line.startswith("tested = ")]
    exec("".join(lines), known | {"robustness_contents": TESTED}, known)  # noqa: S102
    tested = known["tested"]
    assert len(lines) == 2 and len(tested) == 2 * TESTED and tested.image_id.nunique() == 2 * TESTED - 1
    wanted = {perturbed_id(name, *step) for name in tested.image_id for step in steps(["jpeg"])}
    changed = manifest[manifest.perturbation != "none"]
    assert set(changed.image_id) == wanted and len(changed) == len(wanted) and set(changed.split) == {"test"}
    assert len(left_out) == 4 and set(left_out.status) == {"ok"}  # the copies, on both tracks


@pytest.mark.parametrize("there", [False, True])
def test_an_interruption_leaves_nothing_and_the_next_call_all(there, project, tmp_path, monkeypatch):
    place, read = tmp_path / "exported" / "out", iter(range(10))
    if there:
        place.mkdir(parents=True)

    def interrupted(image):
        if next(read, None) is None:
            (part,) = tmp_path.rglob("*.part")
            assert (part.parent == place) == there  # which may be a disk of its own
            raise KeyboardInterrupt
        return b""

    killed = subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"], text=True)
    if there:
        (place / f"out.{socket.gethostname()}-{killed.strip()}-{'0' * 32}.part" / "raw").mkdir(parents=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "encoded_bytes", interrupted)
        export("mine", place, root=project)
    assert list((tmp_path / "exported").rglob("*")) == [place] * there
    manifest, _ = export("mine", place, root=project)
    found = {path.relative_to(place).as_posix() for path in place.rglob("*.*")}
    assert found == {"manifest.csv", *manifest.file} and len(manifest) == 2 * (2 * len(CONTENTS) - 2)
    assert list((tmp_path / "exported").iterdir()) == [place]
    with pytest.raises(ValueError, match="out is not empty; give a new folder"):
        export("mine", place, root=project)


def test_a_place_that_cannot_be_written_is_said_before_the_work(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "load_images", None)
    monkeypatch.setattr(module.export, "__defaults__", (False, project))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for place, said in {
        "notes.txt": "notes.txt is no folder; give a new or an empty one",
        "lost": "lost is no folder; give a new or an empty one",
        "notes.txt/out": f"notes.txt/out cannot be written ([Errno 17] File exists: '{tmp_path / 'notes.txt'}'); give another folder",
    }.items():
        assert main(["export", "mine", str(tmp_path / place)]) == 2
        assert capsys.readouterr().err == f"itemkit: {tmp_path}/{said}\n"
