"""The command line: what it prints, its status, and one clear line for what cannot be done."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_picture
from test_field import folder_card, png

from itemkit.detector import Detector, Verdict
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
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_two(folder, capsys, arguments, message):
    places = {"empty": folder / "empty", "some": folder / "some"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1


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
    assert "to mend: 1 pictures cannot be read; the first is" in out and "20 are needed: add pictures" in out


def test_the_doctor_names_what_is_here(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    main(["doctor"])
    out = capsys.readouterr().out
    for word in ("Python 3.", "torch 2.", "torchvision", "spaCy 3.", "HF_HUB_OFFLINE", "GB free"):
        assert word in out
    assert "look" in out and "set OMP_NUM_THREADS" in out


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
