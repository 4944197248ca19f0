import json
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from itemkit.paper import report
from itemkit.paper.plots import style
from itemkit.paper.reference import compare, summarise
from itemkit.paper.report import save_figure, save_table
from itemkit.paper.report import save_page as save_whole_page

FRAME = pd.DataFrame(
    {
        "train_on": ["latent_diffusion", "a|b"],
        "roc_auc": [1 / 3, np.nan],
        "n": [200, 19],
        "image_id": ["0012345678901234", "12e4567890123456"],  # text that looks like numbers
    }
)
NOTE = {
    "started": "2026-11-26T12:00:00+00:00",
    "seconds": 1.5,
    "commit": "abcdef0123456789",
    "clean": False,
    "by": "hand",
    "python": "3.11",
    "platform": "Linux",
    "versions": {"torch": "2.14"},
    "values": {"seeds": [0, 1]},
}
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
    cells = [
        {"cell_type": kind, "source": source.splitlines(keepends=True), "metadata": {}, "id": str(len(source))}
        | ({"outputs": [], "execution_count": None} if kind == "code" else {})
        for kind, source in (
            (
                "markdown",
                "# Across generators\n\nWhat `item` sees.\n\nIt reads the heads, and writes a table.\n\nMore.",
            ),
            ("code", "results = 1"),
            ("markdown", "**Train on one**, test on *all*."),
            ("code", 'if 1 < 2:\n    run.table(frame,\n              "04_cross_generator")'),
            ("markdown", "The picture."),
            ("code", 'run.figure(figure, "04_cross_generator", frame)'),
        )
    ]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "04_cross_generator.ipynb").write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    (tmp_path / "metrics.csv").write_text("value\n")
    return tmp_path


def save_page(results, title="Title", verdict="", compared=None, comparison="", hands=()):
    steps = {"04_cross_generator": NOTE}
    return save_whole_page(
        results, title, "How it works.", verdict, "What it cannot.", steps, hands, compared, comparison
    )


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
    page = save_page(results, "ITEM & co", "All of `it`.")
    html, text = read(page)
    assert page == results / "index.html"
    assert "<code>item</code> loses 5 % on a_b – mean of &lt;three&gt; seeds." in html
    assert "ITEM &amp; co" in text
    assert "Across generators" in text
    assert "What item sees." in text
    assert "It reads the heads, and writes a table." in text
    assert "More." not in text  # three paragraphs are the head
    assert "0.333" in text
    assert "a|b" in text
    assert "How it works." in text and "All of <code>it</code>." in html and "What it cannot." in text
    assert "2026-11-26T12:00:00+00:00 1.5 abcdef0123, changed hand" in text and "seeds [0, 1]" in text
    assert html.count("<table") == 3
    assert html.count("<img") == 1
    assert html.index("Composition") < html.index("<span>04</span>Across generators</h2>")


def test_each_artefact_has_its_place_and_the_step_that_made_it(results):
    html, text = read(save_page(results, "Title"))
    table, figure = html.split('<figure id="figure-04_cross_generator"')  # in the order in which they were made
    table = table.split('<figure id="table-04_cross_generator"')[1]
    figure = figure.split("</section>")[0]
    assert "<b>Train on one</b>, test on <em>all</em>.<pre>if 1 &lt; 2:\n    run.table(" in table
    assert "The picture.<pre>run.figure(" in figure
    for artefact in (figure, table):
        assert '<a href="notebooks/04_cross_generator.html">04_cross_generator</a>' in artefact
        assert artefact.count("<details>") == 1
    assert "tables/00_composition csv md tex ." in text  # no notebook is known, and none is made up


def test_every_image_has_a_text_and_every_table_a_name_and_column_heads(results):
    html, _ = read(save_page(results, "Title"))
    (alt,) = re.findall(r'<img alt="([^"]+)"', html)
    assert alt == "Cross generator, a figure; the numbers it shows stand in figures/04_cross_generator.csv"
    assert html.count('aria-label="Cross generator, a table"') == 1
    assert html.count("<th ") == html.count('<th scope="col"') == 2 * 4 + 6
    assert len(set(re.findall(r' id="([^"]+)"', html))) == html.count(' id="')


