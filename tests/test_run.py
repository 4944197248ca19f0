"""The driver of the notebooks, on tiny notebooks in a folder of their own."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from itemkit.run import RunError, declared, plan, run


def write_notebook(path: Path, parameters: str | None, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    if parameters is not None:
        notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)


@pytest.fixture
def project(tmp_path):
    """A project of two notebooks and a profile `tiny`, in a folder with a space in its name."""
    root = tmp_path / "a project"
    (root / "notebooks" / "params").mkdir(parents=True)
    write_notebook(
        root / "notebooks" / "00_first.ipynb",
        'results = "../results/first"\nlimit = None\nrate = 0.5',
        "from pathlib import Path",
        "Path(results, 'first.txt').write_text(f'{limit} {rate}')",
    )
    write_notebook(
        root / "notebooks" / "01_second.ipynb",
        'results = "../results/first"\nseeds = [0, 1]',
        "from pathlib import Path",
        "Path(results, 'second.txt').write_text(str(seeds))",
    )
    write_profile(root, "limit: 3\nseeds: [7]\n")
    return root


def write_profile(root: Path, text: str, name: str = "tiny") -> None:
    (root / "notebooks" / "params" / f"{name}.yaml").write_text(text)


def sources(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((root / "notebooks").rglob("*")) if path.is_file()}


def test_a_run_gives_each_notebook_its_values_and_leaves_the_sources_alone(project, capfd):
    before = sources(project)
    results = run("tiny", project)
    assert results == project / "results" / "tiny"
    assert (results / "first.txt").read_text() == "3 0.5"
    assert (results / "second.txt").read_text() == "[7]"
    executed = nbformat.read(results / "notebooks" / "01_second.ipynb", as_version=4)
    assert executed.metadata.papermill.parameters == {"seeds": [7], "results": "../results/tiny"}
    provenance = json.loads((results / "provenance.json").read_text())
    assert provenance["parameters"] == {"results": "../results/tiny", "limit": 3, "rate": 0.5, "seeds": [7]}
    assert set(provenance["seconds"]) == {"00_first", "01_second"}
    assert sources(project) == before
    printed = capfd.readouterr()
    assert "[1/2] 00_first" in printed.out and "[2/2] 01_second" in printed.out
    assert "unknown parameter" not in printed.err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("limits: 3", "unknown parameter 'limits' in tiny.yaml; did you mean limit?"),
        ("zzz: 3", "did you mean limit or rate or results or seeds?"),
        ("limit: 3\nrate: 1e-3", "rate is '1e-3' in tiny.yaml; expected a float, as 0.5"),
        ("seeds: 3", "seeds is 3 in tiny.yaml; expected a list"),
        ("limit: {train: 3}", "tiny.yaml must hold only lines of `name: value`"),
        ("- limit", "tiny.yaml must hold only lines of `name: value`"),
        ("limit: [3", "tiny.yaml is not YAML"),
    ],
)
def test_a_wrong_profile_is_refused_before_anything_runs(project, values, message):
    write_profile(project, values)
    with pytest.raises(RunError) as error:
        run("tiny", project)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (project / "results").exists()


@pytest.mark.parametrize("values", ["", "rate: 1", "limit: null", "seeds: null"])
def test_an_empty_profile_and_null_are_fine_and_an_integer_serves_as_float(project, values):
    write_profile(project, values)
    assert len(plan("tiny", project)[1]) == 2


def test_an_unknown_profile_lists_those_there_are(project):
    with pytest.raises(RunError, match="unknown profile 'tinny'; expected one of: tiny"):
        run("tinny", project)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (None, "02_third.ipynb has 0 cells tagged `parameters`; expected exactly one"),
        ("limit = 2 * 3", "may hold only lines of `name = literal`"),
        ("import os", "may hold only lines of `name = literal`"),
    ],
)
def test_a_notebook_without_a_proper_parameters_cell_is_refused_before_anything_runs(project, parameters, message):
    write_notebook(project / "notebooks" / "02_third.ipynb", parameters, "1")
    with pytest.raises(RunError, match=message):
        run("tiny", project)
    assert not (project / "results").exists()


def test_a_second_run_of_a_running_profile_is_refused_and_others_are_not(project):
    write_profile(project, "", "other")
    results = project / "results" / "tiny"
    results.mkdir(parents=True)
    with open(results / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another run is writing .*/results/tiny") as error:
            run("tiny", project)
        assert "\n" not in str(error.value)
        run("other", project)
    run("tiny", project)


def test_the_first_failing_notebook_stops_the_run_and_is_named(project):
    write_notebook(
        project / "notebooks" / "00_first.ipynb",
        'results = "r"\nlimit = 1',
        "1 + 1",
        "raise ValueError('no such card')",
    )
    with pytest.raises(RunError, match="00_first.ipynb failed: ValueError: no such card") as error:
        run("tiny", project)
    executed = project / "results" / "tiny" / "notebooks" / "00_first.ipynb"
    assert str(executed) in str(error.value)
    assert "no such card" in executed.read_text()
    assert not executed.with_name("01_second.ipynb").exists()


def test_a_killed_kernel_is_a_failure(project):
    write_notebook(project / "notebooks" / "00_first.ipynb", 'results = "r"\nlimit = 1', "import os; os._exit(9)")
    with pytest.raises(RunError, match="00_first.ipynb stopped: Kernel died"):
        run("tiny", project)


def test_declared_reads_plain_literals(project):
    assert declared(project / "notebooks" / "00_first.ipynb") == {
        "results": "../results/first",
        "limit": None,
        "rate": 0.5,
    }


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "usage:"), (["no_such_profile"], "itemkit: unknown profile 'no_such_profile'")]
)
def test_the_command_line_fails_fast_with_one_line_and_loads_nothing_heavy(arguments, message):
    code = (
        "import sys, runpy; sys.argv[1:] = eval(sys.argv[1])\n"
        "try: runpy.run_module('itemkit.run', run_name='__main__')\n"
        "finally: print(sorted({'torch', 'datasets', 'pandas', 'papermill'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, repr(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == "[]\n"
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
