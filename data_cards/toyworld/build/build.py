"""Makes toyworld anew: `python build.py` for all that is missing, `python build.py STAGE` for one stage.

Two stages run at a time, each on one core; with a C++ compiler and a processor that has bfloat16 all of them take about
an hour and three quarters on two cores. What a stage makes gets its final name when it is whole, and a stage that was
killed goes on from its last checkpoint. The same machine and versions give the same bytes.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

TOYWORLD = Path(__file__).resolve().parent.parent
WORK = TOYWORLD.parent.parent / "cache" / "toyworld-build"  # renderings, checkpoints, generators: never committed
GENERATORS = ("latent_diffusion", "latent_diffusion_b", "pixel_diffusion", "vq_autoregressive", "gan", "vae")


@dataclass(frozen=True)
class Stage:
    """What a stage makes, the stages it needs, and the function (of a file beside this one) that makes it."""

    makes: Path
    needs: tuple[str, ...]
    module: str
    function: str = "build"


def stages(toyworld: Path, work: Path) -> dict[str, Stage]:
    """Every stage by its name, in an order in which they can run."""
    scenes, models, drawn = ("generator_scenes",), toyworld / "models", [f"draw_{name}" for name in GENERATORS]
    seen = (*scenes, "detector")  # the detector's eyes judge what is painted
    return {
        "network_scenes": Stage(work / "networks.npy", (), "scenes", "render"),
        "generator_scenes": Stage(work / "generators.npy", (), "scenes", "render"),
        "measure_scenes": Stage(work / "measure.npy", (), "scenes", "render"),
        "detector": Stage(models / "detector", ("network_scenes",), "detector"),
        "captioner": Stage(models / "captioner", ("network_scenes",), "captioner"),
        "clip": Stage(models / "clip", ("network_scenes",), "clip"),
        "spacy": Stage(models / "spacy", (), "nouns"),
        "planner": Stage(work / "planner.pt", (), "planner"),
        "autoencoder": Stage(work / "autoencoder.pt", seen, "autoencoder"),
        "decoder": Stage(work / "decoder.pt", ("autoencoder",), "autoencoder", "build_decoder"),
        "latent_diffusion": Stage(work / "latent_diffusion.pt", ("autoencoder",), "latent_diffusion"),
        "latent_diffusion_b": Stage(work / "latent_diffusion_b.pt", ("autoencoder",), "latent_diffusion"),
        "vq_autoregressive": Stage(work / "vq_autoregressive.pt", ("autoencoder",), "vq_autoregressive"),
        "pixel_diffusion": Stage(work / "pixel_diffusion.pt", scenes, "pixel_diffusion"),
        "gan": Stage(work / "gan.pt", seen, "gan"),
        "vae": Stage(work / "vae.pt", seen, "vae"),
        **{
            f"draw_{name}": Stage(work / "drawn" / f"{name}.npy", (name, "planner", "decoder"), "benchmark", "draw")
            for name in GENERATORS
        },
        "data": Stage(toyworld / "data", tuple(drawn), "benchmark"),
        "figures": Stage(
            toyworld / "figures.json", ("data", "captioner", "detector", "clip", "spacy", "measure_scenes"), "measure"
        ),
        "samples": Stage(toyworld / "samples.png", ("data",), "samples"),
    }


def run(stage: Stage, work: Path) -> float:
    """Runs one stage in this process and gives what it made its final name; returns the minutes it took."""
    begun = time.monotonic()
    unfinished = stage.makes.parent / f".{stage.makes.stem}-unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    getattr(import_module(stage.module), stage.function)(work, unfinished / stage.makes.name)
    os.replace(unfinished / stage.makes.name, stage.makes)
    unfinished.rmdir()
    return (time.monotonic() - begun) / 60


def run_all(wanted: dict[str, Stage], work: Path, jobs: int) -> None:
    """Runs stages, each in a process of its own and as soon as those it needs are done, `jobs` at a time."""
    waiting, running = dict(wanted), {}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        while waiting or running:
            blocked = {*waiting, *running.values()}
            ready = [name for name, stage in waiting.items() if blocked.isdisjoint(stage.needs)]
            for name in ready[: jobs - len(running)]:
                print(f"{name}: begins", flush=True)
                running[pool.submit(run, waiting.pop(name), work)] = name
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                try:
                    print(f"{name}: done in {done.result():.1f} minutes", flush=True)
                except OSError as error:  # most often a full disk
                    waiting.clear()
                    print(f"{name}: stopped, {error}; nothing half made counts, mend it and run again", file=sys.stderr)
                    raise SystemExit(1) from error


def main() -> None:
    table = stages(TOYWORLD, WORK)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=table, metavar="STAGE", help=", ".join(table))
    parser.add_argument("--jobs", type=int, default=2, help="stages at a time, one core each (default: 2)")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    missing = {name: stage for name, stage in table.items() if not stage.makes.exists()}
    if arguments.stage:
        lacking = [name for name in table[arguments.stage].needs if name in missing]
        if lacking:
            parser.error(f"stage {arguments.stage} needs what is not there yet; first run: build.py {lacking[0]}")
        if arguments.stage not in missing:
            parser.error(f"{table[arguments.stage].makes} is there already; move it away to make it anew")
        missing = {arguments.stage: missing[arguments.stage]}
    run_all(missing, WORK, arguments.jobs)


if __name__ == "__main__":
    main()
