"""Scores of other people's detectors, as rows beside those of the arms: read from a table, and checked against the pictures."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from itemkit.evaluation.calibration import choose_temperature, choose_threshold

ELSEWHERE = "elsewhere"  # train_on of a detector that was trained on other pictures than the card's
NAME = r"(?:.*[/\\])?(.+?)(?:\.[A-Za-z]\w*)?"  # of a file: with its folder, as Windows writes it too, and its ending
PERTURBED = r"([0-9a-f]{16})-([a-z_]+)-(\d+(?:\.\d+)?)"  # a perturbed picture: its original, what was done, how much
HEAD = ["arm", "train_on", "seed"]
STEP = ["perturbation", "strength"]
PICTURE = ["image_id", *STEP]
SCORES = [*HEAD, *PICTURE, "score"]  # the columns of read_scores
TEXTS = ("image_id", "file", "score", "train_on", "seed", *STEP)  # columns that are read as they are written


def perturbed_id(image_id: str, name: str, strength: float) -> str:
    """The id of a perturbed picture in an exported folder, and so in a table of scores."""
    return f"{image_id}-{name}-{strength:g}"


def check_tables(tables: Iterable, arms: Iterable[str]) -> None:
    """Raise a ValueError if tables of scores cannot be told by their names, which their arms are to have.

    Args:
        tables: paths.
        arms: those that are there already.
    """
    taken = {*arms, *STEP}  # which are columns beside arms
    for table in tables:
        name = Path(table).stem if isinstance(table, str | Path) and Path(table).suffix else ""
        if not name or name in taken or name.endswith("_captions_frozen"):
            raise ValueError(
                f"others holds {table!r}; expected tables such as npr.csv, each named as its arm is to be, and none of "
                f"{', '.join(sorted(taken))}"
            )
        taken.add(name)


def read_scores(path: str | Path, files: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of one detector; the name of the file is that of its arm.

    Args:
        path: a CSV file with image_id, or file, as the manifest of an exported folder has them, and score, higher for
            generated; train_on, the generator that a picture's score comes from a detector of (none: it was trained on
            pictures of others), and seed (none: 0), if there are several detectors.
        files: what inspect_images returned of all pictures.

    Returns:
        arm, train_on, seed, image_id, perturbation ("none" for the picture as it is), strength, score.

    Raises:
        ValueError: the file is not there or no such table; a score that is no finite number; a picture that is unknown,
            is named as two different ones, or has two scores of one detector; detectors that scored different pictures. The
            message names the first.
    """
    path = Path(path)
    table = _read(path)
    known = [*files["generator"][files["label"] == 1].unique(), ELSEWHERE]
    scores = pd.DataFrame({"arm": path.stem, "train_on": ELSEWHERE, "seed": 0}, table.index)
    if "train_on" in table:
        scores["train_on"] = table["train_on"].replace("", ELSEWHERE)
        if odd := [name for name in scores["train_on"].unique() if name not in known]:
            raise ValueError(
                f"{path}: unknown train_on {odd[0]!r}; expected one of {', '.join(known)}, where a detector was trained on "
                "none of these generators"
            )
    if "seed" in table:
        seeds = pd.to_numeric(table["seed"].replace("", "0"), errors="coerce")
        if (odd := ~seeds.between(0, 2**31) | (seeds % 1 != 0)).any():
            raise ValueError(
                f"{path}: seed holds {table['seed'][odd].iloc[0]!r}; expected whole numbers from 0 to 2^31"
            )
        scores["seed"] = seeds.astype(int)
    names, is_contradicted = _names(table)
    scores[PICTURE] = _pictures(names)
    scores["score"] = pd.to_numeric(table["score"], errors="coerce").astype(float)
    for wrong, what in (
        (is_contradicted, "is named as another picture by a column beside it"),
        (~scores["image_id"].isin(files["image_id"]), "is no picture of this run"),
        (~np.isfinite(scores["score"]), "has no score that is a finite number"),
        (scores.duplicated([*HEAD, *PICTURE]), "has two scores of one detector"),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise ValueError(
                f"{path}, row {row + 1}: {names[row] or 'a row without a name'} {what}; {wrong.sum()} rows in all"
            )
    sizes = scores.groupby(HEAD).size()
    if sizes.nunique() > 1 or len(scores[PICTURE].drop_duplicates()) != sizes.iloc[0]:
        raise ValueError(
            f"{path}: detectors that differ in train_on or seed have scored different pictures; give all the same"
        )
    return scores[SCORES]


def _read(path: Path) -> pd.DataFrame:
    """The table, its TEXTS as they are written: nothing in it is a missing value, a date or an index by its looks."""
    try:
        read = csv.read_csv(
            io.BytesIO(path.read_bytes()),
            csv.ReadOptions(use_threads=False),  # then an error names the row
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(TEXTS, pa.string())),
        )
    except FileNotFoundError:
        raise ValueError(f"no table of scores {path}, seen from {Path.cwd()}") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} is no table in UTF-8, separated by commas ({error})") from None
    names = read.column_names
    if not {"image_id", "file"} & set(names) or "score" not in names or len(set(names)) < len(names) or not len(read):
        raise ValueError(
            f"{path} has {len(read)} rows with {', '.join(names)}; expected columns, separated by commas: image_id or file, "
            "and score, each once"
        )
    return read.select([name for name in TEXTS if name in names]).to_pandas()


