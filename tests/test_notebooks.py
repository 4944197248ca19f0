"""What holds for every notebook: stripped, one cell of plain parameters, short cells, and no code but calls."""

import ast
import re
import types
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from itemkit.paper import claims
from itemkit.paper.notebooks import STEPS, declared
from itemkit.paper.plots import plot_difference
from itemkit.running.run import plan

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUN = [path for path in NOTEBOOKS if path.name[:2].isdigit()]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_run_is_complete_and_in_order():
    assert [path.stem for path in RUN] == list(STEPS)


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


def lines(source: str) -> list[str]:
    """The lines of a cell without its imports, and without empty ones."""
    imports = [node for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    imported = {number for node in imports for number in range(node.lineno, node.end_lineno + 1)}
    return [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in imported]


def test_every_step_is_a_sentence_and_a_short_cell(notebook):
    assert notebook.cells[1].metadata.get("tags") == ["parameters"]
    assert max(len(lines(source)) for source in code(notebook)[1:]) <= 12  # after the parameters
    for source in code(notebook):
        assert max(map(len, source.splitlines())) <= 120


def test_all_notebooks_together_are_short():
    counts = {path.stem: sum(len(lines(source)) for source in code(nbformat.read(path, 4))[1:]) for path in RUN}
    print(counts, sum(counts.values()))
    assert sum(counts.values()) <= 450


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_it_opens_its_run_in_its_first_cell_and_closes_it(path):
    sources = code(nbformat.read(path, as_version=4))
    assert re.search(r'^run = Run\(results, "[0-8]\w+", globals\(\)\)$', sources[1], re.MULTILINE)
    assert sum("run.close()" in source for source in sources) == 1


def test_it_defines_nothing_and_installs_nothing(notebook):
    for source in code(notebook):
        assert not re.search(r"^\s*[!%]", source, re.MULTILINE)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, kinds) for node in ast.walk(ast.parse(source)))


def test_it_holds_no_absolute_path(notebook):
    for cell in notebook.cells:
        assert not re.search(r"""["'(\s](/|~/|[A-Z]:\\)\w""", cell.source)


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_every_parameter_it_declares_is_used(path):
    """In a cell, or by the record, which gives a notebook what is made of it."""
    sources = code(nbformat.read(path, as_version=4))
    used = {node.id for source in sources[1:] for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    used |= {name for source in sources for name in re.findall(r"@(\w+)", source)}  # in a query
    by_record = set(re.findall(r'"(\w+)"', (ROOT / "itemkit" / "record.py").read_text()))
    by_record |= {f"{role}_revision" for role in ("captioner", "locator", "encoder")}
    assert set(declared(path)) <= used | by_record


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


@pytest.mark.parametrize("phrases", [[["car"], ["car", "cat"], []], [[], [], []]])
def test_a_generator_whose_captions_name_no_object_stays_in_the_table_of_words(phrases):
    (cell,) = [
        one for one in nbformat.read(ROOT / "notebooks" / "01_captions.ipynb", 4).cells if "crosstab" in one.source
    ]
    described = pd.DataFrame({"generator": ["real", "sdxl", "flux"], "phrases": phrases})
    drawn = []
    run = types.SimpleNamespace(sources=["real", "sdxl", "flux"], figure=lambda *made: drawn.append(made[2]))
    exec(  # noqa: S102
        cell.source,
        {
            "pd": pd,
            "claims": claims,
            "plot_difference": plot_difference,
            "described": described,
            "run": run,
            "sources": described.groupby("generator", sort=False),
        },
    )
    assert len(drawn) == bool(phrases[0])
    for table in drawn:
        assert table.to_dict("list") == {"real": [1, 0], "sdxl": [1, 1], "flux": [0, 0]}
