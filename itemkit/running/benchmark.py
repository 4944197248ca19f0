"""What the stages and the training cost, side by side with what a user would do instead, in one run.

Every function returns a table of seconds, a row for each contender and repeat; `ratios` turns them into what is told.
"""

import io
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import spacy
import torch
from datasets import Dataset
from PIL import Image
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from itemkit.captions import Captioner
from itemkit.data.images import decode_image, encoded_bytes
from itemkit.detector import dataset_of
from itemkit.embed import ClipEncoder
from itemkit.evaluation.metrics import unseen_roc_auc
from itemkit.head import fit_together, predict
from itemkit.locate import ObjectLocator
from itemkit.pipeline import BOX, cut_out, describe, embed, locate
from itemkit.running.random_networks import NOUNS, save_real_size

FULL_SIZE = 1024  # pixels a side of a photograph
FULL_SIZE_NETWORKS = {
    "captioner": "Salesforce/blip-image-captioning-base",
    "locator": "google/owlvit-base-patch32",
    "encoder": "timm/vit_base_patch32_clip_224.openai",
}
CAPTION_LENGTH = 12  # tokens: about as many as BLIP writes of a photograph

Networks = tuple[Captioner, str | Path, ObjectLocator, ClipEncoder]


def compare(contenders: Mapping[str, Callable[[], object]], repeats: int, threads: int) -> pd.DataFrame:
    """Run each contender in turn, `repeats` times, on so many threads.

    Returns:
        contender, repeat, seconds. A first round, in which networks are loaded, is not counted.
    """
    before, rows = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads), warnings.catch_warnings(action="ignore"):
            for repeat in range(-1, repeats):
                for name, run in contenders.items():
                    start = time.perf_counter()
                    run()
                    rows.append((name, repeat, time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return pd.DataFrame([row for row in rows if row[1] >= 0], columns=["contender", "repeat", "seconds"])


def ratios(table: pd.DataFrame, to: str) -> pd.DataFrame:
    """Return for each contender the median seconds, and how many times those of contender `to` it takes, repeat by repeat.

    Returns:
        By contender: seconds; times, the median ratio; low and high, the smallest and the largest.
    """
    wide = table.pivot(index="repeat", columns="contender", values="seconds")[table["contender"].unique()]
    ratio = wide.div(wide[to], axis=0)
    return pd.DataFrame(
        {"seconds": wide.median(), "times": ratio.median(), "low": ratio.min(), "high": ratio.max()}
    ).rename_axis("contender")


# the stages


def stages(images: Dataset, networks: Networks, cache: str | Path | None = None) -> tuple[pd.DataFrame, ...]:
    """Our three stages on readable pictures; returns captions, boxes, vectors and texts."""
    captioner, nouns, locator, encoder = networks
    captions = describe(images, captioner, nouns, cache)
    boxes = locate(images, captions, locator, cache)
    return captions, boxes, *embed(images, captions, boxes, encoder, cache)


def contenders(images: Dataset, networks: Networks) -> dict[str, Callable[[], object]]:
    """Return the bare networks, our stages and a script, ready to be compared on readable pictures."""
    return {
        "bare networks": BareNetworks(images, networks, stages(images, networks)),
        "itemkit": partial(with_fresh_cache, images, networks),
        "script": partial(script, images, networks),
    }


def at_full_size(images: Dataset, nouns: str | Path, repeats: int, threads: int) -> pd.DataFrame:
    """Seconds of the contenders with networks of the size that photographs need, on pictures of 1,024 pixels a side.

    The weights are random; the captioner says a few nouns of toyworld's and nothing else, and each is found somewhere.

    Args:
        images: readable ones, which are enlarged.
        nouns: as for describe.
        repeats, threads: as for compare.
    """
    files = []
    for row in images:
        picture = decode_image(encoded_bytes(row["image"])).resize((FULL_SIZE, FULL_SIZE), Image.Resampling.BICUBIC)
        picture.save(file := io.BytesIO(), "JPEG", quality=90)
        files.append(file.getvalue())
    with tempfile.TemporaryDirectory() as place:
        folders = {
            role: save_real_size(name, Path(place, role), NOUNS[:3]) for role, name in FULL_SIZE_NETWORKS.items()
        }
        captioner = Captioner(folders["captioner"], max_new_tokens=CAPTION_LENGTH)
        locator = ObjectLocator(folders["locator"], threshold=0)
        networks = captioner, nouns, locator, ClipEncoder(folders["encoder"])
        return compare(contenders(dataset_of(files), networks), repeats, threads)


def with_fresh_cache(images: Dataset, networks: Networks) -> None:
    """Our three stages as a first run has them: everything is computed, and kept."""
    with tempfile.TemporaryDirectory() as cache:
        stages(images, networks, cache)


class BareNetworks:
    """The same networks on the same pictures, as tensors that are ready: no picture is decoded, resized, cut or kept.

    Args:
        images: as for stages.
        networks: as for stages.
        said: what stages returned for them: it tells what is asked of the networks.
    """

    def __init__(self, images: Dataset, networks: Networks, said: tuple[pd.DataFrame, ...]) -> None:
        self.captioner, _, self.locator, self.encoder = networks
        captions, boxes, _, texts = said
        phrases, crops = captions.set_index("image_id")["phrases"], dict(list(boxes.groupby("image_id")))
        pictures = {row["image_id"]: decode_image(encoded_bytes(row["image"])) for row in images}
        size = self.captioner.batch_size
        self.pixels = [
            torch.stack([self.captioner.prepare(one) for one in some]) for some in _batches(pictures.values(), size)
        ]
        asked = [name for name in pictures if len(phrases[name])]
        self.asked = [
            (
                torch.stack([self.locator.prepare(pictures[name])[0] for name in some]),
                list(dict.fromkeys(phrases[list(some)].explode())),
            )
            for some in _batches(asked, self.locator.batch_size)
        ]
        cuts = {name: [[], *crops.get(name, boxes[:0])[BOX].to_numpy().tolist()] for name in pictures}
        parts = [cut_out(pictures[name], box) for name in pictures for box in cuts[name]]
        tokenize = self.encoder._network[2]
        self.parts = [
            torch.stack([self.encoder.prepare(part) for part in some])
            for some in _batches(parts, self.encoder.batch_size)
        ]
        self.texts = [tokenize(list(some)) for some in _batches(texts["text"], self.encoder.batch_size)]

    @torch.inference_mode()
    def __call__(self) -> None:
        """Run captioner, detector and CLIP."""
        speak, look, clip = self.captioner._network[1], self.locator._network[1], self.encoder._network[0]
        for pixels in self.pixels:
            speak.generate(pixel_values=pixels, max_new_tokens=self.captioner._longest, num_beams=1, do_sample=False)
        for pixels, queries in self.asked:
            self.locator._scores(look.image_embedder(pixels)[0], queries)
        for pixels in self.parts:
            clip.encode_image(pixels)
        for tokens in self.texts:
            clip.encode_text(tokens)


@torch.inference_mode()
def script(images: Dataset, networks: Networks) -> list[dict]:
    """What a person would write: one picture after the other, each through the libraries themselves.

    Returns:
        caption, and vectors of the picture, its crops, its caption and its nouns, of each picture.
    """
    captioner, nouns, locator, encoder = networks
    (see, speak), (ask, find), (clip, preprocess, tokenize) = captioner._network, locator._network, encoder._network
    pipeline, made = spacy.load(nouns), []
    for row in images:
        picture = decode_image(encoded_bytes(row["image"]))
        tokens = speak.generate(**see(images=picture, return_tensors="pt"), max_new_tokens=captioner._longest)
        caption = see.decode(tokens[0], skip_special_tokens=True).strip()
        words = [token.text for token in pipeline(caption) if token.pos_ == "NOUN"]
        crops = []
        for word in words:
            inputs = ask(text=[[word]], images=picture, return_tensors="pt")
            size = torch.tensor([picture.size[::-1]])
            [best] = ask.post_process_grounded_object_detection(find(**inputs), locator.threshold, size)
            if len(best["scores"]):
                left, top, right, bottom = best["boxes"][best["scores"].argmax()].tolist()
                crops.append(picture.crop((left, top, max(right, left + 1), max(bottom, top + 1))))
        pictures = [clip.encode_image(preprocess(one)[None]) for one in (picture, *crops)]
        made.append({"caption": caption, "pictures": pictures, "texts": clip.encode_text(tokenize([caption, *words]))})
    return made


def by_stage(images: Dataset, networks: Networks) -> pd.Series:
    """Pictures that each of our stages takes in a second, nothing kept."""
    captioner, nouns, locator, encoder = networks
    times = [time.perf_counter()]
    captions = describe(images, captioner, nouns, None)
    times.append(time.perf_counter())
    boxes = locate(images, captions, locator, None)
    times.append(time.perf_counter())
    embed(images, captions, boxes, encoder, None)
    times.append(time.perf_counter())
    return pd.Series(len(images) / np.diff(times), ["describe", "locate", "embed"], name="pictures a second")


def peak_memory(counts: list[int], networks: Networks, files: list[bytes]) -> pd.DataFrame:
    """Seconds and peak memory of the three stages on so many pictures, each in a process of its own.

    Args:
        counts: numbers of pictures; `files` are taken again and again, each time as another picture.

    Returns:
        pictures, seconds, megabytes, seconds_a_picture.
    """
    captioner, nouns, locator, encoder = networks
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for place, file in enumerate(files):
            Path(folder, str(place)).write_bytes(file)
        for count in counts:
            names = [captioner.name, nouns, locator.name, str(locator.threshold), encoder.name]
            command = [sys.executable, "-m", "itemkit.running.benchmark", folder, str(count), *map(str, names)]
            seconds, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
            rows.append((count, float(seconds), float(kilobytes) / 1024))
    table = pd.DataFrame(rows, columns=["pictures", "seconds", "megabytes"])
    return table.assign(seconds_a_picture=table["seconds"] / table["pictures"])


def _one_size(folder: str, count: str, captioner: str, nouns: str, locator: str, threshold: str, encoder: str) -> None:
    files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    # Bytes behind the end of a picture are no part of it, but make it another file.
    images = dataset_of([files[place % len(files)] + place.to_bytes(4) for place in range(int(count))])
    networks = Captioner(captioner), nouns, ObjectLocator(locator, threshold=float(threshold)), ClipEncoder(encoder)
    stages(images.select(range(1)), networks)  # which loads them
    start = time.perf_counter()
    with_fresh_cache(images, networks)
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _batches(items, size: int) -> Iterator[list]:
    items = list(items)
    return (items[start : start + size] for start in range(0, len(items), size))


# the heads


def compare_heads(
    features: np.ndarray, rows: pd.DataFrame, generators: list[str], seeds: list[int], repeats: int, threads: int
) -> pd.DataFrame:
    """Train a head for each generator and seed: together, one by one in plain torch, and by scikit-learn's MLPClassifier.

    All have one hidden layer of 128, batches of 128 and a patience of ten epochs.

    Args:
        features: (N, F).
        rows: N rows: generator, label, split.

    Returns:
        By contender: seconds, times, low and high, as `ratios` has them, to "together"; roc_auc, the mean over heads and
        the generators that they were not trained on, on test rows; difference, the largest of a generator to "together".
    """
    label, wanted = rows["label"].to_numpy(), [(source, seed) for source in generators for seed in seeds]
    parts = [
        [
            np.flatnonzero((rows["split"] == split) & rows["generator"].isin(["real", source]))
            for split in ("train", "validation")
        ]
        for source, _ in wanted
    ]
    trained, ways = {}, {"together": _together, "one by one": _one_by_one, "scikit-learn": _by_sklearn}
    contenders = {
        name: lambda name=name, train=train: trained.update(
            {name: train(features, label, parts, [s for _, s in wanted])}
        )
        for name, train in ways.items()
    }
    table = ratios(compare(contenders, repeats, threads), "together")
    areas = pd.DataFrame(
        {
            name: [_unseen(rows, score(features), source) for score, (source, _) in zip(scores, wanted, strict=True)]
            for name, scores in trained.items()
        }
    )
    means = areas.groupby([source for source, _ in wanted]).mean()
    return table.assign(roc_auc=areas.mean(), difference=means.sub(means["together"], axis=0).abs().max())


Score = Callable[[np.ndarray], np.ndarray]


def _together(features: np.ndarray, label: np.ndarray, parts: list, seeds: list[int]) -> list[Score]:
    heads = fit_together(features, label, *zip(*parts, strict=True), seeds)
    return [lambda rows, head=head: predict(head, rows) for head in heads]


def _one_by_one(features: np.ndarray, label: np.ndarray, parts: list, seeds: list[int]) -> list[Score]:
    return [_one(features, label, *part, seed) for part, seed in zip(parts, seeds, strict=True)]


def _one(features: np.ndarray, label: np.ndarray, training: np.ndarray, validation: np.ndarray, seed: int) -> Score:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scaler = StandardScaler().fit(features[training])
        x = torch.from_numpy(scaler.transform(features).astype(np.float32))
        y = torch.from_numpy(label.astype(np.float32))
        network = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(128, 1)
        )
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
        loss = torch.nn.BCEWithLogitsLoss()
        best, state, since = float("inf"), None, 0
        for _ in range(200):
            network.train()
            for batch in torch.from_numpy(training)[torch.randperm(len(training))].split(128):
                optimizer.zero_grad()
                loss(network(x[batch])[:, 0], y[batch]).backward()
                optimizer.step()
            network.eval()
            with torch.inference_mode():
                value, since = loss(network(x[validation])[:, 0], y[validation]).item(), since + 1
            if value < best:
                best, since = value, 0
                state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            if since == 10:
                break
        network.load_state_dict(state)
    return lambda rows: network(torch.from_numpy(scaler.transform(rows).astype(np.float32)))[:, 0].detach().numpy()


def _by_sklearn(features: np.ndarray, label: np.ndarray, parts: list, seeds: list[int]) -> list[Score]:
    trained = []
    for (training, _), seed in zip(parts, seeds, strict=True):
        network = MLPClassifier(
            (128,), batch_size=128, alpha=1e-2, early_stopping=True, validation_fraction=1 / 7, random_state=seed
        )
        trained.append(make_pipeline(StandardScaler(), network).fit(features[training], label[training]))
    return [lambda rows, one=one: one.predict_proba(rows)[:, 1] for one in trained]


def _unseen(rows: pd.DataFrame, score: np.ndarray, source: str) -> float:
    tested = (rows["split"] == "test").to_numpy()
    return unseen_roc_auc(rows[tested], score[tested], [source])["roc_auc"].mean()


if __name__ == "__main__":
    _one_size(*sys.argv[1:])
