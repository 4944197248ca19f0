"""Numbers to csv, md and tex, figures to pdf and png, and all of them to one page.

The same input gives the same bytes. A name begins with the two digits of the notebook that makes it, as in
"04_cross_generator": that puts it into the notebook's section of the page.
"""

import base64
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment
from markupsafe import Markup, escape
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

OPENING = [("figure", "00_samples"), ("figure", "04_matrix"), ("table", "04_unseen")]  # what the page shows first
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
MARKUP = (
    r"[\\|<\[`]|:(?=//)"  # what Markdown would make of the text of a cell: another cell, a tag, a link, a picture, code
)
NOTEBOOK_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; padding: 0 1rem; max-width: 60rem; font: 1rem/1.5 system-ui, sans-serif; color: #1c1c1a }}
pre {{ overflow-x: auto; padding: .5rem .8rem; background: #f4f2ec; font-size: .85rem; line-height: 1.4 }}
img {{ max-width: 100% }} table {{ border-collapse: collapse; font-size: .85rem }} td, th {{ padding: .2rem .6rem }}
</style></head><body>{body}</body></html>
"""


def save_table(
    frame: pd.DataFrame, folder: str | Path, name: str, caption: str = "", float_format: str = ".3f"
) -> "Shown":
    """Write a table as csv (exact, to be read by programs), md (for the page) and tex (booktabs, for the paper);
    return what a notebook shows of it.

    Args:
        frame: flat columns; an index is written where it has a name.
        folder: made where it is missing, e.g. results/tables.
        name: of the three files, without ending.
        caption: a sentence or two, the claim first; words in `backticks` are set as code on the page.
        float_format: of the numbers in md and tex, in Python's format language; a missing number is a dash there,
            and an underscore a space.
    """
    stem = _stem(folder, name)
    frame = _flat(frame)
    _write(f"{stem}.csv", _csv(frame))
    align = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in frame.dtypes]
    shown = frame.astype(object).map(lambda value: _cell(value, float_format)).mask(frame.isna(), "–")
    shown = shown.rename(columns=spaced).rename_axis(columns=None)
    escaped = shown.map(_plain).rename(columns=_plain)
    markdown = escaped.to_markdown(index=False, disable_numparse=True, colalign=align)
    tex = shown.to_latex(
        index=False,
        escape=True,
        column_format="".join(side[0] for side in align),
        caption=re.sub(r"([_%&#$])", r"\\\1", caption.replace("`", "")) or None,
        label=f"tab:{name}",
    )
    _write(f"{stem}.md", f"{caption}\n\n{markdown}\n")
    _write(f"{stem}.tex", tex)
    return Shown(f"{caption}\n\n{markdown}")


def save_figure(figure: Figure, folder: str | Path, name: str, data: pd.DataFrame, caption: str = "") -> "Shown":
    """Write a figure as pdf (for the paper) and png (for the page), and the numbers it shows as csv;
    return what a notebook shows of it.

    Args:
        figure: drawn under itemkit.paper.plots.style.
        folder: made where it is missing, e.g. results/figures.
        name: of the three files, without ending.
        data: what the figure shows, one row for each mark.
        caption: as for save_table; it is kept inside the pdf and the png.
    """
    stem = _stem(folder, name)
    with _whole(f"{stem}.png") as part:
        figure.savefig(part, format="png", metadata={"Description": caption})
    figure.set_layout_engine("none")  # what was laid out once need not be again
    with _whole(f"{stem}.pdf") as part:
        figure.savefig(part, format="pdf", metadata={"CreationDate": None, "Subject": caption})
    _write(f"{stem}.csv", _csv(_flat(data)))
    pyplot.close(figure)  # or a notebook would show it twice
    return Shown(caption, Path(f"{stem}.png"))


class Shown:
    """What a notebook shows of a saved table or figure: its claim, and itself as the report has it."""

    def __init__(self, markdown: str, picture: Path | None = None) -> None:
        self.markdown, self.picture = markdown, picture

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        if self.picture is None:
            return {"text/markdown": self.markdown, "text/plain": self.markdown}
        encoded = base64.b64encode(self.picture.read_bytes()).decode()
        image = f'<img src="data:image/png;base64,{encoded}" style="max-width: 60em; width: 100%" alt="">'
        return {"text/html": f"{image}<p>{_inline(self.markdown)}</p>", "text/plain": self.markdown}


def save_page(
    results: str | Path,
    title: str,
    method: str,
    verdict: str,
    limits: str,
    steps: dict[str, dict],
    hands: Sequence[str] = (),
    compared: pd.DataFrame | None = None,
    comparison: str = "",
) -> Path:
    """Write results/index.html: every table and figure of a run, on one page that can be read without any other file.

    It begins with the answer: the method, the verdict, OPENING, and what these cannot show. Then each notebook is a section,
    headed by its first cell, with what it made in the order in which it was made; a table and a figure of one name stand
    side by side. The executed notebooks are written as pages beside it.

    Args:
        results: a folder with tables/, figures/ and notebooks/ (the executed ones).
        title, method, verdict, limits: a sentence or two each.
        steps: the notes of the notebooks, as record.json holds them.
        hands: where hands were at work, a sentence each.
        compared: as itemkit.paper.reference.compare returns it; what differs or is missing is marked.
        comparison: the outcome of the comparison in a sentence or two, or why there is none.

    Returns:
        The path of the page.
    """
    results = Path(results)
    artefacts = [_read_figure(path) for path in sorted(results.glob("figures/*.png"))]
    artefacts += [_read_table(path) for path in sorted(results.glob("tables/*.md"))]
    opening = [one for wanted in OPENING for one in artefacts if (one["kind"], one["name"]) == wanted]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"words": spaced, "inline": _inline}
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    page = template.render(
        title=title,
        method=method,
        verdict=verdict,
        limits=limits,
        opening=opening,
        sections=_sections(results, [one for one in artefacts if one not in opening]),
        files=sorted(path.name for path in results.glob("*") if path.suffix in (".csv", ".parquet", ".json")),
        steps=steps,
        hands=hands,
        compared={} if compared is None else {row["name"]: row for row in _shown(compared).to_dict("records")},
        comparison=comparison,
    )
    _write(results / "index.html", page)
    return results / "index.html"


def _shown(compared: pd.DataFrame) -> pd.DataFrame:
    """The comparison with its differences as text, empty where there is no number."""
    differences = compared.largest_difference.map(lambda value: "" if pd.isna(value) else f"{value:.3g}")
    return compared.assign(largest_difference=differences, tolerance=compared.tolerance.map("{:g}".format))


def _sections(results: Path, artefacts: list[dict]) -> list[dict]:
    """One dict a section: number, head and page of its notebook, and groups of artefacts of one name, as they were made."""
    sections = []
    for number in sorted({artefact["name"][:2] for artefact in artefacts}):
        own = [artefact for artefact in artefacts if artefact["name"].startswith(number)]
        section = {"number": number, "heading": number}
        for path in results.glob(f"notebooks/{number}_*.ipynb"):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            section |= _read_head(cells) | {"notebook": _save_notebook(path), "source": path.stem}
            for artefact in own:
                artefact |= _read_step(cells, artefact["kind"], artefact["name"])
        own.sort(key=lambda artefact: artefact.get("cell", 0))  # stable: without a notebook, by name
        names = dict.fromkeys(artefact["name"] for artefact in own)
        section["groups"] = [[artefact for artefact in own if artefact["name"] == name] for name in names]
        sections.append(section)
    return sections


def _save_notebook(path: Path) -> str:
    """Write an executed notebook as a page that can be read without Jupyter or a network; its place, seen from the page."""
    import nbformat

    body, _ = _exporter().from_notebook_node(nbformat.read(path, as_version=4))
    _write(path.with_suffix(".html"), NOTEBOOK_PAGE.format(title=escape(path.stem), body=body))
    return f"notebooks/{path.stem}.html"


@cache
def _exporter() -> object:
    """One for all notebooks, for it compiles its templates anew where it is made anew."""
    from nbconvert import HTMLExporter  # takes a second

    return HTMLExporter(template_name="basic")


def _read_table(path: Path) -> dict:
    caption, _, body = path.read_text(encoding="utf-8").rpartition("\n\n")
    rows = [
        [re.sub(rf"\\({MARKUP})", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in body.splitlines()
    ]
    align = ["right" if rule.endswith(":") else "left" for rule in rows[1]]
    return {"kind": "table", "name": path.stem, "caption": caption, "align": align, "head": rows[0], "rows": rows[2:]}


def _read_figure(path: Path) -> dict:
    with Image.open(path) as image:
        caption, size, inches = image.info.get("Description", ""), image.size, image.width / image.info["dpi"][0]
    data = base64.b64encode(path.read_bytes()).decode()
    return {"kind": "figure", "name": path.stem, "caption": caption, "size": size, "inches": inches, "data": data}


def _read_head(cells: list[dict]) -> dict:
    """Title, claim, and what is read and written: the three paragraphs of the first cell."""
    title, _, text = "".join(cells[0]["source"]).partition("\n")
    claim, _, files = text.strip().partition("\n\n")
    return {"heading": title.lstrip("# "), "claim": claim, "reads_and_writes": files.strip().partition("\n\n")[0]}


def _read_step(cells: list[dict], kind: str, name: str) -> dict:
    """The cell that saved an artefact, its place, and the text above it; nothing if no cell spells the artefact's name."""
    saves, words = re.compile(rf'\.{kind}\(.*?"{name}"', re.DOTALL), ""
    for place, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            words = source
        elif saves.search(source):
            return {"cell": place, "step": words, "code": source}
    return {}


def _stem(folder: str | Path, name: str) -> Path:
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / name


@contextmanager
def _whole(path: str) -> Iterator[str]:
    """A place to write a file to that then becomes `path`: after a failure there is the old file, or none."""
    part = f"{path}.{socket.gethostname()}-{os.getpid()}-0.part"
    try:
        yield part
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def _write(path: str | Path, text: str) -> None:
    with _whole(str(path)) as part:
        Path(part).write_text(text, encoding="utf-8", newline="\n")


def _csv(frame: pd.DataFrame) -> str:
    """A table for programs and for people, whose spreadsheets would compute a caption that begins with an equals sign."""
    texts = frame.select_dtypes(["object", "string"]).map(
        lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
    )
    return frame.assign(**texts).to_csv(index=False, lineterminator="\n")


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


def _cell(value: object, float_format: str) -> str:
    return format(value, float_format) if isinstance(value, (float, np.floating)) else spaced(value)


def _plain(text: str) -> str:
    return re.sub(MARKUP, r"\\\g<0>", " ".join(text.splitlines()))


def spaced(name: object) -> str:
    """Return a name as people read it, with spaces for its underscores."""
    return str(name).replace("_", " ")


def listed(parts: Iterable[str], last: str = " and ") -> str:
    """Return parts as a sentence lists them: "a, b and c"."""
    *first, end = parts
    return f"{', '.join(first)}{last}{end}" if first else end


def _inline(text: str) -> Markup:
    """Escaped text, with words in `backticks` set as code, in **two asterisks** bold, and in *one* emphasised."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return Markup(re.sub(r"(?<!\w)\*(\w[^*]*)\*(?!\w)", r"<em>\1</em>", text))
