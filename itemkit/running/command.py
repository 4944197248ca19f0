"""The command line: `python -m itemkit detect | card | export | doctor`. The evaluation has its own door, run_all.sh."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

SHOWN = 10  # pictures that cannot be read are named up to here
DETECTOR = Path(__file__).resolve().parents[2] / "results" / "reference" / "detector"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its status: 0, 1 if something was wrong with what was given, 2 if nothing could be done, 130 if stopped."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:  # those that itemkit raises are sentences
        print(f"itemkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("itemkit: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m itemkit", description="Detect generated pictures by how badly words fit."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command: Callable, name: str, purpose: str, example: str) -> argparse.ArgumentParser:
        one = commands.add_parser(
            name, help=purpose, description=purpose, epilog=f"example: python -m itemkit {example}"
        )
        one.set_defaults(command=command)
        return one

    one = add(
        detect, "detect", "say of pictures whether they are real or generated, and why", "detect holiday/ cat.jpg"
    )
    one.add_argument("paths", nargs="+", metavar="PATH", help="a picture, or a folder of pictures")
    one.add_argument("--detector", default=DETECTOR, help="folder or hub id (default: the one of toyworld)")
    one.add_argument("--false-positive-rate", type=float, default=0.05, metavar="SHARE", help="default: 0.05")
    one.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    one.add_argument(
        "--json", action="store_true", help="a line of JSON for each picture, with caption, objects and boxes"
    )
    one = add(card, "card", "check a data card and its data, before an hour of work", "card data_cards/toyworld")
    one.add_argument("path", metavar="PATH", help="folder of a card, or the name of one in data_cards/")
    one = add(
        export,
        "export",
        "write the pictures of a profile as files that any detector can score",
        "export toyworld pictures",
    )
    one.add_argument("profile", metavar="PROFILE", help="a name in notebooks/params/")
    one.add_argument("folder", metavar="FOLDER", help="a new or empty one")
    one.add_argument(
        "--perturbed", action="store_true", help="also the test pictures that 06_robustness perturbs, at each strength"
    )
    add(doctor, "doctor", "look at this machine: what is here, what is missing, and what helps", "doctor")
    return parser


def detect(options: argparse.Namespace) -> int:
    """Judge pictures; 1 if one of them could not be read."""
    files = list(_pictures(options.paths))
    from tqdm.auto import tqdm

    from itemkit.detector import Detector

    detector = Detector.from_pretrained(options.detector, device=options.device)
    lost, verdicts = 0, detector.verdicts(files, options.false_positive_rate)
    for verdict in tqdm(verdicts, total=len(files), desc="detect", unit="picture", leave=False, disable=None):
        lost += math.isnan(verdict.score)
        if options.json:
            line = json.dumps(_plain(asdict(verdict)), ensure_ascii=not verdict.name.isprintable())
        else:
            line = f"{verdict.answer:9}  {verdict.score:5.2f}  {_printable(verdict.name)}\n                  {verdict.reason}"
        with tqdm.external_write_mode(sys.stdout):
            print(line, flush=True)
    measured = detector.measured(options.false_positive_rate)
    if not options.json and not math.isnan(measured):
        print(
            f"\nThe threshold is to let {options.false_positive_rate:.1%} of real pictures pass as generated; of its own "
            f"{len(detector.tested_scores['real'])} real test pictures {measured:.1%} pass. Of other kinds of pictures nothing is known."
        )
    return int(lost > 0)


def _pictures(paths: list[str]) -> Iterator[str | Path]:
    from itemkit.data.layouts import picture_files

    for path in paths:
        if not path:
            raise ValueError("an empty path, as of a shell variable that is not set; give a picture or a folder")
        if not Path(path).is_dir():
            yield path  # an address, too: its verdict says that it is not fetched
        elif files := picture_files(Path(path)):
            yield from files
        else:
            raise ValueError(f"folder {path} holds no files; give a folder of pictures")


def _printable(name: str) -> str:
    """A file's name on one line of a terminal, which is told nothing by it."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name)


