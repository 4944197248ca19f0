"""The card's picture: six prompts of the test rows, drawn by the camera and by every generator."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from benchmark import GENERATORS
from scenes import decode

SHOWN = range(6)  # the first of the test split; not chosen


def build(work: Path, path: Path) -> None:
    """Draws 6 prompts x 7 sources into `path`; the data must be there."""
    table = pd.read_parquet(Path(__file__).resolve().parent.parent / "data" / "test.parquet")
    sources = ["real", *GENERATORS]
    figure, axes = plt.subplots(len(SHOWN), len(sources), figsize=(11.2, 8.0), layout="constrained")
    for line, (_, rows) in zip(axes, list(table.groupby("content_id", sort=True))[: len(SHOWN)], strict=True):
        pictures = dict(zip(rows["generator"], rows["image"], strict=True))
        for cell, source in zip(line, sources, strict=True):
            cell.imshow(decode(pictures[source]["bytes"]), interpolation="nearest")
            cell.set(xticks=[], yticks=[])
            for spine in cell.spines.values():
                spine.set_visible(False)
        prompt = textwrap.fill(rows["prompt"].iloc[0], 18)
        line[0].set_ylabel(prompt, rotation=0, ha="right", va="center", fontsize=9, labelpad=8)
    for cell, source in zip(axes[0], sources, strict=True):
        cell.set_title(source.replace("_", " "), fontsize=9)
    figure.savefig(path, dpi=75, metadata={"Software": None})
