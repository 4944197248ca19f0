"""The driver of the notebooks, on tiny notebooks in a folder of their own."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from filelock import FileLock

from itemkit.paper.notebooks import declared
from itemkit.running.run import RunError, dry_run, main, plan, run


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
        root / "notebooks" / "00_data.ipynb",
        'results = "../results/first"\nlimit = None\nrate = 0.5',
        "from pathlib import Path",
        "Path(results, 'first.txt').write_text(f'{limit} {rate}')",
    )
    write_notebook(
        root / "notebooks" / "01_captions.ipynb",
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


def test_a_copy_of_a_notebook_and_one_of_ones_own_are_no_part_of_a_run(project):
    write_notebook(project / "notebooks" / "01_captions-Copy1.ipynb", 'results = "r"\nseeds = [1]', "1 / 0")
    write_notebook(project / "notebooks" / "01_mine.ipynb", 'results = "r"', "1 / 0")
    write_notebook(project / "notebooks" / "99_mine.ipynb", None, "1 / 0")
    assert [path.stem for path, _ in plan("tiny", project)[1]] == ["00_data", "01_captions"]


def test_a_run_gives_each_notebook_its_values_and_leaves_the_sources_alone(project, capfd):
    before = sources(project)
    results = run("tiny", project)
    assert results == project / "results" / "tiny"
    assert (results / "first.txt").read_text() == "3 0.5"
    assert (results / "second.txt").read_text() == "[7]"
    executed = nbformat.read(results / "notebooks" / "01_captions.ipynb", as_version=4)
    assert executed.metadata.papermill.parameters == {"seeds": [7], "results": "../results/tiny"}
    assert sources(project) == before
    printed = capfd.readouterr()
    assert "[1/2] 00_data" in printed.out and "[2/2] 01_captions" in printed.out
    assert "unknown parameter" not in printed.err
    assert not kernels_of(os.getpid())


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


@pytest.mark.parametrize("values", ["", "rate: 1", "limit: null"])
def test_an_empty_profile_and_null_are_fine_and_an_integer_serves_as_float(project, values):
    write_profile(project, values)
    assert len(plan("tiny", project)[1]) == 2


@pytest.mark.parametrize("results", ["..", ".", "/", "params", "../results/reference", "../notebooks"])
def test_results_never_go_where_something_else_lies(project, results):
    write_profile(project, f"results: {results}")
    before = sorted(project.rglob("*"))
    with pytest.raises(RunError, match="expected a folder of its own, such as ../results/tiny"):
        plan("tiny", project)
    assert sorted(project.rglob("*")) == before


def test_a_profile_may_be_like_another_but_for_its_results(project):
    write_profile(project, "like: tiny\nlimit: 9\n", "tinier")
    write_profile(project, "limit: 3\nseeds: [7]\nresults: ../results/elsewhere\n")
    results, steps = plan("tinier", project)
    assert results == project / "results" / "tinier"
    assert [values for _, values in steps] == [
        {"results": "../results/tinier", "limit": 9, "rate": 0.5},
        {"results": "../results/tinier", "seeds": [7]},
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("like: no_such_profile", "unknown profile 'no_such_profile'; expected one of: other, tiny"),
        ("like: ../params/other", "tiny.yaml is like '../params/other'; expected the name of a profile beside it"),
        ("like: other", "other.yaml is like tiny, so that no profile can be like it; take tiny instead"),
        ("like: tiny", "tiny.yaml is like tiny, so that no profile can be like it"),
    ],
)
def test_a_profile_is_like_one_that_stands_on_its_own(project, values, message):
    write_profile(project, "like: tiny\n", "other")
    write_profile(project, values)
    with pytest.raises(RunError, match=message):
        plan("tiny", project)


def test_what_a_profile_needs_is_fetched_before_the_first_notebook(project, profile_on_hub, hub, capfd):
    write_notebook(
        project / "notebooks" / "00_data.ipynb",
        "\n".join(f"{name} = {value!r}" for name, value in profile_on_hub.items()),
        "print('computing')",
    )
    write_profile(project, "")
    hub.down = True
    with pytest.raises(
        RunError, match="^data set .* the hub cannot be reached .*; also not here yet: captioner "
    ) as error:
        run("tiny", project)
    assert "\n" not in str(error.value) and "00_data" not in capfd.readouterr().out
    assert not (project / "results").exists()
    hub.down = False
    run("tiny", project)
    told = capfd.readouterr().out
    assert told.index("fetching encoder") < told.index("[1/2] 00_data")


def test_a_dry_run_shows_a_page_and_runs_nothing(project, profile_on_hub, hub):
    values = profile_on_hub | {"generators": None, "tracks": ["raw"], "perturbations": None, "robustness_contents": 20}
    values |= {"dtype": "float32", "encoder_dtype": "float32"}
    write_notebook(
        project / "notebooks" / "00_data.ipynb", "\n".join(f"{name} = {value!r}" for name, value in values.items())
    )
    write_profile(project, "")
    assert "to fetch: " in dry_run("tiny", project)
    assert not (project / "results").exists()
    write_profile(project, "card: nowhere")
    with pytest.raises(RunError, match="no card 'nowhere'"):
        dry_run("tiny", project)


def test_an_unknown_profile_lists_those_there_are(project):
    with pytest.raises(RunError, match="unknown profile 'tinny'; expected one of: tiny"):
        run("tinny", project)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (None, "02_misalignment.ipynb has 0 cells tagged `parameters`; expected exactly one"),
        ("limit = 2 * 3", "may hold only lines of `name = literal`"),
        ("import os", "may hold only lines of `name = literal`"),
    ],
)
def test_a_notebook_without_a_proper_parameters_cell_is_refused_before_anything_runs(project, parameters, message):
    write_notebook(project / "notebooks" / "02_misalignment.ipynb", parameters, "1")
    with pytest.raises(RunError, match=message):
        run("tiny", project)
    assert not (project / "results").exists()


def test_a_second_run_of_a_running_profile_is_refused_and_others_are_not(project):
    write_profile(project, "", "other")
    results = project / "results" / "tiny"
    results.mkdir(parents=True)
    with FileLock(results / ".lock"):
        with pytest.raises(RunError, match="another run is writing .*/results/tiny") as error:
            run("tiny", project)
        assert "\n" not in str(error.value)
        run("other", project)
    run("tiny", project)


def test_the_first_failing_notebook_stops_the_run_and_is_named(project):
    write_notebook(
        project / "notebooks" / "00_data.ipynb",
        'results = "r"\nlimit = 1',
        "1 + 1",
        "raise ValueError('no such card')",
    )
    with pytest.raises(RunError, match="00_data.ipynb failed: ValueError: no such card") as error:
        run("tiny", project)
    executed = project / "results" / "tiny" / "notebooks" / "00_data.ipynb"
    assert str(executed) in str(error.value)
    assert "no such card" in executed.read_text()
    assert not executed.with_name("01_captions.ipynb").exists()
    assert not kernels_of(os.getpid())


def test_a_table_of_scores_that_is_not_there_is_missed_before_the_first_notebook(project, capsys):
    source = project / "notebooks" / "00_data.ipynb"
    write_notebook(source, 'results = "r"\nlimit = 1\nothers = []')
    (project / "notebooks" / "params" / "tiny.yaml").write_text("others: [../npr.csv]\n")
    with pytest.raises(
        RunError, match="there is no table of scores ../npr.csv, seen from .*notebooks; correct `others`"
    ):
        run("tiny", project)
    assert "00_data" not in capsys.readouterr().out


def test_a_killed_kernel_is_a_failure(project):
    write_notebook(project / "notebooks" / "00_data.ipynb", 'results = "r"\nlimit = 1', "import os; os._exit(9)")
    with pytest.raises(RunError, match="00_data.ipynb stopped: Kernel died"):
        run("tiny", project)


def kernels_of(process: int) -> list[psutil.Process]:
    """The kernels that a process has started and that have not ended."""
    return [child for child in psutil.Process(process).children() if "ipykernel_launcher" in child.cmdline()]


def test_a_kernel_that_dies_while_it_waits_is_replaced_without_a_word(project, capfd):
    others = "[kernel for kernel in psutil.Process(os.getppid()).children() if kernel.pid != os.getpid()"
    write_notebook(
        project / "notebooks" / "00_data.ipynb",
        'results = "r"\nlimit = 1',
        "import os\nimport psutil\nfrom pathlib import Path",
        f"waits = {others} and 'ipykernel_launcher' in kernel.cmdline()]",
        "[kernel.kill() for kernel in waits]\nPath(results, 'killed.txt').write_text(str(len(waits)))",
    )
    results = run("tiny", project)
    assert (results / "killed.txt").read_text() == "1" and (results / "second.txt").read_text() == "[7]"
    assert capfd.readouterr() == ("[1/2] 00_data\n[2/2] 01_captions\n", "")
    assert not kernels_of(os.getpid())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_kernel_outlives_a_run_that_is_stopped(project, sent):
    write_notebook(
        project / "notebooks" / "00_data.ipynb",
        'results = "r"\nlimit = 1',
        "from pathlib import Path\nfrom time import sleep",
        "Path(results, 'here.txt').touch()\nsleep(60)",
    )
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job that a shell has put behind it is deaf
    code = "import sys, pathlib; from itemkit.running import run; run.ROOT = pathlib.Path(sys.argv.pop()); run.main()"
    command = [sys.executable, "-c", f"{heard}; {code}", "tiny", str(project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        wait_until((project / "results" / "tiny" / "here.txt").exists)
        kernels = kernels_of(started.pid)
        assert len(kernels) == 2  # the one in use, and the next
        started.send_signal(sent)
        said = started.communicate(timeout=30)[1]
    wait_until(lambda: not any(kernel.is_running() for kernel in kernels))
    if sent != signal.SIGKILL:
        assert said == "itemkit: interrupted; the same command goes on from here\n" and started.returncode == 1


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_declared_reads_plain_literals(project):
    assert declared(project / "notebooks" / "00_data.ipynb") == {
        "results": "../results/first",
        "limit": None,
        "rate": 0.5,
    }


def test_what_an_earlier_run_left_of_the_same_notebook_is_removed_and_nothing_else(project):
    tables = project / "results" / "tiny" / "tables"
    tables.mkdir(parents=True)
    for name in ("00_gone.csv", "00_gone.md", "05_other.csv", "mine.csv"):
        (tables / name).touch()
    run("tiny", project)
    assert sorted(path.name for path in tables.iterdir()) == ["05_other.csv", "mine.csv"]


@pytest.fixture
def measured(project, monkeypatch):
    """The project with a table, what README.md shows, and a last notebook that has a tolerance."""
    write_notebook(
        project / "notebooks" / "04_cross_generator.ipynb",
        'results = "r"\nrate = 0.5',
        "from pathlib import Path\nfor name in ('tables', 'figures'): Path(results, name).mkdir(exist_ok=True)",
        "Path(results, 'tables', '04_mean.csv').write_text(f'arm,mean\\nimage,0.5\\nitem,{rate}\\n')",
        "Path(results, 'figures', '04_matrix.png').touch()\nPath(results, 'verdict.txt').touch()",
        'Path(results, "record.json").write_text(\'{"format": 1, "steps": {}}\')',
    )
    write_notebook(
        project / "notebooks" / "08_report.ipynb",
        'results = "r"\ntolerance = 0.02',
        "from pathlib import Path\nkept = Path(results, '..', 'reference', '04_mean.csv')",
        "Path(results, 'seen.txt').write_text(kept.read_text() if kept.exists() else 'none')\ntolerance",
    )
    monkeypatch.setattr("itemkit.running.run.ROOT", project)
    monkeypatch.setattr("itemkit.running.run.execute", execute_here)
    return project


def execute_here(notebook: Path, output: Path, parameters: dict, kernels) -> None:
    """Run the cells after the parameters in this process: a kernel for each would take seconds."""
    cells = nbformat.read(notebook, as_version=4).cells[1:]
    output.parent.mkdir(exist_ok=True)
    script = output.with_suffix(".py")
    script.write_text("\n".join(cell.source for cell in cells))
    with contextlib.chdir(notebook.parent):
        runpy.run_path(str(script), init_globals=parameters)


def start(monkeypatch, *arguments: str) -> object:
    """Call the command line; returns what it hands to the shell, None for success."""
    monkeypatch.setattr(sys, "argv", ["itemkit.running.run", *arguments])
    try:
        return main()
    except SystemExit as end:
        return end.code


def test_a_check_passes_after_its_own_reference_and_fails_on_a_difference_and_on_a_missing_table(
    measured, monkeypatch, capfd
):
    write_profile(measured, "rate: 0.75")
    assert start(monkeypatch, "tiny", "--reference") is None
    results, reference = measured / "results" / "tiny", measured / "results" / "reference"
    assert (reference / "04_mean.csv").read_text() == "arm,mean\nimage,0.5\nitem,0.75\n"
    assert (results / "seen.txt").read_text() == (reference / "04_mean.csv").read_text()  # the report saw it
    assert start(monkeypatch, "tiny", "--check") is None
    assert "1 the same to the byte" in capfd.readouterr().out

    write_profile(measured, "rate: 0.76")
    assert start(monkeypatch, "tiny", "--check") is None
    assert "1 within the tolerance of 0.02" in capfd.readouterr().out

    write_profile(measured, "rate: 0.875")
    (reference / "05_gone.csv").write_text("a\n1\n")
    assert start(monkeypatch, "tiny") is None  # only a check fails
    lines = start(monkeypatch, "tiny", "--check").splitlines()  # a text as exit code: printed, and status 1
    assert lines[0].startswith("itemkit: not as in the reference. Tables in the reference: 2 (")
    assert lines[1] == "  04_mean differs by 0.125: row 2 (item), mean: 0.875, in the reference 0.75"
    assert lines[2] == "  05_gone missing: this run made no such table"
    assert lines[3] == f"  see {results / 'index.html'}"
    assert "Traceback" not in capfd.readouterr().err

    write_profile(measured, "rate: 0.875\ntolerance: 0.2")
    (reference / "05_gone.csv").unlink()
    assert start(monkeypatch, "tiny", "--check") is None


def test_a_table_of_an_earlier_run_does_not_pass_for_one_of_this(measured, monkeypatch):
    assert start(monkeypatch, "tiny", "--reference") is None
    notebook = measured / "notebooks" / "04_cross_generator.ipynb"
    write_notebook(notebook, 'results = "r"\nrate = 0.5', "1")
    assert "04_mean missing: this run made no such table" in start(monkeypatch, "tiny", "--check")
    assert "results/tiny lacks 04_matrix.png, verdict.txt; run all" in start(monkeypatch, "tiny", "--reference")


def test_without_a_reference_of_the_profile_a_check_says_so_and_runs_nothing(measured, monkeypatch):
    said = start(monkeypatch, "tiny", "--check")
    assert said.startswith("itemkit: nothing to check against: There is no reference yet;") and "\n" not in said
    assert not (measured / "results").exists()
    assert start(monkeypatch, "tiny", "--reference") is None
    write_profile(measured, "", "other")
    said = start(monkeypatch, "other", "--check")
    assert said.endswith("The reference is a run of tiny; there is none of other.") and "\n" not in said
    assert "the reference is a run of tiny; remove " in start(monkeypatch, "other", "--reference")
    assert not (measured / "results" / "other").exists()


def test_a_check_needs_a_tolerance_and_no_profile_is_called_reference(measured, monkeypatch):
    assert start(monkeypatch, "tiny", "--reference") is None
    write_notebook(measured / "notebooks" / "08_report.ipynb", 'results = "r"', "1")
    assert "08_report.ipynb has no parameter `tolerance`" in start(monkeypatch, "tiny", "--check")
    assert "no profile can be called reference" in start(monkeypatch, "reference")


def test_the_report_comes_last_and_has_the_tolerance():
    name, defaults = [(path.stem, defaults) for path, defaults in plan("toyworld")[1]][-1]
    assert name == "08_report" and defaults["tolerance"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage:"),
        (["toyworld", "--fast"], "usage:"),
        (["no_such_profile"], "itemkit: unknown profile 'no_such_profile'"),
    ],
)
def test_the_command_line_fails_fast_with_one_line_and_loads_nothing_heavy(arguments, message):
    code = (
        "import sys, runpy; sys.argv[1:] = eval(sys.argv[1])\n"
        "try: runpy.run_module('itemkit.running.run', run_name='__main__')\n"
        "finally: print(sorted({'torch', 'datasets', 'pandas', 'papermill'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, repr(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == "[]\n"
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
