"""Run the notebooks of a profile in order: `python -m itemkit.running.run PROFILE [--anew | --check | --reference | --dry-run]`.

A profile is one flat file, notebooks/params/<profile>.yaml. Each name goes to every notebook whose `parameters` cell
declares it; `like: <profile>` takes the values of another one first, but for its results. Papermill lets a misspelt
name pass and runs with the default: a green run with wrong numbers. So every name is checked here, before anything runs.
What a run needs but that check does not is imported late: a typing error shows at once, and the first notebook starts
within three seconds.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock, Timeout

from itemkit.data.choices import OnceLoader
from itemkit.data.files import clear_parts
from itemkit.paper.notebooks import PLAIN, STEPS, NotebookError, clear, declared, imported

if TYPE_CHECKING:
    from jupyter_client import KernelManager

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"card", "captioner", "locator", "encoder", "nouns"}  # what notebooks of an evaluation declare


class RunError(ValueError):
    """A run that cannot start or did not finish; its message is what the terminal shows."""


def read_profile(path: Path, is_base: bool = False) -> dict[str, object]:
    """Names and values of a profile, on top of those of the profile that it is `like`.

    Raises:
        RunError: no such file (the message lists those that exist), not a flat list of plain values, or a profile that
            is like one that is itself like another.
    """
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise RunError(f"unknown profile {path.stem!r}; expected one of: {known}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), OnceLoader) or {}
    except UnicodeDecodeError as error:
        raise RunError(f"{path.name} is not UTF-8 ({error}); save it as such") from None
    except yaml.YAMLError as error:
        raise RunError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not all(isinstance(value, PLAIN) for value in values.values()):
        raise RunError(
            f"{path.name} must hold only lines of `name: value` (a number, a text, a list, true, false, null)"
        )
    if (other := values.pop("like", None)) is None:
        return values
    if Path(str(other)).name != str(other):
        raise RunError(f"{path.name} is like {other!r}; expected the name of a profile beside it, without .yaml")
    if is_base:
        raise RunError(f"{path.name} is like {other}, so that no profile can be like it; take {other} instead")
    base = read_profile(path.with_name(f"{other}.yaml"), is_base=True)
    return {name: value for name, value in base.items() if name != "results"} | values


def check(values: dict[str, object], defaults: dict[str, object], profile: str) -> None:
    """Refuse a name that no notebook declares, and a value that it cannot have.

    Raises:
        RunError: naming the parameter, and what was expected.
    """
    from itemkit.running.values import check_value

    for name, value in values.items():
        if name not in defaults:
            near = difflib.get_close_matches(str(name), defaults) or sorted(defaults)
            raise RunError(f"unknown parameter {name!r} in {profile}.yaml; did you mean {' or '.join(near)}?")
        default = defaults[name]
        same = type(value) is type(default) or (type(value), type(default)) == (int, float)
        if not same and value is not None and default is not None:
            raise RunError(
                f"{name} is {value!r} in {profile}.yaml; expected a {type(default).__name__}, as {default!r}"
            )
        try:
            check_value(name, value)
        except ValueError as error:
            raise RunError(f"{profile}.yaml: {error}") from None
    whole = defaults | values
    if lacking := [arm for arm in whole.get("robustness_arms", ()) if arm not in whole.get("arms", [arm])]:
        raise RunError(
            f"{profile}.yaml: robustness_arms holds {lacking[0]!r}, which is none of arms: add it there, or name others"
        )
    if "robustness_seeds" in whole and not set(whole["robustness_seeds"]).intersection(whole["seeds"]):
        raise RunError(
            f"{profile}.yaml: robustness_seeds {whole['robustness_seeds']} are none of seeds {whole['seeds']}; name some of them"
        )


def plan(profile: str, root: Path = ROOT) -> tuple[Path, list[tuple[Path, dict[str, object]]]]:
    """Where the results of a profile go, and its notebooks in order, each with all its values.

    Raises:
        RunError: as `read_profile` and `check` do, or a notebook without a plain parameters cell.
    """
    if profile == "reference":
        raise RunError("no profile can be called reference, for results/reference/ is what runs are compared with")
    notebooks = root / "notebooks"
    values = read_profile(notebooks / "params" / f"{profile}.yaml")
    paths = [notebooks / f"{step}.ipynb" for step in STEPS]  # and no copy beside them
    try:
        names = {path: declared(path) for path in paths if path.is_file()}
    except NotebookError as error:
        raise RunError(str(error)) from None
    check(values, {name: value for defaults in names.values() for name, value in defaults.items()}, profile)
    values.setdefault("results", f"../results/{profile}")  # never over the results of another profile
    steps = [(path, {name: values.get(name, defaults[name]) for name in defaults}) for path, defaults in names.items()]
    results = (notebooks / str(values["results"])).resolve()
    home = notebooks.resolve()
    if results in (home, *home.parents) or home in results.parents or results == (root / "results/reference").resolve():
        raise RunError(
            f"results is {values['results']!r} in {profile}.yaml; expected a folder of its own, such as ../results/{profile}, since "
            "what an earlier run left in it is cleared away"
        )
    return results, steps


def all_values(steps: list[tuple[Path, dict[str, object]]]) -> dict[str, object]:
    """The values of all notebooks of a plan together; a name has the same in each."""
    return {name: value for _, parameters in steps for name, value in parameters.items()}


@contextmanager
def in_notebooks(root: Path) -> Iterator[None]:
    """Work where the notebooks do, from which paths are seen; what is missing or wrong there becomes a RunError."""
    try:
        with chdir(root / "notebooks"):
            yield
    except (OSError, ValueError) as error:
        raise RunError(str(error)) from None


def ready(values: dict[str, object], root: Path = ROOT) -> None:
    """Fetch whatever a profile names and is not here, so that no run stops for it after hours.

    Raises:
        RunError: something is missing and cannot be had; the message says what, and how to get it.
    """
    for table in values.get("others", ()):
        if not (root / "notebooks" / table).is_file():
            raise RunError(f"there is no table of scores {table}, seen from {root / 'notebooks'}; correct `others`")
    if not NEEDS <= set(values):
        return  # notebooks of one's own, which need no network
    from itemkit.running.needs import fetch_needs

    with in_notebooks(root):
        fetch_needs(values)


def dry_run(profile: str, root: Path = ROOT) -> str:
    """What a profile would fetch, as a page for the terminal; runs and fetches nothing.

    Raises:
        RunError: see `plan`; or the card cannot be read, or its folder or the device is not there.
    """
    from itemkit.running import needs

    _, steps = plan(profile, root)
    with in_notebooks(root):
        return needs.dry_run(all_values(steps))


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold a folder of results for one run; the system lets go of the lock however the run ends.

    Raises:
        RunError: another run holds it.
    """
    try:
        with FileLock(results / ".lock", blocking=False):
            yield
    except Timeout:
        raise RunError(f"another run is writing {results}; wait until it has ended, or stop it") from None


