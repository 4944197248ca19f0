"""Who may import whom: leaves stand alone, the pipeline joins them, and `import itemkit` costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "itemkit"
ALLOWED = {
    "sources": {"cards"},
    "stream": {"cards", "images", "sources"},
    "layouts": {"cards", "hub", "images", "sources", "stream"},
    "data": {"cards", "hub", "images", "layouts"},
    "network": {"hub"},
    "captions": {"network"},
    "locate": {"network"},
    "embed": {"hub", "network"},
    "needs": {"cards", "hub", "network"},
    "speed": {"images"},
    "forecast": {"cards", "hub", "needs", "network", "perturb", "speed"},
    "pipeline": {"captions", "embed", "images", "locate", "network", "perturb", "store"},
    "intervals": {"metrics"},
    "calibration": {"metrics"},
    "arms": {"head", "misalign", "pipeline", "store"},
    "run": {"forecast", "needs", "reference", "store"},
    "report": {"plots"},
}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_follow_the_layers(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            inside = node.module == "itemkit"
            names = [f"itemkit.{alias.name}" for alias in node.names] if inside else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        imported |= {name.split(".")[1] for name in names if name.startswith("itemkit.")}
    assert imported <= ALLOWED.get(path.stem, set())


@pytest.mark.parametrize(
    "module, heavy",
    [
        ("itemkit", {"torch", "transformers", "spacy", "open_clip", "datasets", "pandas", "numpy"}),
        ("itemkit.arms", {"torch", "transformers", "spacy", "open_clip"}),
        ("itemkit.pipeline", {"torch", "transformers", "spacy", "open_clip"}),
    ],
)
def test_importing_loads_nothing_heavy(module, heavy):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)
