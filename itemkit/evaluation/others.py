"""Scores of other people's detectors, as rows beside those of the arms: read from a table, and checked against the pictures."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from itemkit.evaluation.calibration import choose_temperature, choose_threshold

ELSEWHERE = "elsewhere"  # train_on of a detector that was trained on other pictures than the card's
PERTURBED = "([0-9a-f]{16})-([a-z_]+)-([0-9.]+)"  # a perturbed picture: its original, what was done, how much
HEAD = ["arm", "train_on", "seed"]
PICTURE = ["image_id", "perturbation", "strength"]
SCORES = [*HEAD, *PICTURE, "score"]  # the columns of read_scores


def perturbed_id(image_id: str, name: str, strength: float) -> str:
    """The id of a perturbed picture in an exported folder, and so in a table of scores."""
    return f"{image_id}-{name}-{strength:g}"


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
        ValueError: the file is not there or no such table; a score that is no finite number; a picture that is unknown or
            has two scores of one detector; detectors that scored different pictures. The message names the first.
    """
    path = Path(path)
    try:
        table = pd.read_csv(
            path,
            dtype={"image_id": str, "file": str, "train_on": str},
            encoding="utf-8-sig",
            index_col=False,
            compression=None,
        )
    except FileNotFoundError:
        raise ValueError(f"no table of scores {path}, seen from {Path.cwd()}") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is no table in UTF-8, separated by commas ({error})") from None
    key = next((name for name in ("image_id", "file") if name in table), None)
    if key is None or "score" not in table or table.empty:
        raise ValueError(
            f"{path} has {len(table)} rows with {', '.join(map(str, table))}; expected image_id or file, and score"
        )
    names = table[key].fillna("")
    if key == "file":
        names = names.map(lambda name: PurePosixPath(name.replace("\\", "/")).stem)  # 0123456789abcdef-blur-1.png, too
    scores = pd.DataFrame({"arm": path.stem, "train_on": ELSEWHERE, "seed": 0, "image_id": names})
    if "train_on" in table:
        scores["train_on"] = table["train_on"].fillna(ELSEWHERE)
        known = [*files["generator"][files["label"] == 1].unique(), ELSEWHERE]
        if odd := [name for name in scores["train_on"].unique() if name not in known]:
            raise ValueError(
                f"{path}: unknown train_on {odd[0]!r}; expected one of {', '.join(known)}, where a detector was trained on "
                "none of these generators"
            )
    if "seed" in table:
        seeds = pd.to_numeric(table["seed"].fillna(0), errors="coerce")
        if (odd := ~seeds.between(0, 2**31) | (seeds % 1 != 0)).any():
            raise ValueError(f"{path}: seed holds {str(table['seed'][odd].iloc[0])!r}; expected whole numbers")
        scores["seed"] = seeds.astype(int)
    done = names.str.extract(f"^{PERTURBED}$").set_axis(["original", "perturbation", "strength"], axis=1)
    scores["image_id"] = done["original"].fillna(names)
    scores["perturbation"] = done["perturbation"].fillna("none")
    scores["strength"] = pd.to_numeric(done["strength"]).fillna(0.0)
    scores["score"] = pd.to_numeric(table["score"], errors="coerce").astype(float)
    for wrong, what in (
        (~scores["image_id"].isin(files["image_id"]), "is no picture of this run"),
        (~np.isfinite(scores["score"]), "has no score that is a finite number"),
        (scores.duplicated([*HEAD, *PICTURE]), "has two scores of one detector"),
    ):
        if wrong.any():
            line = int(wrong.to_numpy().argmax())
            raise ValueError(
                f"{path}, line {line + 2}: {names[line] or 'a row without a name'} {what}; {wrong.sum()} lines in all"
            )
    sizes = scores.groupby(HEAD).size()
    if sizes.nunique() > 1 or len(scores[PICTURE].drop_duplicates()) != sizes.iloc[0]:
        raise ValueError(
            f"{path}: detectors that differ in train_on or seed have scored different pictures; give all the same"
        )
    return scores[SCORES]


def as_predictions(scores: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of one detector as 03 gives those of a head: of readable pictures of validation and test.

    Where all scores are in [0, 1], validation rows of the generator trained on, or of all if it is none of these, choose a
    threshold and a temperature; without such rows, and on another scale, both are NaN, and a detector is only ranked.

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
            if source in set(chosen["generator"]):
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
    if predictions.empty:
        said.append(f"{arm}: no readable picture of validation or test has a score, but for perturbed ones")
    low, high = scores["score"].min(), scores["score"].max()
    if low < 0 or high > 1:
        said.append(
            f"{arm}: scores from {low:.3g} to {high:.3g} are no shares; they are ranked, and no accuracy at 0.5 is given"
        )
    for track in predictions["track"].unique():
        known = files[(files["status"] == "ok") & (files["track"] == track)]
        for split in ("validation", "test"):
            lacks = known[(known["split"] == split) & ~known["image_id"].isin(scores["image_id"])]
            if len(lacks):
                first, all_ = lacks.iloc[0], (known["split"] == split).sum()
                said.append(
                    f"{arm}: {len(lacks)} of {all_} {split} pictures of the track {track} have no score, and count "
                    f"nowhere; the first is {first.image_id} of {first.generator}"
                )
    return said
