"""Train, save, load and apply the MLP: the only trained part of the method."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_model
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


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
    `from_pretrained(folder or name)` reads them, safetensors only, and raises RuntimeError where they do not fit.

    Args:
        in_features: F, the width of the features.
        hidden: width of the hidden layer.
        dropout: probability in [0, 1) of dropping a hidden unit in training.

    Attributes:
        history: one dict for each epoch of `fit`: epoch, training_loss, validation_loss; it is not saved.
    """

    def __init__(self, in_features: int, hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("deviation", torch.ones(in_features))
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1)
        )
        self.history: list[dict[str, float]] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        standard = (features - self.mean) / self.deviation  # (N, F)
        return self.layers(standard).squeeze(1)  # (N,)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options) -> "MLPHead":
        # The mixin's own loader lets a different architecture pass with random weights, and falls back to pickle.
        hub = {name: options.pop(name) for name in _HUB_OPTIONS}
        folder = Path(model_id)
        path = folder / _WEIGHTS if folder.is_dir() else hf_hub_download(model_id, _WEIGHTS, **hub)
        head = cls(**options)
        load_model(head, path, strict=True, device=map_location)
        return head.eval()


_WEIGHTS = "model.safetensors"
_HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def fit(
    features: np.ndarray,
    label: np.ndarray,
    validation_features: np.ndarray,
    validation_label: np.ndarray,
    seed: int,
    hidden: int = 128,
    dropout: float = 0.1,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    batch_size: int = 128,
    epochs: int = 200,
    patience: int = 10,
) -> MLPHead:
    """Train a head with AdamW until the validation loss has not fallen for `patience` epochs; keep the best epoch.

    Both classes weigh the same in the loss, however many rows each has. The head is small, so it is trained on one
    thread of the CPU in float32: the same seed gives the same bytes, and no random state outside changes.

    Args:
        features, label: (N, F) and (N,) training rows; label 0 real, 1 generated.
        validation_features, validation_label: the same for validation rows of the same generators.
        seed: of the initial weights, the order of rows and the dropout.
        hidden, dropout: as for MLPHead.
        learning_rate, weight_decay, batch_size, epochs, patience: of the optimiser; at most `epochs` epochs are run.

    Returns:
        The head in evaluation mode, with its `history`.

    Raises:
        ValueError: features that are not finite, a class without rows, shapes that do not fit together, or a loss that
            never was finite.
    """
    training = _checked("training", features, label)
    validation = _checked("validation", validation_features, validation_label)
    with _reproducible(seed):
        head = MLPHead(training[0].shape[1], hidden, dropout)
        deviation, mean = torch.std_mean(training[0].double(), dim=0, correction=0)
        head.mean.copy_(mean)
        head.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1))  # a constant feature stays zero
        optimizer = torch.optim.AdamW(head.parameters(), learning_rate, weight_decay=weight_decay)
        best, best_loss, best_epoch = None, float("inf"), 0
        for epoch in range(1, epochs + 1):
            training_loss = _train_epoch(head, optimizer, training, batch_size)
            validation_loss = _validate(head, validation)
            head.history.append({"epoch": epoch, "training_loss": training_loss, "validation_loss": validation_loss})
            if validation_loss < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(head.state_dict()), validation_loss, epoch
            if epoch - best_epoch >= patience:
                break
    if best is None:
        raise ValueError(f"the validation loss was never finite; lower learning_rate, which was {learning_rate}")
    head.load_state_dict(best)
    return head.eval()


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
    precise = copy.deepcopy(head).double().eval()
    batches = torch.from_numpy(features).split(65_536)
    return torch.cat([torch.sigmoid(precise(batch.double())) for batch in batches]).float().numpy()  # (N,)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order; and for so small a network more threads are slower, not faster
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _train_epoch(
    head: MLPHead, optimizer: torch.optim.Optimizer, rows: tuple[torch.Tensor, ...], batch_size: int
) -> float:
    head.train()
    total = 0.0
    for batch in torch.randperm(len(rows[0])).split(batch_size):
        features, label, weight = (tensor[batch] for tensor in rows)
        loss = binary_cross_entropy_with_logits(head(features), label, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(rows[0])


@torch.inference_mode()
def _validate(head: MLPHead, rows: tuple[torch.Tensor, ...]) -> float:
    features, label, weight = rows
    return binary_cross_entropy_with_logits(head.eval()(features), label, weight).item()


def _checked(name: str, features: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, labels and row weights as tensors; the weights of each class sum to N / 2."""
    if features.ndim != 2 or len(features) != len(label):
        raise ValueError(f"expected {name} features (N, F) and labels (N,), got {features.shape} and {label.shape}")
    _check_finite(name, features)
    counts = [int(np.sum(label == value)) for value in (0, 1)]
    if min(counts) == 0 or sum(counts) != len(label):
        raise ValueError(f"{name} rows need both labels, 0 real and 1 generated, and no other; got {set(label)}")
    weight = np.where(label == 1, len(label) / 2 / counts[1], len(label) / 2 / counts[0])
    return tuple(torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in (features, label, weight))


def _check_finite(name: str, features: np.ndarray) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise ValueError(f"{len(broken)} {name} rows have features that are not finite: {broken[:10].tolist()}")
