"""Asking the hub, here a stand-in on this machine: commits, downloads, and what is said when they fail."""

import json

import pytest
from conftest import make_picture
from huggingface_hub import constants

from itemkit.captions import Captioner
from itemkit.data.hub import HubError, fetch, local_folder, recorded_revisions, resolve_revision


@pytest.fixture
def network(hub, tmp_path):
    """A hub id of two small files, another one in each test: downloads stay for the whole session."""
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(4000))
    name = f"someone/{tmp_path.name.replace('_', '-')}"
    hub.folders[f"models/{name}"] = folder
    return name


def test_the_newest_commit_is_looked_up_once_and_then_kept(hub, network, tmp_path):
    first = resolve_revision(network, None, tmp_path)
    assert first == hub.commit(f"models/{network}")
    hub.moved, hub.asked = "on", []
    assert resolve_revision(network, None, tmp_path) == first and hub.asked == []
    assert recorded_revisions(tmp_path) == {f"models/{network}": first}
    assert resolve_revision(network, None, tmp_path / "another cache") != first


def test_networks_and_data_sets_of_one_name_are_kept_apart(hub, network, tmp_path):
    hub.folders[f"datasets/{network}"] = hub.folders[f"models/{network}"]
    commits = [resolve_revision(network, None, tmp_path, kind) for kind in ("model", "dataset")]
    assert commits[0] != commits[1] and len(recorded_revisions(tmp_path)) == 2


def test_a_given_commit_and_a_folder_need_no_hub(hub, tmp_path):
    assert resolve_revision("someone/something", "a" * 40, tmp_path) == "a" * 40
    assert resolve_revision(tmp_path, None, tmp_path) is None
    assert hub.asked == [] and recorded_revisions(tmp_path) == {}


def test_a_branch_is_no_commit(tmp_path):
    with pytest.raises(ValueError, match="someone/something has revision 'main'; expected the 40 hex digits"):
        resolve_revision("someone/something", "main", tmp_path)


def test_a_damaged_record_is_named(tmp_path):
    for text in ("{", "[]", '{"models/someone/something": 1}', '{"models/someone/something": "main"}'):
        (tmp_path / "revisions.json").write_text(text)
        with pytest.raises(ValueError, match="revisions.json is damaged .*; correct or remove it"):
            resolve_revision("someone/something", None, tmp_path)


def test_what_was_fetched_once_asks_nobody_again(hub, network):
    commit = hub.commit(f"models/{network}")
    assert local_folder(network, commit, "model") is None
    folder = fetch(network, commit)
    assert (folder / "model.safetensors").stat().st_size == 4000
    hub.down, hub.asked = True, []
    assert fetch(network, commit) == folder == local_folder(network, commit, "model") and hub.asked == []


def test_only_the_files_that_are_needed_are_fetched(hub, network):
    folder = fetch(network, hub.commit(f"models/{network}"), patterns=["*.json"])
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_download_that_breaks_off_is_told_and_goes_on(hub, network):
    commit, hub.cut = hub.commit(f"models/{network}"), ".safetensors"
    with pytest.raises(HubError, match=f"network '{network}' is not here in full, .* broke off .*run again"):
        fetch(network, commit)
    assert local_folder(network, commit, "model") is None
    hub.cut = None
    assert (fetch(network, commit) / "model.safetensors").stat().st_size == 4000


def failure(name, kind="model", revision="0" * 40) -> str:
    with pytest.raises(HubError) as error:
        fetch(name, revision, kind)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_failure_is_one_sentence_with_its_remedy(hub, network, monkeypatch):
    assert "no folder 'a/b/c', and no hub id either: expected organisation/name" == failure("a/b/c")
    assert failure("someone/unknown").startswith("the hub knows no network 'someone/unknown': correct the id; if it is")
    assert failure("someone/unknown", "dataset").startswith("the hub knows no data set 'someone/unknown'")
    assert f"no longer has revision {'0' * 40} of network '{network}': see {hub.address}/{network}" in failure(network)
    hub.gated = {f"models/{network}"}
    assert f"is gated: accept its terms at {hub.address}/{network}, then call `hf auth login`" in failure(network)
    hub.gated, hub.down = set(), True
    assert "is not here in full, and the hub cannot be reached" in failure(network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids to fetch it: unset it" in failure(network)


def test_an_unreachable_hub_leaves_no_record(hub, network, tmp_path):
    hub.down = True
    with pytest.raises(HubError, match="the hub cannot be reached"):
        resolve_revision(network, None, tmp_path)
    assert recorded_revisions(tmp_path) == {}


def test_a_network_is_loaded_by_its_hub_id(hub, tiny_captioner, tmp_path):
    hub.folders["models/someone/captioner"] = tiny_captioner
    (tiny_captioner / "flax_model.msgpack").write_bytes(b"not needed")
    commit = resolve_revision("someone/captioner", None, tmp_path)
    pictures = [make_picture(seed) for seed in range(3)]
    captioner = Captioner("someone/captioner", commit)
    assert captioner(pictures) == Captioner(tiny_captioner)(pictures)
    assert captioner.spec["network"] == f"someone/captioner@{commit}"
    assert not any("msgpack" in asked for asked in hub.asked)
    hub.down = True
    assert Captioner("someone/captioner", commit)(pictures) == captioner(pictures)
    (tiny_captioner / "flax_model.msgpack").unlink()


def test_the_record_is_one_line_for_each(hub, network, tmp_path):
    commit = resolve_revision(network, None, tmp_path)
    assert json.loads((tmp_path / "revisions.json").read_text()) == {f"models/{network}": commit}
    assert not list(tmp_path.glob("*.part"))
