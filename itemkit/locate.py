"""Find where each named object is: the best box for each phrase, each phrase judged on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from itemkit.network import Frozen, load_network, network_spec, prepared

QUERIES = 256  # phrases that all images of a batch are compared with at once
FAMILIES = ("owlvit", "owlv2", "grounding-dino")  # as transformers calls them
Found = tuple[tuple[float, float, float, float], float]  # box (x0, y0, x1, y1) in pixels, score in [0, 1]


@dataclass(frozen=True)
class ObjectLocator(Frozen):
    """A frozen open-vocabulary detector that gives one box for each phrase of an image.

    OWL-ViT (arXiv 2205.06230), OWLv2 (arXiv 2306.09683) and Grounding DINO (arXiv 2303.05499). The library's own
    post-processing lets the phrases of an image compete for each box, so that "boat" vanishes beside "purple boat".
    Here a phrase's box is the one that fits this phrase best, whatever else was asked.

    Args:
        name: a folder, or a hub id.
        revision: the 40-digit commit of a hub id.
        device: as torch writes it, e.g. "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".
        threshold: the lowest score, in [0, 1], at which an object counts as found. Scores of one network say nothing
            about those of another.
        batch_size: images in one forward pass; of Grounding DINO, which reads one phrase a pass, images with a phrase.
    """

    name: str | Path
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threshold: float = 0.1
    batch_size: int = 32

    @property
    def spec(self) -> dict:
        """What decides the boxes, as a cache key needs it; known without loading the network."""
        return network_spec(self) | {"threshold": self.threshold}

    def __call__(self, images: list, phrases: list[list[str]]) -> list[list[Found | None]]:
        """Return for each of N images its box and score for each of its phrases, None where the score is too low.

        An image is RGB, or what `prepare` made of it. A box is clipped to its image. A phrase longer than the network's
        context is cut to it.

        Raises:
            ValueError: not one list of phrases for each image.
        """
        if len(images) != len(phrases):
            raise ValueError(f"expected a list of phrases for each image; got {len(phrases)} for {len(images)} images")
        if not any(phrases):
            return [[] for _ in images]  # without loading the network
        if self._family != "grounding-dino":
            return self._in_batches(self._match, list(zip(images, phrases, strict=True)))
        pairs = [(image, phrase) for image, named in zip(images, phrases, strict=True) for phrase in named]
        found = iter(self._in_batches(self._ground, pairs))
        return [[next(found) for _ in named] for named in phrases]

    def prepare(self, image: Image.Image) -> tuple:
        """Return the pixels (3, height, width) that the network sees of an RGB image, and the image's width and height."""
        return self._network[0].image_processor(image, return_tensors="pt").pixel_values[0], image.size

    def _match(self, batch: list[tuple[tuple, list[str]]]) -> list[list[Found | None]]:
        """OWL-ViT and OWLv2: all patches of all images against all phrases, each phrase encoded once."""
        import torch

        images, phrases = zip(*batch, strict=True)
        pixels, sizes = zip(*prepared(images, self.prepare), strict=True)
        queries = list(dict.fromkeys(phrase for named in phrases for phrase in named))
        if not queries:
            return [[] for _ in images]
        found = [[] for _ in images]
        with torch.inference_mode():
            # The network's own forward would encode the queries once for every image; its parts encode them once in all.
            grid, _ = self._network[1].image_embedder(self._on_device(pixels))  # (N, rows, columns, width)
            for start in range(0, len(queries), QUERIES):
                logits, boxes = self._scores(grid, queries[start : start + QUERIES])  # (N, P, Q), (N, P, 4)
                for of_image, more in zip(found, self._best(logits, boxes, sizes), strict=True):
                    of_image += more
        column = {query: index for index, query in enumerate(queries)}
        return [[of_image[column[phrase]] for phrase in named] for of_image, named in zip(found, phrases, strict=True)]

    def _scores(self, grid, queries: list[str]):
        processor, network = self._network
        tokens = processor.tokenizer(
            queries,
            padding="max_length",
            truncation=True,
            max_length=network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.device)
        text = getattr(network, self._family).get_text_features(**tokens).pooler_output  # (Q, d)
        patches = grid.flatten(1, 2)  # (N, P, width)
        logits, _ = network.class_predictor(patches, text.expand(len(grid), -1, -1))  # (N, P, Q)
        return logits, network.box_predictor(patches, grid)  # (N, P, Q), (N, P, 4)

    def _ground(self, pairs: list[tuple[tuple, str]]) -> list[Found | None]:
        """Grounding DINO, whose boxes depend on every word they are asked with: one phrase for each image.

        Images of other sizes go alone, since the padding they would get changes what the network sees at their edge.
        """
        import torch

        processor, network = self._network
        pixels, sizes = zip(
            *prepared([image for image, _ in pairs], self.prepare), strict=True
        )  # (3, height, width) each
        found = {}
        for shape in dict.fromkeys(one.shape for one in pixels):
            rows = [row for row, one in enumerate(pixels) if one.shape == shape]
            texts, limit = [f"{pairs[row][1]}." for row in rows], network.config.max_text_len
            tokens = processor.tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
            with torch.inference_mode():
                output = network(self._on_device([pixels[row] for row in rows]), **tokens.to(self.device))
            logits = output.logits.amax(dim=2, keepdim=True)  # (N, P, 1): of the word that fits best
            best = self._best(logits, output.pred_boxes, [sizes[row] for row in rows])
            found |= {row: one for row, (one,) in zip(rows, best, strict=True)}
        return [found[row] for row in range(len(pairs))]

    def _best(self, logits, boxes, sizes: Sequence[tuple[int, int]]) -> list[list[Found | None]]:
        """The best of P boxes, clipped to its image, for each of N images and Q phrases; None below the threshold."""
        import torch

        size = torch.tensor([size * 2 for size in sizes], device=boxes.device)[:, None]  # (N, 1, 4)
        if not (boxes.isfinite().all() and logits.isfinite().all()):
            raise ValueError(
                f"{self.name} gives boxes or scores that are not finite in {self.dtype}; take float32, or another one"
            )
        boxes = boxes.float()  # (N, P, 4): centre and size in [0, 1]
        corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)
        # OWLv2 pads an image to a square, below or to the right, and its boxes are parts of that.
        whole = size.amax(dim=-1, keepdim=True) if self._family == "owlv2" else size
        corners = torch.minimum((corners * whole).clamp(min=0), size)  # (N, P, 4) in pixels
        seen = (corners[..., 2:] > corners[..., :2]).all(dim=-1)  # (N, P): not all of it in the padding
        scores, place = logits.float().sigmoid().mul(seen[..., None]).max(dim=1)  # (N, Q), (N, Q)
        corners = corners.gather(1, place[..., None].expand(-1, -1, 4))  # (N, Q, 4)
        return [
            [(tuple(box), score) if score >= self.threshold else None for box, score in zip(*of_image, strict=True)]
            for of_image in zip(corners.tolist(), scores.tolist(), strict=True)
        ]

    def _on_device(self, pixels: Sequence):
        import torch

        return torch.stack(list(pixels)).to(self.device, self._network[1].dtype)  # (N, 3, height, width)

    @property
    def _family(self) -> str:
        return self._network[1].config.model_type

    @cached_property
    def _network(self):
        auto_class = "AutoModelForZeroShotObjectDetection"
        processor, network = load_network(auto_class, self.name, self.revision, self.device, self.dtype)
        if network.config.model_type not in FAMILIES:  # others scale their boxes differently: wrong crops, and no error
            raise ValueError(
                f"{self.name} is a {network.config.model_type!r} network; expected one of {', '.join(FAMILIES)}"
            )
        return processor, network
