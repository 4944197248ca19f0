import json
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from itemkit.plots import style
from itemkit.report import save_figure, save_page, save_table

FRAME = pd.DataFrame(
    {
        "train_on": ["latent_diffusion", "a|b"],
        "roc_auc": [1 / 3, np.nan],
        "n": [200, 19],
        "image_id": ["0012345678901234", "12e4567890123456"],  # text that looks like numbers
    }
)
CAPTION = "The method `item` loses 5 % on a_b – mean of <three> seeds."


@pytest.fixture(autouse=True)
def our_style():
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        style()
        yield
    pyplot.close("all")


def draw():
    figure, axes = pyplot.subplots()
    axes.plot([0, 1, 2], [1, 3, 2])
    return figure


@pytest.fixture
def results(tmp_path):
    save_table(FRAME, tmp_path / "tables", "04_cross_generator", CAPTION)
    save_table(FRAME, tmp_path / "tables", "00_composition")
    save_figure(draw(), tmp_path / "figures", "04_cross_generator", FRAME, CAPTION)
    cells = [{"cell_type": "markdown", "source": ["# Across generators\n", "\n", "What `item` sees.\n", "\n", "More."]}]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "04_cross_generator.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "metrics.csv").write_text("value\n")
    return tmp_path


def read(page) -> tuple[str, str]:
    html = page.read_text(encoding="utf-8")
    return html, re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", html))


def test_csv_is_exact(results):
    table = pd.read_csv(results / "tables" / "04_cross_generator.csv", dtype={"image_id": str})
    pd.testing.assert_frame_equal(table, FRAME, check_exact=True, check_dtype=False)


def test_markdown_is_rounded_and_keeps_text_as_it_is(results):
    lines = (results / "tables" / "04_cross_generator.md").read_text().splitlines()
    assert lines[0] == CAPTION
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert cells[0] == ["train on", "roc auc", "n", "image id"]
    assert cells[2] == ["latent diffusion", "0.333", "200", "0012345678901234"]
    assert cells[3] == [r"a\|b", "–", "19", "12e4567890123456"]


def test_tex_is_a_booktabs_table(results):
    tex = (results / "tables" / "04_cross_generator.tex").read_text()
    assert r"\caption{The method item loses 5 \% on a\_b – mean of <three> seeds.}" in tex
    assert r"\begin{tabular}{lrrl}" in tex
    assert r"latent diffusion & 0.333 & 200 & 0012345678901234 \\" in tex


def test_a_named_index_is_written_and_an_unnamed_one_is_not(tmp_path):
    matrix = FRAME.pivot(index="train_on", columns="n", values="roc_auc")
    save_table(matrix, tmp_path, "matrix", float_format=".1f")
    assert (tmp_path / "matrix.csv").read_text().splitlines()[0] == "train_on,19,200"
    assert "latent diffusion & – & 0.3" in (tmp_path / "matrix.tex").read_text()
    save_table(FRAME.tail(1), tmp_path, "plain")
    assert (tmp_path / "plain.csv").read_text().splitlines()[0] == "train_on,roc_auc,n,image_id"


def test_saved_twice_same_bytes(results, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    save_table(FRAME, again, "04_cross_generator", CAPTION)
    save_figure(draw(), again, "04_cross_generator", FRAME, CAPTION)
    for ending in ("md", "tex"):
        name = f"04_cross_generator.{ending}"
        assert (again / name).read_bytes() == (results / "tables" / name).read_bytes()
    for ending in ("pdf", "png", "csv"):
        name = f"04_cross_generator.{ending}"
        assert (again / name).read_bytes() == (results / "figures" / name).read_bytes()
    assert save_page(results, "Title").read_bytes() == save_page(results, "Title").read_bytes()


def test_figure_has_the_size_of_a_column(results):
    with Image.open(results / "figures" / "04_cross_generator.png") as image:
        assert image.width == pytest.approx(3.4 * 300, abs=1)
        assert image.info["Description"] == CAPTION


def test_page_shows_every_table_and_figure_with_caption(results):
    page = save_page(results, "ITEM & co", "All of `it`.", {"git": {"commit": "abc"}, "seeds": [0, 1]})
    html, text = read(page)
    assert page == results / "index.html"
    assert "<code>item</code> loses 5 % on a_b – mean of &lt;three&gt; seeds." in html
    assert "ITEM &amp; co" in text
    assert "Across generators" in text
    assert "What item sees." in text
    assert "More." not in text  # only the first paragraph
    assert "0.333" in text
    assert "a|b" in text
    assert "commit abc" in text
    assert "seeds 0, 1" in text
    assert html.count("<table") == 2
    assert html.count("<img") == 1
    assert html.index("Composition") < html.index("<span>04</span>Across generators</h2>")


def test_page_is_self_contained(results):
    html, _ = read(save_page(results, "Title"))
    assert not re.search(r"https?:|<(script|link|iframe)|@import|url\(", html)
    assert re.findall(r'src="(.{22})', html) == ["data:image/png;base64,"]


def test_every_link_of_the_page_leads_somewhere(results):
    html, _ = read(save_page(results, "Title"))
    links = re.findall(r'href="([^"]+)"', html)
    assert "figures/04_cross_generator.pdf" in links
    assert "metrics.csv" in links
    for link in links:
        found = f'id="{link[1:]}"' in html if link.startswith("#") else (results / link).is_file()
        assert found, link


def test_page_is_well_formed(results):
    open_tags = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Balance().feed(read(save_page(results, "Title", provenance={"a": {"b": 1}}))[0])
    assert open_tags == []


def test_page_of_an_empty_run_is_a_page(tmp_path):
    assert "<h1>Nothing yet</h1>" in save_page(tmp_path, "Nothing yet").read_text(encoding="utf-8")
