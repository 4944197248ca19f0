"""What holds for every notebook: stripped, one cell of plain parameters, short cells, and no code but calls."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from itemkit.running.run import declared, plan

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUN = [path for path in NOTEBOOKS if path.name[:2].isdigit()]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_run_is_complete_and_in_order():
    names = ["00_data", "01_captions", "02_misalignment", "03_train", "04_cross_generator"]
    assert [path.stem for path in RUN] == [*names, "05_ablations", "06_robustness", "07_explain", "08_report"]


def test_it_is_stripped_and_says_which_kernel_runs_it(notebook):
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3" and notebook.metadata.kernelspec.language == "python"
    assert [cell.id for cell in notebook.cells] == [str(number) for number in range(len(notebook.cells))]
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_it_opens_with_a_title_a_claim_and_what_it_reads_and_writes(notebook):
    title, claim, artefacts = notebook.cells[0].source.split("\n\n")
    assert re.fullmatch(r"# [^\n]+", title) and claim.endswith((".", "?"))
    assert "reads" in artefacts and "writes" in artefacts


def test_every_step_is_a_sentence_and_a_short_cell(notebook):
    assert notebook.cells[1].metadata.get("tags") == ["parameters"]
    assert all(len(source.splitlines()) <= 15 for source in code(notebook)[1:])  # after the parameters
    for source in code(notebook):
        assert max(map(len, source.splitlines())) <= 120


def test_it_defines_nothing_and_installs_nothing(notebook):
    for source in code(notebook):
        assert not re.search(r"^\s*[!%]", source, re.MULTILINE)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, kinds) for node in ast.walk(ast.parse(source)))


def test_it_holds_no_absolute_path(notebook):
    for cell in notebook.cells:
        assert not re.search(r"""["'(\s](/|~/|[A-Z]:\\)\w""", cell.source)


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_it_uses_every_parameter_it_declares(path):
    sources = code(nbformat.read(path, as_version=4))
    used = {node.id for source in sources[1:] for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    assert set(declared(path)) <= used


def test_a_parameter_has_the_same_default_in_every_notebook_and_in_toyworld():
    values = yaml.safe_load((ROOT / "notebooks" / "params" / "toyworld.yaml").read_text())
    defaults = {}
    for path in RUN:
        for name, value in declared(path).items():
            assert defaults.setdefault(name, value) == value, f"{name} in {path.name}"
    assert values == defaults


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "params").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_can_be_planned(path):
    assert len(plan(path.stem)[1]) == len(RUN)
