"""The whole run, as run_all.sh starts it, on a small slice of toyworld; then from its cache, each cell twice."""

import contextlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from isolation import MAY_LEAVE_THE_NETWORK, without_network
from PIL import Image
from run_cells import run_cells
from sklearn.metrics import roc_auc_score

from itemkit.arms import ARMS
from itemkit.data.cards import TRUTH_COLUMNS
from itemkit.data.load import TRACKS
from itemkit.evaluation.metrics import METRICS
from itemkit.head import MLPHead
from itemkit.paper.notebooks import STEPS
from itemkit.record import manual_changes, read_record
from itemkit.running import unchanged
from itemkit.running.export import export
from itemkit.running.run import RunError, run

ROOT = Path(__file__).resolve().parents[1]
GENERATORS = ["latent_diffusion", "gan"]
SCENES = 20  # of each split: just enough that each group of the test split gets a number
NETWORKS = ("transformers", "open_clip", "spacy")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the notebooks, with a profile `slice`, beside the real data cards."""
    root = tmp_path_factory.mktemp("a project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    (root / "data_cards").symlink_to(ROOT / "data_cards")
    values = {"limit": SCENES, "generators": GENERATORS, "seeds": [0], "draws": 50, "ablation_seeds": [0]}
    values |= {"most_objects": [1], "widths": [16]}
    values |= {"perturbations": ["crop", "resize_jpeg"], "robustness_seeds": [0], "robustness_arms": ["image", "item"]}
    (root / "notebooks" / "params" / "slice.yaml").write_text(yaml.safe_dump(values))
    return root


def start(project: Path, code: str, *before: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run the profile by `code` without a network; modules in the folders `before` hide those that are installed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(project / "cache"), **variables}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (*before, ROOT, ROOT / "tests")))
    command = [sys.executable, "-c", code, str(project)]
    if MAY_LEAVE_THE_NETWORK:
        command = without_network(command)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first(project) -> subprocess.CompletedProcess:
    code = "import sys, pathlib; from itemkit.running.run import run; run('slice', pathlib.Path(sys.argv[1]))"
    done = start(project, code)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def results(project, first) -> Path:
    return project / "results" / "slice"


def test_it_says_where_it_is_and_knows_every_parameter(first):
    assert first.stdout.splitlines()[0] == "[1/9] 00_data" and "[9/9] 08_report" in first.stdout
    assert "unknown parameter" not in first.stderr
    assert "describe: 100%" in first.stderr


def test_it_writes_only_results_and_cache(project, first):
    assert {path.name for path in project.iterdir()} == {"notebooks", "data_cards", "results", "cache"}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert (project / "notebooks" / path.name).read_bytes() == path.read_bytes()


def test_every_picture_has_a_row_with_a_status(results):
    images = pd.read_parquet(results / "images.parquet")
    assert len(images) == len(TRACKS) * 3 * SCENES * (1 + len(GENERATORS))
    assert images.groupby("content_id").split.nunique().eq(1).all()
    assert images.status.isin(["ok", "unreadable"]).all()
    assert not set(TRUTH_COLUMNS) & set(images.columns)  # what is true is no input
    assert set(pd.read_parquet(results / "captions.parquet").image_id) == set(images.image_id)


def test_captions_name_objects_and_most_of_them_are_found(results):
    images = pd.read_parquet(results / "images.parquet")
    captions = (
        pd.read_parquet(results / "captions.parquet").set_index("image_id").loc[images.image_id[images.label == 0]]
    )
    boxes = pd.read_parquet(results / "boxes.parquet").groupby("image_id").size().reindex(captions.index, fill_value=0)
    assert captions.phrases.map(len).gt(0).mean() > 0.9
    assert boxes.sum() / captions.phrases.map(len).sum() > 0.5


def test_predictions_and_metrics_load_as_data_sets(results, tmp_path):
    files = {"parquet": "predictions.parquet", "csv": "metrics.csv"}
    loaded = {
        kind: datasets.load_dataset(kind, data_files=str(results / name), split="train", cache_dir=str(tmp_path))
        for kind, name in files.items()
    }
    heads = len(TRACKS) * len(ARMS) * len(GENERATORS)
    assert len(loaded["parquet"]) == heads * 2 * SCENES * (1 + len(GENERATORS))  # validation and test rows
    assert len(loaded["csv"]) == heads * len(GENERATORS) * len(METRICS)


def test_every_number_is_one(results):
    predictions, metrics = pd.read_parquet(results / "predictions.parquet"), pd.read_csv(results / "metrics.csv")
    assert predictions.score.between(0, 1).all()
    assert set(predictions.arm) == set(ARMS) and set(predictions.train_on) == set(GENERATORS)
    assert metrics.value.between(0, 1).all() and metrics.n.eq(SCENES).all()
    unseen = pd.read_csv(results / "tables" / "04_unseen.csv").set_index("arm")
    cells = metrics[(metrics.metric == "roc_auc") & (metrics.train_on != metrics.generator)]
    cells = cells[cells.track == TRACKS[0]]
    np.testing.assert_allclose(unseen["mean"], cells.groupby("arm").value.mean()[unseen.index])
    np.testing.assert_allclose(unseen["minimum"], cells.groupby("arm").value.min()[unseen.index])


def test_every_head_is_saved_and_loads(results):
    heads = {path.relative_to(results / "heads").as_posix() for path in (results / "heads").glob("*/*")}
    assert heads == {f"{track}/{arm}-{source}-0" for track in TRACKS for arm in ARMS for source in GENERATORS}
    for name in heads:
        assert not MLPHead.from_pretrained(results / "heads" / name).training


def test_every_table_and_figure_is_there_in_three_formats_and_on_the_page(results):
    page = (results / "index.html").read_text()
    for folder, endings in (("tables", {".csv", ".md", ".tex"}), ("figures", {".pdf", ".png", ".csv"})):
        names = {path.stem for path in (results / folder).iterdir()}
        assert {name[:2] for name in names} >= {"00", "01", "02", "03", "04", "05", "06", "07"}
        for name in names:
            assert {path.suffix for path in (results / folder).glob(f"{name}.*")} == endings
            assert f'id="{folder[:-1]}-{name}"' in page
    assert (results / "verdict.txt").read_text().strip() in page
    assert 'src="http' not in page and "<link" not in page


def readme() -> list[str]:
    """The lines of Python that README.md shows."""
    return [part.split("```")[0] for part in (ROOT / "README.md").read_text().split("```python\n")[1:]]


def test_the_lines_of_the_readme_run_down_to_a_verdict_and_a_score(project, results):
    picture, jupyter, python, hugging_face, _ = (
        re.sub("results/(toyworld|reference)", "results/slice", block) for block in readme()
    )
    python += "print(features.shape, scores.shape)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    said = []
    for code, folder in ((picture, ""), (jupyter, "notebooks"), (python, ""), (hugging_face, "")):
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=project / folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert re.match(r"picture 0: (real|generated|undecided) \(score [01]\.\d\d\)", said[0])
    assert said[2].split() == ["(70,", "257)", "(70,)"]


def test_the_record_says_what_made_the_numbers_and_that_no_hand_was_at_work(results):
    steps = json.loads((results / "record.json").read_text())["steps"]
    assert list(steps) == list(STEPS)
    assert steps["00_data"]["values"]["limit"] == SCENES and steps["00_data"]["values"]["generators"] == GENERATORS
    assert {note["by"] for note in steps.values()} == {"run_all.sh"} and all(note["ended"] for note in steps.values())
    assert steps["00_data"]["facts"]["card"]["revision"] and "torch" in steps["03_train"]["versions"]
    assert not [sentence for sentence in manual_changes(results) if "by hand" in sentence or "no longer" in sentence]


def test_a_notebook_run_by_hand_with_another_value_is_refused_or_told_of(project, results, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(project / "cache"))
    notebooks, copy = project / "notebooks", shutil.copytree(results, tmp_path / "by hand")
    values = yaml.safe_load((notebooks / "params" / "slice.yaml").read_text()) | {"results": str(copy)}
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="06_robustness was given limit = 12, but 00_data was run with"):
        run_cells(notebooks / "06_robustness.ipynb", values, limit=12)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    run_cells(notebooks / "04_cross_generator.ipynb", values | {"draws": 20})
    run_cells(notebooks / "08_report.ipynb", values)
    header = (copy / "index.html").read_text().split("</header>")[0]
    assert '<p class="differs">04_cross_generator was run by hand' in header


def evenness(path: str | Path) -> float:
    """What a detector says that looks at nothing but frequencies: the share of energy that is not in the high ones."""
    with Image.open(path) as picture:
        energy = np.abs(np.fft.rfft2(np.asarray(picture.convert("L"), float))) ** 2
    energy[0, 0] = 0
    return 1 - energy[16:-16, 16:].sum() / energy.sum()


def test_a_detector_of_others_stands_beside_the_arms(project, results, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(project / "cache"))
    place, copy = tmp_path / "pictures", shutil.copytree(results, tmp_path / "results")
    manifest, left_out = export("slice", place, with_perturbed=True, root=project)
    files = pd.read_parquet(results / "images.parquet")
    plain = manifest[manifest.perturbation == "none"]
    assert left_out.empty and set(plain.image_id) == set(files.image_id)
    assert {path.relative_to(place).as_posix() for path in place.rglob("*.*")} == {"manifest.csv", *manifest.file}
    pd.testing.assert_frame_equal(
        pd.read_csv(place / "manifest.csv", keep_default_na=False), manifest, check_dtype=False
    )
    with contextlib.chdir(tmp_path):
        exec(readme()[-1], {"score": evenness})  # noqa: S102
    manifest["score"] = [evenness(place / file) for file in manifest.file]
    values = yaml.safe_load((project / "notebooks" / "params" / "slice.yaml").read_text())
    values |= {"results": str(copy), "others": [str(tmp_path / "npr.csv")], "draws": 20}
    for notebook in ("04_cross_generator", "06_robustness"):
        run_cells(project / "notebooks" / f"{notebook}.ipynb", values)
    tables = {
        name: pd.read_csv(copy / "tables" / f"{name}.csv") for name in ("04_unseen", "04_item_against", "06_robustness")
    }
    tested = manifest[(manifest.split == "test") & (manifest.track == TRACKS[0])]
    row = tables["04_unseen"].set_index("arm").loc["npr"]
    for generator in GENERATORS:
        own = tested[(tested.perturbation == "none") & tested.generator.isin(["real", generator])]
        assert row[generator] == pytest.approx(roc_auc_score(own.label.to_numpy(), own.score.to_numpy()))
    against = tables["04_item_against"].query("control == 'npr'").set_index("track").item_minus_control
    assert list(against.index) == list(TRACKS)
    means = tables["04_unseen"].set_index("arm")["mean"]
    assert against[TRACKS[0]] == pytest.approx(means["item"] - means["npr"])
    steps = tables["06_robustness"].set_index(["perturbation", "strength"]).npr
    assert steps["none", 0] == pytest.approx(row["mean"]) and steps.notna().all() and steps.nunique() == len(steps)
    assert "npr (a detector of others)" in (copy / "verdict.txt").read_text()


def first_that_runs(project: Path, monkeypatch, **options) -> str:
    """The notebook that a run of `slice` would begin with; none is executed."""

    def stop(notebook, output, parameters, kernels):
        raise RunError(notebook.stem)

    monkeypatch.setattr("itemkit.running.run.execute", stop)
    with pytest.raises(RunError) as error:
        run("slice", project, **options)
    return str(error.value)


@pytest.fixture
def elsewhere(project, results, tmp_path) -> Path:
    """The project with its finished run, elsewhere."""
    return shutil.copytree(project, tmp_path / "elsewhere", symlinks=True)


def test_what_would_come_out_the_same_is_kept(elsewhere, monkeypatch, capsys):
    before = contents(elsewhere / "results")
    assert first_that_runs(elsewhere, monkeypatch) == "08_report"
    kept = "kept: nothing has changed (--anew runs it again)"
    said = [f"[{number}/9] {step}\n  {kept}\n" for number, step in enumerate(STEPS[:-1], start=1)]
    assert capsys.readouterr().out == "".join([*said, "[9/9] 08_report\n"])
    after = contents(elsewhere / "results")
    assert {name for name in before if before[name] != after.get(name)} == {"slice/notebooks/08_report.ipynb"}
    assert first_that_runs(elsewhere, monkeypatch, anew=True) == "00_data"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def write_value(project: Path, name: str, value: object) -> None:
    path = project / "notebooks" / "params" / "slice.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {name: value}))


def edit_note(project: Path, step: str, **facts: object) -> None:
    path = project / "results" / "slice" / "record.json"
    record = json.loads(path.read_text())
    record["steps"][step] |= facts
    path.write_text(json.dumps(record))


def edit_cell(notebook: Path, **facts: object) -> None:
    document = json.loads(notebook.read_text())
    document["cells"][-1] |= facts
    notebook.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        (lambda place: (place / "results/slice/tables/05_ablations.csv").unlink(), "05_ablations"),
        (lambda place: lengthen(place / "results/slice/figures/04_matrix.png"), "04_cross_generator"),
        (lambda place: lengthen(next(place.glob("results/slice/heads/*/item-gan-0/*.safetensors"))), "03_train"),
        (lambda place: lengthen(place / "results/slice/detector/detector.json"), "04_cross_generator"),
        (lambda place: (place / "results/slice/captions.parquet").unlink(), "01_captions"),
        (lambda place: (place / "results/slice/notebooks/07_explain.ipynb").unlink(), "07_explain"),
        (lambda place: edit_cell(place / "notebooks/06_robustness.ipynb", source=["2 * 3"]), "06_robustness"),
        (lambda place: edit_cell(place / "notebooks/06_robustness.ipynb", outputs=[], execution_count=3), "08_report"),
        (lambda place: write_value(place, "box_threshold", 0.4), "02_misalignment"),
        (lambda place: write_value(place, "draws", 51), "02_misalignment"),
        (lambda place: write_value(place, "limit", SCENES + 1), "00_data"),
        (lambda place: edit_note(place, "06_robustness", by="hand", state=None), "06_robustness"),
        (lambda place: edit_note(place, "05_ablations", commit="0" * 40), "05_ablations"),
    ],
)
def test_a_run_begins_with_the_first_notebook_that_would_make_something_else(elsewhere, monkeypatch, change, begins):
    change(elsewhere)
    assert first_that_runs(elsewhere, monkeypatch) == begins


@pytest.mark.parametrize("file", ["data/test.parquet", "models/clip/open_clip_config.json", "README.md"])
def test_other_pictures_networks_or_cards_are_run_from_the_beginning(elsewhere, monkeypatch, file):
    (elsewhere / "data_cards").unlink()
    shutil.copytree(ROOT / "data_cards" / "toyworld", elsewhere / "data_cards" / "toyworld")
    assert first_that_runs(elsewhere, monkeypatch) == "08_report"
    lengthen(next((elsewhere / "data_cards" / "toyworld").glob(file)))
    assert first_that_runs(elsewhere, monkeypatch) == "00_data"


def test_other_code_is_run_from_the_beginning(elsewhere, monkeypatch, tmp_path):
    code = shutil.copytree(unchanged.PACKAGE, tmp_path / "code")
    monkeypatch.setattr(unchanged, "PACKAGE", code)
    assert first_that_runs(elsewhere, monkeypatch) == "08_report"
    lengthen(code / "head.py")
    assert first_that_runs(elsewhere, monkeypatch) == "00_data"


def add_library(folder: Path) -> None:
    (folder / "another-1.0.dist-info").mkdir(parents=True)
    (folder / "another-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")


def test_another_library_is_run_from_the_beginning(elsewhere, monkeypatch, tmp_path):
    add_library(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert first_that_runs(elsewhere, monkeypatch) == "00_data"


def test_what_an_imported_library_adds_to_the_path_is_none_of_the_environment(elsewhere, monkeypatch, tmp_path):
    inside = tmp_path / "ray" / "thirdparty_files"
    add_library(inside)
    places = [*site.getsitepackages(), str(tmp_path)]
    monkeypatch.setattr(site, "getsitepackages", lambda: places)
    monkeypatch.syspath_prepend(str(inside))
    assert first_that_runs(elsewhere, monkeypatch) == "08_report"


def test_another_machine_is_run_from_the_beginning(elsewhere, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert first_that_runs(elsewhere, monkeypatch) == "00_data"


@pytest.mark.parametrize(
    "file", ["code/head.py", "notebooks/05_ablations.ipynb", "data_cards/toyworld/data/test.parquet"]
)
def test_what_was_changed_while_notebooks_ran_is_not_taken_for_what_made_them(elsewhere, monkeypatch, capsys, file):
    monkeypatch.setattr(unchanged, "PACKAGE", shutil.copytree(unchanged.PACKAGE, elsewhere / "code"))
    (elsewhere / "data_cards").unlink()
    shutil.copytree(ROOT / "data_cards" / "toyworld", elsewhere / "data_cards" / "toyworld")

    def execute(notebook, output, parameters, kernels):
        edit_note(elsewhere, notebook.stem, state=None)  # as a notebook that is opened anew
        if notebook.stem == "01_captions":
            lengthen(elsewhere / file)

    monkeypatch.setattr("itemkit.running.run.execute", execute)
    run("slice", elsewhere, anew=True)
    notes = read_record(elsewhere / "results" / "slice")["steps"]
    assert [step for step, note in notes.items() if note["state"]] == ["00_data"]
    assert f"{Path(file).name} was changed while this ran; the next run does it again" in capsys.readouterr().out


def test_what_systems_and_python_leave_beside_pictures_changes_nothing(elsewhere, monkeypatch):
    (elsewhere / "data_cards").unlink()
    toyworld = shutil.copytree(ROOT / "data_cards" / "toyworld", elsewhere / "data_cards" / "toyworld")
    for name in (".DS_Store", "Thumbs.db", "build/__pycache__/a.pyc", ".ipynb_checkpoints/a.py"):
        (toyworld / name).parent.mkdir(exist_ok=True)
        (toyworld / name).write_bytes(b"1")
    assert first_that_runs(elsewhere, monkeypatch) == "08_report"
    os.mkfifo(toyworld / "a pipe")  # which would never end
    assert first_that_runs(elsewhere, monkeypatch) == "00_data"


def test_all_that_a_run_leaves_is_known_to_be_of_one_of_its_notebooks(results):
    steps, known = read_record(results)["steps"], set()
    for step, note in steps.items():
        known |= unchanged.made_by(results, step, note)
    others = {"record.json", ".record.lock", ".lock", "index.html", "reference.csv"}
    left = {path for path in results.rglob("*") if path.is_file()} - known
    assert {path.name for path in left if path.suffix != ".html"} <= others


def test_other_scores_are_run_where_they_are_shown(elsewhere, monkeypatch):
    (elsewhere / "npr.csv").write_text("image_id,score\n")
    write_value(elsewhere, "others", ["../npr.csv"])
    assert first_that_runs(elsewhere, monkeypatch) == "04_cross_generator"
    with monkeypatch.context() as context:
        context.setattr("itemkit.running.run.execute", lambda *arguments: None)
        run("slice", elsewhere)
    assert first_that_runs(elsewhere, monkeypatch) == "08_report"
    lengthen(elsewhere / "npr.csv")
    assert first_that_runs(elsewhere, monkeypatch) == "04_cross_generator"


def test_a_damaged_record_stops_a_run_in_a_sentence(elsewhere):
    (elsewhere / "results" / "slice" / "record.json").write_text("{")
    with pytest.raises(RunError, match="record.json is damaged; restore it, or remove"):
        run("slice", elsewhere)


TWICE = """
import pathlib, sys
from matplotlib import pyplot
from isolation import MAY_LEAVE_THE_NETWORK, without_network
from run_cells import run_cells
from itemkit.running import run

def execute(notebook, output, parameters, kernels):
    kinds = run_cells(notebook, parameters, times=2)
    assert not pyplot.get_fignums(), f"{notebook.name} leaves a figure to be shown a second time"
    assert not (found := {name: kind for name, kind in kinds.items() if len(kind) > 1}), (notebook.name, found)

run.execute = execute
run.run("slice", pathlib.Path(sys.argv[1]), anew=True)
"""


def test_a_second_run_each_cell_twice_loads_no_network_and_gives_the_same_bytes(project, results, tmp_path):
    """Without kernels, which would show nothing more. No name is two kinds of thing when its cell has run again."""
    for name in NETWORKS:
        (tmp_path / f"{name}.py").write_text("raise ImportError('a cached run needs no network')")
    kinds = (".csv", ".md", ".parquet", ".pdf", ".png", ".safetensors", ".tex")
    before = {path: path.read_bytes() for path in results.rglob("*") if path.suffix in kinds}
    done = start(project, TWICE, tmp_path, ITEMKIT_RUN="run_all.sh")
    assert done.returncode == 0, done.stderr
    assert len(before) > 20
    assert [str(path) for path, content in before.items() if path.read_bytes() != content] == []
