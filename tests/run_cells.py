"""Run the cells of a notebook in this process, where a kernel would show nothing more."""

import contextlib
import types
from pathlib import Path

import matplotlib
import nbformat


def run_cells(notebook: Path, values: dict, times: int = 1, **typed: object) -> dict[str, set[type]]:
    """Run each code cell `times` times, in order, in the notebook's folder, with other values of its parameters.

    Names that are `typed` stand beside the parameters, as when someone writes them into that cell.

    Returns:
        The kinds of thing that each name was bound to.
    """
    matplotlib.use("Agg")
    namespace, kinds = {"__name__": "__main__"}, {}
    with contextlib.chdir(notebook.parent):
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            code = compile(cell.source, f"{notebook.name}, cell {cell.id}", "exec")
            for _ in range(times):
                exec(code, namespace)  # noqa: S102
                if "parameters" in cell.metadata.get("tags", []):
                    namespace |= {name: values.get(name, value) for name, value in namespace.items()} | typed
                for name, value in namespace.items():
                    if not name.startswith("__") and not isinstance(value, (types.ModuleType, type, type(None))):
                        kinds.setdefault(name, set()).add(type(value))
    return kinds