def check_writable(folder: Path) -> None:
    """Make a folder if it is absent, and raise a RunError if nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written to ({error.strerror}); a run keeps its results and its cache: free or open it, or name "
            "other places by `results` and `cache` in a profile"
        ) from None


def warm_kernels(notebooks: list[Path]) -> Iterator[KernelManager]:
    """A kernel for each notebook, one after another; closing this ends them all.

    While one is in use, the next one starts and imports what its notebook will, and the one before it ends: only the
    first notebook has to wait.
    """
    from jupyter_client import AsyncKernelClient, KernelManager

    arguments = ["--IPKernelApp.log_level=CRITICAL", "--HistoryManager.hist_file=:memory:"]  # no advice on encryption
    plain = "import sys; sys.modules['ipywidgets'] = None"  # bars as text, for log and page
    # only when it is ready does a kernel look whether the process that started it is still there
    left = "import os; os.getppid() == int(os.environ['JPY_PARENT_PID']) or os._exit(1)"
    environment = os.environ | {"ITEMKIT_RUN": "run_all.sh"}  # a notebook knows by it that it is not run by hand

    def start(notebook: Path) -> KernelManager:
        lines = [plain, f"[__import__(name) for name in {imported(notebook)}]", left]
        options = [*arguments, *(f"--IPKernelApp.exec_lines={line}" for line in lines)]
        kernel = KernelManager(kernel_name="python3", client_factory=AsyncKernelClient)
        kernel.start_kernel(extra_arguments=options, cwd=str(notebook.parent), env=environment)
        client = kernel.client()
        kernel.client = lambda: client  # papermill does not close it for a kernel that it did not start
        return kernel

    def end(kernel: KernelManager, now: bool) -> None:
        kernel.shutdown_kernel(now=now)
        asyncio.get_event_loop().close()  # that of this thread, which would complain when it is collected

    started = []
    try:
        for place, notebook in enumerate(notebooks):
            started += map(start, notebooks[len(started) : place + 2])
            if not started[place].is_alive():  # it was killed while it waited
                started[place].cleanup_resources()
                started[place] = start(notebook)
            yield started[place]
            started[place].request_shutdown()
            started[place].client().stop_channels()
    finally:
        for kernel in started:
            if kernel.has_kernel and kernel.provisioner.process:
                kernel.provisioner.process.kill()  # asked to end, one that computes takes seconds
        with ThreadPoolExecutor() as apart:  # from papermill's loop, in which an interrupted cell would complain
            for kernel in started:
                apart.submit(end, kernel, now=kernel is not started[place])
        for kernel in started:
            kernel.client().stop_channels()


def execute(notebook: Path, output: Path, parameters: dict[str, object], kernels: Iterator[KernelManager]) -> None:
    """Run one notebook in the next of the kernels and save it, with all it printed, as `output`.

    Raises:
        RunError: a cell failed or the kernel died; names the error and `output`, which shows it.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # a grammar that nbformat's checks compile for a second, unused
    output.parent.mkdir(parents=True, exist_ok=True)
    options = {"kernel_name": "python3", "language": "python", "start_timeout": 600}
    options |= {"stderr_file": sys.stderr, "progress_bar": False}  # the notebooks' own bars say how far they are
    kernel = next(kernels)
    import papermill  # takes a second, in which the kernel starts

    try:
        papermill.execute_notebook(notebook, output, parameters, km=kernel, **options)
    except papermill.PapermillExecutionError as error:
        raise RunError(f"{notebook.name} failed: {error.ename}: {error.evalue}\n  see {output}") from None
    except OSError as error:  # the notebook as it was executed cannot be written
        raise RunError(f"{notebook.name} stopped: {error}") from None
    except RuntimeError as error:  # the kernel did not start, or was killed, most often for want of memory
        raise RunError(f"{notebook.name} stopped: {error}\n  see {output}") from None


