import numpy as np
import pytest
import torch

from itemkit.head import MLPHead, fit, fit_together, predict


def rows(seed: int, count: int = 200, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features of two overlapping clouds, and their labels."""
    random = np.random.default_rng(seed)
    label = np.arange(count) % 2
    return (random.normal(size=(count, width)) + label[:, None]).astype(np.float32), label


TRAINING, VALIDATION = rows(0), rows(1, 100)


@pytest.fixture(scope="module")
def head() -> MLPHead:
    return fit(*TRAINING, *VALIDATION, seed=0)


def test_fit_learns(head):
    features, label = rows(2, 1000)
    assert np.mean((predict(head, features) >= 0.5) == label) > 0.85  # the best possible is 0.89


def test_same_seed_same_bytes_and_another_seed_others(head, tmp_path):
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        fit(*TRAINING, *VALIDATION, seed=seed).save_pretrained(tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_global_state_is_untouched():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads = torch.get_num_threads()
    fit(*TRAINING, *VALIDATION, seed=5, epochs=2)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def stack(*sizes: int) -> tuple[np.ndarray, np.ndarray, list, list]:
    """One matrix of features, and for each head rows of its own, as many as it is given."""
    features, label = rows(7, 400, 9)
    random = np.random.default_rng(1)
    training = [random.permutation(300)[:size] for size in sizes]
    return features, label, training, [np.arange(300, 400) - (place % 2) for place in range(len(sizes))]


def parameters(head: MLPHead) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in head.state_dict().values()]


@pytest.mark.parametrize("hidden", [20, 0])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_head_is_the_same_to_the_bit_whoever_is_trained_beside_it(threads, hidden):
    features, label, training, validation = stack(200, 200, 200, 131, 200, 131, 77)
    seeds, before = [0, 1, 2, 3, 0, 5, 6], torch.get_num_threads()
    torch.set_num_threads(threads)
    together = fit_together(features, label, training, validation, seeds, hidden)
    for chosen in ([0], [6], [3, 5], [4, 0, 1], [2, 3, 4, 5, 6]):
        some = [[part[place] for place in chosen] for part in (training, validation, seeds)]
        for head, place in zip(fit_together(features, label, *some, hidden), chosen, strict=True):
            assert head.history == together[place].history
            for one, other in zip(parameters(head), parameters(together[place]), strict=True):
                np.testing.assert_array_equal(one, other)
    assert len({len(head.history) for head in together}) > 1 or not hidden  # they stopped at different times
    torch.set_num_threads(before)


def test_heads_of_any_size_fit_into_memory(monkeypatch):
    features, label, training, validation = stack(200, 200, 200, 200, 200)
    whole = fit_together(features, label, training, validation, range(5), epochs=5)
    monkeypatch.setattr("itemkit.head.LARGEST", 2 * 300 * 9)  # two heads at a time
    for one, other in zip(whole, fit_together(features, label, training, validation, range(5), epochs=5), strict=True):
        np.testing.assert_array_equal(parameters(one)[2], parameters(other)[2])


@pytest.mark.parametrize("hidden", [8, 0])
def test_the_written_gradients_are_those_of_torch(hidden):
    """One epoch without dropout, against a loop of torch's own layers, loss and optimiser over the same batches."""
    features, label, (training,), (validation,) = stack(150)
    (head,) = fit_together(
        features, label, [training], [validation], [4], hidden, learning_rate=1e-3, dropout=0.0, batch_size=64, epochs=1
    )
    random = np.random.default_rng(4)
    network = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    network = network if hidden else torch.nn.Sequential(torch.nn.Linear(9, 1))
    for layer in network[::2]:
        for parameter in (layer.weight, layer.bias):
            bound = layer.in_features**-0.5
            parameter.data = torch.from_numpy(random.uniform(-bound, bound, parameter.shape).astype(np.float32))
    own, share = features[training].astype(np.float64), label[training].mean()
    x = torch.from_numpy(((own - own.mean(0)) / own.std(0)).astype(np.float32))
    y = torch.from_numpy(label[training].astype(np.float32))
    weight = torch.where(y == 1, 0.5 / share, 0.5 / (1 - share)).float()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    losses = []
    for batch in torch.from_numpy(random.permutation(150)).split(64):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x[batch])[:, 0], y[batch], weight[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() * len(batch))
    for one, other in zip(head.layers.parameters(), network.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-6)
    assert head.history[0]["training_loss"] == pytest.approx(sum(losses) / 150, rel=1e-5)


def test_dropout_leaves_its_share_and_keeps_the_mean():
    features, label, training, validation = stack(200)
    (dropped,) = fit_together(features, label, training, validation, [0], epochs=1, dropout=0.9)
    (whole,) = fit_together(features, label, training, validation, [0], epochs=1, dropout=0.0)
    assert dropped.history[0]["training_loss"] > whole.history[0]["training_loss"]  # noisy, and of the same size
    assert dropped.history[0]["training_loss"] < 3 * whole.history[0]["training_loss"]


