import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.text import Text

from itemkit.paper.plots import (
    COLOURS,
    COLUMN,
    PAGE,
    plot_densities,
    plot_difference,
    plot_files,
    plot_intervals,
    plot_leaks,
    plot_matrices,
    plot_matrix,
    plot_projection,
    plot_steps,
    style,
)


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


STEPS = pd.DataFrame(
    [
        (name, strength, words, arm, 0.9 - 0.1 * place)
        for place, (name, strength) in enumerate([("none", 0), ("jpeg", 90), ("jpeg", 30), ("resize_jpeg", 0.5)])
        for words in ("anew", "frozen")
        for arm in ("image", "item")
    ],
    columns=["perturbation", "strength", "words", "arm", "value"],
)


def test_plot_steps_begins_each_panel_with_the_unperturbed_picture():
    figure = plot_steps(STEPS, "value", "arm", "words", label="ROC AUC")
    panels = [axes for axes in figure.axes if axes.get_title("left")]
    assert [axes.get_title("left") for axes in panels] == ["jpeg", "resize, then jpeg"]
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["none", "90", "30"]
    assert [axes.get_xlabel() for axes in panels] == ["quality", "factor, then JPEG of quality 75"]
    np.testing.assert_allclose(panels[0].get_lines()[0].get_ydata(), [0.9, 0.8, 0.7])
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"image", "item", "anew", "frozen"}
    figure.canvas.draw()


def test_plot_leaks_has_bands_only_where_a_verdict_has_a_meaning():
    rows = [("gan", "aligned", 0.9, "texture"), ("gan", "raw", 1.0, "leak"), ("vae", "aligned", 0.7, "texture")]
    leaks = pd.DataFrame([*rows, ("vae", "raw", 0.55, "healthy")], columns=["generator", "track", "roc_auc", "verdict"])
    figure = plot_leaks(leaks.assign(low=leaks.roc_auc - 0.02, high=leaks.roc_auc + 0.02), 0.6, 0.8)
    aligned, raw = figure.axes
    assert (aligned.get_title("left"), raw.get_title("left")) == ("aligned files", "raw files")
    assert "texture" in texts(aligned)[0] and texts(raw) == ["healthy", "suspect", "leak"]


def test_plot_difference_writes_shares_and_colours_differences():
    share = pd.DataFrame({"real": [0.1, 0.2], "gan": [0.3, 0.2]}, index=["star", "snow"])
    axes = plot_difference(share).axes[0]
    assert [text.get_text() for text in axes.texts] == ["10", "30", "20", "20"]
    colours = axes.collections[0].get_facecolors()
    assert tuple(colours[0]) == tuple(colours[2]) == tuple(colours[3]) != tuple(colours[1])