def _left_out(results: Path) -> dict[str, str]:
    """The notebooks that have nothing to show of the pictures that 00_data counted, and why; forgets what they once noted."""
    from itemkit.record import forget, without_data

    left_out = without_data(results) if (results / "record.json").exists() else {}
    if left_out:
        forget(results, left_out)
    return left_out


def run(profile: str, root: Path = ROOT, make_reference: bool = False, anew: bool = False) -> Path:
    """Run a profile from its first notebook to its last, after fetching what it needs; returns the folder of its results.

    Notebooks that would make the same are left as they are, unless `anew`. With `make_reference`, which runs all of them,
    too, the tables become the reference just before the last notebook, the report, compares with it; a reference of
    another profile is not replaced.

    Raises:
        RunError: see `plan`, `ready`, `locked` and `execute`; nothing after the failing notebook runs.
    """
    results, steps = plan(profile, root)
    if make_reference:
        from itemkit.paper.reference import profile_of, write_reference
        from itemkit.record import forget

        reference = results.parent / "reference"
        if (owner := profile_of(reference) or results.name) != results.name:
            raise RunError(f"the reference is a run of {owner}; remove {reference} to make one of {results.name}")
    values = all_values(steps)
    folders = [results, (root / "notebooks" / str(values.get("cache", results))).resolve()]
    ready(values, root)
    for folder in folders:
        check_writable(folder)
    from itemkit.running.unchanged import Unchanged

    with locked(results):
        for folder in folders:
            clear_parts(folder)  # of a run that was killed
        with in_notebooks(root):
            unchanged = Unchanged(results, steps, values) if NEEDS <= set(values) else None
            kept = unchanged.count() if unchanged and not anew and not make_reference else 0
        left_out = _left_out(results) if kept else {}
        with closing(warm_kernels([notebook for notebook, _ in steps[kept:]])) as kernels:
            for number, (notebook, parameters) in enumerate(steps, start=1):
                if make_reference and number == len(steps):
                    forget(results, [notebook.stem])  # what an earlier run noted of it
                    print(f"{reference}: {len(write_reference(results, reference))} files written")
                print(f"[{number}/{len(steps)}] {notebook.stem}", flush=True)
                if number <= kept and notebook.stem not in left_out:
                    print("  kept: nothing has changed (--anew runs it again)", flush=True)
                    continue
                clear(results, notebook.name[:2], ("tables", "figures", "notebooks"))
                if notebook.stem in left_out:
                    print(f"  left out: {left_out[notebook.stem]}", flush=True)
                    continue
                execute(notebook, results / "notebooks" / notebook.name, parameters, kernels)
                if unchanged:
                    unchanged.mark(notebook, parameters)
                if notebook.stem == "00_data":
                    left_out = _left_out(results)
    return results


