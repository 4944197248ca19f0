"""Sheets of pictures: which are taken, where they stand, and in which colours."""

import matplotlib
import pandas as pd
import pytest
from conftest import make_picture
from matplotlib import pyplot
from matplotlib.colors import to_rgba
from matplotlib.offsetbox import TextArea

from itemkit.paper.plots import COLOURS, style
from itemkit.paper.sheets import (
    GREY,
    matched,
    misalignment_scale,
    plot_columns,
    plot_explained,
    plot_picture,
    plot_rows,
)


@pytest.fixture(autouse=True)
def our_style():
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        style()
        yield
    pyplot.close("all")


def table(*rows) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["generator", "content_id", "image_id"])
    return table.assign(caption="a car in the snow", phrases=[["car", "snow"]] * len(table), score=0.5)


def test_matched_takes_the_contents_that_most_sources_show_in_one_order():
    rows = table(("real", "b", "1"), ("real", "c", "2"), ("real", "a", "3"), ("gan", "c", "4"), ("gan", "a", "5"))
    assert matched(rows, 2).groupby("generator").content_id.agg(list).to_dict() == {
        "real": ["a", "c"],
        "gan": ["a", "c"],
    }
    apart = table(("real", "x", "1"), ("gan", "y", "2"), ("gan", "z", "3"))
    assert matched(apart, 1).image_id.tolist() == ["1", "2"]


def test_a_row_or_a_column_is_a_source_the_real_one_first():
    rows = table(("gan", "a", "1"), ("gan", "b", "2"), ("real", "a", "3"))
    pictures = {name: make_picture(int(name)) for name in rows.image_id}
    grid = plot_rows(pictures, rows).axes
    assert [axes.get_ylabel() for axes in grid] == ["real", "", "gan", ""]
    assert [len(axes.images) for axes in grid] == [1, 0, 1, 1]
    grid = plot_columns(pictures, rows).axes
    assert [axes.get_title() for axes in grid] == ["real", "gan", "", ""]
    assert [axes.get_xlabel() for axes in grid] == ["a car in the snow", "a car in the snow", "", "a car in the snow"]


def test_a_noun_without_a_box_stands_below_its_picture():
    rows = table(("real", "a", "1"), ("gan", "a", "2"))
    boxes = pd.DataFrame([("1", "car", 1, 2, 11, 22)], columns=["image_id", "phrase", "x0", "y0", "x1", "y1"])
    real, gan = plot_columns({"1": make_picture(1), "2": make_picture(2)}, rows, boxes).axes
    assert real.patches[0].get_bbox().bounds == (1, 2, 10, 20) and real.texts[0].get_text() == "car"
    assert (real.get_xlabel(), gan.get_xlabel()) == ("not found: snow", "not found: car,\nsnow")


@pytest.mark.parametrize("count", [1, 4, 7])
def test_explained_pictures_fill_their_sheet_and_share_one_scale(count):
    rows = table(*((f"source_{place}", "a", str(place)) for place in range(count)))
    objects = pd.DataFrame(
        [("0", "car", 1, 2, 11, 22, 0.5)], columns=["image_id", "phrase", "x0", "y0", "x1", "y1", "misalignment"]
    )
    pictures = [make_picture(place, 30 + 10 * place, 40) for place in range(count)]
    *grid, bar = plot_explained(pictures, rows, objects, misalignment_scale(0, 1), 3).axes
    assert [axes.get_title() for axes in grid[:count]] == [f"source {place}\n0.50" for place in range(count)]
    assert not any(axes.get_visible() for axes in grid[count:])
    assert bar.get_xlabel().startswith("misalignment")


def test_plot_picture_colours_boxes_and_nouns_alike():
    columns = ["phrase", "x0", "y0", "x1", "y1", "misalignment"]
    objects = pd.DataFrame([("car", 100, 50, 300, 250, 0.9), ("traffic light", 0, 0, 10, 20, 0.1)], columns=columns)
    scale = misalignment_scale(0.2, 0.8)
    caption = "A car, before a traffic light in the snow."
    phrases = ["car", "traffic light", "snow"]
    axes = plot_picture(make_picture(0, 512, 256), objects, caption, phrases, scale)
    assert axes.images[0].get_array().shape[:2] == (128, 256)  # half as large, and so are the boxes
    boxes = {patch.get_bbox().bounds: patch.get_edgecolor() for patch in axes.patches}
    assert boxes == {(50, 25, 100, 100): to_rgba(COLOURS[1]), (0, 0, 5, 10): to_rgba(COLOURS[0])}
    words = [area.get_children()[0] for area in axes.artists[0].findobj(TextArea)]
    assert " ".join(word.get_text() for word in words) == caption
    colours = {word.get_text(): to_rgba(word.get_color()) for word in words if word.get_weight() == "bold"}
    grey = to_rgba(GREY)
    orange, blue = to_rgba(COLOURS[1]), to_rgba(COLOURS[0])
    assert colours == {"car,": orange, "traffic": blue, "light": blue, "snow.": grey}


def test_plot_picture_without_objects_or_words():
    axes = plot_picture(
        make_picture(0), pd.DataFrame(columns=["phrase", "misalignment"]), "", [], misalignment_scale(0, 1)
    )
    assert not axes.patches
    axes.figure.canvas.draw()
