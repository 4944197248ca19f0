"""What a profile names and what is not here: fetched before anything runs, or told in one sentence."""

import hashlib
import importlib
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from itemkit.data.cards import read_card
from itemkit.data.hub import HubError, recorded_revisions
from itemkit.running import needs
from itemkit.running.needs import Need, dry_run, fetch_needs, is_here, known_networks, list_needs
from itemkit.running.run import read_profile


def test_folders_are_no_needs(tiny_card, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy):
    values = {"card": str(tiny_card), "captioner": str(tiny_captioner), "locator": str(tiny_detector), "limit": None}
    assert list_needs(values | {"encoder": str(tiny_clip), "nouns": str(tiny_spacy)}) == []


def test_needs_come_in_the_order_of_their_use_with_what_is_known_of_them(profile_on_hub):
    profile_on_hub |= {
        "nouns": "en_core_web_sm",
        "encoder": "timm/vit_base_patch32_clip_224.openai",
        "encoder_revision": "a" * 40,
    }
    found = list_needs(profile_on_hub)
    assert [need.role for need in found] == ["data set", "captioner", "locator", "encoder", "nouns"]
    assert (found[0].gigabytes, found[0].license, found[0].streamed) == (4, "cc0-1.0", False)
    assert (found[3].gigabytes, found[3].license, found[3].revision) == (0.61, "apache-2.0", "a" * 40)
    assert list_needs(profile_on_hub | {"limit": 5})[0].streamed  # a wide data set, of which the first rows are enough


def test_everything_is_fetched_once_announced_and_then_nobody_is_asked(hub, profile_on_hub, capsys):
    fetch_needs(profile_on_hub)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"fetching data set {list_needs(profile_on_hub)[0].name}, 4 GB, licence cc0-1.0"
    assert [line.split()[1] for line in told] == ["data", "captioner", "locator", "encoder"]
    assert all(is_here(need, profile_on_hub["cache"]) for need in list_needs(profile_on_hub))
    assert set(recorded_revisions(profile_on_hub["cache"])) == set(hub.folders)
    hub.down, hub.asked = True, []
    fetch_needs(profile_on_hub)
    assert hub.asked == [] and capsys.readouterr().out == ""


def test_of_a_streamed_data_set_only_the_revision_is_looked_up(hub, profile_on_hub):
    fetch_needs(profile_on_hub | {"limit": 5})
    assert not any("resolve" in asked and "parquet" in asked for asked in hub.asked)
    assert is_here(list_needs(profile_on_hub | {"limit": 5})[0], profile_on_hub["cache"])
    assert not is_here(list_needs(profile_on_hub)[0], profile_on_hub["cache"])


def test_a_failure_is_one_sentence_that_names_the_rest_and_what_came_is_kept(hub, profile_on_hub):
    hub.down = True
    with pytest.raises(HubError) as error:
        fetch_needs(profile_on_hub)
    text = str(error.value)
    assert text.startswith("data set ") and "the hub cannot be reached" in text and "run again when it can" in text
    assert text.endswith(
        "; also not here yet: " + ", ".join(f"{role} {profile_on_hub[role]}" for role in needs.NETWORKS)
    )
    assert "\n" not in text
    hub.down, hub.gated = False, {f"models/{profile_on_hub['locator']}"}
    with pytest.raises(
        HubError,
        match=f"{profile_on_hub['locator']}' is gated: .*; also not here yet: encoder {profile_on_hub['encoder']}$",
    ):
        fetch_needs(profile_on_hub)
    assert [is_here(need, profile_on_hub["cache"]) for need in list_needs(profile_on_hub)] == [True, True, False, False]


def test_a_device_that_is_missing_is_told_before_anything_is_fetched(hub, profile_on_hub):
    with pytest.raises(
        ValueError, match="device 'cuda:99' is asked for, .* can use cpu.*; also not here yet: data set .*"
    ):
        fetch_needs(profile_on_hub | {"device": "cuda:99"})
    assert hub.asked == []


def test_a_folder_that_the_card_names_must_be_there(profile_on_hub, tmp_path):
    card = tmp_path / "card" / "README.md"
    card.write_text(
        card.read_text()
        .replace("revision: unknown", "revision: local")
        .replace("/data", "")
        .replace("repo: ", "repo: ./clips-of-")
    )
    with pytest.raises(FileNotFoundError, match="clips-of-.* is not there; .*README.md says how to get it"):
        list_needs(profile_on_hub)


