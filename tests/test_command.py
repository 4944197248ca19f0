"""The command line: what it prints, its status, and one clear line for what cannot be done."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_picture
from test_field import folder_card, long_card, png, rows

from itemkit.data.images import image_id
from itemkit.detector import Detector, Verdict
from itemkit.running import export as running_export
from itemkit.running.command import main

ROOT = Path(__file__).resolve().parents[1]


class StandIn:
    """Calls small pictures real; what a detector says of a picture is tested elsewhere."""

    def __init__(self):
        self.tested_scores = {"real": np.array([0.1, 0.9])}

    def verdicts(self, pictures, rate):
        for picture in pictures:
            if not Path(picture).is_file():
                yield Verdict("undecided", math.nan, "It cannot be read: no such file.", name=str(picture))
            else:
                objects = [{"phrase": "boat", "box": None, "misalignment": math.nan}]
                yield Verdict("real", 0.25, "Because.", 0.5, rate, "a boat", objects, 0.4, name=str(picture))

    def measured(self, rate):
        return 0.5


@pytest.fixture
def stand_in(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        Detector,
        "from_pretrained",
        classmethod(lambda cls, name, device: asked.update(name=name, device=device) or StandIn()),
    )
    return asked


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "some" / "inner").mkdir(parents=True)
    make_picture(1).save(tmp_path / "some" / "a.png")
    make_picture(2).save(tmp_path / "some" / "inner" / "b.png")
    (tmp_path / "some" / ".hidden.png").touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_files_and_folders_are_judged_each_with_its_reason(stand_in, folder, capsys):
    assert main(["detect", str(folder / "some")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["real", "0.25", str(folder / "some" / "a.png")] and "Because." in out
    assert "b.png" in out and "hidden" not in out
    assert "let 5.0% of real pictures pass as generated; of its own 2 real test pictures 50.0% pass" in out


def test_lines_of_json_are_json(stand_in, folder, capsys):
    assert main(["detect", "--json", str(folder / "some"), "--false-positive-rate", "0.1", "--device", "cpu"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["name"]).name for line in lines] == ["a.png", "b.png"]
    assert lines[0]["objects"] == [{"phrase": "boat", "box": None, "misalignment": None}]
    assert lines[0]["false_positive_rate"] == 0.1 and lines[0]["caption"] == "a boat"


def test_what_cannot_be_read_is_named_and_gives_status_one(stand_in, folder, capsys):
    assert main(["detect", str(folder / "none.png"), str(folder / "some" / "a.png"), "https://a.b/c.png"]) == 1
    out = capsys.readouterr().out
    assert "no such file" in out and "a.png" in out and "https://a.b/c.png" in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["detect", "{empty}"], "folder .*empty holds no files; give a folder of pictures"),
        (["detect", "{some}", "--detector", "{empty}"], "holds no detector.json"),
        (["detect", "{some}", "--device", "cuda:9"], "device 'cuda:9' is asked for"),
        (["card", "nowhere"], "nowhere"),
        (["detect", ""], "an empty path, as of a shell variable that is not set"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_two(folder, capsys, arguments, message):
    places = {"empty": folder / "empty", "some": folder / "some"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1


def test_whoever_reads_may_stop_reading(folder, stand_in, monkeypatch):
    def stop(*arguments, **options):
        raise BrokenPipeError(32, "Broken pipe")

    replaced = []
    monkeypatch.setattr("builtins.print", stop)
    monkeypatch.setattr("os.dup2", lambda *descriptors: replaced.append(descriptors))
    assert main(["detect", str(folder / "some"), "--json"]) == 1 and len(replaced) == 1


def test_a_card_is_checked_with_its_pictures(tmp_path, capsys):
    files = {
        f"{source}/{number}.png": png(number + 9 * (source == "sdxl"))
        for source in ("real", "sdxl")
        for number in range(3)
    }
    card = folder_card(tmp_path / "mine", files | {"real/9.png": b"no picture"})
    assert main(["card", str(card)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("mine: a folder here, licence other")
    assert f"to mend: 1 pictures cannot be read: {card / 'real' / '9.png'} (" in out
    for lacking in (
        "3 pictures to train on",
        "pictures to validate on",
        "pictures to test on; 20 are needed: add pictures",
    ):
        assert lacking in out


def test_a_card_with_an_empty_cell_is_checked(tmp_path, capsys):
    card = long_card(tmp_path / "mine", rows(png(0), None))
    assert main(["card", str(card)]) == 1
    assert re.search(r"to mend: 1 pictures cannot be read: [0-9a-f]{16} of sdxl \(no bytes\)", capsys.readouterr().out)


def test_a_name_says_nothing_to_a_terminal_and_stops_nothing(stand_in, folder, capsys):
    names = [folder / os.fsdecode(b"bad\xff.png"), folder / "a\x1b[31m\nreal.png"]
    for name in names:
        make_picture(1).save(name)
    assert main(["detect", *map(str, names)]) == 0
    out = capsys.readouterr().out
    assert r"bad\udcff.png" in out and r"a\x1b[31m\nreal.png" in out and "\x1b" not in out
    assert main(["detect", "--json", *map(str, names)]) == 0
    out = capsys.readouterr().out
    out.encode()
    assert [json.loads(line)["name"] for line in out.splitlines()] == [str(name) for name in names]


def test_a_card_is_told_of_copies_and_of_both_labels_once(tmp_path, capsys):
    files = {f"real/{number}.png": png(number) for number in range(4)} | {
        f"sdxl/{number}.png": png(9) for number in range(4)
    }
    files |= {"sdxl/3.png": png(3), "real/again.png": png(2)}
    card = folder_card(tmp_path / "mine", files)
    rows = [(name, "test") for name in files]
    pd.DataFrame(rows, columns=["file_name", "split"]).to_csv(card / "metadata.csv", index=False)
    assert main(["card", str(card)]) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("to mend: ")]
    (both,) = [fault for fault in faults if "stand as real" in fault]
    assert re.fullmatch(
        "to mend: 1 pictures stand as real and as generated; the first, [0-9a-f]{16}, as real and as sdxl", both
    )
    assert "to mend: 3 pictures are copies of another one of their source and split, and would count twice" in faults


def test_the_doctor_names_what_is_here(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    main(["doctor"])
    out = capsys.readouterr().out
    for word in ("Python 3.", "torch 2.", "torchvision", "spaCy 3.", "HF_HUB_OFFLINE", "GB free"):
        assert word in out
    assert "look" in out and "set OMP_NUM_THREADS" in out
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")  # of two levels
    main(["doctor"])
    assert " cores, 1 threads" in capsys.readouterr().out


def test_every_command_has_help_with_an_example():
    for command in ([], ["detect"], ["card"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "itemkit", *command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert ("example: python -m itemkit" in done.stdout) == bool(command) and not done.stderr


def test_export_writes_into_an_empty_folder_only_and_says_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    assert main(["export", "nothing", str(tmp_path / "out")]) == 2
    assert "unknown profile 'nothing'; expected one of" in capsys.readouterr().err
    assert main(["export", "toyworld", str(ROOT / "notebooks")]) == 2
    assert "notebooks is not empty; give a new folder" in capsys.readouterr().err
    files = {
        f"{source}/{content}.png": png(10 * place + content)
        for place, source in enumerate(("real", "sdxl"))
        for content in range(9)
    }
    files |= {"real/lost.png": b"no picture", "sdxl/again.png": files["sdxl/3.png"]}
    card = folder_card(tmp_path / "mine", files)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "notebooks" / "params" / "mine.yaml").write_text(f"card: {card}\naligned_side: 32\n")
    monkeypatch.setattr(running_export.export, "__defaults__", (False, tmp_path))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    assert main(["export", "mine", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("36 pictures in ") and [line.split(";")[0] for line in said[1:]] == [
        "1 pictures of the track aligned cannot be read and are left out",
        "1 pictures of the track raw cannot be read and are left out",
        "1 pictures of the track aligned stand there already and are left out",
        "1 pictures of the track raw stand there already and are left out",
    ]
    table = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert len(table) == 36 and table.groupby("track").label.sum().tolist() == [9, 9]
    for row in table.itertuples():
        path = tmp_path / "out" / row.file
        assert image_id(path.read_bytes()) == row.image_id == path.stem
        assert path.suffix == {"raw": ".png", "aligned": ".jpg"}[row.track]
