"""Heads trained together against one by one and against scikit-learn: seconds and ROC AUC, in one run.

    python tests/benchmark_heads.py [results/toyworld] [--repeats 3]

Trains the heads of `item` of a finished run: one for each generator and seed, on files made alike. "one by one" is a plain loop of
torch.nn and torch.optim over the same rows; scikit-learn's MLPClassifier has the same size, batch, optimiser and patience.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from itemkit.head import fit_together, predict
from itemkit.record import Run

SEEDS = range(5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", nargs="?", default="results/toyworld")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    run = Run(arguments.results)
    rows = run.files[(run.files.status == "ok") & (run.files.track == run.track)].reset_index(drop=True)
    features, label = run.features(rows.image_id, "item"), rows.label.to_numpy()
    heads = [(source, seed) for source in run.generators for seed in SEEDS]
    parts = [
        [
            np.flatnonzero((rows.split == split) & rows.generator.isin(["real", source]))
            for split in ("train", "validation")
        ]
        for source, _ in heads
    ]
    contenders = {"together": together, "one by one": one_by_one, "scikit-learn": by_sklearn}
    seconds, areas = {name: [] for name in contenders}, {}
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads), warnings.catch_warnings(action="ignore"):
        for _ in range(arguments.repeats):
            for name, train in contenders.items():
                start = time.perf_counter()
                score = train(features, label, parts, [seed for _, seed in heads])
                seconds[name].append(time.perf_counter() - start)  # of training alone
                scores = score(features)
                areas[name] = [area(rows, score, source) for score, (source, _) in zip(scores, heads, strict=True)]
    table = pd.DataFrame(
        {
            "seconds": {name: min(taken) for name, taken in seconds.items()},
            "slowest": {name: max(taken) for name, taken in seconds.items()},
            "mean_roc_auc": {name: np.mean(found) for name, found in areas.items()},
        }
    )
    table["times_together"] = table.seconds / table.seconds["together"]
    print(
        f"{len(heads)} heads of {features.shape[1]} features, {len(parts[0][0])} rows each, {arguments.threads} threads"
    )
    print(table.round(4).to_string())
    print("largest difference of a generator, one by one:", round(largest_difference(areas, heads), 4))


def together(features: np.ndarray, label: np.ndarray, parts: list, seeds: list[int]) -> Callable:
    heads = fit_together(features, label, *zip(*parts, strict=True), seeds)
    return lambda rows: [predict(head, rows) for head in heads]


def one_by_one(features: np.ndarray, label: np.ndarray, parts: list, seeds: list[int]) -> Callable:
    scores = [one(features, label, *part, seed) for part, seed in zip(parts, seeds, strict=True)]
    return lambda rows: [score(rows) for score in scores]


def one(features: np.ndarray, label: np.ndarray, training: np.ndarray, validation: np.ndarray, seed: int) -> Callable:
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


def by_sklearn(features: np.ndarray, label: np.ndarray, parts: list, seeds: list[int]) -> Callable:
    trained = []
    for (training, _), seed in zip(parts, seeds, strict=True):
        network = MLPClassifier(
            (128,), batch_size=128, alpha=1e-2, early_stopping=True, validation_fraction=1 / 7, random_state=seed
        )
        trained.append(make_pipeline(StandardScaler(), network).fit(features[training], label[training]))
    return lambda rows: [one.predict_proba(rows)[:, 1] for one in trained]


def area(rows: pd.DataFrame, score: np.ndarray, source: str) -> float:
    """The mean ROC AUC against the generators that a head was not trained on, on test rows."""
    others = [name for name in rows.generator.unique() if name not in ("real", source)]
    groups = [(rows.split == "test") & rows.generator.isin(["real", other]) for other in others]
    return np.mean([roc_auc_score(rows.label[group], score[group]) for group in groups])


def largest_difference(areas: dict[str, list[float]], heads: list) -> float:
    frame = pd.DataFrame(areas).assign(source=[source for source, _ in heads]).groupby("source").mean()
    return (frame["together"] - frame["one by one"]).abs().max()


if __name__ == "__main__":
    main()
