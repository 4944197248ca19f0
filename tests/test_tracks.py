"""The aligned track: every picture the same kind of file, whatever it was before."""

import io

import datasets
import pytest
from conftest import encode, make_picture
from PIL import Image, ImageChops

from itemkit.data.images import UnreadableImage, aligned_bytes
from itemkit.data.load import TRACKS, decode_image, image_id, inspect_images, on_tracks


@pytest.mark.parametrize("format, options", [("PNG", {}), ("JPEG", {"quality": 30}), ("WEBP", {}), ("GIF", {})])
def test_every_file_becomes_a_square_jpeg_of_quality_96(format, options):
    with Image.open(io.BytesIO(aligned_bytes(encode(make_picture(1), format, **options), 32))) as aligned:
        reference = io.BytesIO()
        make_picture(2, 32, 32).save(reference, "JPEG", quality=96)
        assert aligned.format == "JPEG" and aligned.size == (32, 32) and aligned.mode == "RGB"
        assert aligned.quantization == Image.open(reference).quantization
        assert not aligned.getexif()


def test_the_square_is_cut_from_the_centre():
    picture = Image.new("RGB", (60, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))
    aligned = decode_image(aligned_bytes(encode(picture), 20))
    difference = ImageChops.difference(aligned, Image.new("RGB", (20, 20), "blue"))
    assert max(high for _, high in difference.getextrema()) <= 8  # what JPEG of quality 96 changes


def test_a_picture_of_the_right_size_is_not_resampled():
    picture = make_picture(3, 32, 32)
    expected = io.BytesIO()
    picture.save(expected, "JPEG", quality=96)
    assert aligned_bytes(encode(picture), 32) == expected.getvalue()


def test_unreadable_bytes_cannot_be_aligned():
    with pytest.raises(UnreadableImage, match="no bytes"):
        aligned_bytes(b"", 32)


def test_each_track_has_every_picture_in_its_order(tiny_images):
    both = on_tracks(tiny_images, ["aligned", "raw"], 32)
    assert both["track"][:] == ["aligned"] * len(tiny_images) + ["raw"] * len(tiny_images)
    for column in ("label", "generator", "content_id", "split"):
        assert both[column][:] == tiny_images[column][:] * 2
    assert both["image_id"][len(tiny_images) :] == tiny_images["image_id"][:]
    for row in both.select(range(3)):
        assert row["image_id"] == image_id(row["image"]["bytes"])
    facts = inspect_images(both).groupby("track")
    assert facts.format.unique().map(list).to_dict() == {"aligned": ["JPEG"], "raw": ["PNG"]}
    assert facts.width.unique().map(list).to_dict() == {"aligned": [32], "raw": [48]}


def test_one_track_alone_and_another_size(tiny_images):
    assert on_tracks(tiny_images, ["raw"], 32)["image_id"][:] == tiny_images["image_id"][:]
    small, large = (on_tracks(tiny_images, ["aligned"], side)["image_id"][:] for side in (16, 32))
    assert not set(small) & set(large)


def test_a_broken_picture_keeps_its_row_and_its_name(tiny_images):
    row = tiny_images[0] | {"image": {"bytes": b"broken", "path": None}, "image_id": "broken"}
    images = datasets.Dataset.from_list([tiny_images[1], row], features=tiny_images.features)
    both = on_tracks(images, list(TRACKS), 32)
    assert both["image_id"][:].count("broken") == 2
    assert inspect_images(both).status.tolist() == ["ok", "unreadable"] * 2


def test_an_unknown_track_is_refused_with_the_list(tiny_images):
    with pytest.raises(ValueError, match="unknown track 'row'; expected one of aligned, raw"):
        on_tracks(tiny_images, ["row"], 32)