def test_the_best_epoch_is_kept(head):
    losses = [epoch["validation_loss"] for epoch in head.history]
    assert len(losses) - (np.argmin(losses) + 1) == 10  # stopped after ten epochs without a better one
    features, label = VALIDATION
    score = predict(head, features).astype(float)
    loss = -np.mean(label * np.log(score) + (1 - label) * np.log(1 - score))
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_standardisation_is_inside(head):
    features, label = TRAINING
    scaled = fit(features * 1000 + 7, label, VALIDATION[0] * 1000 + 7, VALIDATION[1], seed=0)
    np.testing.assert_allclose(predict(scaled, features * 1000 + 7), predict(head, features), atol=0.01)


def test_a_constant_feature_does_no_harm():
    def with_constant(features):
        return np.hstack([features, np.full((len(features), 1), 3, dtype=np.float32)])

    head = fit(with_constant(TRAINING[0]), TRAINING[1], with_constant(VALIDATION[0]), VALIDATION[1], seed=0, epochs=3)
    assert np.isfinite(predict(head, with_constant(VALIDATION[0]))).all()


def test_both_classes_weigh_the_same():
    features, label = rows(0, 2000, width=1)
    keep = (label == 1) | (np.arange(len(label)) % 12 == 0)  # six generated rows for each real one
    head = fit(features[keep], label[keep], features[keep], label[keep], seed=0)
    middle = predict(head, np.array([[0.5]], dtype=np.float32))  # half-way between the clouds
    assert middle.item() == pytest.approx(0.5, abs=0.06)


def test_a_score_does_not_depend_on_the_rows_beside_it(head):
    features, _ = rows(3, 300)
    together = predict(head, features)
    alone = np.concatenate([predict(head, features[i : i + 1]) for i in range(len(features))])
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, alone)


def test_save_and_load_round_trip_is_exact(head, tmp_path):
    head.save_pretrained(tmp_path)
    loaded = MLPHead.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.state_dict().keys() == head.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in head.state_dict().items())
    np.testing.assert_array_equal(predict(loaded, VALIDATION[0]), predict(head, VALIDATION[0]))


def test_the_model_card_names_paper_and_licence(head, tmp_path):
    head.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    for words in ("library_name: itemkit", "license: apache-2.0", "https://arxiv.org/abs/2511.00427"):
        assert words in card


def test_another_architecture_does_not_load(head, tmp_path):
    class Deeper(MLPHead):
        def __init__(self, in_features: int, hidden: int = 128, dropout: float = 0.1) -> None:
            super().__init__(in_features, hidden, dropout)
            self.layers.append(torch.nn.Linear(1, 1))

    head.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="layers.4.weight"):
        Deeper.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        MLPHead.from_pretrained(tmp_path, hidden=64)


def test_pickled_weights_do_not_load(head, tmp_path):
    head.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(head.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        MLPHead.from_pretrained(tmp_path)


def test_a_hub_name_is_loaded_from_its_pinned_revision(head, tmp_path, monkeypatch):
    asked = []

    def download(repo_id: str, filename: str, revision: str, **options) -> str:
        asked.append((repo_id, filename, revision))
        return str(tmp_path / filename)

    head.save_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    monkeypatch.setattr("itemkit.head.hf_hub_download", download)
    loaded = MLPHead.from_pretrained("someone/item-head", revision="a" * 40)
    assert asked == [("someone/item-head", name, "a" * 40) for name in ("config.json", "model.safetensors")]
    np.testing.assert_array_equal(predict(loaded, VALIDATION[0]), predict(head, VALIDATION[0]))


def test_a_diverging_loss_is_an_error():
    with pytest.raises(ValueError, match="the validation loss was never finite; lower learning_rate, which was 1e"):
        fit(*TRAINING, *VALIDATION, seed=0, learning_rate=1e30, patience=3)


def test_unusable_rows_are_refused(head):
    features, label = TRAINING
    broken = features.copy()
    broken[[3, 17], 0] = np.nan
    with pytest.raises(ValueError, match=r"2 training rows have features that are not finite: \[3, 17\]"):
        fit(broken, label, *VALIDATION, seed=0)
    with pytest.raises(ValueError, match=r"2 given rows have features that are not finite: \[3, 17\]"):
        predict(head, broken)
    with pytest.raises(ValueError, match="validation rows need both labels, 0 real and 1 generated"):
        fit(features, label, VALIDATION[0], np.zeros(100), seed=0)
    with pytest.raises(ValueError, match=r"expected training features \(N, F\) and labels \(N,\)"):
        fit(features[:-1], label, *VALIDATION, seed=0)
    with pytest.raises(ValueError, match="training rows have 6 features, validation rows 4"):
        fit(features, label, VALIDATION[0][:, :4], VALIDATION[1], seed=0)
    with pytest.raises(ValueError, match=r"expects features of shape \(N, 6\), got \(200, 5\)"):
        predict(head, features[:, :5])


def test_a_folder_without_a_head_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "gone", "results/toyworld/heads/none"):
        with pytest.raises(
            FileNotFoundError, match="no head in folder .*: config.json and model.safetensors not there"
        ):
            MLPHead.from_pretrained(folder)


def test_prediction_leaves_a_head_in_its_mode_and_drops_nothing():
    head, features = MLPHead(3).train(), np.ones((5, 3), np.float32)
    assert predict(head, features).tolist() == predict(MLPHead.eval(head), features).tolist()
    head.train()
    predict(head, features)
    assert head.training and head.layers.training
