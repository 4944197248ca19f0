"""Killed again and again, and two at once: the same bytes as a run that nobody disturbed. Minutes, so left out unless asked for.

./run_all.sh test -m soak
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_whole_run import ROOT, first, project, results  # noqa: F401 (fixtures)

from itemkit.record import read_record

pytestmark = pytest.mark.soak
KILLS = 20
KINDS = (".csv", ".md", ".parquet", ".png", ".pdf", ".safetensors", ".tex")
RUN = "import sys, pathlib; from itemkit.running.run import run; run(sys.argv[1], pathlib.Path(sys.argv[2]))"


def start(project: Path, profile: str) -> subprocess.Popen:  # noqa: F811
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(project / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", RUN, profile, str(project)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in KINDS)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def copy_of(project: Path, place: Path, *profiles: str) -> Path:  # noqa: F811
    """A project like another one, with profiles like its `slice`, and nothing run yet."""
    shutil.copytree(project / "notebooks", place / "notebooks")
    (place / "data_cards").symlink_to(project / "data_cards")
    for profile in profiles:
        (place / "notebooks" / "params" / f"{profile}.yaml").write_text("like: slice\n")
    return place


def test_killed_at_twenty_moments_a_run_ends_with_the_bytes_of_an_undisturbed_one(project, results, tmp_path):  # noqa: F811
    """The run or one of its kernels is killed, at random moments; it goes on from there, and begins anew at its end."""
    copy, chance = copy_of(project, tmp_path / "killed"), random.Random(0)
    longest = max(note["seconds"] for note in read_record(results)["steps"].values())  # of the notebooks
    kills, notebooks = [], set()
    while len(kills) < KILLS:
        begun = time.monotonic()
        run = start(copy, "slice")
        time.sleep(chance.uniform(1, 8 + 1.5 * longest))  # so that each comes to its end now and then
        if run.poll() is not None:  # it was ready before
            assert run.returncode == 0, run.communicate()[0]
            shutil.rmtree(copy / "results")
            shutil.rmtree(copy / "cache")
            continue
        kernels = psutil.Process(run.pid).children()
        target = chance.choice([run, *kernels])
        target.send_signal(signal.SIGKILL)
        try:
            said = run.communicate(timeout=10)[0]
        except subprocess.TimeoutExpired:  # it was the kernel of a later notebook, and was replaced without a word
            run.kill()
            said = run.communicate()[0]
        kills.append(round(time.monotonic() - begun, 1))
        notebooks |= set(re.findall(r"^\[\d/9\] (\w+)", said, re.MULTILINE)[-1:])
        end = time.monotonic() + 10
        while any(kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE for kernel in kernels):
            assert time.monotonic() < end, "a kernel outlives its run"
            time.sleep(0.1)
    print(kills, sorted(notebooks))
    run = start(copy, "slice")
    assert run.wait() == 0, run.communicate()[0]
    assert not list(copy.rglob("*.part")) and not list(copy.rglob("*.damaged"))
    assert contents(copy / "results" / "slice") == contents(results)
    assert len(notebooks) > 4


def test_two_runs_at_once_on_one_cache_give_the_same_bytes(project, results, tmp_path):  # noqa: F811
    copy = copy_of(project, tmp_path / "both", "one", "other")
    runs = [start(copy, profile) for profile in ("one", "other")]
    for run in runs:
        said = run.communicate()[0]
        assert run.returncode == 0, said
    expected = contents(results)
    for profile in ("one", "other"):
        found = contents(copy / "results" / profile)
        assert [name for name in expected | found if expected.get(name) != found.get(name)] == []
