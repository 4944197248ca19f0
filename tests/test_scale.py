"""Other processes build the same shards, to the byte; what dies is done again, and what is there is not."""

import os
import signal
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from itemkit import pipeline, scale
from itemkit.pipeline import describe, embed, locate
from itemkit.store import cached

ray = pytest.importorskip("ray", reason="Ray, an optional engine, is not installed: pip install 'itemkit[ray]'")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Workers find the modules of the tests, as they find those of whoever calls."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=here)
    yield
    ray.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_both_engines_write_the_same_bytes_and_a_resumed_job_does_what_is_missing(
    images, networks, tiny_spacy, tmp_path, monkeypatch
):
    monkeypatch.setattr(pipeline, "SHARD", 6)
    captioner, locator, encoder = networks
    for engine in ("local", "ray"):
        folder, settings = tmp_path / engine, {"engine": engine, "workers": 2}
        captions = describe(images, captioner, tiny_spacy, folder, **settings)
        boxes = locate(images, captions, locator, folder, **settings)
        embed(images, captions, boxes, encoder, folder, **settings)
    local, found = files(tmp_path / "local"), files(tmp_path / "ray")
    assert len(local) > 8 and found == local
    lost = [path for path in sorted((tmp_path / "ray" / "vectors").iterdir())][:2]
    for path in lost:
        path.unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").rglob("*.parquet")}
    embed(images, captions, boxes, encoder, tmp_path / "ray", engine="ray", workers=2)
    assert files(tmp_path / "ray") == local
    assert {path: path.stat().st_mtime_ns for path in before} == before


def table(number: int, folder: str) -> pd.DataFrame:
    """A shard whose first worker is killed, as it is where memory runs out."""
    mark = Path(folder, f"tried-{number}")
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return pd.DataFrame({"x": [number]})


def broken(number: int) -> pd.DataFrame:
    raise MemoryError("clip: no memory for 64 at once; set a smaller batch_size")


def pieces(build, *others, count: int = 4) -> list[tuple[dict, partial]]:
    return [({"n": number}, partial(build, number, *others)) for number in range(count)]


def test_the_shard_of_a_worker_that_was_killed_is_done_again(tmp_path):
    asked = pieces(table, str(tmp_path))
    scale.fill(tmp_path / "shards", asked, workers=1)
    assert (tmp_path / "tried-1").exists()
    for spec, _ in asked:
        assert cached(tmp_path / "shards", spec, None)["x"].tolist() == [spec["n"]]


def test_a_worker_that_fails_is_a_sentence_and_what_was_built_is_kept(tmp_path):
    scale.fill(tmp_path, pieces(table, str(tmp_path), count=1), workers=1)
    with pytest.raises(
        RuntimeError, match="a worker failed .MemoryError: clip: no memory .*; what was built is kept"
    ) as error:
        scale.fill(tmp_path, pieces(broken), workers=1)
    assert "\n" not in str(error.value)
    assert cached(tmp_path, {"n": 0}, None)["x"].tolist() == [0]


def elsewhere(number: int) -> pd.DataFrame:
    """As a worker on a machine that has a folder of the same name, and not the same folder."""
    from itemkit import store

    store.keep = lambda folder, spec, suffix, content: content
    return pd.DataFrame({"x": [number]})


def test_storage_that_is_not_shared_is_a_sentence(tmp_path):
    with pytest.raises(
        RuntimeError, match="built 2 shards, of which 2 are not in .*: the cache must be on storage that all"
    ):
        scale.fill(tmp_path, pieces(elsewhere, count=2), workers=1)


def test_more_workers_than_processors_are_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(
        ValueError, match="9 workers are asked for, but Ray has CPUs for 2: set workers to that, or add mach"
    ):
        scale.fill(tmp_path, pieces(table, str(tmp_path)), workers=9)
    assert not list(tmp_path.iterdir())