def test_plot_densities_and_projection_name_what_they_show():
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"generator": np.repeat(["real", "gan"], 30), "a": random.normal(size=60), "b": random.normal(size=60)}
    )
    figure = plot_densities(rows, ["a", "b"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["real", "generator"]
    figure = plot_projection(rows, {"one": ["a", "b"]})
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("a", "b")
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["gan", "real"]  # the real ones on top


def test_plot_files_has_a_line_for_each_source_and_format():
    kinds = pd.DataFrame(
        {"generator": ["real", "gan"], "format": ["JPEG", "PNG"], "kB_5_percent": [1, 2], "kB_median": [2, 3]}
    )
    axes = plot_files(kinds.assign(kB_95_percent=4)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["real, JPEG", "gan, PNG"]


@pytest.mark.parametrize("name", ["$_$", "$$", "a $ and $\\frac{", "^{_}"])
def test_a_dollar_in_a_name_or_a_caption_is_a_dollar(name, tmp_path):
    axes = plot_matrix(pd.DataFrame([[0.5]], index=pd.Index([name], name="train"), columns=[name]))
    axes.figure.suptitle(name)
    axes.figure.savefig(tmp_path / "a.png")
    axes.figure.savefig(tmp_path / "a.pdf")
    assert name.replace("_", " ") in axes.get_xticklabels()[0].get_text()


def test_a_logarithmic_axis_has_plain_numbers(tmp_path):
    axes = pyplot.figure().add_subplot()
    axes.plot([1, 10, 100], [1, 2, 3])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.figure.savefig(tmp_path / "a.png")
    assert "10" in [label.get_text() for label in axes.get_xticklabels()]


def test_matrices_frame_what_was_trained_on_and_those_of_other_rows_stand_below():
    square = pd.DataFrame([[0.9, 0.6], [0.5, 0.8]], index=["gan", "vae"], columns=["gan", "vae"])
    row = pd.DataFrame([[0.7, np.nan]], index=["elsewhere"], columns=["gan", "vae"])
    figure = plot_matrices({f"arm {number}": square for number in range(5)} | {"npr": row}, 0.5, 1, ".1f")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == [*(f"arm {number}" for number in range(5)), "npr"]
    assert len(panels["arm 0"].patches) == 2 and not panels["npr"].patches and texts(panels["npr"]) == ["0.7"]
    names = {title: [label.get_text() for label in axes.get_yticklabels()] for title, axes in panels.items()}
    assert names["arm 0"] == ["gan", "vae"] and names["npr"] == ["elsewhere"] and not any(names["arm 1"])
    below = {title: any(label.get_text() for label in axes.get_xticklabels()) for title, axes in panels.items()}
    assert not below["arm 0"] and below["arm 1"] and below["npr"]  # under the last one of each column
    places = {title: axes.get_position() for title, axes in panels.items()}
    assert places["npr"].height == pytest.approx(places["arm 0"].height / 2) and places["npr"].x0 == places["arm 0"].x0


GENERATORS = ["stable_diffusion_xl_base_1.0", "gan", "midjourney_v6", "dalle3", "kandinsky_3_community_edition"]
GENERATORS += ["flux_1_schnell", "pixart_sigma", "vq_autoregressive", "glide_small_filtered", "w" * 20]
ARMS = ["image", "universal_fake_detect_clip_linear_probe", "item", "m" * 30, "shuffled", "a_detector_of_others"]
ARMS += ["metadata", "local", "texture", "npr"]


@pytest.mark.parametrize("generators", [2, 6, 10])
@pytest.mark.parametrize("tables", [1, 5, 8, 10])
def test_no_text_of_matrices_touches_another_one_or_the_edge(tables, generators):
    columns = pd.Index(GENERATORS[:generators], name="tested on")
    square = pd.DataFrame(100.0, index=columns.rename("trained on"), columns=columns)
    row = pd.DataFrame(100.0, index=pd.Index(["elsewhere"], name="trained on"), columns=columns)
    matrices = {name: row if tables > 5 and place == tables - 1 else square for place, name in enumerate(ARMS[:tables])}
    figure = plot_matrices(matrices, 50, 100, ".0f")
    figure.canvas.draw()
    assert figure.get_size_inches()[0] <= PAGE and figure.get_size_inches()[1] <= 10
    drawn, sizes = (
        figure.findobj(lambda one: isinstance(one, Text) and one.get_visible() and one.get_text().strip()),
        set(),
    )
    boxes = np.array([one.get_window_extent().extents for one in drawn])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= figure.bbox.size).all()
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = (low < high).all(axis=2) & ~np.eye(len(drawn), dtype=bool)
    assert not [(drawn[one].get_text(), drawn[other].get_text()) for one, other in np.argwhere(both)]
    for axes in figure.axes:
        cell = axes.get_window_extent().width / generators
        sizes |= {text.get_fontsize() for text in axes.texts}
        assert all(text.get_window_extent().width < 0.95 * cell for text in axes.texts)
    assert len(sizes) == 1 and min(sizes) > 4.5
