"""Who may import whom: no arrow points upwards, there is no circle, and `import itemkit` costs nothing."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "itemkit"
METHOD = {
    "captions",
    "locate",
    "embed",
    "misalign",
    "head",
    "arms",
    "protocol",
    "pipeline",
    "network",
    "scale",
    "store",
}
ALLOWED = {  # from each part of the house, the parts that it may import
    "data": {"data"},
    "evaluation": {"evaluation"},
    "paper": {"paper"},
    "method": {"method", "data"},
    "detector": {"detector", "method", "data", "evaluation"},
    "record": {"record", "detector", "method", "data", "evaluation", "paper"},
    "running": {"running", "record", "detector", "method", "data", "evaluation", "paper"},
    "__main__": {"running"},  # the command line: python -m itemkit
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def part_of(module: str) -> str:
    first = module.split(".")[1]
    return "method" if first in METHOD else first


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inside if name in map(name_of, MODULES)]
            found |= set(modules or [node.module])
    return {name for name in found if name.startswith("itemkit.")}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_import_runs_upwards(path):
    assert {part_of(module) for module in imports_of(path)} <= ALLOWED[part_of(name_of(path))]


def test_there_is_no_circle():
    assert list(TopologicalSorter({name_of(path): imports_of(path) for path in MODULES}).static_order())


def test_the_method_is_at_the_top_and_the_rest_in_four_folders():
    assert {path.stem for path in PACKAGE.glob("*.py")} == METHOD | {"record", "detector", "__init__", "__main__"}
    assert len(METHOD) + 2 <= 13
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {"data", "evaluation", "paper", "running"}


def test_an_arm_needs_no_network():
    assert not imports_of(PACKAGE / "arms.py") & {f"itemkit.{name}" for name in ("pipeline", "captions", "network")}


@pytest.mark.parametrize(
    "module, heavy",
    [
        ("itemkit", {"torch", "transformers", "spacy", "open_clip", "datasets", "pandas", "numpy"}),
        ("itemkit.misalign", {"torch", "transformers", "spacy", "open_clip", "datasets", "pandas"}),
        ("itemkit.arms", {"torch", "transformers", "spacy", "open_clip", "datasets"}),
        ("itemkit.pipeline", {"torch", "transformers", "spacy", "open_clip"}),
        ("itemkit.record", {"torch", "transformers", "spacy", "open_clip"}),
    ],
)
def test_importing_loads_nothing_heavy(module, heavy):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)
