"""One picture in, a verdict with reasons out.

    detector = Detector.from_pretrained("results/reference/detector")
    print(detector("picture.jpg"))

A picture goes through the functions that the notebooks use, one after the other: prepare, describe, locate, embed,
features, head. What is new is the answer: real, generated, or undecided, with the false positive rate of its threshold.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pandas as pd
from datasets import Dataset, Features, Value
from datasets import Image as ImageColumn
from huggingface_hub import HfApi
from PIL import Image
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from itemkit.arms import ARMS, MISSING_BOX, cosine_misalignment, feature_matrix, object_misalignment
from itemkit.captions import Captioner
from itemkit.data.choices import check_names
from itemkit.data.files import whole
from itemkit.data.hub import fetch
from itemkit.data.images import UnreadableImage, aligned, decode_image, encoded_bytes, image_id, upright_rgb
from itemkit.embed import ClipEncoder
from itemkit.evaluation.calibration import at_temperature, conformal_threshold, tolerance_limit
from itemkit.head import MLPHead, predict
from itemkit.locate import ObjectLocator
from itemkit.misalign import DISTANCES, FUSIONS, POOLS
from itemkit.network import DTYPES, check_device, network_digest, spacy_folder
from itemkit.pipeline import BOX, describe, embed, locate, name_objects

ANSWERS = ("real", "generated", "undecided")
ROLES = {"captioner": Captioner, "locator": ObjectLocator, "encoder": ClipEncoder, "nouns": str}  # the frozen networks
FORMAT = 1  # of detector.json: raise it when an older folder can no longer be used
FILES = ["*.json", "*.safetensors", "networks/**"]  # of a detector on the hub
BATCH = 64  # pictures that are taken through all networks together


KINDS = {  # of what detector.json holds
    "networks": (dict,),
    "choices": (dict,),
    "phrase": (str,),
    "aligned_side": (int, type(None)),
    "temperature": (int, float),
    "real_scores": (list,),
    "tested_scores": (dict,),
    "usual_misalignment": (int, float),
    "novelty_limit": (int, float, type(None)),
    "facts": (dict,),
}
CHOICES = {"arm": ARMS, "distance": DISTANCES, "pool": POOLS, "fuse": FUSIONS, "missing_box": MISSING_BOX}


class DetectorError(ValueError):
    """A saved detector cannot be used as it stands; the message says what differs, and what to do."""


@dataclass(frozen=True)
class Verdict:
    """What a detector says of one picture."""

    answer: str  # one of ANSWERS
    score: float  # calibrated probability of being generated, in [0, 1]; NaN where the picture cannot be read
    reason: str  # a sentence or two
    threshold: float = math.nan  # the calibrated score above which the answer is "generated"
    false_positive_rate: float = math.nan  # that the threshold was chosen for
    caption: str = ""
    objects: list[dict] = field(default_factory=list)  # phrase, box ([x0, y0, x1, y1] in pixels, or None), misalignment
    global_misalignment: float = math.nan  # 1 - cosine of picture and caption, in [0, 2]
    distance: float = math.nan  # from the pictures that the head was trained on, as Novelty has it
    name: str = ""  # the file, or "picture 0" for the first of those in memory

    def __str__(self) -> str:
        return f"{self.name}: {self.answer} (score {self.score:.2f}). {self.reason}"


@dataclass(frozen=True)
class Novelty:
    """How far the misalignment of picture and caption lies from that of the pictures which a head was trained on.

    The distance is Mahalanobis', to the nearest source: real pictures, or those of one generator (after Lee et al.,
    arXiv 1807.03888, with a covariance of each source's own).
    """

    means: np.ndarray  # (S, D) of S sources
    precisions: np.ndarray  # (S, D, D)
    limit: float  # the distance beyond which a picture is called unlike them

    @classmethod
    def fit(cls, features: np.ndarray, source: np.ndarray, held_out: np.ndarray, share: float = 0.05) -> "Novelty":
        """Learn what is known, and set the limit so that at most a share of pictures like these lies beyond it.

        Args:
            features: (N, D) features of the arm "global" of training pictures.
            source: (N,) where each comes from; a source of a single picture is not known.
            held_out: (M, D) of pictures that are not among them.
            share: of new pictures like the held-out ones that may be called unlike, as tolerance_limit has it.
        """
        from sklearn.covariance import LedoitWolf

        names, counts = np.unique(source, return_counts=True)  # of one picture there is no covariance
        fits = [LedoitWolf().fit(features[source == name]) for name in names[counts > 1]]
        means, precisions = np.stack([fit.location_ for fit in fits]), np.stack([fit.precision_ for fit in fits])
        known = cls(means.astype(np.float32), precisions.astype(np.float32), math.inf)  # as they are saved
        return replace(known, limit=tolerance_limit(known.distance(held_out), share))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of N pictures to the nearest source, (N,), of their features (N, D) of the arm "global"."""
        away = features[:, None].astype(np.float64) - self.means  # (N, S, D)
        squared = np.einsum("nsd,sde,nse->ns", away, self.precisions.astype(np.float64), away, optimize=True)
        return np.sqrt(squared.min(axis=1))  # (N,)


