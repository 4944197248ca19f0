"""More than one process or machine: the shards of the cache are the contract, and workers of Ray build those that are missing.

What a worker writes is what `store.cached` would have written, under the same name. Storage for cache, pictures and networks
must be shared by all machines. Ray is an extra: pip install 'itemkit[ray]'.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import is_dataclass, replace
from functools import partial
from pathlib import Path

from itemkit.store import cached, kept

ENGINES = ("local", "ray")
FAULTS = (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
SPARE = 2  # processors that Ray's own reading needs; without them its workers wait for ever


def fill(folder: str | Path, pieces: Iterable[tuple[dict, partial]], workers: int | None = None) -> None:
    """Build by Ray Data the tables that `folder` does not hold, a shard for each task; a worker that dies is replaced.

    Uses the cluster that RAY_ADDRESS names, or starts one on this machine. Each worker loads a network once.

    Args:
        folder, pieces: spec and build of each table, as store.cached has them; build is a partial of plain arguments.
        workers: processes at once; None: one for each GPU, or each two processors.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: the cluster has fewer processors than workers.
        RuntimeError: a worker failed again and again, or the machines do not share the folder; what was built is kept.
    """
    ray = _ray()
    missing = [(spec, build) for spec, build in pieces if kept(folder, spec, ".parquet") is None]
    if not missing:
        return
    import torch  # takes seconds

    on_gpu = any(getattr(one, "device", "cpu").startswith("cuda") for one in missing[0][1].args)
    bare: dict[int, object] = {}  # networks without what they have loaded: each worker loads them itself
    tasks = [(spec, partial(build.func, *(_bare(one, bare) for one in build.args))) for spec, build in missing]
    workers = _workers(ray, workers, on_gpu)
    shared = ray.put((str(Path(folder).resolve()), tasks, torch.get_num_threads()))
    numbers = ray.data.range(len(tasks), override_num_blocks=len(tasks))
    done = numbers.map_batches(
        _Worker,
        fn_constructor_args=[[shared]],  # in a list, so that each worker fetches it itself
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
        num_cpus=1,
        num_gpus=int(on_gpu),
    )
    try:
        failed = [row["failed"] for row in done.take_all() if row["failed"]]
    except ray.exceptions.RayError as error:  # it was killed, and so were those that came after it
        failed = [f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"]
    if failed:
        raise RuntimeError(f"a worker failed ({failed[0]}); what was built is kept, and the next run goes on")
    lost = [spec for spec, _ in tasks if kept(folder, spec, ".parquet") is None]
    if lost:
        raise RuntimeError(
            f"the workers built {len(tasks)} shards, of which {len(lost)} are not in {folder}: the cache must be on storage that "
            "all machines share"
        )


class _Worker:
    """Builds a table of the list for each number that it is given."""

    def __init__(self, shared: list) -> None:
        import ray
        import torch

        self.folder, self.tasks, threads = ray.get(shared[0])
        torch.set_num_threads(threads)  # as many as where nothing is shared: the same bytes

    def __call__(self, numbers: dict) -> dict:
        (number,) = numbers["id"]
        failed = ""
        try:
            cached(self.folder, *self.tasks[number])
        except FAULTS as error:  # Ray would lose what it says, and end what the other workers do
            failed = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"failed": [failed]}


def _ray():
    try:
        import ray
        import ray.data
    except ImportError:
        raise ModuleNotFoundError("engine 'ray' needs Ray, which is not here: pip install 'itemkit[ray]'") from None
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # of its plans it would tell at length
    return ray


def _workers(ray, workers: int | None, on_gpu: bool) -> int:
    """Connect, and return how many workers there are to be."""
    if not ray.is_initialized():
        own = {"num_cpus": max(os.cpu_count(), (workers or 1) + SPARE), "include_dashboard": False}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of it
        ray.init(log_to_driver=False, logging_level="error", **({} if os.environ.get("RAY_ADDRESS") else own))
    has = ray.cluster_resources()
    kind, most = ("GPU", int(has.get("GPU", 0))) if on_gpu else ("CPU", int(has.get("CPU", 0)) - SPARE)
    workers = workers or max(1, most if on_gpu else most // 2)
    if workers > most:
        raise ValueError(
            f"{workers} workers are asked for, but Ray has {kind}s for {most}: set workers to that, or add machines"
        )
    return workers


def _bare(value: object, known: dict[int, object]) -> object:
    if not is_dataclass(value):
        return value
    return known.setdefault(id(value), replace(value))
