"""Figures for a two-column paper: our look, and the plots that several notebooks share.

A plot takes data and optional axes and returns the axes; it neither saves nor shows.
"""

import textwrap
from collections.abc import Mapping
from itertools import groupby, product
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

from itemkit.paper.report import spaced

COLUMN, PAGE = 3.4, 7.0  # widths of a figure over one and over both columns, inches
PANELS = 5  # matrices side by side on a page
PANEL, CELLS, GAP = 0.9, (0.15, 0.3), 0.13  # inches: the least width of one, the least and the usual of a cell, between

# Okabe and Ito's colours, told apart by the colour-blind too; without yellow, which is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def style() -> None:
    """Set our look for all figures that follow, that of itemkit.mplstyle: legible at print size, calm axes, COLOURS."""
    pyplot.style.use(Path(__file__).with_name("itemkit.mplstyle"))


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
    values = matrix.to_numpy(float)
    colours = seaborn.light_palette("#3d97d3", as_cmap=True)  # pale enough for dark figures in every cell
    axes.pcolormesh(np.ma.masked_invalid(values), vmin=low, vmax=high, cmap=colours, edgecolors="white", linewidth=1)
    for row, column in np.argwhere(~np.isnan(values)):
        said = format(values[row, column], number)
        axes.text(column + 0.5, row + 0.5, said, ha="center", va="center", fontsize=7, color="#111111")
    axes.set(xlabel=spaced(matrix.columns.name or ""), ylabel=spaced(matrix.index.name or ""), aspect="equal")
    axes.set_xticks(np.arange(values.shape[1]) + 0.5, [spaced(name) for name in matrix.columns])
    axes.set_yticks(np.arange(values.shape[0]) + 0.5, [spaced(name) for name in matrix.index])
    axes.tick_params("x", rotation=40)
    for name in axes.get_xticklabels():
        name.set(ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    return axes


def plot_matrices(matrices: Mapping[str, pd.DataFrame], low: float, high: float, number: str) -> Figure:
    """Heat maps side by side on the width of a page, with a frame where a row and a column have one name.

    Those that stand side by side have the same rows, which are named once, and cells of all have one size.

    Args:
        matrices: as for plot_matrix, by title; all with the same columns.
        low, high, number: as for plot_matrix.
    """
    tables = list(matrices.values())
    names, count = [spaced(name) for one in tables for name in [*one.index, *one.columns]], tables[0].shape[1]
    longest = max(_inches(name, pyplot.rcParams["xtick.labelsize"]) for name in set(names))
    margin = longest + 0.3  # for the names, and for what they are
    lines, wide = _lines(matrices, count, PAGE - margin)
    cell = min(wide, max(PANEL, count * CELLS[1])) / count
    titles = {name: _wrapped(spaced(name), count * cell) for name in matrices}
    heights = [0.13 * max(len(titles[name]) for name in line) + 0.12 for line in lines]  # of the titles of a line
    across = max(len(line) for line in lines)
    width = margin + across * (count * cell + GAP)
    height = sum(heights) + cell * sum(len(matrices[line[0]]) for line in lines) + margin
    digits = max(len(format(value, number)) for value in (low, high))
    size = min(7, 0.85 * 72 * cell / (0.64 * digits))  # of numbers, whose digits are 0.64 of it wide
    figure, top = pyplot.figure(figsize=(width, height), layout="none"), height
    for place, (line, above) in enumerate(zip(lines, heights, strict=True)):
        tall = cell * len(matrices[line[0]])
        top -= above + tall
        below = max((len(other) for other in lines[place + 1 :]), default=0)
        for column, name in enumerate(line):
            left = margin + column * (count * cell + GAP)
            area = left / width, top / height, count * cell / width, tall / height
            axes = plot_matrix(matrices[name], figure.add_axes(area), low, high, number)
            axes.set_title("\n".join(titles[name]), pad=3)
            _fit(axes, matrices[name], size)
            axes.yaxis.set_label_coords(-(longest + 0.09) / (count * cell), 0.5)
            if column:
                axes.set(ylabel="", yticklabels=[])
            if column < below:  # the panel below has the same columns
                axes.set(xlabel="", xticklabels=[])
    return figure


def _lines(matrices: Mapping[str, pd.DataFrame], count: int, width: float) -> tuple[list[list[str]], float]:
    """Titles line by line, of equal rows and as many as have room, and the width of a panel in inches."""
    least = max(PANEL, count * CELLS[0]) + GAP
    across = max(1, min(PANELS, int(width / least)))
    groups = [list(group) for _, group in groupby(matrices, lambda name: list(matrices[name].index))]
    across = max(ceil(len(group) / ceil(len(group) / across)) for group in groups)  # lines of one length
    lines = [group[first : first + across] for group in groups for first in range(0, len(group), across)]
    return lines, max(least, width / across) - GAP


def _fit(axes: Axes, matrix: pd.DataFrame, size: float) -> None:
    """Numbers of that size, upright names, and a frame where a row and a column have one name."""
    for text in axes.texts:
        text.set_fontsize(size)
    for name in axes.get_xticklabels():
        name.set(rotation=90, va="center")
    for row, column in product(range(len(matrix)), range(matrix.shape[1])):
        if matrix.index[row] == matrix.columns[column]:
            frame = Rectangle((column, row), 1, 1, fill=False, edgecolor="black", linewidth=0.8, clip_on=False)
            axes.add_patch(frame)


def _wrapped(title: str, width: float) -> list[str]:
    """The lines of a title that is not to be wider than that, in inches."""
    long = _inches(title, pyplot.rcParams["axes.titlesize"], weight=pyplot.rcParams["axes.titleweight"])
    return textwrap.wrap(title, max(1, int(0.95 * width / long * len(title)))) if long > width else [title]


def _inches(text: str, size: float, **font) -> float:
    """How long a text is."""
    drawn = TextPath((0, 0), text, prop=FontProperties(size=size, **font))
    return drawn.get_extents().width / 72 if len(drawn.vertices) else 0


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
        axes.plot(rows.value, height, "o", color=colour, label=spaced(name))
    if group:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups), labelcolor="linecolor", handlelength=0.5
        )
    axes.set(yticks=range(len(lines)), yticklabels=[spaced(line) for line in lines], ylim=(len(lines) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.spines.left.set_visible(False)
    axes.grid(axis="x")
    return axes


def plot_risk(risk: pd.DataFrame) -> Figure:
    """What is missed of generated pictures, with and without silence: a line for each generator, mean and range over heads.

    Args:
        risk: of each head: generator, and the shares as abstention.shares returns them.
    """
    answered = risk.groupby("generator")["generated_coverage"].mean().map(" ({:.0%} answered)".format)
    risk = risk.assign(source=risk["generator"] + risk["generator"].map(answered))
    kinds = {"every picture": "generated_error", "those that are answered": "generated_error_answered"}
    spread = pd.concat(
        [
            risk.groupby("source", sort=False)[column].agg(value="mean", low="min", high="max").assign(of=kind)
            for kind, column in kinds.items()
        ]
    )
    figure, axes = pyplot.subplots(figsize=(0.7 * PAGE, 0.34 * risk["source"].nunique() + 0.8))
    plot_intervals(spread.reset_index(), "source", "of", axes)
    axes.set_xlabel(
        "share called real at a threshold for 5 % false positives\n(mean and range over heads that have not seen it)"
    )
    return figure


def plot_files(kinds: pd.DataFrame) -> Figure:
    """The size of files: a row for each source and format, median and 5 to 95 %.

    Args:
        kinds: generator, format, kB_5_percent, kB_median, kB_95_percent, as audit.describe_files returns it.
    """
    rows = kinds.rename(columns={"kB_5_percent": "low", "kB_median": "value", "kB_95_percent": "high"})
    rows = rows.assign(source=rows["generator"] + ", " + rows["format"])
    figure, axes = pyplot.subplots(figsize=(0.62 * PAGE, 0.24 * len(rows) + 0.6))
    plot_intervals(rows, "source", axes=axes)
    for line, kind in zip(axes.get_yticklabels(), rows["format"], strict=True):
        line.set_color(COLOURS[sorted(rows["format"].unique()).index(kind) % len(COLOURS)])
    axes.set(xlabel="size of a file in kB: median, and 5 to 95 %", xlim=(0, None))
    return figure


def plot_leaks(leaks: pd.DataFrame, suspect: float, leak: float) -> Figure:
    """How well files alone tell each generator's pictures from real ones, a panel for each track.

    Args:
        leaks: generator, track, roc_auc, low, high, verdict, as audit.leak_audit returns it.
        suspect, leak: where its verdicts begin. A row with verdict "texture" has none: it is drawn hollow, without bands.
    """
    tracks = list(leaks["track"].unique())
    figure, grid = pyplot.subplots(
        1, len(tracks), figsize=(PAGE, 0.24 * leaks["generator"].nunique() + 1), sharey=True, squeeze=False
    )
    for axes, track in zip(grid[0], tracks, strict=True):
        rows = leaks[leaks["track"] == track].rename(columns={"roc_auc": "value"})
        texture = rows["verdict"].eq("texture").to_numpy()
        plot_intervals(rows, "generator", axes=axes)
        start = min(0.45, np.nan_to_num(rows["low"].min(), nan=0.45) - 0.02)
        if texture.any():
            axes.plot(rows["value"][texture], np.flatnonzero(texture), "o", color="white", markersize=1.8)
            note = "files differ in bytes alone: the picture's texture"
            axes.text((start + 1.02) / 2, -0.8, note, ha="center", va="center", color="#666666", fontsize=6.5)
        else:
            bands = [
                ("healthy", start, suspect, "0.97"),
                ("suspect", suspect, leak, "0.93"),
                ("leak", leak, 1.02, "0.88"),
            ]
            for verdict, left, right, grey in bands:
                axes.axvspan(left, right, color=grey, linewidth=0, zorder=0)
                axes.text((left + right) / 2, -0.8, verdict, ha="center", va="center", fontsize=6.5)
        axes.set(
            title=f"{track} files",
            xlim=(start, 1.02),
            ylim=(len(rows) - 0.5, -1.2),
            xlabel="ROC AUC: mean, range of folds",
        )
    return figure


def plot_difference(share: pd.DataFrame) -> Figure:
    """A heat map of shares, coloured by their difference to the column `real`: blue is less often, orange more often.

    Args:
        share: rows in the order to be shown, one column for each source.
    """
    others = [name for name in share if name != "real"]
    gap = share[others].sub(share["real"], axis=0)
    most = max(0.01, gap.abs().to_numpy().max())
    colours = seaborn.blend_palette(
        ["#5aa9dc", "white", "#f0964f"], as_cmap=True
    )  # pale enough for figures in every cell
    longest = max(map(len, map(str, share.index)))
    size = 0.5 * len(share.columns) + 1.2 + 0.07 * max(0, longest - 8), max(1.8, 0.22 * len(share) + 0.9)
    figure, axes = pyplot.subplots(figsize=size)
    heat = gap.assign(real=0.0)[["real", *others]]
    seaborn.heatmap(
        heat,
        ax=axes,
        cmap=colours,
        vmin=-most,
        vmax=most,
        annot=100 * share[heat.columns],
        fmt=".0f",
        linewidths=1,
        annot_kws={"size": 7, "color": "#111111"},
        cbar_kws={"label": "difference to real", "shrink": 0.7},
    )
    axes.set(xlabel="", ylabel="")
    axes.set_xticklabels([spaced(name) for name in heat], rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)
    axes.set_title("captions that name it, %", fontweight="normal")
    return figure


def plot_densities(rows: pd.DataFrame, levels: list[str]) -> Figure:
    """The distribution of each level of misalignment: a column for each generator, against real pictures in grey.

    Args:
        rows: generator and a column for each level.
        levels: names of columns, one row of the figure each.
    """
    others = [name for name in rows["generator"].unique() if name != "real"]
    size = PAGE, 1.25 * len(levels) + 0.5
    figure, grid = pyplot.subplots(len(levels), len(others), figsize=size, sharex="row", sharey="row", squeeze=False)
    for line, level in zip(grid, levels, strict=True):
        for axes, source in zip(line, others, strict=True):
            for name, colour in (("real", "#8a8a8a"), (source, COLOURS[1])):
                values = rows[level][rows["generator"] == name].dropna()
                seaborn.kdeplot(x=values, ax=axes, color=colour, fill=name == "real", warn_singular=False)
            axes.set(xlabel="", ylabel="", yticks=[])
            axes.set_title(spaced(source) if level == levels[0] else "", fontsize=7)
        line[0].set_ylabel(level)
    figure.supxlabel("misalignment, 1 - cosine", fontsize=7.5)
    marks = [Patch(color="#8a8a8a", alpha=0.25, label="real"), Line2D([], [], color=COLOURS[1], label="generator")]
    figure.legend(handles=marks, loc="outside upper right", ncols=2)
    return figure


UNITS = {  # of the strengths of a perturbation, under its panel
    "jpeg": "quality",
    "blur": "deviation in pixels",
    "resize": "factor, or shorter side in pixels",
    "crop": "share of each side kept",
    "noise": "deviation, of 255",
    "resize_jpeg": "factor, then JPEG of quality 75",
}


def plot_steps(rows: pd.DataFrame, y: str, hue: str, style: str | None = None, label: str = "") -> Figure:
    """What grows from left to right is a perturbation, one panel each, from the unperturbed picture on.

    Args:
        rows: perturbation ("none" for the unperturbed picture), strength, `y`, `hue` and, if given, `style`; several rows
            of one step are averaged, with a band of one standard deviation.
        y, hue, style: names of columns.
        label: of the vertical axis.
    """
    clean = rows[rows["perturbation"] == "none"]
    names = [name for name in rows["perturbation"].unique() if name != "none"]
    strengths = {name: [0, *rows["strength"][rows["perturbation"] == name].unique()] for name in names}
    panels = pd.concat([pd.concat([clean, rows[rows["perturbation"] == name]]).assign(panel=name) for name in names])
    panels["step"] = [
        strengths[name].index(strength) for name, strength in zip(panels["panel"], panels["strength"], strict=True)
    ]
    grid = plot_lines(
        panels, x="step", y=y, hue=hue, style=style, col="panel", col_wrap=3, errorbar="sd", facet_kws={"sharex": False}
    )
    for axes, name in zip(grid.axes.flat, names, strict=True):
        ticks = ["none", *(f"{strength:g}" for strength in strengths[name][1:])]
        axes.set(xticks=range(len(ticks)), xticklabels=ticks, xlabel=UNITS.get(name, "strength"))
        axes.set_title(name.replace("_", ", then "))
    grid.figure.supylabel(label, fontsize=7.5)
    grid.set(ylabel="")
    return grid.figure


def plot_lines(rows: pd.DataFrame, hue: str, col_wrap: int, **options) -> seaborn.FacetGrid:
    """Lines in panels, as seaborn.relplot draws them, on the width of a page and with the legend below.

    Args:
        rows, hue, col_wrap, options: as seaborn.relplot has them.
    """
    with pyplot.rc_context({"figure.constrained_layout.use": False}):  # seaborn sets a layout of its own
        grid = seaborn.relplot(
            rows,
            hue=hue,
            kind="line",
            col_wrap=col_wrap,
            height=PAGE / col_wrap / 1.25,
            aspect=1.25,
            palette=list((COLOURS * rows[hue].nunique())[: rows[hue].nunique()]),
            **options,
        )
    handles, names = grid.legend.legend_handles, [text.get_text() for text in grid.legend.texts]
    grid.legend.remove()
    grid.figure.set_layout_engine("constrained")
    grid.figure.legend(handles, [spaced(name) for name in names], loc="outside lower center", ncols=8)
    return grid.set_titles("{col_name}")


def plot_projection(points: pd.DataFrame, views: dict[str, list[str]]) -> Figure:
    """Pictures as points in two dimensions, one panel for each view, real ones on top of the others.

    Args:
        points: generator and the coordinates of each picture.
        views: for the title of each panel, the two columns that it shows, which also name its axes.
    """
    figure, grid = pyplot.subplots(1, len(views), figsize=(PAGE, 3.2), squeeze=False)
    others = [name for name in points["generator"].unique() if name != "real"]
    for axes, (title, (x, y)) in zip(grid[0], views.items(), strict=True):
        for source, colour in [*zip(others, COLOURS * len(others), strict=False), ("real", "#111111")]:
            own = points[points["generator"] == source]
            mark = "x" if source == "real" else "o"
            axes.plot(own[x], own[y], mark, color=colour, markersize=2.4, alpha=0.55, label=spaced(source))
        axes.set(title=title, xlabel=spaced(x), ylabel=spaced(y), xticks=[], yticks=[])
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(others) + 1,
        markerscale=2,
        handletextpad=0,
    )
    return figure
