"""Write the pictures of a profile as files, for detectors that know nothing of cards, tracks and data sets."""

import os
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from itemkit.data.files import clear_parts, whole
from itemkit.data.images import encoded_bytes
from itemkit.data.load import load_images, on_tracks, pin, read_card
from itemkit.data.perturb import steps
from itemkit.evaluation.others import perturbed_id
from itemkit.pipeline import inspect, perturbed
from itemkit.protocol import turns
from itemkit.running.run import ROOT, all_values, in_notebooks, plan

ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}  # of other formats their own name
FACTS = ["image_id", "track", "split", "generator", "label"]


def export(
    profile: str, folder: str | Path, with_perturbed: bool = False, root: Path = ROOT
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write each readable picture of each track of a profile as a file of its own, bytes as they are, and a manifest.

    The folder has all of them, or, after an interruption, none.

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
        ValueError: the folder is not empty, is no folder, or cannot be written; that is said before the work.
        RunError: as run.plan; or the data are not there.
    """
    folder = Path(folder).absolute()
    if os.path.lexists(folder) and not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give a new or an empty one")
    held = list(folder.iterdir()) if folder.is_dir() else []
    if all(one.name.startswith(f"{folder.name}.") and one.suffix == ".part" for one in held):
        clear_parts(folder)  # of an export that was killed
        held = [one for one in held if one.exists()]
    if held:
        raise ValueError(f"{folder} is not empty; give a new folder, so that no other pictures stand among these")
    values = all_values(plan(profile, root)[1])
    with ExitStack() as stack:
        try:
            part = stack.enter_context(whole(folder))
            part.mkdir()
        except OSError as error:
            raise ValueError(f"{folder} cannot be written ({error}); give another folder") from None
        return _export(values, part, with_perturbed, root)


def _export(values: dict, folder: Path, with_perturbed: bool, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    with in_notebooks(root):
        card = pin(read_card(values["card"]), values["cache"])
        images = load_images(card, generators=values["generators"], limit=values["limit"])
        images = on_tracks(images, values["tracks"], values["aligned_side"])
        files = inspect(images, values["cache"])
    readable = files[files["status"] == "ok"]
    kept, rows = readable.drop_duplicates(["image_id", "track"]), []
    pictures = images.select(kept.index)
    for row, facts in tqdm(
        zip(pictures, kept.itertuples(), strict=True), total=len(kept), desc="export", unit="picture"
    ):
        ending = ENDINGS.get(facts.format, facts.format.lower())
        rows.append(_write(folder, row, f"{facts.image_id}.{ending}", facts, "none", 0))
    tested = readable[(readable["track"] == values["tracks"][0]) & (readable["split"] == "test")]
    # 06 counts contents with their copies, and perturbs a test picture that is a copy of one in another split
    tested = tested[turns(tested) < values["robustness_contents"]].drop_duplicates("image_id")
    originals = images.select(tested.index)
    for name, strength in steps(values["perturbations"]) if with_perturbed else ():
        for row, facts in zip(perturbed(originals, name, strength), tested.itertuples(), strict=True):
            rows.append(
                _write(folder, row, f"{perturbed_id(facts.image_id, name, strength)}.png", facts, name, strength)
            )
    manifest = pd.DataFrame(rows, columns=["file", *FACTS, "perturbation", "strength"])
    manifest.to_csv(folder / "manifest.csv", index=False, lineterminator="\n")
    return manifest, files.drop(kept.index)


def _write(folder: Path, row: dict, name: str, facts, perturbation: str, strength: float) -> tuple:
    path = folder / facts.track / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded_bytes(row["image"]))
    known = [path.stem, *(getattr(facts, one) for one in FACTS[1:])]
    return (path.relative_to(folder).as_posix(), *known, perturbation, strength)
