"""Figures for a two-column paper: our look, and the plots that several notebooks share.

A plot takes data and optional axes and returns the axes; it neither saves nor shows.
"""

import textwrap

import matplotlib
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

COLUMN, PAGE = 3.4, 7.0  # widths of a figure over one and over both columns, inches

# Okabe and Ito's colours, told apart by the colour-blind too; without yellow, which is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def style() -> None:
    """Set our look for all figures that follow: legible at print size, calm axes, COLOURS."""
    ink, faint, thin = "#222222", "#8a8a8a", 0.6
    look = {
        "figure.figsize": (COLUMN, 2.3),
        "figure.dpi": 144,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,  # many publishers refuse the default, Type 3
        "font.family": "DejaVu Sans",  # comes with matplotlib: every machine draws the same
        "font.size": 7.5,  # its letters are large: 7 pt reads as 8 pt of a book face
        "axes.labelsize": 7.5,
        "axes.titlesize": 8,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.edgecolor": faint,
        "axes.labelcolor": ink,
        "text.color": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.linewidth": thin,
        "grid.linewidth": thin,
        "grid.color": "#e4e4e4",
        "xtick.major.width": thin,
        "ytick.major.width": thin,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 3.5,
    }
    matplotlib.rcParams.update(look)


def plot_matrix(
    matrix: pd.DataFrame, axes: Axes | None = None, low: float = 0.5, high: float = 1.0, number: str = ".2f"
) -> Axes:
    """A heat map with each number written in its cell; a cell without a number stays blank.

    Args:
        matrix: rows and columns in the order to be shown; the names of index and columns label the axes.
        axes: where to draw; a new figure without it.
        low, high: the values at the ends of the colour scale.
        number: how a number is written, in Python's format language.
    """
    axes = axes or pyplot.figure().add_subplot()
    seaborn.heatmap(
        matrix.astype(float),
        ax=axes,
        vmin=low,
        vmax=high,
        cmap=seaborn.light_palette("#3d97d3", as_cmap=True),  # pale enough for dark figures in every cell
        square=True,
        linewidths=1,
        cbar=False,
        annot=True,
        fmt=number,
        annot_kws={"size": 7, "color": "#111111"},
    )
    axes.set(xlabel=_words(matrix.columns.name or ""), ylabel=_words(matrix.index.name or ""))
    axes.set_xticklabels([_words(name) for name in matrix.columns], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticklabels([_words(name) for name in matrix.index], rotation=0)
    axes.tick_params(length=0)
    return axes


def plot_intervals(frame: pd.DataFrame, y: str, group: str | None = None, axes: Axes | None = None) -> Axes:
    """A dot and its interval for each row, one line for each distinct `y`, the groups apart by colour.

    Args:
        frame: columns value, low, high, `y` and, if given, `group`.
        y: the column that names the lines, from top to bottom in order of appearance.
        group: the column that tells the colours, named above the axes.
        axes: where to draw; a new figure without it.
    """
    axes = axes or pyplot.figure().add_subplot()
    lines = list(frame[y].unique())
    groups = list(frame.groupby(group, sort=False)) if group else [(None, frame)]
    for number, (name, rows) in enumerate(groups):
        offset = 0.6 * ((number + 0.5) / len(groups) - 0.5)
        height = [lines.index(line) + offset for line in rows[y]]
        colour = COLOURS[number % len(COLOURS)]
        axes.hlines(height, rows.low, rows.high, colour, linewidth=1.2)
        axes.plot(rows.value, height, "o", color=colour, label=_words(name))
    if group:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups), labelcolor="linecolor", handlelength=0.5
        )
    axes.set(yticks=range(len(lines)), yticklabels=[_words(line) for line in lines], ylim=(len(lines) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.spines.left.set_visible(False)
    axes.grid(axis="x")
    return axes


def misfit_scale(low: float, high: float) -> ScalarMappable:
    """One scale of colours for the misfit, 1 - cosine, of all objects of a figure: blue fits, orange does not.

    Args:
        low, high: the misfits at its ends; what lies beyond has the colour of the end.
    """
    colours = LinearSegmentedColormap.from_list("misfit", [COLOURS[0], "#8d8d8d", COLOURS[1]])
    return ScalarMappable(Normalize(low, high, clip=True), colours)


def plot_picture(
    picture: Image.Image,
    objects: pd.DataFrame,
    caption: str,
    phrases: list[str],
    scale: ScalarMappable,
    axes: Axes | None = None,
    width: int = 22,
) -> Axes:
    """A picture with the boxes of its objects, and its caption below, both in the colours of the misfit.

    Args:
        picture: shown with at most 256 pixels on a side.
        objects: a row for each object found: phrase, x0, y0, x1, y1 (pixels of `picture`), misfit.
        caption: what the captioner wrote.
        phrases: the objects that the caption names; one that was not found is bold and grey.
        scale: as misfit_scale returns it.
        axes: where to draw; a new figure without it.
        width: characters in a line of the caption.
    """
    axes = axes or pyplot.figure().add_subplot()
    small = ImageOps.contain(picture, (256, 256)) if max(picture.size) > 256 else picture
    axes.imshow(small, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    factor = small.width / picture.width
    colour = {word: "#8d8d8d" for phrase in phrases for word in phrase.split()}
    for found in objects.itertuples():
        x, y, across, down = (factor * side for side in (found.x0, found.y0, found.x1 - found.x0, found.y1 - found.y0))
        edge = scale.to_rgba(found.misfit)
        axes.add_patch(Rectangle((x, y), across, down, edgecolor=edge, linewidth=1.4, fill=False))
        colour |= dict.fromkeys(found.phrase.split(), edge)
    lines = []
    for line in textwrap.wrap(caption, width):
        styles = [{"color": colour[word], "weight": "bold"} if word in colour else {} for word in line.lower().split()]
        words = [
            TextArea(word, textprops={"size": 6} | style) for word, style in zip(line.split(), styles, strict=True)
        ]
        lines.append(HPacker(children=words, pad=0, sep=2))
    if not lines:  # a caption may be empty
        return axes
    below = VPacker(children=lines, pad=0, sep=1.5, align="center")
    place = {"bbox_to_anchor": (0.5, 0), "bbox_transform": axes.transAxes, "frameon": False, "pad": 0.4}
    axes.add_artist(AnchoredOffsetbox("upper center", child=below, **place))
    return axes


def _words(name: object) -> str:
    return str(name).replace("_", " ")
