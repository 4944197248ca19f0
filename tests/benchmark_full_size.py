"""How long the networks that profiles name take for one picture: real size, random weights, this machine.

    python tests/benchmark_full_size.py [--device cpu] [--dtype float32] [--batch-size 4] [--network NAME] [PICTURE ...]

One network after the other is made, saved, loaded and removed (2 GB of disk, 5 GB of memory at a time, some minutes each
without a GPU). "work" is the time multiplied by the speed of a timed transformer layer: what itemkit/networks.yaml holds,
so that --dry-run, which times that layer only, can say about how long a network takes on another machine.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from conftest import make_picture
from random_networks import save_real_size

from itemkit.captions import Captioner
from itemkit.data.load import decode_image
from itemkit.embed import ClipEncoder
from itemkit.locate import ObjectLocator
from itemkit.running.needs import known_networks
from itemkit.running.speed import time_layer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--network", choices=list(known_networks()), help="only this one")
    parser.add_argument("pictures", nargs="*", type=Path)
    given = parser.parse_args()
    pictures = [decode_image(path.read_bytes()) for path in given.pictures[: given.batch_size]]
    pictures = pictures or [make_picture(seed, 640, 480) for seed in range(given.batch_size)]
    settings = {"device": given.device, "dtype": given.dtype, "batch_size": given.batch_size}
    rows = []
    for name in [given.network] if given.network else known_networks():
        with tempfile.TemporaryDirectory() as folder:
            for unit, run in stages(save_real_size(name, Path(folder)), name, settings):
                run(pictures[:1])  # loads the network, and does what only a first pass does
                speed = time_layer(given.device, given.dtype)
                start = time.perf_counter()
                run(pictures)
                seconds = (time.perf_counter() - start) / len(pictures)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
                rows.append(
                    {"network": name, "unit": unit, "seconds": seconds, "work": seconds * speed, "peak GB": peak}
                )
                print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format), flush=True)


def stages(folder: Path, name: str, settings: dict) -> Iterator[tuple[str, Callable]]:
    """What to time of one network: its unit, and a call for a list of pictures."""
    if "blip" in name:
        yield "caption of 20 tokens", Captioner(folder, max_new_tokens=20, **settings)
    elif name.startswith("timm/"):
        encoder = ClipEncoder(folder, **settings)
        yield "picture", encoder.images
        yield "text", lambda pictures: encoder.texts([f"a red car next to {place}" for place in range(len(pictures))])
    else:
        locator, alone = ObjectLocator(folder, threshold=0, **settings), "one_phrase_a_pass" in known_networks()[name]
        phrases = ["car"] if alone else ["car", "tree", "snow"]
        yield "picture, " + ", ".join(phrases), lambda pictures: locator(pictures, [phrases] * len(pictures))


if __name__ == "__main__":
    main()
