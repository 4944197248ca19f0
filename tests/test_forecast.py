"""What a dry run says: sizes, licences, reachability, and an estimate of the time."""

import math
from pathlib import Path

import pytest
import yaml

from itemkit.data.cards import read_card
from itemkit.running.forecast import count_passes, forecast
from itemkit.running.needs import known_networks
from itemkit.data.perturb import PERTURBATIONS
from itemkit.running.run import read_profile
from itemkit.running.speed import time_layer, time_picture

PROFILES = sorted((Path(__file__).parents[1] / "notebooks" / "params").glob("*.yaml"))
RUN = {"generators": None, "tracks": ["aligned"], "perturbations": ["crop"], "robustness_contents": 10}
RUN |= {"dtype": "float32", "encoder_dtype": "float32"}


def lines(page: str) -> dict[str, str]:
    return {line.split()[0]: line for line in page.splitlines() if line.split()}


def test_sizes_and_licences_are_those_of_the_hub_if_it_answers(hub, profile_on_hub):
    page = lines(forecast(profile_on_hub | RUN))
    assert page["data"].split()[-5:] == ["newest", "0.00", "cc0-1.0", "no", "yes"]
    assert page["captioner"].split()[-1] == "yes"
    assert "about" not in page  # the card does not say how many pictures there are
    assert page["time:"].startswith(
        "time: unknown, since the card does not know how many pictures there are; set a limit"
    )
    assert not (Path(profile_on_hub["cache"]) / "revisions.json").exists()  # nothing was done


def test_without_a_hub_it_says_what_is_known_and_each_reason_once(hub, profile_on_hub):
    hub.down = True
    page = forecast(profile_on_hub | RUN | {"limit": 5})
    assert page.count("no: network ... is not here in full, and the hub cannot be reached") == 1
    assert page.count("no: data set ... is not here in full") == 1
    assert lines(page)["data"].split()[-5:] == ["as", "read", "cc0-1.0", "no", "no"]
    assert "to fetch: 0.00 GB and what is of unknown size" in page
    assert "pictures" in page and "about" in page and "and the stages not known on cpu" in page


def test_what_lies_here_needs_nothing(tiny_card, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy, tmp_path):
    given = {"captioner": tiny_captioner, "locator": tiny_detector, "encoder": tiny_clip, "nouns": tiny_spacy}
    given = {name: str(folder) for name, folder in given.items()} | {"card": str(tiny_card), "cache": str(tmp_path)}
    page = forecast(given | RUN | {"limit": 2, "device": "cpu"})
    assert "nothing is fetched: all of it lies here" in page


def test_a_device_that_is_missing_is_told_and_the_list_comes_all_the_same(hub, profile_on_hub):
    page = forecast(profile_on_hub | RUN | {"limit": 5, "device": "cuda:99"})
    assert "device 'cuda:99' is asked for" in page and "These are the times of the cpu:" in page and "about" in page


def test_passes_by_hand():
    card = read_card("defactify")  # 42,000 pictures of six sources
    settings = 1 + len(PERTURBATIONS["crop"])
    passes = count_passes(card, RUN | {"limit": None, "tracks": ["aligned", "raw"]})
    perturbed = 10 * 6 * settings
    assert passes["align"] == 84_000
    assert passes["captioner"] == 84_000 + perturbed
    assert passes["locator"] == 84_000 + 0.7 * 42_000 + 2 * perturbed
    assert passes["encoder"] == 4 * (84_000 + 0.7 * 42_000 + 2 * perturbed)
    assert count_passes(card, RUN | {"limit": 5})["align"] == 5 * 3 * 6
    assert count_passes(card, RUN | {"limit": 5, "generators": ["sdxl"]})["align"] == 5 * 3 * 2
    assert count_passes(card, RUN | {"limit": None, "generators": ["sdxl"]})["align"] == 14_000
    assert math.isnan(count_passes(read_card("genimage"), RUN | {"limit": None})["align"])


def test_speeds_are_positive_and_no_state_is_left():
    import torch

    threads = torch.get_num_threads()
    assert time_layer("cpu", "float32", seconds=0.1) > 0
    assert all(seconds > 0 for seconds in time_picture(seconds=0.1))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_network_of_a_profile_is_known_and_every_card_can_be_read(path):
    profile = read_profile(path)
    read_card(path.parents[1] / profile["card"])
    for role in ("captioner", "locator", "encoder"):
        if not profile[role].startswith("."):
            known = known_networks()[profile[role]]
            assert {"gigabytes", "license", "work"} <= set(known)
            assert role != "encoder" or "text_work" in known


def test_a_profile_says_only_what_differs_from_the_one_it_is_like():
    for path in PROFILES:
        own = yaml.safe_load(path.read_text())
        if "like" in own:
            base = read_profile(path.with_name(f"{own.pop('like')}.yaml"))
            assert not [name for name, value in own.items() if base.get(name) == value]