def check_run(profile: str, root: Path = ROOT) -> str:
    """Run a profile, all of it, and compare its tables with the reference; returns the outcome in a sentence or two.

    Raises:
        RunError: there is no reference of this profile (said before anything runs), or a table is missing or differs
            by more than the parameter `tolerance` of the report; says which, where, and by how much.
    """
    from itemkit.paper.reference import compare, list_failures, summarise, why_not_compared

    results, steps = plan(profile, root)
    reference, parameters = results.parent / "reference", steps[-1][1]
    if reason := why_not_compared(reference, results.name):
        raise RunError(f"nothing to check against: {reason}")
    if "tolerance" not in parameters:
        raise RunError(f"{steps[-1][0].name} has no parameter `tolerance` to check by; expected a number from 0 on")
    compared = compare(run(profile, root, anew=True) / "tables", reference, parameters["tolerance"])
    if failures := list_failures(compared):
        page = f"see {results / 'index.html'}"
        raise RunError("\n  ".join([f"not as in the reference. {summarise(compared)}", *failures, page]))
    return summarise(compared)


def main() -> None:
    profile, *options = sys.argv[1:] or [""]
    if not profile or options not in ([], ["--anew"], ["--check"], ["--reference"], ["--dry-run"]):
        sys.exit("usage: python -m itemkit.running.run PROFILE [--anew | --check | --reference | --dry-run]")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as if it had been interrupted by hand
    try:
        if options == ["--check"]:
            print(f"as in the reference: {check_run(profile, ROOT)}")
        elif options == ["--dry-run"]:
            print(dry_run(profile, ROOT))
        else:
            page = (
                run(profile, ROOT, make_reference=options == ["--reference"], anew=options == ["--anew"]) / "index.html"
            )
            print(f"done: {page}")
    except (RunError, OSError) as error:
        sys.exit(f"itemkit: {error}")
    except KeyboardInterrupt:
        sys.exit("itemkit: interrupted; the same command goes on from here")


if __name__ == "__main__":
    main()