def _plain(value):
    """What JSON can hold: it has no NaN."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def card(options: argparse.Namespace) -> int:
    """Check a card and, where its data are here, each picture; 1 if there is something to mend."""
    from itemkit.data.cards import read_card

    found = read_card(options.path)
    print(f"{found.name}: {found.summary}", *found.unverified, sep="\n")
    if not found.is_local:
        print(
            f"{found.repo} is not a folder here; `./run_all.sh PROFILE --dry-run` asks for it. The card itself is complete."
        )
        return 0
    import pandas as pd

    from itemkit.data.images import inspect_images
    from itemkit.data.layouts import NotAmongTheRows
    from itemkit.data.load import load_images
    from itemkit.evaluation.audit import contradictions, count_copies, count_pictures, too_few

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", ".* stand as real and as generated")  # said below, by pixels and not by bytes
        loaded = load_images(found)
        images = inspect_images(loaded)
    print(
        "",
        pd.crosstab(images["generator"], images["split"], margins=True, margins_name="all").to_string(),
        "",
        sep="\n",
    )
    for note in (warning.message for warning in told if warning.category is NotAmongTheRows):
        print(f"note: {note}")
    broken = images[images["status"] != "ok"]
    faults = [str(warning.message) for warning in told if warning.category is UserWarning]
    if len(broken):
        paths = [(cell or {}).get("path") for cell in loaded.select(broken.index[:SHOWN])["image"]]
        named = [
            f"{path or f'{row.image_id} of {row.generator}'} ({row.reason})"
            for path, row in zip(paths, broken[:SHOWN].itertuples(), strict=True)
        ]
        faults.append(f"{len(broken)} pictures cannot be read: {', '.join(named)}{', ...' * (len(broken) > SHOWN)}")
    both = contradictions(images)
    if len(both):
        first = both[both["pixel_hash"] == both["pixel_hash"].iloc[0]]
        faults.append(
            f"{both['pixel_hash'].nunique()} pictures stand as real and as generated; the first, {first['image_id'].iloc[0]}, "
            f"as {' and as '.join(first['generator'].unique())}"
        )
    if again := count_pictures(images)["copies"].sum():
        faults.append(f"{again} pictures are copies of another one of their source and split, and would count twice")
    copies = count_copies(images).sum()
    if copies.exact:
        faults.append(f"{copies.exact} pairs of pictures in different splits are the same")
    if copies.near:
        print(f"{copies.near} pairs of pictures in different splits look alike")
    faults += [*too_few(images).values(), *too_few(images, ["test"]).values()]
    print(*(f"to mend: {fault}" for fault in faults), sep="\n") if faults else print("nothing to mend")
    return int(bool(faults))


def export(options: argparse.Namespace) -> int:
    """Write pictures with their manifest; 1 if one of them cannot be read, and is left out."""
    from itemkit.running.export import export as write

    manifest, left_out = write(options.profile, options.folder, options.perturbed)
    print(
        f"{len(manifest)} pictures in {options.folder}; manifest.csv says of each its track, split, generator and label"
    )
    unreadable = left_out["status"] != "ok"
    for rows, why in ((left_out[unreadable], "cannot be read"), (left_out[~unreadable], "stand there already")):
        for track, own in rows.groupby("track", sort=False):
            print(
                f"{len(own)} pictures of the track {track} {why} and are left out; the first is {own.image_id.iloc[0]}"
            )
    return int(unreadable.any())


def doctor(options: argparse.Namespace) -> int:
    """Look at the machine; 1 if something that a run needs is missing."""
    outcomes = [outcome for look in (_python, _torch, _spacy, _hub, _cores, _space, _own) for outcome in look()]
    for fine, what, remedy in outcomes:
        print(f"{'ok  ' if fine else 'look'}  {what}{'' if fine or not remedy else f'; {remedy}'}")
    return int(not all(fine for fine, _, _ in outcomes))


def _python() -> Iterator[tuple[bool, str, str]]:
    where = sys.prefix if sys.prefix != sys.base_prefix else "no virtual environment"
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}, {where}", "Python 3.11 or newer is needed"


def _torch() -> Iterator[tuple[bool, str, str]]:
    try:
        import torch
        import torchvision

        from itemkit.network import devices

        yield (
            True,
            f"torch {torch.__version__} with torchvision {torchvision.__version__}, on {', '.join(devices())}",
            "",
        )
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # as a torchvision of another torch fails
        remedy = "install the versions of requirements.txt together: torch 2.14.1 goes with torchvision 0.29.1 only"
        yield False, f"torch and torchvision: {str(error).splitlines()[0]}", remedy


def _spacy() -> Iterator[tuple[bool, str, str]]:
    try:
        yield True, f"spaCy {version('spacy')}", ""
    except PackageNotFoundError:
        yield False, "spaCy is not installed", "install requirements.txt"
    here = find_spec("en_core_web_sm") is not None
    yield (
        True,
        f"spaCy's en_core_web_sm, for photographs, is {'here' if here else 'not here: a run that needs it fetches it'}",
        "",
    )


def _hub() -> Iterator[tuple[bool, str, str]]:
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HTTPError

    if os.environ.get("HF_HUB_OFFLINE"):
        yield True, "the Hugging Face Hub is switched off by HF_HUB_OFFLINE; toyworld needs none", ""
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
        yield True, "the Hugging Face Hub answers", ""
    except (HTTPError, OSError, ValueError) as error:  # ValueError: no address
        yield True, f"the Hugging Face Hub does not answer ({error}); toyworld needs none, other profiles do", ""


def _cores() -> Iterator[tuple[bool, str, str]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # the outermost level of several
    threads = int(said) if said.isdecimal() else cores
    yield threads <= cores, f"{cores} cores, {threads} threads", "set OMP_NUM_THREADS to the number of cores at most"


def _space() -> Iterator[tuple[bool, str, str]]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield free > 5, f"{free:.0f} GB free here", "an environment takes 7 GB, the networks for photographs 3 GB more"


def _own() -> Iterator[tuple[bool, str, str]]:
    yield (
        DETECTOR.is_dir(),
        f"the detector of toyworld in {DETECTOR}",
        "./run_all.sh makes one in results/toyworld/detector",
    )
