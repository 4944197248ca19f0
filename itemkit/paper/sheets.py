"""Sheets of pictures: matched ones side by side, and explained ones with boxes and words in the colour of their fit."""

import re
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from itemkit.paper.plots import COLOURS, PAGE

GREY = "#8a8a8a"  # of what was not found
SIDE = 256  # pixels: the most that a picture of a sheet is shown with


def matched(pictures: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the first `count` pictures of each source, of the contents that most sources show, in the order of contents.

    Where data are matched, the pictures of all sources then show the same things; otherwise each source has its first.

    Args:
        pictures: generator and content_id of each picture, and whatever else stands beside them.
    """
    shown = pictures.groupby("content_id")["generator"].transform("nunique")
    ordered = pictures.assign(_sources=shown).sort_values(
        ["_sources", "content_id"], ascending=[False, True], kind="stable"
    )
    return ordered.groupby("generator", sort=False).head(count).drop(columns="_sources")


def plot_rows(pictures: Mapping[str, Image.Image], table: pd.DataFrame) -> Figure:
    """A sheet with a row for each source.

    Args:
        pictures: by image_id.
        table: image_id and generator of each picture, as matched returns it.
    """
    groups = table.groupby("generator", sort=False)["image_id"].agg(list)
    sources, across = sorted(table["generator"].unique(), key=lambda name: name != "real"), max(map(len, groups))
    figure, grid = pyplot.subplots(
        len(sources), across, figsize=(PAGE, 0.88 * PAGE * len(sources) / across), squeeze=False
    )
    for line, source in zip(grid, sources, strict=True):
        line[0].set_ylabel(_two_lines(source), rotation=0, ha="right", va="center")
        for axes, name in zip(line, groups[source], strict=False):
            _show(axes, pictures[name])
    _clear(grid.flat)
    return figure


def plot_columns(pictures: Mapping[str, Image.Image], table: pd.DataFrame, boxes: pd.DataFrame | None = None) -> Figure:
    """A sheet with a column for each source, and the caption of each picture below it, or its objects in it.

    Args:
        pictures: by image_id.
        table: image_id, generator, caption and phrases of each picture, as matched returns it.
        boxes: image_id, phrase, x0, y0, x1, y1 (pixels) of the objects that were found; then a picture has these instead
            of its caption, and below it the nouns that were not found.
    """
    groups = table.groupby("generator", sort=False)
    sources = sorted(table["generator"].unique(), key=lambda name: name != "real")
    down = groups.size().max()
    figure, grid = pyplot.subplots(
        down, len(sources), figsize=(PAGE, (1.45 if boxes is None else 1.25) * down + 0.3), squeeze=False
    )
    for column, source in zip(grid.T, sources, strict=True):
        column[0].set_title(_two_lines(source), fontsize=7, loc="center")
        for axes, one in zip(column, groups.get_group(source).itertuples(), strict=False):
            factor = _show(axes, pictures[one.image_id])
            if boxes is None:
                axes.set_xlabel(textwrap.fill(one.caption, 19), fontsize=6)
                continue
            found = boxes[boxes["image_id"] == one.image_id]
            for colour, box in zip(COLOURS * len(found), found.itertuples(), strict=False):
                _outline(axes, box, factor, colour)
                place = {
                    "va": "bottom",
                    "in_layout": False,
                    "bbox": {"facecolor": colour, "edgecolor": "none", "pad": 0.5},
                }
                axes.text(factor * box.x0, factor * box.y0, box.phrase, fontsize=5, color="white", **place)
            missing = [phrase for phrase in one.phrases if phrase not in set(found["phrase"])]
            lacks = textwrap.fill(f"not found: {', '.join(missing)}", 19) if missing else ""
            axes.set_xlabel(lacks, fontsize=6, color=GREY)
    _clear(grid.flat)
    return figure


def misalignment_scale(low: float, high: float) -> ScalarMappable:
    """One scale of colours for the misalignment, 1 - cosine, of all objects of a figure: blue fits, orange does not.

    Args:
        low, high: the values at its ends; what lies beyond has the colour of the end.
    """
    colours = LinearSegmentedColormap.from_list(
        "misalignment", [COLOURS[0], "#9d5fb5", COLOURS[1]]
    )  # grey is for others
    return ScalarMappable(Normalize(low, high, clip=True), colours)


def scale_around(usual: float) -> ScalarMappable:
    """The scale of colours for what lies around the misalignment that is usual in real pictures."""
    return misalignment_scale(usual - 0.15, usual + 0.25)


def plot_explained(
    pictures: Sequence[Image.Image], explained: pd.DataFrame, objects: pd.DataFrame, scale: ScalarMappable, columns: int
) -> Figure:
    """A sheet of pictures with their boxes, and their captions below, both in the colours of the misalignment.

    Args:
        pictures: N of them, in the order of `explained`.
        explained: N rows: image_id, generator, score (of being generated), caption, phrases (a list).
        objects: image_id, phrase, x0, y0, x1, y1 (pixels), misalignment of the objects that were found.
        scale: as misalignment_scale returns it.
        columns: pictures in a row.
    """
    down = -(-max(1, len(explained)) // columns)
    size = PAGE, (PAGE / columns + 0.95) * down + 0.5
    figure, grid = pyplot.subplots(down, columns, figsize=size, squeeze=False)
    for axes, picture, one in zip(grid.flat, pictures, explained.itertuples(), strict=False):
        own = objects[objects["image_id"] == one.image_id]
        plot_picture(picture, own, one.caption, list(one.phrases), scale, axes, width=round(96 / columns))
        axes.set_title(
            f"{one.generator.replace('_', ' ')}\n{one.score:.2f}", fontsize=6.5, fontweight="normal", loc="center"
        )
    for axes in list(grid.flat)[len(explained) :]:
        axes.set_visible(False)
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.12 / size[1]))  # titles above pictures with captions need it
    bar = figure.colorbar(scale, ax=grid, location="bottom", shrink=0.35, aspect=30, pad=0.06)
    bar.set_label("misalignment of an object, 1 - cosine: blue fits its word; grey words were not found")
    return figure


def plot_picture(
    picture: Image.Image,
    objects: pd.DataFrame,
    caption: str,
    phrases: list[str],
    scale: ScalarMappable,
    axes: Axes | None = None,
    width: int = 22,
) -> Axes:
    """A picture with the boxes of its objects, and its caption below, both in the colours of the misalignment.

    Args:
        picture: shown with at most 256 pixels on a side.
        objects: a row for each object found: phrase, x0, y0, x1, y1 (pixels of `picture`), misalignment.
        caption: what the captioner wrote.
        phrases: the objects that the caption names; one that was not found is bold and grey.
        scale: as misalignment_scale returns it.
        axes: where to draw; a new figure without it.
        width: characters in a line of the caption.
    """
    axes = axes or pyplot.figure().add_subplot()
    factor = _show(axes, picture)
    _clear([axes])
    colour = {word: GREY for phrase in phrases for word in phrase.split()}
    for found in objects.itertuples():
        edge = scale.to_rgba(found.misalignment)
        _outline(axes, found, factor, edge)
        colour |= dict.fromkeys(found.phrase.split(), edge)
    lines = []
    for line in textwrap.wrap(caption, width):
        plain = [re.sub(r"^\W+|\W+$", "", word.lower()) for word in line.split()]  # a comma is no part of a noun
        styles = [{"color": colour[word], "weight": "bold"} if word in colour else {} for word in plain]
        words = [TextArea(word, textprops={"size": 6} | look) for word, look in zip(line.split(), styles, strict=True)]
        lines.append(HPacker(children=words, pad=0, sep=2))
    if lines:  # a caption may be empty
        below = VPacker(children=lines, pad=0, sep=1.5, align="center")
        place = {"bbox_to_anchor": (0.5, 0), "bbox_transform": axes.transAxes, "frameon": False, "pad": 0.4}
        axes.add_artist(AnchoredOffsetbox("upper center", child=below, **place))
    return axes


def plot_verdict(
    picture: Image.Image,
    caption: str,
    objects: pd.DataFrame,
    score: float,
    threshold: float,
    scores: Mapping[str, Sequence[float]],
    usual: float,
) -> Figure:
    """One picture and what its verdict rests on: its words, a bar for each object, and its score among others.

    Args:
        picture: as the networks saw it.
        caption: its words.
        objects: a row for each object that the caption names: phrase, misalignment, x0, y0, x1, y1 (pixels of
            `picture`), NaN where it was not found.
        score, threshold: calibrated, in [0, 1]; above the threshold a picture is called generated.
        scores: calibrated scores of test pictures, by generator.
        usual: the misalignment of most objects of real pictures.
    """
    figure, (left, middle, right) = pyplot.subplots(
        1, 3, figsize=(1.25 * PAGE, 2.9), width_ratios=[1, 1, 1.2], layout="none"
    )
    figure.subplots_adjust(
        0.01, 0.24, 0.99, 0.84, wspace=0.3
    )  # a layout that is computed takes as long as all the rest
    scale, found = scale_around(usual), objects.dropna(subset="misalignment")
    plot_picture(picture, found, caption, list(objects["phrase"]), scale, left, width=30)
    lengths, lacks = objects["misalignment"].fillna(0), objects["misalignment"].isna()
    middle.barh(objects["phrase"], lengths, color=scale.to_rgba(lengths), height=0.6)
    for line, (length, lacking) in enumerate(zip(lengths, lacks, strict=True)):
        text, colour = ("not found", GREY) if lacking else (f"{length:.2f}", "white")
        middle.text(0.01, line, text, va="center", color=colour)
    middle.axvline(usual, color="black", linewidth=0.8)
    middle.set(xlim=(0, 1), ylim=(max(len(objects), 3) - 0.5, -0.5))
    middle.set_xlabel("misalignment of an object, 1 - cosine\n(line: usual in real pictures)")
    generated = [one for name in scores if name != "real" for one in scores[name]]
    for name, values, colour in (("real", scores.get("real", []), COLOURS[0]), ("generated", generated, COLOURS[1])):
        count, edges = np.histogram(values, 25, (0, 1))
        right.stairs(
            count / max(1, len(values)), edges, fill=True, color=colour, alpha=0.55, label=f"{name} test pictures"
        )
    right.axvline(threshold, color=GREY, linewidth=0.8, linestyle="--", label="threshold")
    right.axvline(score, color="black", linewidth=2, label=f"this picture: {score:.2f}")
    right.set(xlim=(0, 1), xlabel="score of being generated", ylabel="share")
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def _show(axes: Axes, picture: Image.Image) -> float:
    """Show a picture, made smaller if it is large, and return by what factor."""
    small = ImageOps.contain(picture, (SIDE, SIDE)) if max(picture.size) > SIDE else picture
    axes.imshow(small, interpolation="none")
    return small.width / picture.width


def _outline(axes: Axes, box, factor: float, colour) -> None:
    x, y, across, down = (factor * side for side in (box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0))
    axes.add_patch(Rectangle((x, y), across, down, edgecolor=colour, linewidth=1.3, fill=False))


def _clear(grid) -> None:
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)


def _two_lines(name: str) -> str:
    return name.replace("_", "\n", 1).replace("_", " ")
