"""How everything here is trained: a fixed number of steps, a checkpoint now and then, the same bytes every time."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from muon import Muon
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformer import CaptionedTransformer

CHECKPOINT_EVERY = 100  # steps
# computing in bfloat16 is three times faster on processors that have it, and thirty times slower on the others;
# attention's fused kernel is the slower one in it, because of its way back, and the faster one otherwise
BFLOAT16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
ATTENTION = [SDPBackend.MATH] if BFLOAT16 else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


def set_up(seed: int) -> None:
    """Makes what follows repeatable: one thread, deterministic kernels, one seed."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def write(path: Path, value) -> None:
    """torch.save that never leaves half a file under the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(value, part)
    os.replace(part, path)


def train(
    name: str,
    model: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    *,
    steps: int,
    work: Path,
    seed: int,
    learning_rate: float,
    average: float = 0.0,
    half: bool = True,
    betas: tuple[float, float] | None = None,
    blocks: nn.Module | None = None,
) -> nn.Module:
    """Minimises `loss` over the parameters of `model` with a one-cycle rate; returns the model, averaged if asked.

    `loss` is called once a step with that step's own random generator, so that a training which was killed goes on from
    its last checkpoint as if nothing had happened. `average` is the decay of an exponential moving average of the
    weights; `half` computes in bfloat16 where the processor has it. AdamW trains everything but the matrices and
    convolutions of `blocks`, which Muon trains, at ten times the rate and in fewer steps. Where `betas` are not given, they follow the
    schedule.
    """
    muon = [p for p in blocks.parameters() if p.ndim > 1] if blocks else []
    rest = [p for p in model.parameters() if id(p) not in set(map(id, muon))]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.03},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizers = [torch.optim.AdamW(groups, lr=learning_rate, betas=betas or (0.9, 0.98))]
    if muon:
        optimizers.append(Muon(muon, lr=10 * learning_rate, weight_decay=0.01))
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, optimizer.defaults["lr"], total_steps=steps, pct_start=0.1, cycle_momentum=betas is None
        )
        for optimizer in optimizers
    ]
    for part in model.modules():
        if isinstance(part, CaptionedTransformer):
            part.compile()  # half as fast again; convolutions gain nothing by it
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(average)
    )
    parts = {"model": model, "averaged": averaged}
    parts |= {f"optimizer {number}": part for number, part in enumerate(optimizers)}
    parts |= {f"schedule {number}": part for number, part in enumerate(schedules)}
    checkpoint, step = work / f"{name}.checkpoint", 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        step = state.pop("step")
        for key, part in parts.items():
            part.load_state_dict(state[key])
    begun, first, smooth = time.perf_counter(), step, None
    model.train()
    while step < steps:
        random = torch.manual_seed(seed * 1_000_003 + step)  # the one that layers draw from, too
        with torch.autocast("cpu", torch.bfloat16, enabled=half and BFLOAT16), sdpa_kernel(ATTENTION):
            value = loss(random)
        model.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        averaged.update_parameters(model)
        step += 1
        smooth = value.item() if smooth is None else 0.97 * smooth + 0.03 * value.item()
        if step % CHECKPOINT_EVERY == 0 or step == steps:
            rate = (time.perf_counter() - begun) / (step - first)
            print(f"{name}: step {step} of {steps}, loss {smooth:.4f}, {rate:.2f} s a step", flush=True)
            write(checkpoint, {key: part.state_dict() for key, part in parts.items()} | {"step": step})
    return (averaged.module if average else model).eval()


def batch(random: torch.Generator, size: int, *arrays):
    """The same `size` random rows of every array, drawn with replacement."""
    rows = torch.randint(len(arrays[0]), (size,), generator=random)
    return [
        array[rows] if isinstance(array, (torch.Tensor, np.ndarray)) else [array[row] for row in rows]
        for array in arrays
    ]


def pictures_to_tensor(pictures: torch.Tensor) -> torch.Tensor:
    """(B, 64, 64, 3) bytes to (B, 3, 64, 64) floats in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def tensor_to_pictures(tensor: torch.Tensor) -> np.ndarray:
    """The other way: (B, 3, 64, 64) floats to (B, 64, 64, 3) bytes."""
    return ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
