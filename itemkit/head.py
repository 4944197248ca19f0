"""Train, save, load and apply the MLP: the only trained part of the method."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_model
from torch import nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from torch.nn.utils import parameters_to_vector

from itemkit.data.files import whole
from itemkit.network import check_finite


class MLPHead(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="itemkit",
    tags=["image-classification", "generated-image-detection"],
    paper_url="https://arxiv.org/abs/2511.00427",
    license="apache-2.0",
):
    """Features to the logit of being generated; the standardisation is part of the saved weights.

    `save_pretrained(folder)` and `push_to_hub(name)` write config.json, model.safetensors and a model card;
    `from_pretrained(folder or name)` reads them, safetensors only, and raises RuntimeError where they do not fit,
    ValueError where one is not finite.

    Args:
        in_features: F, the width of the features.
        hidden: width of the hidden layer; 0: none, a linear probe.
        dropout: probability in [0, 1) of dropping a hidden unit in training.

    Attributes:
        history: one dict for each epoch of `fit`: epoch, training_loss, validation_loss; it is not saved.
    """

    def __init__(self, in_features: int, hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("deviation", torch.ones(in_features))
        before = [nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(dropout)] if hidden else []
        self.layers = nn.Sequential(*before, nn.Linear(hidden or in_features, 1))
        self.history: list[dict[str, float]] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        standard = (features - self.mean) / self.deviation  # (N, F)
        return self.layers(standard).squeeze(1)  # (N,)

    def save_pretrained(self, folder: str | Path, **options) -> str | None:
        """Write a head, whole or not at all, as PyTorchModelHubMixin does."""
        with whole(folder) as part:
            return super().save_pretrained(part, **options)

    def generate_model_card(self, *arguments, **options):
        return _card(type(self))  # the same for all heads, of which a run saves hundreds

    @classmethod
    def from_pretrained(cls, name: str | Path, **options) -> "MLPHead":
        """Read a head from a folder or a hub id, as PyTorchModelHubMixin does; a folder that lacks one is said to."""
        lacks = [file for file in ("config.json", _WEIGHTS) if not Path(name, file).is_file()]
        if lacks and (Path(name).is_dir() or Path(name).is_absolute() or str(name).count("/") != 1):
            raise FileNotFoundError(
                f"no head in folder {name}: {' and '.join(lacks)} not there; 03_train makes heads, in results/<profile>/heads"
            )
        return super().from_pretrained(name, **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options) -> "MLPHead":
        # The mixin's own loader lets a different architecture pass with random weights, and falls back to pickle.
        hub = {name: options.pop(name) for name in _HUB_OPTIONS}
        folder = Path(model_id)
        path = folder / _WEIGHTS if folder.is_dir() else hf_hub_download(model_id, _WEIGHTS, **hub)
        head = cls(**options)
        load_model(head, path, strict=True, device=map_location)
        check_finite(model_id, head)
        return head.eval()


@cache
def _card(kind: type[MLPHead]):
    return PyTorchModelHubMixin.generate_model_card(kind(1))


_WEIGHTS = "model.safetensors"
LARGEST = 2**28  # numbers, a gigabyte: of the features of heads that are trained side by side
PAD = 32  # numbers that a processor may take at once
_HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def fit(
    features: np.ndarray,
    label: np.ndarray,
    validation_features: np.ndarray,
    validation_label: np.ndarray,
    seed: int,
    hidden: int = 128,
    **settings,
) -> MLPHead:
    """Train one head, as fit_together trains many.

    Args:
        features, label: (N, F) and (N,) training rows; label 0 real, 1 generated.
        validation_features, validation_label: the same for validation rows of the same generators.
        seed, hidden, settings: as for fit_together.

    Raises:
        ValueError: as fit_together, or validation rows of another width.
    """
    for name, rows, labels in (("training", features, label), ("validation", validation_features, validation_label)):
        if rows.ndim != 2 or len(rows) != len(labels):
            raise ValueError(f"expected {name} features (N, F) and labels (N,), got {rows.shape} and {labels.shape}")
    if features.shape[1] != validation_features.shape[1]:
        raise ValueError(
            f"training rows have {features.shape[1]} features, validation rows {validation_features.shape[1]}"
        )
    both = np.concatenate([features, validation_features]), np.concatenate([label, validation_label])
    training, validation = np.split(np.arange(len(both[0])), [len(features)])
    (head,) = fit_together(*both, [training], [validation], [seed], hidden, **settings)
    return head


def fit_together(
    features: np.ndarray,
    label: np.ndarray,
    training: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    seeds: Sequence[int],
    hidden: int = 128,
    dropout: float = 0.1,
    learning_rate: float | None = None,
    weight_decay: float = 1e-2,
    batch_size: int = 128,
    epochs: int = 200,
    patience: int = 10,
) -> list[MLPHead]:
    """Train H heads side by side with AdamW, each until its validation loss has not fallen for `patience` epochs.

    A head keeps its best epoch, and is the same to the bit whichever heads are trained beside it: its standardisation,
    weights, order of rows and dropout are its own, and AdamW works element by element. Both classes weigh the same in the
    loss, however many rows each has. All is done on the CPU in float32: the same seed gives the same bytes, on one thread
    as on two, and no random state outside changes.

    Args:
        features, label: (N, F) and (N,) rows of all heads together; label 0 real, 1 generated.
        training, validation: H arrays each: the rows that a head learns from, and those that it is stopped by.
        seeds: H of them: of the initial weights, the order of rows and the dropout.
        hidden, dropout: as for MLPHead.
        learning_rate: of the optimiser; None: 0.001, or 0.01 without a hidden layer, where ten epochs of less bring so
            little that training stops before its end (chosen by the loss on toyworld's validation rows).
        weight_decay, batch_size, epochs, patience: of the optimiser; at most `epochs` epochs are run.

    Returns:
        H heads in evaluation mode, each with its `history`.

    Raises:
        ValueError: features that are not finite, a class without rows, shapes that do not fit together, or a loss that
            never was finite.
    """
    if features.ndim != 2 or len(features) != len(label):
        raise ValueError(f"expected features (N, F) and labels (N,), got {features.shape} and {label.shape}")
    if learning_rate is None:
        learning_rate = 1e-3 if hidden else 1e-2
    for name, rows in (("training", training), ("validation", validation)):
        for own in rows:
            _check_rows(name, features[own], label[own])
    heads: list[MLPHead | None] = [None] * len(seeds)
    sizes = [(len(own), len(other)) for own, other in zip(training, validation, strict=True)]
    tensors = torch.from_numpy(np.asarray(features, np.float32)), torch.from_numpy(np.asarray(label, np.float32))
    with _few_threads():
        for size in dict.fromkeys(sizes):  # heads with as many rows have as many steps, and fit into one stack
            same = [place for place, other in enumerate(sizes) if other == size]
            most = max(2, LARGEST // (sum(size) * features.shape[1]))
            for start in range(0, len(same), most):
                chosen = same[start : start + most]
                chosen = chosen if len(chosen) > 1 else 2 * chosen
                rows = [torch.from_numpy(np.stack([part[one] for one in chosen])) for part in (training, validation)]
                stack = _Stack(*tensors, *rows, [seeds[one] for one in chosen], hidden, dropout)
                stack.train(learning_rate, weight_decay, batch_size, epochs, patience)
                for place, head in zip(chosen, stack.heads, strict=True):
                    heads[place] = head
    if any(not np.isfinite(min(epoch["validation_loss"] for epoch in head.history)) for head in heads):
        raise ValueError(f"the validation loss was never finite; lower learning_rate, which was {learning_rate}")
    return heads


class _Stack:
    """H > 1 heads with as many rows each, as one network whose parameters have one more dimension.

    Its gradients are written out, since for networks of this size torch's own bookkeeping takes longer than the sums. What
    one head gets must not depend on how many others there are, and a processor rounds otherwise at the end of an array:
    rows and parameters are padded to multiples of PAD, and a head alone gets a second one beside it.
    """

    def __init__(self, features, label, training, validation, seeds, hidden, dropout) -> None:
        self.random, self.dropout = [np.random.default_rng(seed) for seed in seeds], dropout
        self.heads, self.hidden = [MLPHead(features.shape[1], hidden, dropout) for _ in seeds], hidden
        for head, rows, random in zip(self.heads, training, self.random, strict=True):
            deviation, mean = torch.std_mean(features[rows].double(), dim=0, correction=0)
            head.mean.copy_(mean)
            head.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1))  # a constant feature stays zero
            for layer in _linear(head):  # as torch does by default, but by the head's own seed
                bound = layer.in_features**-0.5
                for parameter in (layer.weight, layer.bias):
                    drawn = random.uniform(-bound, bound, parameter.shape).astype(np.float32)
                    parameter.data.copy_(torch.from_numpy(drawn))
        self.training, self.validation = (self._rows(features, label, rows) for rows in (training, validation))
        flat = torch.stack([parameters_to_vector(head.layers.parameters()).detach() for head in self.heads])
        self.flat = nn.Parameter(pad(flat, (0, -flat.shape[1] % PAD)))  # (H, P)
        self.flat.grad = torch.zeros_like(self.flat)

    def _rows(self, features, label, rows) -> list[torch.Tensor]:
        """Standardised features (H, n, F), labels (H, n) and weights (H, n), of which each class has half the sum."""
        standard = [(features[own] - head.mean) / head.deviation for own, head in zip(rows, self.heads, strict=True)]
        share = label[rows].mean(1, keepdim=True)  # (H, 1) of generated rows
        return [torch.stack(standard), label[rows], torch.where(label[rows] == 1, 0.5 / share, 0.5 / (1 - share))]

    @torch.no_grad()
    def train(self, learning_rate: float, weight_decay: float, batch_size: int, epochs: int, patience: int) -> None:
        """Train all heads; each stops on its own, and is then no longer part of the stack."""
        optimizer = torch.optim.AdamW([self.flat], learning_rate, weight_decay=weight_decay, fused=True)
        alive, best, since = list(self.heads), [float("inf")] * len(self.heads), [0] * len(self.heads)
        for epoch in range(1, epochs + 1):
            training_loss, validation_loss = self._train_epoch(optimizer, batch_size), self._validate(batch_size)
            for place, head in enumerate(alive):
                if since[place] == patience:
                    continue  # it has stopped, and only keeps the last one company
                losses = {"training_loss": training_loss[place], "validation_loss": validation_loss[place]}
                head.history.append({"epoch": epoch} | losses)
                since[place] += 1
                if losses["validation_loss"] < best[place]:
                    best[place], since[place] = losses["validation_loss"], 0
                    for kept, part in zip(head.layers.parameters(), chain(*self._layers(self.flat)), strict=True):
                        kept.copy_(part[place])
            keep = [place for place in range(len(alive)) if since[place] < patience]
            if not keep:
                return
            if 1 < len(keep) < len(alive) or len(keep) == 1 and len(alive) > 2:
                keep = keep if len(keep) > 1 else [*keep, (keep[0] + 1) % len(alive)]
                alive, best, since = ([part[place] for place in keep] for part in (alive, best, since))
                self._shrink(keep, optimizer)

    def _train_epoch(self, optimizer: torch.optim.Optimizer, batch_size: int) -> list[float]:
        """Take a step for each batch; returns the mean loss of each head."""
        (heads, count), hidden = self.training[1].shape, self.hidden
        order = torch.from_numpy(np.stack([random.permutation(count) for random in self.random]))  # (H, n)
        drawn = np.stack([random.integers(2**16, size=(count, hidden), dtype=np.uint16) for random in self.random])
        kept = torch.from_numpy(drawn >= round(2**16 * self.dropout)) / (1 - self.dropout)  # (H, n, hidden)
        first = count * torch.arange(heads)[:, None]  # the place of each head's rows in all of them
        total = torch.zeros(heads)
        for batch, mask in zip((order + first).split(batch_size, 1), kept.split(batch_size, 1), strict=True):
            rows = [
                part.flatten(0, 1).index_select(0, batch.flatten()).unflatten(0, batch.shape) for part in self.training
            ]
            total += batch.shape[1] * self._backward(*map(_padded, rows), _padded(mask), batch.shape[1])
            optimizer.step()
        return (total / count).tolist()

    def _backward(self, x, label, weight, mask, count: int) -> torch.Tensor:
        """Put the gradients of each head into place; returns its loss (H,), the mean over `count` rows."""
        *_, (last, _) = self._layers(self.flat)  # (H, 1, hidden)
        active, logit = self._forward(x, mask)  # (H, B, hidden), (H, B)
        error = (weight * (logit.sigmoid() - label) / count)[:, None]  # (H, 1, B)
        *hidden, (last_gradient, last_bias_gradient) = self._layers(self.flat.grad)
        for weight_gradient, bias_gradient in hidden:  # of one layer, or of none
            back = (error.transpose(1, 2) * last).mul_(mask).mul_(active > 0)  # (H, B, hidden)
            weight_gradient.copy_(back.transpose(1, 2) @ x)  # which is faster than bmm into its strided place
            bias_gradient.copy_(back.sum(1))
        # bmm would do, but with an odd number of features some processors round it by how many heads there are
        last_gradient.copy_((error.transpose(1, 2) * active).sum(1, keepdim=True))
        last_bias_gradient.copy_(error.sum(2))
        return binary_cross_entropy_with_logits(logit, label, weight, reduction="none").sum(1) / count

    def _forward(self, x, mask=None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the last layer gets (H, B, hidden), and the logits (H, B); `mask` is what dropout leaves of the former."""
        *hidden, (last, last_bias) = self._layers(self.flat)
        for weight, bias in hidden:
            x = torch.baddbmm(bias[:, None], x, weight.transpose(1, 2)).relu_()
            x = x if mask is None else x.mul_(mask)
        return x, torch.baddbmm(last_bias[:, None], x, last.transpose(1, 2)).squeeze(2)

    def _layers(self, flat: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Views of parameters (H, P) as the weights (H, out, in) and biases (H, out) of each layer."""
        shapes = [layer.weight.shape for layer in _linear(self.heads[0])]
        sizes = [size for shape in shapes for size in (shape.numel(), shape[0])]
        parts = iter(flat.split([*sizes, flat.shape[1] - sum(sizes)], 1))
        return [(next(parts).unflatten(1, shape), next(parts)) for shape in shapes]

    def _validate(self, batch_size: int) -> list[float]:
        total = 0
        for part in zip(*(rows.split(4 * batch_size, 1) for rows in self.validation), strict=True):
            x, label, weight = map(_padded, part)
            total = total + binary_cross_entropy_with_logits(self._forward(x)[1], label, weight, reduction="none").sum(
                1
            )
        return (total / self.validation[1].shape[1]).tolist()

    def _shrink(self, keep: list[int], optimizer: torch.optim.Optimizer) -> None:
        """Go on with some of the heads; nothing of theirs changes."""
        self.random = [self.random[place] for place in keep]
        self.training, self.validation = ([part[keep] for part in rows] for rows in (self.training, self.validation))
        self.flat.grad, self.flat.data = None, self.flat.data[keep]
        self.flat.grad = torch.zeros_like(self.flat)
        state = optimizer.state[self.flat]
        state |= {name: state[name][keep] for name in ("exp_avg", "exp_avg_sq")}


def _linear(head: MLPHead) -> list[nn.Linear]:
    return [layer for layer in head.layers if isinstance(layer, nn.Linear)]


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """Rows (H, B, ...) and zeros behind them, to a multiple of PAD; their weight is zero, too."""
    missing = -rows.shape[1] % PAD
    return pad(rows, (0, 0) * (rows.ndim - 2) + (0, missing)) if missing else rows


@torch.inference_mode()
def predict(head: MLPHead, features: np.ndarray) -> np.ndarray:
    """The probability of being generated for each row, whichever rows stand beside it.

    Args:
        head: a trained head.
        features: (N, F).

    Returns:
        (N,) float32 in [0, 1]. Float64 inside, so that the size of a batch does not show in the float32 result.

    Raises:
        ValueError: features of another width than the head's, or not finite.
    """
    width = len(head.mean)
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"this head expects features of shape (N, {width}), got {features.shape}")
    _check_finite("given", features)
    precise = {name: weight.double() for name, weight in head.state_dict().items()}
    training = head.training
    head.eval()
    try:
        batches = torch.from_numpy(features).split(65_536)
        logits = [functional_call(head, precise, batch.double()) for batch in batches]
    finally:
        head.train(training)
    return torch.sigmoid(torch.cat(logits)).float().numpy()  # (N,)


@contextmanager
def _few_threads() -> Iterator[None]:
    """No more than help networks of this size, and no draw from torch's own random state."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(2, threads))
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def _check_rows(name: str, features: np.ndarray, label: np.ndarray) -> None:
    _check_finite(name, features)
    if set(np.unique(label)) != {0, 1}:
        raise ValueError(
            f"{name} rows need both labels, 0 real and 1 generated, and no other; got {set(label.tolist())}"
        )


def _check_finite(name: str, features: np.ndarray) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise ValueError(f"{len(broken)} {name} rows have features that are not finite: {broken[:10].tolist()}")
