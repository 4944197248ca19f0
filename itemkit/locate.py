"""Find where each named object is: the best box for each phrase, each phrase judged on its own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from itemkit.network import load_network, network_spec

Found = tuple[tuple[float, float, float, float], float]  # box (x0, y0, x1, y1) in pixels, score in [0, 1]


@dataclass(frozen=True)
class ObjectLocator:
    """A frozen open-vocabulary detector (OWL-ViT, arXiv 2205.06230) that gives one box for each phrase of an image.

    The library's own post-processing lets the phrases compete for each patch, so that "boat" vanishes beside "purple
    boat". Here a phrase's box is the one of the patch that fits this phrase best, whatever else was asked.

    Args:
        name: a folder, or a hub id, of an OWL-ViT network.
        revision: the 40-digit commit of a hub id.
        device: as torch writes it, e.g. "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".
        threshold: the lowest score, in [0, 1], at which an object counts as found.
        batch_size: images in one forward pass.
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

    def __call__(self, images: list[Image.Image], phrases: list[list[str]]) -> list[list[Found | None]]:
        """Return for each of N images its box and score for each of its phrases, None where the score is too low.

        A box is clipped to its image. A phrase longer than the network's context is cut to it.

        Raises:
            ValueError: not one list of phrases for each image.
        """
        if len(images) != len(phrases):
            raise ValueError(f"expected a list of phrases for each image; got {len(phrases)} for {len(images)} images")
        found = []
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            found += self._locate(images[batch], phrases[batch])
        return found

    def _locate(self, images: list[Image.Image], phrases: list[list[str]]) -> list[list[Found | None]]:
        queries = list(dict.fromkeys(phrase for of_image in phrases for phrase in of_image))
        if not queries:
            return [[] for _ in images]
        boxes, scores = self._best(images, queries)
        column = {query: index for index, query in enumerate(queries)}
        return [
            [self._found(boxes[row][column[phrase]], scores[row][column[phrase]]) for phrase in of_image]
            for row, of_image in enumerate(phrases)
        ]

    def _found(self, box: list[float], score: float) -> Found | None:
        return (tuple(box), score) if score >= self.threshold else None

    def _best(self, images: list[Image.Image], queries: list[str]) -> tuple[list, list]:
        """The best box (x0, y0, x1, y1) in pixels and its score, for each of N images and Q queries."""
        import torch

        with torch.inference_mode():
            logits, boxes = self._forward(images, queries)
        scores, patch = logits.float().sigmoid().max(dim=1)  # (N, Q), (N, Q)
        boxes = boxes.float().gather(1, patch[..., None].expand(-1, -1, 4))  # (N, Q, 4) centre and size in [0, 1]
        corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)
        size = torch.tensor([image.size * 2 for image in images], device=boxes.device)  # (N, 4)
        return (corners.clamp(0, 1) * size[:, None]).tolist(), scores.tolist()

    def _forward(self, images: list[Image.Image], queries: list[str]):
        # The network's own forward would encode the queries once for every image; its parts encode them once in all.
        processor, network = self._network
        tokens = processor.tokenizer(
            queries,
            padding="max_length",
            truncation=True,
            max_length=network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.device)
        text = network.owlvit.get_text_features(**tokens).pooler_output  # (Q, d)
        pixels = processor.image_processor(images, return_tensors="pt").pixel_values.to(self.device, network.dtype)
        grid, _ = network.image_embedder(pixels)  # (N, rows, columns, width)
        patches = grid.flatten(1, 2)  # (N, P, width)
        logits, _ = network.class_predictor(patches, text.expand(len(images), -1, -1))  # (N, P, Q)
        return logits, network.box_predictor(patches, grid)  # (N, P, Q), (N, P, 4)

    @cached_property
    def _network(self):
        auto_class = "AutoModelForZeroShotObjectDetection"
        processor, network = load_network(auto_class, self.name, self.revision, self.device, self.dtype)
        if network.config.model_type != "owlvit":  # others scale their boxes differently: wrong crops, and no error
            raise ValueError(f"{self.name} is a {network.config.model_type!r} network; expected 'owlvit'")
        return processor, network
