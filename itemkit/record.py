"""The record of a run: what it is made of, and all of it that a notebook needs, opened in one line.

    run = Run(results, "06_robustness", globals())  # in a notebook, below its parameters
    run.close()                                     # in its last cell

Notebooks 00 to 03 decide what a run is made of: pictures, words, boxes and vectors, features. Each notes its values and
what it made in `record.json`. Other values than these are refused where a notebook opens its run; pictures and networks
that have changed, where it first asks for them.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from itemkit.arms import ARMS, cosine_misalignment, feature_matrix, object_misalignment
from itemkit.captions import Captioner
from itemkit.data.cards import Card, read_card
from itemkit.data.choices import check_names
from itemkit.data.files import checksum, whole
from itemkit.data.hub import resolve_revision
from itemkit.data.images import decode_image, encoded_bytes
from itemkit.data.load import load_images, on_tracks
from itemkit.data.perturb import PERTURBATIONS
from itemkit.embed import ClipEncoder
from itemkit.evaluation.calibration import choose_temperature
from itemkit.evaluation.others import SCORES, as_predictions, check_tables, doubts, read_scores, step_doubts
from itemkit.locate import ObjectLocator
from itemkit.network import network_digest, spacy_folder
from itemkit.paper.notebooks import FOLDER, PLAIN, STEPS, clear, declared
from itemkit.paper.report import listed, save_figure, save_table
from itemkit.pipeline import embed, locate
from itemkit.store import digest

MAKES = {  # what a run is made of, and which notebook makes it; all later notebooks rest on these
    "00_data": ("images.parquet",),
    "01_captions": ("captions.parquet", "shuffled.parquet"),
    "02_misalignment": ("boxes.parquet", "vectors.parquet", "texts.parquet"),
    "03_train": ("heads.csv", "predictions.parquet"),
}
FORMAT = 1  # of record.json: raise it when a folder with an older one can no longer be used
LIBRARIES = ("torch", "transformers", "open_clip_torch", "spacy", "datasets", "scikit-learn", "numpy", "pandas")
ELSEWHERE = "or use another `results`"


class RecordError(ValueError):
    """A notebook does not fit the folder of results that it was opened on; the message says what to run or to change."""


def read_record(results: str | Path) -> dict:
    """Return what record.json in a folder of results says: a note for each notebook that was run, by its name.

    Raises:
        RecordError: the record is damaged, or the folder was made by another version of itemkit.
    """
    path = Path(results, "record.json")
    if not path.is_file():
        if Path(results, "images.parquet").exists():
            raise RecordError(f"{results} was made by a version of itemkit without records; remove it, {ELSEWHERE}")
        return {"format": FORMAT, "steps": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        form = record["format"]
        notes = record["steps"]
        complete = all(
            {"values", "ended"} <= set(note) and set(note["rests_on"]) <= set(notes) and isinstance(note["made"], dict)
            for note in notes.values()
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        form, complete = None, False
    if form not in (None, FORMAT):
        raise RecordError(
            f"{path} has format {form!r}, this version of itemkit {FORMAT}; remove {results}, {ELSEWHERE}"
        )
    if not complete:
        raise RecordError(f"{path} is damaged; restore it, or remove {results} and run all notebooks, {ELSEWHERE}")
    return record


def manual_changes(results: str | Path) -> list[str]:
    """Say in a sentence each what is not as one undisturbed run leaves it.

    That is notebooks run by hand, code that was not committed or of several commits, and tables changed since.
    """
    steps = read_record(results)["steps"]
    by_hand = [step for step, note in steps.items() if note["by"] == "hand"]
    uncommitted = [step for step, note in steps.items() if note["clean"] is False]
    commits = list(dict.fromkeys(note["commit"] or "unknown" for note in steps.values()))
    sentences = [f"{step} was run by hand, {steps[step]['started']}." for step in by_hand]
    if uncommitted:
        sentences.append(f"Code with uncommitted changes ran {listed(uncommitted)}.")
    if len(commits) > 1:
        sentences.append(f"The notebooks were run from several commits: {listed([commit[:7] for commit in commits])}.")
    for step, note in steps.items():
        for name, content in note["made"].items():
            if not (path := Path(results, name)).is_file() or _content(path) != content:
                sentences.append(f"{name} is no longer as {step} left it.")
    return sentences


def without_data(results: str | Path) -> dict[str, str]:
    """Say which notebooks have nothing to show of the pictures that 00_data counted, and why; empty if all have."""
    steps = read_record(results)["steps"]
    facts = steps.get("00_data", {}).get("facts", {})
    names = ("too_few", "too_few_to_test", "too_few_to_validate", "generators")
    few, untested, unvalidated, generators = (facts.get(name, {}) for name in names)
    trained = [one for one in generators if one not in few]

    def unseen(lacking: dict[str, str], heads: list[str]) -> bool:
        return any(one != other for one in heads for other in generators if other not in lacking)

    heads = [one for one in steps.get("03_train", {}).get("values", {}).get("train_on") or trained if one in trained]
    if not trained:
        reason, first = "; ".join(few.values()), "03_train"
    elif unseen(untested, heads):  # 05_ablations tests no row, and trains heads of its own
        return {} if unseen(unvalidated, trained) else {"05_ablations": "; ".join(unvalidated.values())}
    else:
        alone = f"{generators[0]} is the only generator, so that none is left that a head has not seen"
        reason, first = alone if len(generators) == 1 else "; ".join(untested.values()), "04_cross_generator"
    return {step: reason for step in STEPS[:-1] if step >= first} if generators else {}


def forget(results: str | Path, steps: Iterable[str]) -> None:
    """Take the notes of notebooks out of the record, since what they made belongs to another run."""
    with FileLock(Path(results, ".record.lock")):
        record = read_record(results)
        record["steps"] = {step: note for step, note in record["steps"].items() if step not in set(steps)}
        _write(Path(results), record["steps"])


def note_state(results: str | Path, step: str, state: str) -> None:
    """Add to the note of a notebook that has ended a name of all that it rests on and made, by which a run knows it again."""
    with FileLock(Path(results, ".record.lock")):
        steps = read_record(results)["steps"]
        steps[step]["state"] = state
        _write(Path(results), steps)


class Run:
    """A folder of results, opened for one notebook, or without `step` to be looked at.

    Args:
        results: the folder; made by the first notebook.
        step: the notebook, one of STEPS; its note takes the place of an earlier one.
        namespace: globals() of the notebook; the names that its parameters cell declares have their values there.

    Attributes:
        folder: the folder of results.
        steps: the notes of all notebooks that were run, by name.
        values: the parameters of this notebook and of those that it rests on, by name.

    Raises:
        ValueError: `step` is none of STEPS.
        RecordError: a notebook before this one was not run, did not end, or was made with other values than the record
            has now; the namespace has another value of their parameters, or lacks one of its own; or there is nothing
            to show of the pictures. Nothing has been written. `images` and the networks raise it when first asked
            for, if they are no longer those that the record names.
    """

    def __init__(self, results: str | Path, step: str | None = None, namespace: Mapping | None = None) -> None:
        if step is not None:
            check_names("notebook of the run", [step], STEPS)
        self.folder, self.step = Path(results), step
        self.steps, left_out = read_record(results)["steps"], without_data(results)
        before = list(MAKES) if step is None else [one for one in MAKES if one < step]
        if step == STEPS[-1]:  # the report shows what there is
            before = [one for one in STEPS[:-1] if one in self.steps and one not in left_out]
        self._check(before)
        if reason := left_out.get(step):
            raise RecordError(f"{step} has nothing to show: {reason}")
        self.values = {name: value for one in before for name, value in self.steps[one]["values"].items()}
        if step is not None:
            own = self._own_values(namespace or {})
            self._begin(before, own)
            self.values |= own

    # What it is made of

    @cached_property
    def card(self) -> Card:
        """The card of the data set, at the revision that 00_data read."""
        card = read_card(self.values["card"])
        if not card.is_local:
            card = replace(card, revision=self._commit(card.repo, card.commit, "dataset"))
        facts = ("name", "repo", "revision", "license", "gigabytes", "unverified", "generators")
        self._fact("card", "00_data", {name: getattr(card, name) for name in facts})
        return card

    @cached_property
    def images(self):
        """The pictures on all tracks, undecoded: the rows of `images.parquet`, as load.on_tracks returns them."""
        value = self.values
        images = load_images(self.card, generators=value["generators"], limit=value["limit"])
        images = on_tracks(images, value["tracks"], value["aligned_side"])
        facts = ["image_id", "label", "generator", "content_id", "split", "track"]
        if self.step != "00_data" and not images.select_columns(facts).to_pandas().equals(self.files[facts]):
            raise RecordError(
                f"the pictures of card {self.card.name} are no longer those of {self.folder}; run {listed(MAKES)} again, "
                f"{ELSEWHERE}"
            )
        return images

    @property
    def track(self) -> str:
        """The headline track: the first of the run's."""
        return self.values["tracks"][0]

    @property
    def sources(self) -> list[str]:
        """ "real" and the generators, in the order of the data set."""
        return list(self.files["generator"].unique())

    @property
    def generators(self) -> list[str]:
        """The generators, in the order of the data set."""
        return [source for source in self.sources if source != "real"]

    @cached_property
    def files(self) -> pd.DataFrame:
        """`images.parquet`: a row for each picture and track, as images.inspect_images returned it."""
        return self.read("images.parquet")

    @cached_property
    def said(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Captions, boxes, vectors and texts: what the networks said, as the functions of pipeline returned it."""
        return tuple(self.read(f"{name}.parquet") for name in ("captions", "boxes", "vectors", "texts"))

    @cached_property
    def truth(self) -> pd.DataFrame:
        """What the card knows to be true: generator, content_id and those of cards.TRUTH_COLUMNS that it names."""
        value = self.values
        known = load_images(self.card, generators=value["generators"], limit=value["limit"], truth=True)
        return known.select_columns(
            [name for name in known.column_names if name not in ("image", "image_id")]
        ).to_pandas()

    @property
    def choices(self) -> dict[str, str]:
        """How features are made of vectors, as arms.feature_matrix takes it: the choices of 02 and 03."""
        return {name: self.values[name] for name in ("distance", "pool", "fuse", "missing_box")}

    # Networks, ready to use

    @cached_property
    def captioner(self) -> Captioner:
        """The captioner of 01_captions."""
        return Captioner(*self._network("captioner", "01_captions"), **self._settings)

    @cached_property
    def nouns(self) -> str:
        """The spaCy pipeline of 01_captions: a folder or a package."""
        folder = spacy_folder(self.values["nouns"])
        self._fact("nouns", "01_captions", {"network": network_digest(folder)})
        return self.values["nouns"]

    @cached_property
    def locator(self) -> ObjectLocator:
        """The object detector of 02_misalignment."""
        network = self._network("locator", "02_misalignment")
        return ObjectLocator(*network, threshold=self.values["box_threshold"], **self._settings)

    @cached_property
    def encoder(self) -> ClipEncoder:
        """The CLIP of 02_misalignment."""
        network = self._network("encoder", "02_misalignment")
        return ClipEncoder(*network, device=self.values["device"], dtype=self.values["encoder_dtype"])

    # What a notebook asks for

    def pictures(self, rows: pd.DataFrame):
        """Return the data set of the pictures of a table, row by row, undecoded.

        Args:
            rows: with image_id and, unless all are of the headline track, track.

        Raises:
            RecordError: a picture that the run does not have on this track.
        """
        track = rows["track"] if "track" in rows else [self.track] * len(rows)
        wanted = pd.MultiIndex.from_arrays([rows["image_id"], track])
        held = pd.MultiIndex.from_frame(self.files[["image_id", "track"]])
        first = np.flatnonzero(~held.duplicated())  # the same file twice is the same picture
        place = held[first].get_indexer(wanted)
        if (place < 0).any():
            name, track = wanted[int(np.argmax(place < 0))]
            raise RecordError(f"picture {name} is not on track {track} of {self.folder}; its table is of another run")
        return self.images.select(first[place])

    def picture(self, image_id: str, track: str | None = None) -> Image.Image:
        """Return one readable picture, 8-bit RGB, of the headline track unless another is named."""
        rows = pd.DataFrame({"image_id": [image_id], "track": [track or self.track]})
        return decode_image(encoded_bytes(self.pictures(rows)[0]["image"]))

    def features(
        self, image_ids: Iterable[str], arm: str, captions: pd.DataFrame | None = None, **choices
    ) -> np.ndarray:
        """Return the features of N pictures of the run, (N, F), as arms.feature_matrix makes them of its tables.

        Args:
            image_ids: N readable pictures.
            arm: one of arms.ARMS.
            captions: other words than the run's.
            choices: distance, pool, fuse, missing_box, where they are not to be those of the run.
        """
        own, *said = self.said
        if captions is None:
            captions = self.read("shuffled.parquet") if arm == "shuffled" else own
        return feature_matrix(image_ids, captions, *said, arm=arm, files=self.files, **self.choices | choices)

    def locate_and_embed(self, pictures, captions: pd.DataFrame, boxes: pd.DataFrame | None = None) -> tuple:
        """Return captions, boxes, vectors and texts, as `said` has them, of other pictures or of other words.

        Args:
            pictures: a data set, as `pictures` returns it or pipeline.perturbed.
            captions: their words, as pipeline.describe returns them.
            boxes: where their objects are, if the detector is not to be asked.
        """
        if boxes is None:
            boxes = locate(pictures, captions, self.locator, self.values["cache"])
        return captions, boxes, *embed(pictures, captions, boxes, self.encoder, self.values["cache"])

    def trained_on(self, wanted: Sequence[str] | None = None) -> list[str]:
        """Return the generators, all or those wanted, that have enough pictures to train on.

        Raises:
            ValueError: a wanted one is not in the run, or none of them has enough; the message says of what.
        """
        from itemkit.evaluation.audit import too_few  # loads scikit-learn

        check_names("generator to train on", wanted or [], self.generators)
        few = too_few(self.files[self.files["track"] == self.track])
        enough = [name for name in wanted or self.generators if name not in few]
        if not enough:
            raise ValueError(f"nothing to train on: {'; '.join(few.values())}")
        return enough

    def head(self, arm: str, train_on: str, seed: int, track: str | None = None):
        """Return a head of 03_train, of the headline track unless another is named."""
        from itemkit.head import MLPHead  # loads torch

        return MLPHead.from_pretrained(self.head_folder(arm, train_on, seed, track))

    def heads(self, arms: Sequence[str], seeds: Sequence[int]) -> dict[tuple[str, str, int], object]:
        """Return the heads of 03_train of the headline track, by arm, train_on and seed.

        Raises:
            RecordError: 03_train has trained no head of an arm, or none of these seeds.
        """
        trained = self.read("heads.csv")
        trained = trained[trained["arm"].isin(arms) & trained["seed"].isin(seeds) & (trained["track"] == self.track)]
        if lacking := [arm for arm in arms if arm not in set(trained["arm"])]:
            raise RecordError(
                f"03_train has trained no head of {listed(lacking)} with seed {' or '.join(map(str, seeds))}; name others, or "
                f"run it again with these, {ELSEWHERE}"
            )
        names = trained[["arm", "train_on", "seed"]].itertuples(index=False, name=None)
        return {name: self.head(*name) for name in names}

    def head_folder(self, arm: str, train_on: str, seed: int, track: str | None = None) -> Path:
        """Return where a head of 03_train is kept; of the headline track unless another is named."""
        return self.folder / "heads" / (track or self.track) / f"{arm}-{train_on}-{seed}"

    def detector(self, head, scored: pd.DataFrame, generators: Sequence[str], temperature: float | None = None):
        """Return a Detector of the arm item with the networks and choices of the run.

        Args:
            head: trained on real pictures and those of `generators`, of the headline track.
            scored: image_id, label, generator, split, score of the validation and test pictures, as
                protocol.cross_generator yields them.
            generators: what the head was trained on.
            temperature: of its scores; None: chosen on the validation rows of its generators.
        """
        from itemkit.detector import Detector  # loads torch

        own = scored[scored["generator"].isin(["real", *generators])]
        held_out, tested = own[own["split"] == "validation"], own[own["split"] == "test"]
        real_held_out = held_out[held_out["label"] == 0]
        objects = object_misalignment(*self.said)
        if temperature is None:
            temperature = choose_temperature(held_out["label"].to_numpy(), held_out["score"].to_numpy())
        made_of = {
            "data": f"{self.card.name}, revision {self.card.revision}",
            "trained on": ", ".join(["real pictures", *generators]),
            "arm": "item, " + ", ".join(f"{name} {value}" for name, value in self.choices.items()),
        }
        return Detector(
            captioner=self.captioner,
            nouns=self.nouns,
            locator=self.locator,
            encoder=self.encoder,
            head=head,
            choices={"arm": "item"} | self.choices,
            phrase=self.values["phrase"],
            aligned_side=self.values["aligned_side"] if self.track == "aligned" else None,
            temperature=temperature,
            real_scores=real_held_out["score"].to_numpy(),
            tested_scores={name: rows["score"].to_numpy() for name, rows in tested.groupby("generator", sort=False)},
            novelty=self.novelty(generators),
            usual=float(objects["misalignment"][objects["image_id"].isin(real_held_out["image_id"])].median()),
            facts={"made_of": made_of},
        )

    def train_detector(self, seed: int = 0) -> tuple:
        """Return a Detector whose head is trained on all generators that have pictures to train on, and what it says of test pictures.

        Returns:
            (Detector, rows of `files` with score, answer and above_threshold).
        """
        from itemkit.protocol import Setting, cross_generator  # loads torch

        known = self.files[(self.files["status"] == "ok") & (self.files["track"] == self.track)].reset_index(drop=True)
        splits = known.groupby("generator")["split"].agg(set)
        generators = [name for name in self.generators if {"train", "validation"} <= splits.get(name, set())]
        everything = Setting(self.features(known["image_id"], "item"), known, [tuple(generators)])
        [(_, _, _, head, scored)] = cross_generator({"all": everything}, [seed], self.values["cache"])
        detector = self.detector(head, scored, generators)
        tested = scored[scored["split"] == "test"]
        tested = tested.assign(train_on="all", above_threshold=tested["score"] > detector.threshold())
        answered = self.answered(tested, generators)
        return detector, tested.assign(answer=detector.answers(tested["score"], answered))

    def answered(self, scored: pd.DataFrame, generators: Sequence[str] | None = None) -> pd.Series:
        """Return whether a detector would say more than "undecided": an object was found, and the picture is not unlike.

        Args:
            scored: image_id and train_on of each row.
            generators: what all heads were trained on, if it is not the one generator that train_on names.
        """
        ids = scored["image_id"].unique()
        found = cosine_misalignment(ids, *self.said)["objects_found"].to_numpy() > 0
        features, answered = self.features(ids, "global"), pd.Series(False, scored.index)
        for source, rows in scored.groupby("train_on"):
            novelty = self.novelty(generators or [source])
            known = pd.Series(found & (novelty.distance(features) <= novelty.limit), ids)
            answered[rows.index] = rows["image_id"].map(known).to_numpy()
        return answered

    def novelty(self, generators: Sequence[str]):
        """Return what tells pictures that are unlike the training pictures of some generators, and the real ones."""
        from itemkit.detector import Novelty  # loads torch

        known = self.files[self.files["generator"].isin(["real", *generators]) & (self.files["track"] == self.track)]
        known = known[known["status"] == "ok"].drop_duplicates("image_id")
        train, validation = (known[known["split"] == split] for split in ("train", "validation"))
        features, held_out = (self.features(rows["image_id"], "global") for rows in (train, validation))
        return Novelty.fit(features, train["generator"].to_numpy(), held_out)

    def others(self, tables: Sequence[str]) -> pd.DataFrame:
        """Return the scores of other people's detectors, one of each table, as others.read_scores returns them.

        Raises:
            ValueError: as others.check_tables and others.read_scores, or a perturbation that is none of
                perturb.PERTURBATIONS.
        """
        check_tables(tables, ARMS)
        scores = pd.DataFrame(columns=SCORES)
        for place, path in enumerate(tables):
            own = read_scores(path, self.files)
            check_names(f"perturbation of {path}:", own["perturbation"].unique(), ["none", *PERTURBATIONS])
            scores = pd.concat([scores, own], ignore_index=True) if place else own
        return scores

    def predictions(self, others: Sequence[str] = ()) -> pd.DataFrame:
        """Return `predictions.parquet` with the temperature of each head, and below it the same of other people's detectors.

        What their scores lack is printed, in a sentence each.

        Args:
            others: tables, as for `others`.

        Raises:
            ValueError: as `others`, or others.as_predictions.
        """
        if "item" not in self.values["arms"]:
            raise RecordError(
                f"03_train trained no arm item, which is what all others are compared with; run it again with item among "
                f"arms, {ELSEWHERE}"
            )
        given = self.others(others)
        heads = self.read("heads.csv")[["track", "arm", "train_on", "seed", "temperature"]]
        keys = ["track", "arm", "train_on", "seed"]
        tables = [self.read("predictions.parquet").merge(heads, "left", keys, validate="many_to_one")]
        for _, scores in given.groupby("arm", sort=False):
            rows = as_predictions(scores, self.files)
            tables += [rows] if len(rows) else []
            for sentence in doubts(scores, rows, self.files):
                print(sentence)
        return pd.concat(tables, ignore_index=True)

    def perturbed_scores(
        self, others: Sequence[str], tested: pd.DataFrame, steps: Sequence[tuple[str, float]]
    ) -> pd.DataFrame:
        """Return what other people's detectors said of pictures at each step of their perturbation.

        What their scores lack is printed, in a sentence each.

        Args:
            others: tables, as for `others`.
            tested: rows of `files`, a picture each.
            steps: perturbation and strength, ("none", 0) for the pictures as they are.

        Returns:
            The columns of `tested` and those of others.read_scores; a row for each score.

        Raises:
            ValueError: as `others`.
        """
        given = self.others(others)
        for _, scores in given.groupby("arm", sort=False):
            for sentence in step_doubts(scores, tested, steps):
                print(sentence)
        wanted = pd.MultiIndex.from_frame(given[["perturbation", "strength"]]).isin(steps)
        return tested.merge(given[wanted], on="image_id")

    def read(self, name: str) -> pd.DataFrame:
        """Return a table of the folder, parquet or csv, by the name of its file.

        Raises:
            RecordError: it is not there; the message says what to run.
        """
        path = self.folder / name
        if not path.is_file():
            raise RecordError(f"no {path}; run the notebooks before this one, or ./run_all.sh, which runs them all")
        if path.suffix == ".csv":  # a generator may be called NA, or 1
            return pd.read_csv(path, dtype={"train_on": str, "generator": str}, keep_default_na=False, na_values=[""])
        return pd.read_parquet(path, partitioning=None)

    # What a notebook makes

    def write(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table for later notebooks, parquet or csv by the ending of its name; whole, or not at all."""
        with whole(self.folder / name) as part:
            if name.endswith(".csv"):
                frame.to_csv(part, index=False, lineterminator="\n")
            else:
                frame.to_parquet(part, index=False)
        self._written.add(name)
        for kept in ("files", "said"):
            self.__dict__.pop(kept, None)  # read anew when they are asked for

    def tell(self, name: str, fact) -> None:
        """Note a fact, as JSON has it, that other notebooks and the page may ask for."""
        self._note["facts"][name] = fact

    def table(self, frame: pd.DataFrame, name: str, claim: str = "", float_format: str = ".3f"):
        """Save a table with its claim, as report.save_table does, and return it as the report shows it."""
        return save_table(frame, self.folder / "tables", name, claim, float_format)

    def figure(self, figure, name: str, data: pd.DataFrame, claim: str = ""):
        """Save a figure with its numbers and its claim, as report.save_figure does, and return it to be shown once."""
        return save_figure(figure, self.folder / "figures", name, data, claim)

    def close(self) -> None:
        """Note that this notebook has run to its end, and what it made.

        Raises:
            RecordError: a table that it is to make was not written since it was opened: a cell was left out.
        """
        if lacking := set(MAKES.get(self.step, ())) - self._written:
            raise RecordError(
                f"{self.step} has not written {listed(sorted(lacking))} since it was opened; run all cells"
            )
        made = set(self._written)
        for kind in ("tables", "figures"):
            made |= {f"{kind}/{path.name}" for path in (self.folder / kind).glob(f"{self.step[:2]}_*.csv")}
        contents = {name: _content(self.folder / name) for name in sorted(made)}
        self._note |= {"ended": _now(), "seconds": round(time.monotonic() - self._opened, 1), "made": contents}
        self._save()

    # The record itself

    def _check(self, steps: list[str]) -> None:
        """Refuse the first of the steps that is missing, has not ended, or rests on what is there no longer."""
        for place, step in enumerate(steps):
            note = self.steps.get(step)
            again = listed([one for one in steps[place:] if one in MAKES] or [step])
            if note is None:
                raise RecordError(f"{self.folder} lacks what {step} makes; run {again} first")
            if note["ended"] is None:
                raise RecordError(f"{step} began {note['started']} and has not ended; run {again} again, {ELSEWHERE}")
            for earlier, made in note["rests_on"].items():
                if made != _made(self.steps[earlier]):
                    raise RecordError(f"{self._difference(step, earlier)}; run {again} again, {ELSEWHERE}")

    def _difference(self, step: str, earlier: str) -> str:
        now, then = self.steps[earlier]["values"], self.steps[step]["before"]
        names = [name for name, value in now.items() if then.get(name) != value]
        if not names:
            return f"{step} was run before {earlier}, which has made other tables since"
        old, new = (", ".join(f"{name} = {json.dumps(one.get(name))}" for name in names) for one in (then, now))
        return f"{step} was made with {old}, and {earlier} was run with {new} since"

    def _own_values(self, namespace: Mapping) -> dict:
        """The values of the names that the notebook declares; refuses others for what earlier notebooks decided."""
        own_copy = Path(f"{self.step}.ipynb")  # kernels work where their notebook is
        names = declared(own_copy if own_copy.is_file() else FOLDER / own_copy)
        if lacking := [name for name in names if name not in namespace]:
            raise RecordError(f"{self.step} has no value of {listed(lacking)}; run its parameters cell first")
        for name, value in self.values.items():
            given = namespace.get(name, value)
            if name not in names and isinstance(given, PLAIN) and given != value:
                owner = next(step for step, note in self.steps.items() if name in note["values"])
                raise RecordError(
                    f"{self.step} was given {name} = {json.dumps(given)}, but {owner} was run with {name} = "
                    f"{json.dumps(value)}; run {_again(owner, self.step)} again with it, {ELSEWHERE}"
                )
        return {name: namespace[name] for name in names}

    def _begin(self, before: list[str], own: dict) -> None:
        """Note that the notebook was opened, in place of an earlier note."""
        self._opened, self._written = time.monotonic(), set()
        clear(self.folder, self.step[:2])  # of its own executed copy nothing: that is being written
        status = git("status", "--porcelain")
        self._note = {
            "started": _now(),
            "ended": None,
            "by": os.environ.get("ITEMKIT_RUN", "hand"),
            "commit": git("rev-parse", "HEAD"),
            "clean": None if status is None else status == "",
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": {name: version(name) for name in LIBRARIES},
            "values": own,
            "before": self.values,
            "rests_on": {step: _made(self.steps[step]) for step in before if step in MAKES},
            "facts": {},
            "made": {},
        }
        self._save()

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".record.lock"):  # two notebooks may be open side by side
            steps = read_record(self.folder)["steps"] | {self.step: self._note}
            steps = {step: steps[step] for step in STEPS if step in steps}
            _write(self.folder, steps)
        self.steps = steps

    def _fact(self, name: str, owner: str, found: dict) -> None:
        """What the run is made of beyond its values is noted by its owner, and refused if it is another one later."""
        if self.step == owner:
            self._note["facts"][name] = found
        elif found != (noted := self.steps[owner]["facts"].get(name)):
            raise RecordError(
                f"{name} was {json.dumps(noted)} when {owner} was run, and is {json.dumps(found)} now; run "
                f"{_again(owner)} again, {ELSEWHERE}"
            )

    def _network(self, role: str, owner: str) -> tuple[str, str | None]:
        """Name and revision of a network, the same as its owner used."""
        name, revision = self.values[role], self.values[f"{role}_revision"]
        commit = self._commit(name, revision, "model")
        self._fact(role, owner, {"name": name, "revision": commit, "network": network_digest(name, commit)})
        return name, commit

    def _commit(self, name: str, revision: str | None, kind: str) -> str | None:
        return resolve_revision(name, revision, self.values["cache"], kind)

    @property
    def _settings(self) -> dict:
        return {name: self.values[name] for name in ("device", "dtype", "batch_size")}


def _write(folder: Path, steps: dict[str, dict]) -> None:
    with whole(folder / "record.json") as part:
        part.write_text(json.dumps({"format": FORMAT, "steps": steps}, indent=2) + "\n", encoding="utf-8")


def _made(note: dict) -> str:
    """A name for all that a note says its notebook made for later ones."""
    return digest({name: content for name, content in note["made"].items() if "/" not in name})


def _content(path: Path) -> str:
    return checksum(path)[:16]


def _again(first: str, before: str = STEPS[-1]) -> str:
    """The notebooks that have to be run again once `first` is run with another value; `before` them is left out."""
    return listed([one for one in MAKES if first <= one < before] or [first])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def git(*arguments: str) -> str | None:
    """Return what git says of the code, or None if there is none, or it is in no repository."""
    command = ["git", "-C", str(FOLDER), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
