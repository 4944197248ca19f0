"""Widgets to play with one picture: perturb it, change its words, and see what the verdict rests on."""

import html
import io
from collections.abc import Mapping

import ipywidgets
import pandas as pd
from matplotlib import pyplot
from PIL import Image

from itemkit.data.images import UnreadableImage, decode_image
from itemkit.data.perturb import perturb
from itemkit.detector import Detector, Verdict
from itemkit.evaluation.calibration import at_temperature
from itemkit.paper.sheets import plot_explained, plot_verdict, scale_around

SLIDERS = {  # perturbation: what the slider says, its range and step, and the end at which it does nothing
    "jpeg": ("JPEG quality", 5, 100, 5, 100),
    "blur": ("blur (pixels)", 0, 4, 0.25, 0),
    "resize": ("resize (share)", 0.2, 1, 0.05, 1),
    "noise": ("noise (of 255)", 0, 60, 2, 0),
}


def figure_of(detector: Detector, encoded: bytes, verdict: Verdict) -> bytes:
    """Return the figure of a verdict of Detector.judge, as a PNG file."""
    scores = {name: at_temperature(one, detector.temperature) for name, one in detector.tested_scores.items()}
    figure = plot_verdict(
        decode_image(encoded),
        verdict.caption,
        objects_of(verdict),
        verdict.score,
        verdict.threshold,
        scores,
        detector.usual,
    )
    return _png(figure)


def objects_of(verdict: Verdict) -> pd.DataFrame:
    """Return the objects of a verdict as a table: phrase, misalignment, x0, y0, x1, y1; NaN where one was not found."""
    rows = [(one["phrase"], one["misalignment"], *(one["box"] or [float("nan")] * 4)) for one in verdict.objects]
    return pd.DataFrame(rows, columns=["phrase", "misalignment", "x0", "y0", "x1", "y1"])


class PictureExplorer(ipywidgets.VBox):
    """One picture, chosen or uploaded; sliders that perturb it, and a box in which its words can be edited.

    Args:
        detector: judges the picture.
        pictures: files, by what the list is to call them.
    """

    def __init__(self, detector: Detector, pictures: Mapping[str, bytes]) -> None:
        self.detector, self.pictures, self.own_words = detector, dict(pictures), ""
        wide = ipywidgets.Layout(width="46em")
        self.choice = ipywidgets.Dropdown(options=list(pictures), description="picture", layout=wide)
        self.upload = ipywidgets.FileUpload(accept="image/*", description="yours")
        self.sliders = {
            name: ipywidgets.FloatSlider(
                off,
                min=low,
                max=high,
                step=step,
                description=label,
                continuous_update=False,
                style={"description_width": "8em"},
            )
            for name, (label, low, high, step, off) in SLIDERS.items()
        }
        self.words = ipywidgets.Text(description="words", layout=wide, continuous_update=False)
        self.again = ipywidgets.Button(description="the captioner's words", layout=ipywidgets.Layout(width="auto"))
        self.answer = ipywidgets.HTML()
        self.figure = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width="70em"))
        rows = ([self.choice, self.upload], list(self.sliders.values()), [self.words, self.again])
        super().__init__([*(ipywidgets.HBox(row) for row in rows), self.answer, self.figure])
        self.upload.observe(self._add, "value")
        for widget in (self.choice, *self.sliders.values()):
            widget.observe(lambda _: self.show(), "value")
        self.words.observe(self._reword, "value")
        self.again.on_click(lambda _: self.show())
        self.show()

    def show(self, words: str | None = None) -> Verdict | None:
        """Judge the picture as it is now, with the captioner's words or others, and draw what comes out."""
        if self.choice.value is None:
            self.answer.value = "Upload a picture."
            return None
        try:
            picture = decode_image(self.pictures[self.choice.value])
            for name, slider in self.sliders.items():
                if slider.value != SLIDERS[name][-1]:
                    picture = perturb(picture, name, slider.value)
            encoded = self.detector.prepared(picture)
        except UnreadableImage as error:
            self.answer.value, self.figure.value = html.escape(f"It cannot be read: {error}."), b""
            return None
        [verdict] = self.detector.judge([encoded], captions=None if words is None else [words])
        self.own_words = verdict.caption
        self.words.value = verdict.caption
        self.answer.value = f"<h3>{verdict.answer}: {verdict.score:.2f}</h3>{html.escape(verdict.reason)}"
        self.figure.value = figure_of(self.detector, encoded, verdict)
        return verdict

    def _reword(self, change) -> None:
        if change["new"] != self.own_words:
            self.show(change["new"])

    def _add(self, change) -> None:
        for file in change["new"]:
            self.pictures[file["name"]] = bytes(file["content"])
            if self.choice.value == file["name"]:  # another file of the same name
                self.show()
            else:
                self.choice.options = list(self.pictures)
                self.choice.value = file["name"]


class ContentExplorer(ipywidgets.VBox):
    """One content, drawn by every source, and what the detector says of each.

    Args:
        detector: judges the pictures.
        contents: files by source, by content id.
    """

    def __init__(self, detector: Detector, contents: Mapping[str, Mapping[str, bytes]]) -> None:
        self.detector, self.contents = detector, contents
        self.choice = ipywidgets.Dropdown(options=list(contents), description="content")
        self.figure = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width="70em"))
        super().__init__([self.choice, self.figure])
        self.choice.observe(lambda _: self.show(), "value")
        self.show()

    def show(self) -> list[Verdict]:
        """Judge all pictures of the content that is chosen, and draw them side by side."""
        sources = self.contents[self.choice.value]
        encoded = [self.detector.prepared(Image.open(io.BytesIO(file))) for file in sources.values()]
        verdicts = self.detector.judge(encoded)
        explained = pd.DataFrame(verdicts).assign(image_id=list(sources), generator=list(sources))
        explained["generator"] = explained["generator"].str.replace("_", "\n", n=1) + "\n" + explained["answer"]
        explained["phrases"] = [[one["phrase"] for one in verdict.objects] for verdict in verdicts]
        objects = pd.concat(
            [objects_of(one).assign(image_id=name) for one, name in zip(verdicts, sources, strict=True)]
        )
        scale = scale_around(self.detector.usual)
        pictures = [decode_image(one) for one in encoded]
        self.figure.value = _png(plot_explained(pictures, explained, objects.dropna(), scale, len(explained)))
        return verdicts


def _png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)
    return file.getvalue()
