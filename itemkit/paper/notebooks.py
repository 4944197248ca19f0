"""The notebooks of a run, in their order, and the parameters that they declare."""

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
STEPS = (
    "00_data",
    "01_captions",
    "02_misalignment",
    "03_train",
    "04_cross_generator",
    "05_ablations",
    "06_robustness",
    "07_explain",
    "08_report",
)
PLAIN = (bool, int, float, str, list, type(None))  # what a parameter may be


class NotebookError(ValueError):
    """A notebook that cannot be run as it stands; the message says why."""


def declared(notebook: Path) -> dict[str, object]:
    """Return names and default values in the `parameters` cell of a notebook.

    Raises:
        NotebookError: there is no such cell, or more than one, or it holds more than lines of `name = literal`.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(sources) != 1:
        raise NotebookError(f"{notebook.name} has {len(sources)} cells tagged `parameters`; expected exactly one")
    try:
        return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(sources[0]).body}
    except (AttributeError, SyntaxError, ValueError):
        raise NotebookError(f"{notebook.name}: its parameters cell may hold only lines of `name = literal`") from None


def imported(notebook: Path) -> list[str]:
    """The modules that a notebook imports, in its order, whatever it takes from them."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.findall(r"^(?:from|import) ([\w.]+)", code, re.MULTILINE)


def clear(results: Path, number: str, folders: Sequence[str] = ("tables", "figures")) -> None:
    """Remove what an earlier run of the notebook with this number left in some folders of its results.

    A table that it no longer makes would stay on the page, and would be compared with the reference as if this run had
    made it.
    """
    for folder in folders:
        for path in (results / folder).glob(f"{number}_*.*"):
            path.unlink()
    if number == "04":
        (results / "verdict.txt").unlink(missing_ok=True)