def _names(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """What each row is a score of, as perturbed_id gives it or an id, and whether another column of the manifest disagrees."""
    of_files = table["file"].str.extract(f"^{NAME}$", expand=False).fillna("") if "file" in table else None
    names = table.get("image_id", of_files)
    known, differs = _pictures(names), pd.Series(False, table.index)
    if of_files is not None:
        differs |= of_files != names
    if "perturbation" in table:
        differs |= table["perturbation"].replace("", "none") != known["perturbation"]
    if "strength" in table:
        differs |= pd.to_numeric(table["strength"].replace("", "0"), errors="coerce") != known["strength"]
    return names, differs


def _pictures(names: pd.Series) -> pd.DataFrame:
    """The columns PICTURE of names that perturbed_id gave, or of ids as they are."""
    done = names.str.extract(f"^{PERTURBED}$").set_axis(PICTURE, axis=1)
    return pd.DataFrame(
        {
            "image_id": done["image_id"].fillna(names),
            "perturbation": done["perturbation"].fillna("none"),
            "strength": pd.to_numeric(done["strength"]).fillna(0.0),
        }
    )


def as_predictions(scores: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of one detector as 03 gives those of a head: of readable pictures of validation and test.

    Where all scores are in [0, 1], validation rows choose a threshold and a temperature: those of real pictures and of the
    generator trained on, or, for a detector from elsewhere, of all generators. Without both classes of such rows, and on
    another scale, both are NaN, and a detector is only ranked.

    Args:
        scores: what read_scores returned.
        files: what inspect_images returned of all pictures, with their track.

    Returns:
        image_id, generator, label, content_id, split, score, track, arm, train_on, seed, threshold, temperature.

    Raises:
        ValueError: of one class of the test pictures of a track there is no score.
    """
    known = files[(files["status"] == "ok") & files["split"].isin(["validation", "test"])]
    facts = ["image_id", "generator", "label", "content_id", "split", "track"]
    is_share = scores["score"].between(0, 1).all()
    tables = []
    for (arm, source, seed), head in scores[scores["perturbation"] == "none"].groupby(HEAD, sort=False):
        rows = known[facts].merge(head[["image_id", "score"]], on="image_id")
        for track, own in rows.groupby("track", sort=False):
            if own["label"][own["split"] == "test"].nunique() == 1:
                raise ValueError(
                    f"{arm} has scores of test pictures of one class on the track {track}; give those of both"
                )
            chosen = own[own["split"] == "validation"]
            if source != ELSEWHERE:
                chosen = chosen[chosen["generator"].isin(["real", source])]
            decides = is_share and chosen["label"].nunique() == 2
            both = chosen["label"].to_numpy(), chosen["score"].to_numpy()
            choices = {
                "threshold": choose_threshold(*both) if decides else np.nan,
                "temperature": choose_temperature(*both) if decides else np.nan,
            }
            tables.append(own.assign(arm=arm, train_on=source, seed=seed, **choices))
    columns = [*facts[:-1], "score", "track", *HEAD, "threshold", "temperature"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def doubts(scores: pd.DataFrame, predictions: pd.DataFrame, files: pd.DataFrame) -> list[str]:
    """Say in a sentence each what is missing of the scores of one detector, or is not as those of a head are.

    Args:
        scores, predictions: what read_scores and as_predictions returned.
        files: as for as_predictions.
    """
    arm, said = scores["arm"].iloc[0], []
    low, high = scores["score"].min(), scores["score"].max()
    if low < 0 or high > 1:
        said.append(
            f"{arm}: scores from {low:.3g} to {high:.3g} are no shares; they are ranked, and no accuracy at 0.5 is given"
        )
    elif ELSEWHERE in set(predictions["train_on"][predictions["threshold"].notna()]):
        said.append(
            f"{arm}: trained elsewhere, its threshold and temperature come from validation pictures of every generator, also "
            "of those that it is tested on; no head of this run has such a threshold"
        )
    scored = scores["image_id"][scores["perturbation"] == "none"]
    for track in files["track"].unique():
        known = files[(files["status"] == "ok") & (files["track"] == track)]
        for split in ("validation", "test"):
            own = known[known["split"] == split]
            lacks = own[~own["image_id"].isin(scored)]
            if len(lacks):
                first = lacks.iloc[0]
                said.append(
                    f"{arm}: {len(lacks)} of {len(own)} {split} pictures of the track {track} have no score, and count "
                    f"nowhere; the first is {first.image_id} of {first.generator}"
                )
    return said


def step_doubts(scores: pd.DataFrame, tested: pd.DataFrame, steps: Sequence[tuple[str, float]]) -> list[str]:
    """Say in a sentence each which scores of perturbed pictures one detector lacks, and which find no place.

    Args:
        scores: what read_scores returned.
        tested: the pictures that are perturbed: image_id, generator.
        steps: perturbation and strength of each point of the curves, ("none", 0) for the pictures as they are.
    """
    arm, ids, said = scores["arm"].iloc[0], set(tested["image_id"]), []
    given = scores.drop_duplicates(PICTURE)
    counts = given[given["image_id"].isin(ids)].groupby(STEP).size()
    few = [f"{name} {strength:g}" for name, strength in steps if counts.get((name, strength), 0) < len(ids)]
    if few:
        said.append(
            f"{arm}: of {len(few)} of {len(steps)} steps not all of the {len(ids)} pictures have a score ({_some(few)}); its "
            "points there are of those that have"
        )
    is_used = given["image_id"].isin(ids) & pd.MultiIndex.from_frame(given[STEP]).isin(steps)
    if len(unused := given[~is_used & (given["perturbation"] != "none")]):
        names = [perturbed_id(*picture) for picture in unused[PICTURE].itertuples(index=False, name=None)]
        said.append(
            f"{arm}: {len(names)} scores of perturbed pictures are of none that this run perturbs ({_some(names)})"
        )
    return said


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