@pytest.fixture
def reference(results):
    """What the run has, but for a table that is gone."""
    reference = results / "reference"
    reference.mkdir()
    for name in ("00_composition", "04_cross_generator"):
        (reference / f"{name}.csv").write_bytes((results / "tables" / f"{name}.csv").read_bytes())
    return reference


def compared_page(results, reference) -> tuple[str, str]:
    compared = compare(results / "tables", reference, 0.02)
    return read(save_page(results, "Title", compared=compared, comparison=summarise(compared)))


def test_nothing_is_red_where_the_run_is_as_the_reference(results, reference):
    path = reference / "00_composition.csv"
    path.write_text(path.read_text().replace("0.3333333333333333", "0.34"))
    html, text = compared_page(results, reference)
    assert 'class="differs"' not in html and 'class="failed"' not in html
    assert text.count("; the same as in the reference, to the byte.") == 1
    assert "; largest difference to the reference 0.00667 (tolerance 0.02)." in text
    assert text.count("(1 the same to the byte, 1 within the tolerance of 0.02,") == 2  # head and section


def test_a_difference_is_red_and_said_in_words_at_the_head_at_the_table_and_in_the_list(results, reference):
    path = reference / "04_cross_generator.csv"
    path.write_text(path.read_text().replace("0.3333333333333333", "0.5"))
    (reference / "03_gone.csv").write_text("a\n1\n")
    html, text = compared_page(results, reference)
    head, body = html.split("</header>")
    assert '<p class="differs"><strong>Not as in the' in head
    assert '<a href="#table-04_cross_generator">04_cross_generator</a> (differs by 0.167)' in head
    assert "03_gone (missing)" in head
    assert '<p class="differs"><strong>Differs from the reference</strong> by 0.167 (tolerance 0.02): row 1' in body
    assert "roc auc: 0.3333, in the reference 0.5." in text
    assert body.count('<tr class="failed">') == 2 and "this run made no such table" in body
    assert "04_cross_generator differs 0.167 0.02 row 1 (latent diffusion, 0012345678901234), roc auc:" in text
    assert re.search(r"\.differs \{ color: var\(--red\)", html)


def test_a_difference_that_is_no_number_is_red_too_and_escaped(results, reference):
    path = reference / "00_composition.csv"
    path.write_text(path.read_text().replace("a|b", "<b>"))
    html, _ = compared_page(results, reference)
    assert "<strong>Differs from the reference</strong> (tolerance 0.02): row 2 (12e4567890123456), train on:" in html
    assert "in the reference &#34;&lt;b&gt;&#34;." in html


def test_without_a_comparison_the_page_says_why_and_marks_nothing(results, reference):
    compared = compare(results / "tables", reference, 0.02).head(0)
    html, text = read(save_page(results, compared=compared, comparison="There is no reference of photographs."))
    assert text.count("There is no reference of photographs.") == 2
    assert 'class="differs"' not in html and "to the byte" not in text and "largest difference" not in text


def test_page_is_self_contained(results):
    html, _ = read(save_page(results, "Title"))
    assert not re.search(r"https?:|<(script|link|iframe)|@import|url\(", html)
    assert re.findall(r'src="(.{22})', html) == ["data:image/png;base64,"]


def test_every_link_of_the_page_leads_somewhere(results):
    html, _ = read(save_page(results, "Title"))
    links = re.findall(r'href="([^"]+)"', html)
    assert "#table-00_composition" in links
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

    compared = compare(results / "tables", results / "none", 0.02)
    Balance().feed(read(save_page(results, compared=compared, comparison=summarise(compared), hands=["By hand."]))[0])
    assert open_tags == []


def test_a_table_and_a_figure_of_one_name_share_their_caption(results):
    html, _ = read(save_page(results))
    group = html.split('<div class="group">')[2]
    assert group.count("<figure") == 2 and group.count("loses 5 %") == 1


