"""Tell before a run what it will fetch, from where, how large, under which licence, and about how long it will take."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from itemkit.data.cards import SPLITS, UNKNOWN, Card, read_card
from itemkit.data.hub import TIMEOUT, HubError, size_and_license
from itemkit.data.perturb import PERTURBATIONS
from itemkit.network import check_device
from itemkit.running.needs import NETWORKS, PIPELINES, Need, is_here, known_networks, list_needs
from itemkit.running.speed import time_layer, time_picture

OBJECTS = 3  # that a caption names and the detector finds, about: MS COCO's captions are like that


def forecast(values: dict) -> str:
    """Return what a profile will fetch and how long it will take, as a page for the terminal; fetches nothing.

    Args:
        values: of every parameter of the notebooks; paths are seen from the working directory.

    Raises:
        FileNotFoundError, ValueError: as needs.list_needs.
    """
    card, needs = read_card(values["card"]), list_needs(values)
    with ThreadPoolExecutor(max_workers=8) as pool:  # side by side, so that silence costs one time limit and no more
        rows = list(pool.map(lambda need: _describe(need, values["cache"]), needs))
    pages = [f"card {card.name}: {card.summary}", *(f"not verified: {claim}" for claim in card.unverified)]
    if rows:
        pages.append(_table(pd.DataFrame(rows)))
        absent = [row["GB"] for row in rows if row["here"] == "no"]
        known = sum(size for size in absent if isinstance(size, float))
        more = " and what is of unknown size" if UNKNOWN in absent else ""
        then = "rows are read over the network by notebook 00" if needs[0].streamed else "a run then needs no network"
        pages.append(f"to fetch: {known:.2f} GB{more}; {then}")
    else:
        pages.append("nothing is fetched: all of it lies here")
    return "\n\n".join([*pages, _times(card, values)])


def _describe(need: Need, cache: str | Path) -> dict:
    size, license, reached = need.gigabytes, need.license, "yes"
    try:
        if need.kind == "package":
            _ask_for_package(need.name)
        else:
            told_size, told_license = size_and_license(need.name, need.revision, need.kind, need.patterns)
            size, license = told_size or size, told_license or license
    except HubError as error:
        reached = f"no: {str(error).replace(repr(need.name), '...')}"
    size = "as read" if need.streamed else UNKNOWN if size is None else float(size)
    return {
        "needed": need.role,
        "from": PIPELINES.get(need.name, need.name).removeprefix("https://").partition("/releases")[0],
        "revision": (need.revision or "newest")[:12] if need.kind != "package" else "",
        "GB": size,
        "licence": license,
        "here": "yes" if is_here(need, cache) else "no",
        "can be reached": reached,
    }


def _ask_for_package(name: str) -> None:
    """Raise a HubError if the place of a spaCy pipeline does not answer."""
    try:
        asked = urllib.request.Request(PIPELINES[name], method="HEAD")
        urllib.request.urlopen(asked, timeout=TIMEOUT).close()
    except KeyError:
        raise HubError(f"nouns {name!r}: itemkit does not know where to get it; install it by hand") from None
    except OSError as error:
        raise HubError(f"nouns {name!r}: its place does not answer ({error})") from None


def _table(frame: pd.DataFrame) -> str:
    """The rows, and below them each reason once."""
    reached = frame["can be reached"]
    text = _lines(frame.assign(**{"can be reached": reached.str.partition(":")[0]}))
    return "\n".join([text, "", *reached[reached != "yes"].unique()])


def _lines(frame: pd.DataFrame) -> str:
    return tabulate(frame, headers="keys", showindex=False, tablefmt="plain", floatfmt=".2f", disable_numparse=[2])


def count_passes(card: Card, values: dict) -> dict[str, float]:
    """Return how many pictures or crops each stage of notebooks 00 to 06 sees, about; NaN if the card knows no number.

    Returns:
        align (pictures made alike or only inspected), captioner, locator, encoder (pictures and crops), encoder_texts.
    """
    sources = 1 + len(values["generators"] or card.generators)
    pictures = np.nan if card.pictures is None else card.pictures * sources / (1 + len(card.generators))
    if values["limit"] is not None:  # so many contents of each split, all of whose pictures are taken
        pictures = np.fmin(pictures, values["limit"] * len(SPLITS) * sources)
    tracks, strengths = len(values["tracks"]), values["perturbations"] or list(PERTURBATIONS)
    described = pictures * tracks  # 01 and 02
    named = 0.7 * pictures  # 05: nouns with their adjectives, on train and validation rows of one track
    settings = 1 + sum(len(PERTURBATIONS[name]) for name in strengths)
    perturbed = np.fmin(values["robustness_contents"] * sources, 0.3 * pictures) * settings  # 06, on test rows
    return {
        "align": described,
        "captioner": described + perturbed,
        "locator": described + named + 2 * perturbed,  # perturbed pictures with new and with frozen words
        "encoder": (1 + OBJECTS) * (described + named + 2 * perturbed),  # others' words are seldom found
        "encoder_texts": described + named + perturbed,
    }


def _times(card: Card, values: dict) -> str:
    passes, device, note = count_passes(card, values), values["device"], ""
    if np.isnan(passes["align"]):
        return "time: unknown, since the card does not know how many pictures there are; set a limit to learn it"
    try:
        check_device(device)
    except ValueError as error:
        device, note = "cpu", f"{error}. These are the times of the cpu:\n"
    speeds = {dtype: time_layer(device, dtype) for dtype in dict.fromkeys([values["dtype"], values["encoder_dtype"]])}
    table = _stages(passes, values, speeds)
    hours = table["passes"] * table["seconds each"] / 3600
    shown = {"passes": table["passes"].round().astype(int), "time": hours.map(_duration)}
    shown["seconds each"] = table["seconds each"].map(lambda each: UNKNOWN if np.isnan(each) else f"{each:.4f}")
    whole = _duration(hours.sum()) + ("" if hours.notna().all() else " and the stages not known")
    told = ", ".join(f"{speed:,.0f} GFLOP/s in {dtype}" for dtype, speed in speeds.items())
    return (
        f"{note}{_lines(table.assign(**shown))}\n\n"
        f"about {whole} on {device} ({told}, just timed for some seconds; {OBJECTS} objects a caption assumed), without "
        "the download, the heads and the tables. What is cached already takes no time"
    )


def _stages(passes: dict[str, float], values: dict, speeds: dict[str, float]) -> pd.DataFrame:
    """A row for each stage: what does it, how often, and how long it takes each time, NaN if the network is not known."""
    align, decode, crop = time_picture()
    networks = known_networks()
    known = {role: networks.get(values[role], {}) for role in NETWORKS}
    work = {role: facts.get("work", np.nan) for role, facts in known.items()}
    if known["locator"].get("one_phrase_a_pass"):
        work["locator"] *= OBJECTS
    speed, encoder_speed = speeds[values["dtype"]], speeds[values["encoder_dtype"]]
    text_work = known["encoder"].get("text_work", np.nan)
    rows = [
        ("pictures", "decode, align, inspect", passes["align"], align),
        ("captioner", values["captioner"], passes["captioner"], work["captioner"] / speed + decode),
        ("locator", values["locator"], passes["locator"], work["locator"] / speed + decode),
        ("encoder", values["encoder"], passes["encoder"], work["encoder"] / encoder_speed + crop),
        ("texts", values["encoder"], passes["encoder_texts"], text_work / encoder_speed),
    ]
    return pd.DataFrame(rows, columns=["stage", "by", "passes", "seconds each"])


def _duration(hours: float) -> str:
    if np.isnan(hours):
        return UNKNOWN
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
