"""Disks that are full or may only be read, and networks that are not there: one sentence, no half file, a right rerun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from isolation import MAY_LEAVE_THE_NETWORK, needs_mounts, with_mounts, without_network
from test_run import project, write_notebook  # noqa: F401 (a fixture)

ROOT = Path(__file__).resolve().parents[1]

FULL = """
import os, sys
from pathlib import Path
import numpy as np, pandas as pd
from matplotlib.figure import Figure
from safetensors import SafetensorError
from itemkit import protocol
from itemkit.data.files import whole
from itemkit.head import MLPHead
from itemkit.paper.report import save_figure, save_table
from itemkit.store import cached

disk = Path(sys.argv[1])
table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=30_000)})
rows = np.random.default_rng(0).normal(size=(60, 400)).astype(np.float32)
parts = [[np.arange(40)], [np.arange(40, 60)]]

def figure():
    figure = Figure()
    figure.add_subplot().imshow(rows)
    return figure

def text():
    with whole(disk / "text.csv") as part:
        part.write_text("1," * 100_000)

writers = {
    "shard": lambda: cached(disk / "cache", {}, lambda: table),
    "table": lambda: save_table(table, disk / "tables", "00_table"),
    "figure": lambda: save_figure(figure(), disk / "figures", "00_figure", table),
    "head": lambda: protocol.train(rows, np.arange(60) % 2, *parts, [0], disk / "cache"),
    "saved head": lambda: MLPHead(400).save_pretrained(disk / "head"),
    "text": text,
}
filler = disk / "filler"
for name, write in writers.items():
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    os.truncate(filler, max(0, filler.stat().st_size - 16_384))
    try:
        write()
        print(name, "was written to a full disk")
    except (OSError, SafetensorError) as error:
        assert "No space left" in str(error), error
    left = [path.name for path in disk.rglob("*") if path.is_file() and path != filler]
    filler.unlink()
    write()
    print(name, left, bool([path for path in disk.rglob("*") if path.is_file()]))
    for path in [path for path in disk.rglob("*") if path.is_file()]:
        path.unlink()
"""


@needs_mounts
def test_a_full_disk_leaves_no_half_file_and_the_next_try_is_right(tmp_path):
    command = with_mounts(f"mount -t tmpfs -o size=4m tmpfs '{tmp_path}'", [sys.executable, "-c", FULL, str(tmp_path)])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    names = ("shard", "table", "figure", "head", "saved head", "text")
    assert done.stdout.splitlines() == [f"{name} [] True" for name in names]


RUN = "import sys, pathlib; from itemkit.running import run; run.ROOT = pathlib.Path(sys.argv.pop()); run.main()"


def run_with(script: str, project: Path) -> subprocess.CompletedProcess:  # noqa: F811
    command = with_mounts(script, [sys.executable, "-c", RUN, "tiny", str(project)])
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


@needs_mounts
def test_a_run_on_a_full_disk_ends_in_a_sentence_and_goes_on_when_there_is_room(project):  # noqa: F811
    results = project / "results" / "tiny"
    results.mkdir(parents=True)
    lines = (
        'results = "r"\nlimit = 1',
        "from pathlib import Path",
        "Path(results, 'first.txt').write_text(300_000 * 'a')",
    )
    write_notebook(project / "notebooks" / "00_data.ipynb", *lines)
    small = f"mount -t tmpfs -o size=100k tmpfs '{results}'"
    done = run_with(small, project)
    assert done.returncode == 1 and done.stderr.count("\n") <= 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("itemkit: 00_data.ipynb ") and "No space left on device" in done.stderr
    done = run_with(small.replace("100k", "8m"), project)
    assert done.returncode == 0 and done.stdout.startswith("[1/2] 00_data\n[2/2] 01_captions\ndone: "), done.stderr


@needs_mounts
@pytest.mark.parametrize("place", ["results/tiny", "cache", "."])
def test_what_may_only_be_read_is_said_before_anything_runs(project, place):  # noqa: F811
    write_notebook(project / "notebooks" / "00_data.ipynb", 'results = "r"\ncache = "../cache"\nlimit = 1\n', "1 / 0")
    folder = project / place
    folder.mkdir(parents=True, exist_ok=True)
    done = run_with(f"mount --bind '{folder}' '{folder}'\nmount -o remount,bind,ro '{folder}'", project)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert f"{folder.resolve()}" in done.stderr and "cannot be written to (Read-only file system)" in done.stderr


@pytest.mark.skipif(not MAY_LEAVE_THE_NETWORK, reason="this system lets nobody but its owner leave the network")
def test_the_network_that_the_whole_run_is_tested_in_has_no_way_out():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    done = subprocess.run(without_network([sys.executable, "-c", code]), capture_output=True, text=True, check=False)
    assert "Network is unreachable" in done.stderr