def test_the_page_opens_with_samples_matrix_and_the_small_table_and_shows_them_once(results):
    save_figure(draw(), results / "figures", "04_matrix", FRAME, "The matrix.")
    save_figure(draw(), results / "figures", "00_samples", FRAME, "Samples.")
    html, _ = read(save_page(results))
    assert html.count("Samples.") == html.count("The matrix.") == 1
    assert html.index("Samples.") < html.index("The matrix.") < html.index("What it cannot.") < html.index("<nav")


def test_hands_are_told_of_at_the_head(results):
    html, _ = read(save_page(results, hands=["06_robustness was run by hand."]))
    assert '<p class="differs">06_robustness was run by hand.</p>' in html.split("</header>")[0]


def test_what_is_saved_can_be_shown_once_and_as_the_report_shows_it(tmp_path):
    shown = save_table(FRAME, tmp_path, "03_table", CAPTION)._repr_mimebundle_()
    assert "text/html" not in shown and "| latent diffusion |     0.333 |" in shown["text/markdown"]
    assert shown["text/markdown"].startswith(CAPTION)
    figure = draw()
    shown = save_figure(figure, tmp_path, "03_figure", FRAME, CAPTION)._repr_mimebundle_()
    assert not pyplot.fignum_exists(figure.number)  # or Jupyter would show it a second time
    assert shown["text/html"].count("<img") == 1 and "<code>item</code> loses 5 %" in shown["text/html"]


def test_page_of_an_empty_run_is_a_page(tmp_path):
    assert "<h1>Nothing yet</h1>" in save_page(tmp_path, "Nothing yet").read_text(encoding="utf-8")


# what strangers write


HOSTILE = [
    "<script>alert(1)</script>",
    "[a link](javascript:alert(1))",
    "![a picture](http://192.0.2.1/a.png)",
    '=HYPERLINK("http://192.0.2.1")',
    "+1+1",
    "-1",
    "@SUM(A1)",
    "\tcell",
    "a | b `c` \\ $_$ $$ https://192.0.2.1",
    "two\nlines",
]


def test_a_table_holds_what_captions_say_and_nothing_in_them_is_live(tmp_path):
    from nbconvert.filters.markdown import markdown2html

    frame = pd.DataFrame({"caption": HOSTILE, "value": np.arange(len(HOSTILE), dtype=float)})
    shown = save_table(frame, tmp_path, "00_said", "A claim.")
    kept = pd.read_csv(tmp_path / "00_said.csv")["caption"].tolist()
    assert [cell[:1] for cell in kept[3:8]] == ["'"] * 5 and [cell[1:] for cell in kept[3:8]] == HOSTILE[3:8]
    assert kept[:3] + kept[8:] == HOSTILE[:3] + HOSTILE[8:]
    page = markdown2html(shown.markdown)
    assert "<script" not in page and "<a " not in page and "<img" not in page
    assert page.count("<tr>") == len(HOSTILE) + 1
    (table,) = [report._read_table(path) for path in tmp_path.glob("*.md")]
    expected = [" ".join(text.split("\n")).replace("_", " ").strip() for text in HOSTILE]
    assert [row[0] for row in table["rows"]] == expected


def test_the_page_shows_it_as_text(tmp_path):
    save_table(pd.DataFrame({"caption": HOSTILE}), tmp_path / "tables", "00_said", "A claim.")
    figure = pyplot.figure()
    figure.add_subplot().set_title("$_$ $$ <b>")
    save_figure(
        figure, tmp_path / "figures", "00_drawn", pd.DataFrame({"caption": HOSTILE}), "<script>alert(2)</script>"
    )
    page = save_page(tmp_path).read_text()
    assert "<script>" not in page and "&lt;script&gt;alert(1)" in page and "&lt;script&gt;alert(2)" in page
    assert pd.read_csv(tmp_path / "figures" / "00_drawn.csv")["caption"][3].startswith("'=")


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    save_table(pd.DataFrame({"x": [1]}), tmp_path, "00_x")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("pathlib.Path.write_text", lambda path, *_, **__: path.write_bytes(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_table(pd.DataFrame({"x": [2]}), tmp_path, "00_x")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
