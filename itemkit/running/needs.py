"""What a run needs that may not be here: a data set, networks, a noun finder. Fetched before anything is computed.

Otherwise a run would stop hours later, where a notebook first asks for a network that is gated or was renamed.
"""

import importlib
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import yaml
from tabulate import tabulate

from itemkit.data.cards import UNKNOWN, read_card
from itemkit.data.hub import TIMEOUT, HubError, fetch, local_folder, recorded_revisions, resolve_revision, to_fetch
from itemkit.network import OPEN_CLIP_FILES, TRANSFORMERS_FILES, check_device

NETWORKS = {"captioner": TRANSFORMERS_FILES, "locator": TRANSFORMERS_FILES, "encoder": OPEN_CLIP_FILES}
PIPELINES = {  # spaCy's are wheels outside every package index; with the hash that pip then compares
    "en_core_web_sm": "https://github.com/explosion/spacy-models/releases/download/en_core_web_sm-3.8.0/"
    "en_core_web_sm-3.8.0-py3-none-any.whl#sha256=1932429db727d4bff3deed6b34cfc05df17794f4a52eeb26cf8928f7c1a0fb85"
}
PIP = "-m pip install --disable-pip-version-check --quiet --no-deps --retries 1 --timeout 5"


@dataclass(frozen=True)
class Need:
    """One thing that a profile names and that is no folder here."""

    role: str  # data set, captioner, locator, encoder, nouns
    name: str  # a hub id, or a package
    kind: str  # dataset, model or package
    revision: str | None = None  # of a hub id: a commit, or None for the newest
    patterns: list[str] | None = None  # of the files that are needed; None for all
    streamed: bool = False  # read while it is used: only its revision is needed before
    gigabytes: float | None = None
    license: str = UNKNOWN

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


def known_networks() -> dict[str, dict]:
    """Return what networks.yaml says of the networks that the profiles name, by hub id: size and licence."""
    return yaml.safe_load((files("itemkit.running") / "networks.yaml").read_text(encoding="utf-8"))


def list_needs(values: dict) -> list[Need]:
    """Return what the values of a profile name, without what is a folder here; in the order in which a run uses it.

    Args:
        values: of every parameter of the notebooks; paths are seen from the working directory.

    Raises:
        FileNotFoundError: no such card, or the folder that it names is not there; the message says how to get it.
        ValueError: a card that cannot be read.
    """
    needs, card, networks = [], read_card(values["card"]), known_networks()
    if card.is_local:
        card.folder.stat()  # or what it says of a folder that is missing
    else:
        facts = {"streamed": card.is_streamed(values["limit"]), "gigabytes": card.gigabytes, "license": card.license}
        needs.append(Need("data set", card.repo, "dataset", card.commit, **facts))
    for role, patterns in NETWORKS.items():
        if not Path(values[role]).is_dir():
            known = networks.get(values[role], {})
            facts = {"gigabytes": known.get("gigabytes"), "license": known.get("license", UNKNOWN)}
            needs.append(Need(role, values[role], "model", values[f"{role}_revision"], patterns, **facts))
    if not Path(values["nouns"]).is_dir():
        known = {"gigabytes": 0.013, "license": "mit"} if values["nouns"] in PIPELINES else {}
        needs.append(Need("nouns", values["nouns"], "package", **known))
    return needs


def is_here(need: Need, cache: str | Path) -> bool:
    """Return whether a run can use it without asking anybody."""
    if need.kind == "package":
        return need.name.isidentifier() and find_spec(need.name) is not None
    revision = need.revision or recorded_revisions(cache).get(f"{need.kind}s/{need.name}")
    found = revision if need.streamed else local_folder(need.name, revision, need.kind, need.patterns)
    return found is not None


