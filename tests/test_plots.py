import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import make_picture
from matplotlib import pyplot
from matplotlib.colors import to_rgba
from matplotlib.offsetbox import TextArea

from itemkit.paper.plots import COLOURS, COLUMN, misfit_scale, plot_intervals, plot_matrix, plot_picture, style


@pytest.fixture(autouse=True)
def our_style():
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        style()
        yield
    pyplot.close("all")


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_style_is_for_a_two_column_paper():
    figure = pyplot.figure()
    assert figure.get_size_inches()[0] == COLUMN
    assert min(matplotlib.rcParams[f"{part}.labelsize"] for part in ("axes", "xtick", "ytick")) >= 7
    assert matplotlib.rcParams["pdf.fonttype"] == 42


def test_plot_matrix_writes_each_number_and_leaves_blank_what_is_missing():
    names = pd.Index(["gan", "pixel_diffusion"], name="train_on")
    axes = plot_matrix(pd.DataFrame([[1.0, 0.5], [np.nan, 0.75]], index=names, columns=names.rename("test_on")))
    assert [text for text in texts(axes) if text] == ["1.00", "0.50", "0.75"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gan", "pixel diffusion"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("test on", "train on")


def test_plot_intervals_draws_each_row_in_the_colour_of_its_group():
    frame = pd.DataFrame(
        {
            "generator": ["gan", "vae", "gan", "vae"],
            "arm": ["image", "image", "item", "item"],
            "value": [0.6, 0.7, 0.8, 0.9],
            "low": [0.5, 0.6, 0.7, 0.8],
            "high": [0.7, 0.8, 0.9, 1.0],
        }
    )
    given = pyplot.figure().add_subplot()
    axes = plot_intervals(frame, "generator", "arm", given)
    assert axes is given
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[0.6, 0.7], [0.8, 0.9]]
    assert [line.get_color() for line in axes.get_lines()] == list(COLOURS[:2])
    assert [label.get_text() for label in axes.get_legend().get_texts()] == ["image", "item"]
    assert plot_intervals(frame.head(2), "generator").get_legend() is None


def test_plot_picture_colours_boxes_and_nouns_alike():
    columns = ["phrase", "x0", "y0", "x1", "y1", "misfit"]
    objects = pd.DataFrame([("car", 100, 50, 300, 250, 0.9), ("traffic light", 0, 0, 10, 20, 0.1)], columns=columns)
    scale = misfit_scale(0.2, 0.8)
    caption = "A car before a traffic light in the snow"
    phrases = ["car", "traffic light", "snow"]
    axes = plot_picture(make_picture(0, 512, 256), objects, caption, phrases, scale)
    assert axes.images[0].get_array().shape[:2] == (128, 256)  # half as large, and so are the boxes
    boxes = {patch.get_bbox().bounds: patch.get_edgecolor() for patch in axes.patches}
    assert boxes == {(50, 25, 100, 100): to_rgba(COLOURS[1]), (0, 0, 5, 10): to_rgba(COLOURS[0])}
    words = [area.get_children()[0] for area in axes.artists[0].findobj(TextArea)]
    assert " ".join(word.get_text() for word in words) == caption
    colours = {word.get_text(): to_rgba(word.get_color()) for word in words if word.get_weight() == "bold"}
    grey = to_rgba("#8d8d8d")
    orange, blue = to_rgba(COLOURS[1]), to_rgba(COLOURS[0])
    assert colours == {"car": orange, "traffic": blue, "light": blue, "snow": grey}


def test_plot_picture_without_objects_or_words():
    axes = plot_picture(make_picture(0), pd.DataFrame(columns=["phrase", "misfit"]), "", [], misfit_scale(0, 1))
    assert not axes.patches
    axes.figure.canvas.draw()