@dataclass(frozen=True)
class Detector:
    """Frozen networks, a trained head, and what validation pictures say of its scores.

    Args:
        captioner, nouns, locator, encoder: the frozen networks; nouns is a spaCy pipeline, a folder or a package.
        head: trained on features of `choices`.
        choices: arm, and distance, pool, fuse and missing_box, as arms.feature_matrix takes them.
        phrase: one of captions.PHRASES.
        aligned_side: of the square that a picture is brought to first, in pixels; None: it is used as it is.
        temperature: of the scores.
        real_scores: uncalibrated scores of real validation pictures, of which thresholds are made.
        tested_scores: those of test pictures, by generator; on the real ones false positive rates are measured.
        novelty: tells what is unlike the training pictures; None: nothing is.
        usual: the median misalignment of the objects of real validation pictures, to which reasons compare.
        facts: what it was made of and what was measured, for its model card; JSON values.
    """

    captioner: Captioner
    nouns: str | Path
    locator: ObjectLocator
    encoder: ClipEncoder
    head: MLPHead
    choices: dict[str, str]
    phrase: str = "object"
    aligned_side: int | None = None
    temperature: float = 1.0
    real_scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    tested_scores: dict[str, np.ndarray] = field(default_factory=dict)
    novelty: Novelty | None = None
    usual: float = math.nan
    facts: dict = field(default_factory=dict)

    def __call__(self, pictures, false_positive_rate: float = 0.05) -> "Verdict | list[Verdict]":
        """Say of one picture, or of each of many, whether it is real or generated, and why.

        Args:
            pictures: a path, a PIL image or an array of bytes, (height, width), or (height, width, 3 or 4); or many of them.
                Addresses are never fetched.
            false_positive_rate: share of real pictures, of the kind it was trained on, that may be called generated.

        Returns:
            A verdict, or a list of them in order. A picture that cannot be read is undecided, and stops nothing.

        Raises:
            ValueError: a false_positive_rate outside (0, 1).
            TypeError: something that is no picture.
        """
        if isinstance(pictures, (str, Path, Image.Image, np.ndarray)):
            return next(self.verdicts([pictures], false_positive_rate))
        pictures = list(pictures)
        verdicts = self.verdicts(pictures, false_positive_rate)
        few = True if len(pictures) <= BATCH else None  # None: where a terminal shows it
        return list(tqdm(verdicts, desc="detect", unit="picture", total=len(pictures), disable=few))

    def verdicts(self, pictures: Sequence, false_positive_rate: float = 0.05) -> Iterator[Verdict]:
        """Yield the verdicts of many pictures, a batch at a time; see __call__."""
        for start in range(0, len(pictures), BATCH):
            some = pictures[start : start + BATCH]
            files, sizes, lost = {}, {}, {}
            for place, picture in enumerate(some):
                try:
                    upright = _read_picture(picture)
                    files[place], sizes[place] = self._encoded(upright), upright.size
                except UnreadableImage as error:
                    lost[place] = Verdict("undecided", math.nan, f"It cannot be read: {error}.")
            judged = dict(zip(files, self.judge(list(files.values()), false_positive_rate), strict=True))
            for place, picture in enumerate(some):
                name = str(picture) if isinstance(picture, (str, Path)) else f"picture {start + place}"
                verdict = lost.get(place) or self._in_place(judged[place], sizes[place])
                yield replace(verdict, name=name)

    def prepared(self, picture) -> bytes:
        """Return the file of a picture as the networks see it: of the aligned one, where that is asked for, or a PNG.

        Raises:
            UnreadableImage: it cannot be read; the message is the reason.
            TypeError: it is no path, PIL image or array of bytes.
        """
        return self._encoded(_read_picture(picture))

    def _encoded(self, upright: Image.Image) -> bytes:
        if self.aligned_side:
            return aligned(upright, self.aligned_side)
        file = BytesIO()
        upright.save(file, "PNG", compress_level=1)
        return file.getvalue()

    def threshold(self, false_positive_rate: float = 0.05) -> float:
        """Return the uncalibrated score above which a picture is called generated, as conformal_threshold has it."""
        return conformal_threshold(self.real_scores, false_positive_rate)

    def measured(self, false_positive_rate: float = 0.05) -> float:
        """Return the share of real test pictures above the threshold; NaN where none were scored."""
        real = self.tested_scores.get("real", np.empty(0))
        return float(np.mean(real > self.threshold(false_positive_rate))) if len(real) else math.nan

    def answers(self, score: np.ndarray, answered: np.ndarray, false_positive_rate: float = 0.05) -> np.ndarray:
        """Return the answer for each of N pictures that were scored before.

        Args:
            score: (N,) uncalibrated.
            answered: (N,) whether an object was found, and the picture is not unlike those that it was trained on.
            false_positive_rate: as for __call__.
        """
        threshold = self.threshold(false_positive_rate)
        called = np.where(np.asarray(score) > threshold, "generated", "real")
        return np.where(np.asarray(answered) & math.isfinite(threshold), called, "undecided")

    def judge(
        self, encoded: list[bytes], false_positive_rate: float = 0.05, captions: list[str] | None = None
    ) -> list[Verdict]:
        """Return verdicts of prepared pictures, with the words of the captioner or others; boxes are in their pixels.

        Args:
            encoded: N files, as `prepared` returns them.
            false_positive_rate: as for __call__.
            captions: N other captions.

        Raises:
            ValueError: the same picture twice, with two captions.
        """
        threshold = self.threshold(false_positive_rate)
        if not encoded:
            return []
        table = pd.DataFrame({"image_id": [image_id(one) for one in encoded], "file": encoded, "caption": captions})
        table = table.drop_duplicates()
        if table["image_id"].duplicated().any():
            raise ValueError("a picture stands there twice, with two captions; judge it once with each")
        images = dataset_of(table["file"].to_list())
        if captions is None:
            words = describe(images, self.captioner, self.nouns, None, self.phrase)
        else:
            words = table[["image_id", "caption"]].assign(status="ok", reason="")
            words["phrases"] = name_objects(words["caption"].to_list(), self.nouns, None, self.phrase)
        boxes = locate(images, words, self.locator, None)
        said = words, boxes, *embed(images, words, boxes, self.encoder, None)
        ids = words["image_id"].to_list()
        words = words.assign(score=predict(self.head, feature_matrix(ids, *said, **self.choices)), distance=math.nan)
        words["misalignment"] = cosine_misalignment(ids, *said)["global"].to_numpy()
        if self.novelty:
            words["distance"] = self.novelty.distance(feature_matrix(ids, *said, **self.choices | {"arm": "global"}))
        objects = dict(list(object_misalignment(*said).groupby("image_id")))
        judged = {
            row.image_id: self._verdict(row, objects.get(row.image_id), threshold, false_positive_rate)
            for row in words.itertuples()
        }
        return [judged[image_id(one)] for one in encoded]

    def _verdict(self, row, found: pd.DataFrame | None, threshold: float, rate: float) -> Verdict:
        limit, doubts = self._calibrated(threshold), []
        if found is None:
            doubts.append("no object that its caption names was found")
        if self.novelty and row.distance > self.novelty.limit:
            known = f"distance {row.distance:.1f}, theirs most often below {self.novelty.limit:.1f}"
            doubts.append(f"it is unlike the pictures that the head was trained on ({known})")
        if threshold == math.inf:
            doubts.append(
                f"{len(self.real_scores)} real pictures are too few for a false positive rate of {100 * rate:g} %"
            )
        (answer,) = self.answers([row.score], [not doubts], rate)
        reason = {
            "undecided": f"No verdict: {', and '.join(doubts)}.",
            "generated": f"Its score is above {limit:.2f}; of real pictures at most {100 * rate:g} % should be.",
            "real": f"Its score is at most {limit:.2f}; of real pictures at least {100 - 100 * rate:g} % should be.",
        }[answer]
        objects = {phrase: {"phrase": phrase, "box": None, "misalignment": math.nan} for phrase in row.phrases}
        if found is not None:
            worst = found.loc[found["misalignment"].idxmax()]
            usual = f"; of real pictures usually {self.usual:.2f}" if math.isfinite(self.usual) else ""
            reason += f" Of its objects, {worst.phrase!r} fits its word worst ({worst.misalignment:.2f}{usual})."
            for phrase, misalignment, *box in found[["phrase", "misalignment", *BOX]].itertuples(index=False):
                objects[phrase] |= {"box": box, "misalignment": misalignment}
        words = row.caption, list(objects.values()), row.misalignment, row.distance
        return Verdict(str(answer), self._calibrated(row.score), reason, limit, rate, *words)

    def _calibrated(self, score: float) -> float:
        if self.temperature == 1 or not math.isfinite(score):
            return float(score)  # to the digits of the head
        return float(at_temperature(score, self.temperature))

    def _in_place(self, verdict: Verdict, size: tuple[int, int]) -> Verdict:
        """The verdict with boxes in pixels of the upright picture that the aligned square was cut from."""
        if not self.aligned_side:
            return verdict
        scale, corner = min(size) / self.aligned_side, np.tile((np.array(size) - min(size)) / 2, 2)
        boxes = [one["box"] and (np.array(one["box"]) * scale + corner).tolist() for one in verdict.objects]
        return replace(verdict, objects=[one | {"box": box} for one, box in zip(verdict.objects, boxes, strict=True)])

    # Saved, and found again

    def save_pretrained(
        self, folder: str | Path, measured: dict[str, pd.DataFrame] | None = None, with_networks: bool = False
    ) -> None:
        """Write a folder that from_pretrained reads: the head, detector.json, novelty.safetensors and a model card.

        Args:
            folder: made if absent; an earlier detector in it is replaced.
            measured: tables for the model card, by what they say; None: those it was saved with.
            with_networks: copy frozen networks that are folders into it; otherwise it names where they are from there.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if measured is not None:
            self.facts["measured"] = {claim: rows.to_dict("records") for claim, rows in measured.items()}
        networks = {role: self._saved_network(role, folder, with_networks) for role in ROLES}
        saved = {
            "format": FORMAT,
            "networks": networks,
            "choices": self.choices,
            "phrase": self.phrase,
            "aligned_side": self.aligned_side,
            "temperature": self.temperature,
            "usual_misalignment": self.usual,
            "novelty_limit": self.novelty.limit if self.novelty else None,
            "real_scores": np.sort(self.real_scores).tolist(),
            "tested_scores": {name: np.sort(scores).tolist() for name, scores in self.tested_scores.items()},
            "facts": self.facts,
            "versions": {
                name: version(name) for name in ("torch", "transformers", "open_clip_torch", "spacy", "pillow")
            },
        }
        self.head.save_pretrained(folder)
        if self.novelty:
            with whole(folder / "novelty.safetensors") as part:
                save_file({"means": self.novelty.means, "precisions": self.novelty.precisions}, part)
        for name, text in (("detector.json", json.dumps(saved, indent=1) + "\n"), ("README.md", self._model_card())):
            with whole(folder / name) as part:
                part.write_text(text, encoding="utf-8")

    def push_to_hub(self, name: str, private: bool = False, **options) -> str:
        """Publish the detector, with its model card and those frozen networks that are folders, and return its address.

        Args:
            name: hub id, such as "someone/item-toyworld".
            private: whether others may not see it.
            options: of huggingface_hub.HfApi, such as token.
        """
        api = HfApi(**options)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, with_networks=True)
            api.create_repo(name, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="A detector made by itemkit"))

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None, device: str = "cpu") -> "Detector":
        """Read a saved detector, and check that the frozen networks are those that it was made with.

        Args:
            name: a folder, or a hub id.
            revision: of a hub id; None: the newest.
            device: as torch writes it, e.g. "cpu" or "cuda".

        Raises:
            DetectorError: no detector, one of another version, a damaged one, or other networks than it was made with.
            HubError: it, or a network of it, is not here and cannot be fetched.
            ValueError: no such device.
        """
        check_device(device)
        if not Path(name).is_dir() and (
            Path(name).exists() or str(name).count("/") != 1 or str(name).startswith((".", "/"))
        ):
            raise DetectorError(f"no folder {str(name)!r}, and it cannot be a hub id, which is written owner/name")
        folder = fetch(name, revision, patterns=FILES)
        saved = _read(folder)
        networks = {role: _here(folder, role, one) for role, one in saved["networks"].items()}
        frozen = {"nouns": networks["nouns"]} | {
            role: ROLES[role](networks[role], device=device, **saved["networks"][role]["settings"])
            for role in ("captioner", "locator", "encoder")
        }
        try:
            head = MLPHead.from_pretrained(folder)
            novelty = None if saved["novelty_limit"] is None else _read_novelty(folder, saved["novelty_limit"])
        except Exception as error:  # each library has its own for a file that is not there, cut short, or another one's
            raise DetectorError(
                f"the weights in {folder} are missing or damaged ({error}); get the detector anew"
            ) from error
        detector = cls(
            **frozen,
            head=head,
            choices=saved["choices"],
            phrase=saved["phrase"],
            aligned_side=saved["aligned_side"],
            temperature=saved["temperature"],
            real_scores=np.array(saved["real_scores"]),
            tested_scores={name: np.array(scores) for name, scores in saved["tested_scores"].items()},
            novelty=novelty,
            usual=saved["usual_misalignment"],
            facts=saved["facts"],
        )
        for role, one in saved["networks"].items():
            if (found := detector._identity(role)) != one["network"]:
                raise DetectorError(
                    f"the {role} of {folder} was {one['network']}, and {networks[role]} is {found}: scores would not be "
                    "those that were measured; get the network it was made with, or make the detector anew"
                )
        return detector

    def _saved_network(self, role: str, folder: Path, copied: bool) -> dict:
        """What detector.json says of a frozen network; the place of one that is a folder is seen from `folder`."""
        network = getattr(self, role)
        settings = {} if role == "nouns" else asdict(network)
        name = settings.pop("name", network)
        settings.pop("device", None)
        saved = {"name": str(name), "network": self._identity(role), "settings": settings}
        if Path(name).is_dir():
            if copied:
                target = folder / "networks" / role
                if not (target.is_dir() and target.samefile(name)):
                    shutil.rmtree(target, ignore_errors=True)  # no file of an earlier one may stay among the new
                    shutil.copytree(name, target)
                name = target
            place = Path(os.path.relpath(name, folder)).as_posix()
            saved["name"] = place if place.startswith(".") else f"./{place}"  # a hub id has no dot in front
        return saved

    def _identity(self, role: str) -> str:
        if role == "nouns":
            return network_digest(spacy_folder(self.nouns))
        return network_digest(getattr(self, role).name, getattr(self, role).revision)

    def _model_card(self) -> str:
        made_of = [f"* {name.replace('_', ' ')}: {value}" for name, value in self.facts.get("made_of", {}).items()]
        measured = [
            f"{title}\n\n{pd.DataFrame(rows).to_markdown(index=False, floatfmt='.3f')}"
            for title, rows in self.facts.get("measured", {}).items()
        ]
        card = (files("itemkit") / "model_card.md").read_text(encoding="utf-8")
        return card.format(arm=self.choices["arm"], made_of="\n".join(made_of), measured="\n\n".join(measured))


def dataset_of(encoded: list[bytes]) -> Dataset:
    """Return a data set of prepared files in the form that pipeline takes."""
    rows = {"image": [{"bytes": one, "path": None} for one in encoded], "image_id": [image_id(one) for one in encoded]}
    return Dataset.from_dict(rows, Features({"image": ImageColumn(decode=False), "image_id": Value("string")}))


def _read_picture(picture) -> Image.Image:
    """8-bit RGB and upright, as decode_image returns it, of a path, a PIL image or an array."""
    if isinstance(picture, (str, Path)):
        return decode_image(_file(picture))
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.shape[2:] not in ((), (3,), (4,))):
            raise TypeError(
                f"an array of {picture.dtype}, shape {picture.shape}; expected bytes (uint8) of shape (height, width), "
                "(height, width, 3) or (height, width, 4)"
            )
        picture = Image.fromarray(picture)
    if not isinstance(picture, Image.Image):
        raise TypeError(f"expected a path, a PIL image or an array of bytes, got {type(picture).__name__}")
    return upright_rgb(picture)


def _file(name: str | Path) -> bytes:
    path = Path(name)
    if "://" in str(name):
        raise UnreadableImage("an address; pictures are not fetched: save it, and give its path")
    try:
        is_file = path.is_file()
    except OSError as error:  # a name too long for this system
        raise UnreadableImage(str(error)) from error
    if not is_file:
        there = "a folder; give the files in it" if path.is_dir() else "no regular file, but a device or a pipe"
        raise UnreadableImage(there if path.exists() else "no such file")
    return encoded_bytes({"bytes": None, "path": str(path)})


def _read(folder: Path) -> dict:
    path = folder / "detector.json"
    if not path.is_file():
        raise DetectorError(f"{folder} holds no detector.json; expected a folder that Detector.save_pretrained wrote")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        form = saved["format"]
        if form == FORMAT:
            _check_kinds(saved, KINDS)
            _check_kinds(saved["networks"], dict.fromkeys(ROLES, (dict,)))
            for role, network in saved["networks"].items():
                _check_kinds(network, {"name": (str,), "network": (str,), "settings": (dict,)})
                _check_settings(role, network["settings"])
            lists = {f"tested_scores of {name}": scores for name, scores in saved["tested_scores"].items()}
            lists["real_scores"] = saved["real_scores"]
            _check_kinds(lists, dict.fromkeys(lists, (list,)))
            lists |= {name: [saved[name]] for name in ("temperature", "novelty_limit") if saved[name] is not None}
            for name, numbers in lists.items():
                if odd := [one for one in numbers if type(one) not in (int, float) or not math.isfinite(one)]:
                    raise ValueError(f"{name} holds {odd[0]!r}")  # by NaN as threshold, every picture would be real
            if saved["temperature"] <= 0:
                raise ValueError(f"temperature is {saved['temperature']!r}")
            if saved["aligned_side"] is not None and saved["aligned_side"] < 1:
                raise ValueError(f"aligned_side is {saved['aligned_side']!r}")
            if saved["choices"].keys() != CHOICES.keys():
                raise ValueError(f"choices are {saved['choices']!r}; expected {', '.join(CHOICES)}")
            for name, allowed in CHOICES.items():
                check_names(name, [saved["choices"][name]], allowed)
    except (ValueError, TypeError, KeyError) as error:
        raise DetectorError(f"{path} is damaged ({type(error).__name__}: {error}); get the detector anew") from None
    if form != FORMAT:
        raise DetectorError(f"{path} has format {form!r}, this version of itemkit {FORMAT}; make the detector anew")
    return saved


def _read_novelty(folder: Path, limit: float) -> Novelty:
    arrays = load_file(folder / "novelty.safetensors")
    means, precisions = arrays["means"], arrays["precisions"]
    if means.ndim != 2 or precisions.shape != (*means.shape, means.shape[-1]):
        raise ValueError(f"novelty.safetensors has means {means.shape} and precisions {precisions.shape}")
    if not (np.isfinite(means).all() and np.isfinite(precisions).all()):
        raise ValueError("novelty.safetensors is not finite")  # nothing would be unlike what is known
    return Novelty(means, precisions, limit)


def _check_kinds(saved: dict, kinds: dict[str, tuple[type, ...]]) -> None:
    for name, expected in kinds.items():
        if not isinstance(saved[name], expected):
            raise TypeError(f"{name} is {saved[name]!r}")


def _check_settings(role: str, settings: dict) -> None:
    kinds = {} if role == "nouns" else get_type_hints(ROLES[role])
    for name, value in settings.items():
        kind = kinds[name]
        fits = isinstance(value, int | float if kind is float else kind)
        if not fits or (kind is float and not math.isfinite(value)) or (kind is int and value < 1):
            raise TypeError(f"{name} of {role} is {value!r}")
    if settings.get("dtype", DTYPES[0]) not in DTYPES:
        raise ValueError(f"dtype of {role} is {settings['dtype']!r}")


def _here(folder: Path, role: str, network: dict) -> str:
    """The name of a network of a saved detector, seen from here."""
    name = network["name"]
    if not name.startswith("."):
        return name
    place = (folder / name).resolve()
    if not place.is_dir():
        raise DetectorError(
            f"the {role} of {folder} is not here: no folder {place}; put it there, or make the detector anew"
        )
    return str(place)