def dry_run(values: dict) -> str:
    """Return what a profile will fetch, from where, how large, under which licence, and whether it can be reached.

    Nothing is fetched. Sizes are the hub's, or where it does not answer what the card and networks.yaml know.

    Args:
        values: as for list_needs.

    Raises:
        FileNotFoundError, ValueError: as list_needs.
    """
    card, needs = read_card(values["card"]), list_needs(values)
    page = "\n".join([f"card {card.name}: {card.summary}", *(f"not verified: {claim}" for claim in card.unverified)])
    if not needs:
        return f"{page}\n\nnothing is fetched: all of it lies here"
    with ThreadPoolExecutor(max_workers=8) as pool:  # side by side, so that silence costs one time limit and no more
        rows = list(pool.map(lambda need: _describe(need, values["cache"]), needs))
    reasons = dict.fromkeys(row["can be reached"] for row in rows if row["can be reached"] != "yes")
    absent = [row.pop("absent") for row in rows]
    known = sum(size for size in absent if size is not None)
    more = " and what is of unknown size" if None in absent else ""
    then = "rows are read over the network by notebook 00" if needs[0].streamed else "a run then needs no network"
    shown = [row | {"can be reached": row["can be reached"].partition(":")[0]} for row in rows]
    table = tabulate(shown, headers="keys", tablefmt="plain", floatfmt=".2f", disable_numparse=[2])
    return "\n\n".join([page, "\n".join([table, *reasons]), f"to fetch: {known:.2f} GB{more}; {then}"])


def _describe(need: Need, cache: str | Path) -> dict:
    """A row of the page of a dry run, and as `absent` the gigabytes that are not here, None where that is unknown."""
    here, size, license, reached = is_here(need, cache), need.gigabytes, need.license, "yes"
    absent = 0 if here or need.streamed else size
    try:
        if need.kind == "package":
            _ask_for_package(need.name)
        else:
            size, absent, told = to_fetch(need.name, need.revision, need.kind, need.patterns)
            absent, license = 0 if need.streamed else absent, told or license
    except HubError as error:
        reached = f"no: {str(error).replace(repr(need.name), '...')}"
    return {
        "needed": need.role,
        "from": PIPELINES.get(need.name, need.name).removeprefix("https://").partition("/releases")[0],
        "revision": (need.revision or "newest")[:12] if need.kind != "package" else "",
        "GB": "as read" if need.streamed else UNKNOWN if size is None else float(size),
        "licence": license,
        "here": "yes" if here else "no",
        "can be reached": reached,
        "absent": absent,
    }


def _ask_for_package(name: str) -> None:
    """Raise a HubError if the place of a spaCy pipeline does not answer."""
    if name not in PIPELINES:
        raise HubError(f"nouns {name!r}: itemkit does not know where to get it; install it by hand")
    try:
        urllib.request.urlopen(urllib.request.Request(PIPELINES[name], method="HEAD"), timeout=TIMEOUT).close()
    except OSError as error:
        raise HubError(f"nouns {name!r}: its place does not answer ({error})") from None


def fetch_needs(values: dict) -> None:
    """Fetch what a profile names and what is not here, after a look at whether its device is.

    Args:
        values: as for list_needs.

    Raises:
        ValueError: no such device; or as list_needs.
        HubError: something cannot be fetched. Either message also names what else is not here; what came is kept.
    """
    missing = [need for need in list_needs(values) if not is_here(need, values["cache"])]
    try:
        if values["device"] != "cpu":
            check_device(values["device"])  # loads torch
    except ValueError as error:
        raise ValueError(f"{error}{_also(missing)}") from None
    for place, need in enumerate(missing):
        try:
            _fetch(need, values["cache"])
        except HubError as error:
            raise HubError(f"{error}{_also(missing[place + 1 :])}") from None


def _also(missing: list[Need]) -> str:
    return f"; also not here yet: {', '.join(map(str, missing))}" if missing else ""


def _fetch(need: Need, cache: str | Path) -> None:
    if need.kind == "package":
        return _install(need.name)
    revision = resolve_revision(need.name, need.revision, cache, need.kind)
    if not need.streamed:
        size = "" if need.gigabytes is None else f", {need.gigabytes:g} GB"
        print(f"fetching {need}{size}, licence {need.license}", flush=True)
        fetch(need.name, revision, need.kind, need.patterns)


def _install(name: str) -> None:
    if name not in PIPELINES:
        raise HubError(
            f"no spaCy pipeline {name!r}: neither a folder nor an installed package; install it into {sys.prefix} by "
            f"`python -m spacy download {name}`, or take {', '.join(PIPELINES)}, which is installed when it is needed"
        )
    print(f"installing {name}", flush=True)
    done = subprocess.run([sys.executable, *PIP.split(), PIPELINES[name]], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[0] if errors else f"status {done.returncode}"
        raise HubError(
            f"spaCy pipeline {name!r} is not here, and could not be fetched ({reason}): run again when {PIPELINES[name]} "
            f"can be reached, or install that file into {sys.prefix} by hand"
        )
    importlib.invalidate_caches()
