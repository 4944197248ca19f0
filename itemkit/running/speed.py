"""Time, for some seconds, what a run does most on this machine: a layer of a network, and the handling of pictures."""

import io
import time

import numpy as np
from PIL import Image

from itemkit.data.images import aligned_bytes, decode_image

TIMED = 1.5  # seconds for each speed that is measured
SIDE = 1024  # pixels of the picture whose decoding is timed
BLOCK = (4, 577, 768)  # pictures, patches and width of the transformer layer that is timed: a ViT-B at 384 pixels


def time_layer(device: str, dtype: str, seconds: float = TIMED) -> float:
    """Return how fast a transformer layer of a ViT runs here, in 10^9 floating-point operations a second.

    Args:
        device, dtype: as torch writes them.
        seconds: to spend on it.

    """
    import torch
    from torch.nn import functional

    count, patches, width = BLOCK
    kind = {"device": device, "dtype": getattr(torch, dtype)}
    x = torch.full(BLOCK, 0.5, **kind)
    rows, columns = (width, width, width, width, 4 * width, width), (width, width, width, width, width, 4 * width)
    weights = [torch.full((row, column), 1e-3, **kind) for row, column in zip(rows, columns, strict=True)]

    @torch.inference_mode()
    def layer() -> None:
        heads = [functional.linear(x, one).unflatten(-1, (12, -1)).transpose(1, 2) for one in weights[:3]]
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        hidden = x + functional.linear(mixed, weights[3])
        functional.linear(functional.gelu(functional.linear(hidden, weights[4])), weights[5])
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    operations = 2 * count * patches * (12 * width**2 + 2 * patches * width)
    return operations / _repeated(layer, seconds) / 1e9


def time_picture(seconds: float = TIMED) -> tuple[float, float, float]:
    """Return how many seconds it takes to align and inspect a picture of SIDE pixels, to decode it, to resize a crop."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    encoded = file.getvalue()
    crop = decode_image(encoded).crop((0, 0, SIDE // 3, SIDE // 3))
    runs = (
        lambda: aligned_bytes(encoded, 384),
        lambda: decode_image(encoded).resize((384, 384), Image.Resampling.BICUBIC),
        lambda: crop.resize((224, 224), Image.Resampling.BICUBIC),
    )
    align, decode, resize = (_repeated(run, seconds / len(runs)) for run in runs)
    return align + decode, decode, resize


def _repeated(run, seconds: float) -> float:
    """The fastest of as many runs as fit into the time: others were disturbed."""
    run()
    taken, end = [], time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)
