"""Detect generated images by how badly their words fit the picture (ITEM, arXiv 2511.00427).

Conventions that hold everywhere in the package:

* ``image_id``: the first 16 hex digits of the SHA-256 of the encoded bytes.
* ``label``: 0 for a real image, 1 for a generated one.
* ``score``: the probability of being generated, in [0, 1].
* ``generator``: ``"real"`` or the generator's name, as the data card writes it.
* ``content_id``: what the image shows (a scene, a caption); a content id never stands in two splits.
* ``split``: ``"train"``, ``"validation"`` or ``"test"``.

Size letters of all docstrings: N images, M objects of all images, D width of the CLIP space, F features.
"""

__version__ = "0.1.0"
