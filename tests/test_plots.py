import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from itemkit.plots import COLOURS, COLUMN, plot_intervals, plot_matrix, style


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