def make_wheel(folder, name):
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return f"{wheel.as_uri()}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_a_spacy_pipeline_is_installed_from_its_wheel_if_the_hash_fits(profile_on_hub, tmp_path, monkeypatch, capsys):
    place = make_wheel(tmp_path, "en_stand_in")
    profile_on_hub |= {
        role: profile_on_hub["nouns"] for role in needs.NETWORKS
    }  # folders, so that nothing else is needed
    profile_on_hub |= {"nouns": "en_stand_in", "card": "toyworld"}
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "site"))  # not into the environment that runs the tests
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    monkeypatch.setattr(needs, "PIPELINES", {"en_stand_in": place[:-4] + "0000"})
    with pytest.raises(
        HubError, match=r"spaCy pipeline 'en_stand_in' is not here, and could not be fetched \(ERROR: .*\): run"
    ):
        fetch_needs(profile_on_hub)
    monkeypatch.setattr(needs, "PIPELINES", {"en_stand_in": place})
    fetch_needs(profile_on_hub)
    assert importlib.util.find_spec("en_stand_in") and is_here(Need("nouns", "en_stand_in", "package"), tmp_path)
    assert "installing en_stand_in" in capsys.readouterr().out


def test_a_pipeline_of_another_name_says_how_to_install_it(profile_on_hub):
    profile_on_hub |= {role: profile_on_hub["nouns"] for role in needs.NETWORKS} | {
        "nouns": "de_core_news_sm",
        "card": "toyworld",
    }
    with pytest.raises(
        HubError, match="no spaCy pipeline 'de_core_news_sm': .*python -m spacy download de_core_news_sm"
    ):
        fetch_needs(profile_on_hub)


# what a dry run says


def lines(page: str) -> dict[str, str]:
    return {line.split()[0]: line for line in page.splitlines() if line.split()}


def test_sizes_and_licences_are_those_of_the_hub_if_it_answers(hub, profile_on_hub):
    page = lines(dry_run(profile_on_hub))
    assert page["data"].split()[-5:] == ["newest", "0.00", "cc0-1.0", "no", "yes"]
    assert page["captioner"].split()[-1] == "yes"
    assert page["to"].startswith("to fetch: 0.0")
    assert not Path(profile_on_hub["cache"], "revisions.json").exists()  # nothing was done
    assert not any("safetensors" in asked and not asked.startswith("HEAD") for asked in hub.asked)


def test_what_a_run_has_fetched_is_not_to_be_fetched_again(hub, profile_on_hub):
    fetch_needs(profile_on_hub)
    page = lines(dry_run(profile_on_hub))
    assert page["captioner"].split()[-2:] == ["yes", "yes"]
    assert page["to"].startswith("to fetch: 0.00 GB; ")


def test_without_a_hub_it_says_what_is_known_and_each_reason_once(hub, profile_on_hub):
    hub.down = True
    page = dry_run(profile_on_hub | {"limit": 5})
    assert page.count("no: network ... is not here in full, and the hub cannot be reached") == 1
    assert page.count("no: data set ... is not here in full") == 1
    assert lines(page)["data"].split()[-5:] == ["as", "read", "cc0-1.0", "no", "no"]
    assert "to fetch: 0.00 GB and what is of unknown size" in page


def test_what_lies_here_needs_nothing(tiny_card, tiny_captioner, tiny_detector, tiny_clip, tiny_spacy, tmp_path):
    given = {"captioner": tiny_captioner, "locator": tiny_detector, "encoder": tiny_clip, "nouns": tiny_spacy}
    given = {name: str(folder) for name, folder in given.items()} | {"card": str(tiny_card), "cache": str(tmp_path)}
    assert "nothing is fetched: all of it lies here" in dry_run(given | {"limit": 2})


PROFILES = sorted((Path(__file__).parents[1] / "notebooks" / "params").glob("*.yaml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_network_of_a_profile_is_known_and_every_card_can_be_read(path):
    profile = read_profile(path)
    read_card(path.parents[1] / profile["card"])
    for role in ("captioner", "locator", "encoder"):
        if not profile[role].startswith("."):
            assert {"gigabytes", "license"} == set(known_networks()[profile[role]])


def test_a_profile_says_only_what_differs_from_the_one_it_is_like():
    for path in PROFILES:
        own = yaml.safe_load(path.read_text())
        if "like" in own:
            base = read_profile(path.with_name(f"{own.pop('like')}.yaml"))
            assert not [name for name, value in own.items() if base.get(name) == value]
