"""Write the pictures of a profile as files, for detectors that know nothing of cards, tracks and data sets."""

from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from itemkit.data.files import whole
from itemkit.data.images import encoded_bytes
from itemkit.data.load import load_images, on_tracks, pin, read_card
from itemkit.data.perturb import steps
from itemkit.evaluation.others import perturbed_id
from itemkit.pipeline import inspect, perturbed
from itemkit.protocol import turns
from itemkit.running.run import ROOT, all_values, in_notebooks, plan

ENDINGS = {"JPEG": "jpg", "TIFF": "tif"}  # of other formats their own name
FACTS = ["image_id", "track", "split", "generator", "label"]


def export(
    profile: str, folder: str | Path, with_perturbed: bool = False, root: Path = ROOT
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write each readable picture of each track of a profile as a file of its own, bytes as they are, and a manifest.

    The names of the files tell nothing of the class. Files of the track "aligned" are of one format and size, so that
    these tell nothing either.

    Args:
        profile: a name in notebooks/params/.
        folder: a new or empty one.
        with_perturbed: also write the test pictures that 06_robustness perturbs, at each of its strengths, as PNG files.

    Returns:
        (the manifest, a row for each file: file, image_id, track, split, generator, label, perturbation, strength; the rows
        of images.inspect_images that have none, since they are unreadable or a copy of an earlier one on their track).

    Raises:
        ValueError: the folder is not empty.
        RunError: as run.plan; or the data are not there.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; give a new folder, so that no other pictures stand among these")
    values = all_values(plan(profile, root)[1])
    with in_notebooks(root):
        card = pin(read_card(values["card"]), values["cache"])
        images = load_images(card, generators=values["generators"], limit=values["limit"])
        images = on_tracks(images, values["tracks"], values["aligned_side"])
        files = inspect(images, values["cache"])
    is_kept = (files["status"] == "ok") & ~files.duplicated(["image_id", "track"])
    kept, rows = files[is_kept], []
    pictures = images.select(kept.index)
    for row, facts in tqdm(
        zip(pictures, kept.itertuples(), strict=True), total=len(kept), desc="export", unit="picture"
    ):
        ending = ENDINGS.get(facts.format, facts.format.lower())
        rows.append(_write(folder, row, f"{facts.image_id}.{ending}", facts, "none", 0))
    tested = kept[(kept["track"] == values["tracks"][0]) & (kept["split"] == "test")]
    tested = tested[turns(tested) < values["robustness_contents"]]
    originals = images.select(tested.index)
    for name, strength in steps(values["perturbations"]) if with_perturbed else ():
        for row, facts in zip(perturbed(originals, name, strength), tested.itertuples(), strict=True):
            rows.append(
                _write(folder, row, f"{perturbed_id(facts.image_id, name, strength)}.png", facts, name, strength)
            )
    manifest = pd.DataFrame(rows, columns=["file", *FACTS, "perturbation", "strength"])
    with whole(folder / "manifest.csv") as part:
        manifest.to_csv(part, index=False, lineterminator="\n")
    return manifest, files[~is_kept]


def _write(folder: Path, row: dict, name: str, facts, perturbation: str, strength: float) -> tuple:
    path = folder / facts.track / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded_bytes(row["image"]))
    known = [path.stem, *(getattr(facts, one) for one in FACTS[1:])]
    return (path.relative_to(folder).as_posix(), *known, perturbation, strength)
