import copy
import io
import json
import os
import re
import warnings
from collections import Counter
from functools import reduce

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CARD, encode, make_picture
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.fft import dctn

from itemkit.data.cards import DATA_CARDS
from itemkit.data.images import UnreadableImage, aligned_bytes, encoded_bytes
from itemkit.data.labels import split_of
from itemkit.data.load import decode_image, image_id, inspect_images, load_images, read_card

KEYS = ["image", "image_id", "label", "generator", "content_id", "split"]
FOLDER_CARD = """---
license: other
itemkit:
  repo: .
  revision: local
  layout: folder
  generators: [{name: sdxl}, {name: flux, value: flux-pro}]
---
## Composition
My photographs, and the same scenes by two generators.
"""


def write_card(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(text)
    return folder


def write_table(folder, **columns):
    features = {name: datasets.Image(decode=False) for name, cells in columns.items() if isinstance(cells[0], dict)}
    table = datasets.Dataset.from_dict(columns)
    for name, feature in features.items():
        table = table.cast_column(name, feature)
    table.to_parquet(folder / "images.parquet")


def cell(seed):
    return {"bytes": encode(make_picture(seed)), "path": None}


# cards


def test_a_card_is_read_by_folder_by_file_and_by_name(tiny_card, tmp_path, monkeypatch):
    card = read_card(tiny_card)
    assert card == read_card(tiny_card / "README.md") == read_card(str(tiny_card))
    assert (card.license, card.layout, card.revision, card.path) == ("cc0-1.0", "long", "local", tiny_card)
    assert card.generators["noisy"] == {"name": "noisy", "family": "noise", "year": 2026, "value": "noisy"}
    monkeypatch.setattr("itemkit.data.cards.DATA_CARDS", tiny_card.parent)
    assert read_card(tiny_card.name) == card
    with pytest.raises(FileNotFoundError, match=f"no card 'toywrld'; expected .* one of .*{tiny_card.name}"):
        read_card("toywrld")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("license: cc0-1.0\n", "", r"lacks license$"),
        ("  revision: local\n", "", r"lacks itemkit.revision$"),
        (r"  generators:\n(  - .*\n)*", "", r"lacks itemkit.generators$"),
        ("name: smooth, ", "", r"lacks itemkit.generators: name in \{'family'"),
        ("image: image, ", "", r"lacks itemkit.columns.image$"),
        ("## Uses\n", "", r"lacks section 'Uses'$"),
        ("## Uses\nA true sentence.\n", "## Uses\n", r"lacks section 'Uses'$"),
        (r"(?s)## Collection.*", "", r"lacks section 'Collection', .*'Maintenance'$"),
        ("layout: long", "layout: tall", r"unknown layout 'tall'; expected one of long, wide, folder"),
        ("layout: long", "layout: long\n  limits: 3", r"unknown entry of itemkit .* 'limits'; expected one of columns"),
        ("label: label", "lable: label", r"unknown entry of columns 'lable'; expected one of image, generator"),
        ("revision: local", "revision: main", r"revision 'main'; expected 'local', as '.' is a folder"),
        ("repo: .", "repo: org/name", r"revision 'local'; expected 40 hex digits, as 'org/name' is no folder here"),
    ],
)
def test_a_card_that_lacks_something_is_refused_by_name(tmp_path, old, new, message):
    text = re.sub(old, new, CARD, count=1)
    assert text != CARD
    with pytest.raises(ValueError, match=message):
        read_card(write_card(tmp_path, text))


def test_the_template_is_a_card(tmp_path):
    template = (DATA_CARDS / "TEMPLATE.md").read_text()
    card = read_card(write_card(tmp_path / "whole", template))
    assert card.generators["sd21"]["value"] == 1 and card.splits == {"validation": "dev"}
    ten_lines = re.search(r"---\nlicense: other\n(.*\n){9}", template).group()
    assert list(read_card(write_card(tmp_path / "folder", ten_lines)).generators) == ["sdxl", "flux"]


# images of a card


def test_long_layout(tiny_images):
    assert tiny_images.column_names == KEYS and len(tiny_images) == 60
    first = tiny_images[1]
    assert (first["label"], first["generator"], first["content_id"], first["split"]) == (
        1,
        "smooth",
        "scene-0",
        "train",
    )
    assert first["image_id"] == image_id(first["image"]["bytes"]) == image_id(encode(make_picture(1)))
    assert len(first["image_id"]) == 16


def test_loading_twice_gives_the_same_in_the_same_order(tiny_card, tiny_images):
    assert load_images(read_card(tiny_card)).to_dict() == tiny_images.to_dict()


def test_limit_counts_content_ids_of_each_split_and_keeps_the_pairs(tiny_card):
    frame = load_images(read_card(tiny_card), limit=2, generators=["noisy"]).remove_columns("image").to_pandas()
    assert frame.groupby("split").content_id.unique().map(list).to_dict() == {
        "train": ["scene-0", "scene-1"],
        "validation": ["scene-12", "scene-13"],
        "test": ["scene-14", "scene-15"],
    }
    assert set(frame.groupby("content_id").generator.agg(tuple)) == {("real", "noisy")}


def test_splits_and_generators_are_chosen_and_real_images_stay(tiny_card):
    card = read_card(tiny_card)
    frame = load_images(card, splits=["test"], generators=[]).remove_columns("image").to_pandas()
    assert set(frame.split) == {"test"} and set(frame.generator) == {"real"} and len(frame) == 6
    with pytest.raises(ValueError, match="unknown split 'dev'; expected one of train, validation, test"):
        load_images(card, splits=["dev"])
    with pytest.raises(ValueError, match="unknown generator 'sdxl'; expected one of smooth, noisy"):
        load_images(card, generators=["sdxl"])


def test_wide_layout_gives_one_row_for_each_image(tmp_path):
    write_table(tmp_path, caption=["a", "b"], photo=[cell(0), cell(1)], sd=[cell(2), cell(3)], other=[1, 2])
    text = CARD.replace("layout: long", "layout: wide\n  real: photo")
    text = re.sub("columns: .*", "columns: {content_id: caption}", text)
    text = re.sub(r"generators:\n.*\n.*\n", "generators: [{name: sd21, value: sd}]\n", text)
    images = load_images(read_card(write_card(tmp_path, text)))
    assert images.column_names == KEYS
    assert list(images["generator"]) == ["real", "real", "sd21", "sd21"]
    assert list(images["label"]) == [0, 0, 1, 1] and list(images["content_id"]) == ["a", "b", "a", "b"]
    assert [row["image"]["bytes"] for row in images] == [cell(seed)["bytes"] for seed in range(4)]
    assert list(images["split"][:2]) == list(images["split"][2:])
    with pytest.raises(ValueError, match="unknown column of card .* 'sdxl'; expected one of caption, photo, sd, other"):
        load_images(read_card(write_card(tmp_path, text.replace("value: sd", "value: sdxl"))))


def test_values_and_splits_are_translated(tmp_path):
    """A generator that is a number in the table, and parts of the data set under other names than ours."""
    for part, start in (("train", 0), ("dev", 4), ("test", 8)):
        (tmp_path / part).mkdir()
        pictures = [cell(start + i) for i in range(4)]
        write_table(tmp_path / part, img=pictures, made_by=[0, 3, 0, 3], caption=[f"{part}{i // 2}" for i in range(4)])
    files = "".join(f"  - {{split: {part}, path: {part}/images.parquet}}\n" for part in ("train", "dev", "test"))
    text = CARD.replace("data_files: images.parquet\n", f"data_files:\n{files}")
    text = text.replace("layout: long", "layout: long\n  real: 0")
    text = re.sub("columns: .*", "columns: {image: img, generator: made_by, content_id: caption}", text)
    text = re.sub(r"generators:\n.*\n.*\n", "generators: [{name: sdxl, value: 3}]\n  splits: {validation: dev}\n", text)
    images = load_images(read_card(write_card(tmp_path, text)))
    assert list(images["generator"][:2]) == ["real", "sdxl"]
    assert list(images["split"]) == ["train"] * 4 + ["validation"] * 4 + ["test"] * 4
    with pytest.raises(ValueError, match="unknown split of card .* 'dev'; expected one of train, validation, test"):
        load_images(read_card(write_card(tmp_path, text.replace("  splits: {validation: dev}\n", ""))))
    with pytest.raises(ValueError, match="unknown value of card .* for a generator: 3; expected one of 0, 4"):
        load_images(read_card(write_card(tmp_path, text.replace("value: 3", "value: 4"))))


@pytest.mark.parametrize(
    "column, row, value, message",
    [
        ("label", 1, 0, "a row of smooth has label 0, which contradicts its generator"),
        ("label", 1, 2, r"a row has label 2; expected 0 \(real\) or 1 \(generated\)"),
        ("generator", 3, "dalle", "value of card .* for a generator: 'dalle'; expected one of real, smooth, noisy"),
    ],
)
def test_a_table_that_contradicts_itself_or_its_card_is_refused(tmp_path, column, row, value, message):
    table = {"label": [0, 1] * 2, "generator": ["real", "smooth"] * 2, "content_id": list("aabb")}
    table["split"] = ["train"] * 4
    table[column][row] = value
    write_table(tmp_path, image=[cell(seed) for seed in range(4)], **table)
    with pytest.raises(ValueError, match=message):
        load_images(read_card(write_card(tmp_path, CARD)))


def test_a_content_in_two_splits_stays_in_the_later_one_and_is_told(tmp_path):
    table = {"label": [0, 1] * 3, "generator": ["real", "smooth"] * 3, "content_id": list("aabbaa")}
    table["split"] = ["train"] * 4 + ["test"] * 2
    write_table(tmp_path, image=[cell(seed) for seed in range(6)], **table)
    message = (
        "1 content ids stand in more than one split, such as 'a'; their 2 pictures in train or validation are left"
    )
    with pytest.warns(UserWarning, match=message):
        images = load_images(read_card(write_card(tmp_path, CARD)))
    assert list(zip(images["content_id"], images["split"], strict=True)) == [("b", "train")] * 2 + [("a", "test")] * 2


def test_only_the_label_tells_what_is_real_if_the_card_says_so(tmp_path):
    generators = ["smooth", "smooth", "noisy", "noisy"]  # as GenImage keeps photographs with each generator
    write_table(
        tmp_path,
        image=[cell(seed) for seed in range(4)],
        label=[0, 1, 0, 1],
        generator=generators,
        content_id=list("aabb"),
        split=["train"] * 4,
    )
    images = load_images(
        read_card(write_card(tmp_path, CARD.replace("  layout: long", "  real: null\n  layout: long")))
    )
    assert list(images["generator"]) == ["real", "smooth", "real", "noisy"] and list(images["label"]) == [0, 1, 0, 1]


def write_folders(root):
    for number, name in enumerate(("real/a.png", "real/deep/b.png", "sdxl/a.jpg", "flux-pro/c.png")):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(make_picture(number), "JPEG" if name.endswith("jpg") else "PNG"))
    (root / "real" / ".hidden").write_text("no picture")


def test_a_folder_of_a_generator_that_is_not_asked_for_may_be_missing(tmp_path):
    write_folders(write_card(tmp_path, FOLDER_CARD))
    (tmp_path / "metadata.csv").write_text("file_name,content_id\nflux-pro/c.png,7\n")
    (tmp_path / "flux-pro").rename(tmp_path.parent / f"{tmp_path.name}-flux")
    images = load_images(read_card(tmp_path), generators=["sdxl"])
    assert list(images["generator"]) == ["real", "real", "sdxl"]
    with pytest.raises(ValueError, match="unknown folder of card .* 'flux-pro'; expected one of real, sdxl"):
        load_images(read_card(tmp_path))


def test_only_the_pictures_that_are_asked_for_are_read(tmp_path, monkeypatch):
    from itemkit.data import layouts

    write_folders(write_card(tmp_path, FOLDER_CARD))
    read = []
    monkeypatch.setattr(layouts, "_identify", lambda row: read.append(row["image"]) or {"image_id": f"{len(read):016}"})
    images = load_images(read_card(tmp_path), splits=["test"])
    assert len(read) == len(images) < 4


def test_folder_layout(tmp_path):
    write_folders(write_card(tmp_path, FOLDER_CARD))
    images = load_images(read_card(tmp_path))
    assert images.column_names == KEYS
    assert list(images["generator"]) == ["real", "real", "sdxl", "flux"] and list(images["label"]) == [0, 0, 1, 1]
    assert list(images["content_id"]) == ["a", "b", "a", "c"]
    assert images["split"][0] == images["split"][2]
    assert images["image_id"][1] == image_id((tmp_path / "real/deep/b.png").read_bytes())
    assert list(inspect_images(images)["format"]) == ["PNG", "PNG", "JPEG", "PNG"]


def test_metadata_speaks_for_the_files_it_names(tmp_path):
    write_folders(write_card(tmp_path, FOLDER_CARD))
    metadata = "file_name,content_id,split,generator\nreal/deep/b.png,7,test,X\nflux-pro/c.png,7,test,\n"
    (tmp_path / "metadata.csv").write_text(metadata)
    images = load_images(read_card(tmp_path))
    assert list(images["content_id"]) == ["a", "7", "a", "7"] and images["split"][1] == images["split"][3] == "test"
    assert list(images["generator"]) == ["real", "real", "sdxl", "flux"]
    (tmp_path / "metadata.csv").write_text("file_name,split\nreal/z.png,test\n")
    with pytest.raises(ValueError, match="metadata.csv, line 2: there is no file 'real/z.png'; write it as seen"):
        load_images(read_card(tmp_path))
    (tmp_path / "metadata.csv").write_text("file_name,split\nreal/a.png,dev\n")
    with pytest.raises(ValueError, match="unknown split of .*metadata.csv: 'dev'"):
        load_images(read_card(tmp_path))


def test_a_missing_folder_is_named(tmp_path):
    write_folders(write_card(tmp_path, FOLDER_CARD.replace("flux-pro", "flux-max")))
    with pytest.raises(ValueError, match="unknown folder of card .* 'flux-max'; expected one of flux-pro, real, sdxl"):
        load_images(read_card(tmp_path))


def test_the_split_by_hash_has_the_promised_shares():
    shares = pd.Series([split_of(f"scene {number}") for number in range(5000)]).value_counts(normalize=True)
    np.testing.assert_allclose(shares[["train", "validation", "test"]], [0.6, 0.1, 0.3], atol=0.02)
    assert [split_of(name) for name in ("a", "kitchen", "")] == ["test", "train", "test"]  # for ever


# decoding


def test_png_pixels_are_untouched():
    picture = make_picture(0)
    np.testing.assert_array_equal(decode_image(encode(picture)), picture)


@pytest.mark.parametrize(
    "orientation, transpose", [(3, "ROTATE_180"), (6, "ROTATE_270"), (8, "ROTATE_90"), (5, "TRANSPOSE")]
)
def test_exif_orientation_is_applied(orientation, transpose):
    picture, exif = make_picture(0, 30, 20), Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(picture, exif=exif))
    np.testing.assert_array_equal(decoded, picture.transpose(Image.Transpose[transpose]))


def test_transparency_is_composited_on_white():
    clear_red = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half_black = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert decode_image(encode(clear_red)).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(encode(half_black)).getpixel((0, 0)) == (127, 127, 127)
    assert decode_image(encode(clear_red.convert("LA"))).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert decode_image(encode(palette)).getpixel((0, 0)) == (200, 100, 50)
    assert decode_image(encode(palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(encode(palette, "GIF", transparency=1)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_is_scaled_and_not_clipped(format):
    deep = Image.fromarray(np.array([[0, 256, 30000, 65535]], np.uint16))
    assert np.asarray(decode_image(encode(deep, format)))[0, :, 0].tolist() == [0, 1, 117, 255]


def test_pixels_without_a_defined_white_are_refused():
    for mode in ("F", "I"):
        with pytest.raises(UnreadableImage, match=f"mode '{mode}' have no defined white"):
            decode_image(encode(Image.new(mode, (4, 4)), "TIFF"))


@pytest.mark.parametrize(
    "mode, format", [("1", "PNG"), ("L", "PNG"), ("CMYK", "JPEG"), ("YCbCr", "JPEG"), ("P", "GIF")]
)
def test_other_modes_become_rgb(mode, format):
    grey = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    decoded = decode_image(encode(grey, format))
    assert decoded.mode == "RGB" and decoded.size == (8, 8) and decoded.getpixel((4, 4)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(file.getvalue()).getpixel((0, 0)) == (255, 0, 0)


def test_a_pixel_bomb_is_refused_on_its_header(monkeypatch):
    with warnings.catch_warnings(action="ignore"):
        bomb = encode(Image.new("1", (12000, 9000)))
    assert len(bomb) < 100_000
    with pytest.raises(UnreadableImage, match="12000 x 9000 pixels, more than the limit of 89478485"):
        decode_image(bomb)
    monkeypatch.setattr("itemkit.data.images.PIXEL_LIMIT", 100)
    with pytest.raises(UnreadableImage, match="48 x 40 pixels, more than the limit of 100"):
        decode_image(encode(make_picture(0)))


def test_broken_bytes_are_refused_with_the_same_reason_each_time():
    jpeg = encode(make_picture(0, 200, 200), "JPEG")
    png = encode(make_picture(0, 200, 200))
    flipped = png[:200] + bytes([png[200] ^ 255]) + png[201:]
    for encoded in (jpeg[: len(jpeg) // 2], png[: len(png) // 2], flipped, b"<html>", b"", jpeg[:4]):
        reasons = set()
        for _ in range(2):
            with pytest.raises(UnreadableImage) as caught:
                decode_image(bytes(encoded))
            reasons.add(str(caught.value))
        assert len(reasons) == 1 and "0x" not in reasons.pop()


def test_a_broken_picture_keeps_its_row(tiny_images):
    rows = [tiny_images[index] for index in range(4)]
    rows[1]["image"] = {"bytes": encode(make_picture(9), "JPEG")[:300], "path": None}
    rows[2]["image"] = {"bytes": None, "path": None}
    exif = Image.Exif()
    exif[0x0112] = 6
    rows[3]["image"] = {"bytes": encode(make_picture(9, 30, 20), "JPEG", exif=exif), "path": None}
    table = inspect_images(datasets.Dataset.from_list(rows).cast_column("image", datasets.Image(decode=False)))
    assert list(table["status"]) == ["ok", "unreadable", "unreadable", "ok"]
    assert list(table["reason"])[2] == "no bytes" and "Truncated" in table["reason"][1]
    assert table.loc[0, ["format", "mode", "width", "height"]].tolist() == ["PNG", "RGB", 48, 40]
    assert table.loc[3, ["format", "width", "height"]].tolist() == ["JPEG", 20, 30]  # upright
    assert table["bytes"].tolist() == [len(row["image"]["bytes"] or b"") for row in rows]
    assert list(table.columns)[:5] == KEYS[1:]
    nothing = {"aspect_ratio": 0, "quantization": 0, "subsampling": "", "progressive": False, "perceptual_hash": ""}
    nothing |= {"high_frequencies": 0, "local_variance": 0}
    for name, value in (nothing | {"pixel_hash": ""}).items():
        assert list(table[name][1:3]) == [value] * 2, name
    assert table["aspect_ratio"].tolist() == [48 / 40, 0, 0, 20 / 30]
    assert table["perceptual_hash"].str.fullmatch("[0-9a-f]{16}").tolist() == [True, False, False, True]


def inspect(*files):
    return inspect_images([{"image": {"bytes": encoded, "path": None}} for encoded in files])


def test_texture_is_what_a_wave_has_of_it():
    """Waves of one frequency: all of their energy is above half of the highest, 0.5 cycles a pixel, or below it."""
    place = np.arange(64)
    waves = [np.cos(2 * np.pi * cycles * place / 64) for cycles in (4, 15, 17, 32)]
    grey = [np.broadcast_to(np.rint(127.5 + 127 * wave).astype(np.uint8), (48, 64)) for wave in waves]
    table = inspect(*(encode(Image.fromarray(one).convert("RGB")) for one in (*grey, np.zeros((5, 3), np.uint8))))
    np.testing.assert_allclose(table["high_frequencies"], [0, 0, 1, 1, 0], atol=1e-3)
    squares = [(wave.reshape(8, 8) * 127 / 255).var(axis=1).mean() for wave in waves]
    np.testing.assert_allclose(table["local_variance"], [*squares, 0], atol=1e-3)
    half = np.concatenate([grey[0], grey[3]])  # as much of the one as of the other, and a step between rows
    assert inspect(encode(Image.fromarray(half).convert("RGB")))["high_frequencies"][0] == pytest.approx(0.6, abs=0.1)


def test_texture_of_a_large_picture_is_that_of_its_middle():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    framed = np.pad(noise, ((40, 40), (60, 60)))
    small, large = (inspect(encode(Image.fromarray(one).convert("RGB"))) for one in (noise, framed))
    names = ["high_frequencies", "local_variance"]
    assert small[names].equals(large[names])
    # of white noise, the share of the square of frequencies that is outside the circle of radius 0.25
    assert small["high_frequencies"][0] == pytest.approx(1 - np.pi / 16, abs=0.01)


def test_jpeg_tables_are_summed_up():
    """At quality 50 a file has the tables of the standard's annex K as they are: their entries sum up to 3688 + 5505."""
    picture = make_picture(0)
    grey, coarse = encode(picture.convert("L"), "JPEG", quality=50), encode(picture, "JPEG", quality=50)
    fine = encode(picture, "JPEG", quality=100, subsampling="4:4:4", progressive=True)
    strip = encode(picture, "JPEG", quality=100, subsampling="4:2:2")
    table = inspect(coarse, grey, fine, strip, encode(picture), encode(picture, "WEBP"))
    assert table["quantization"].tolist() == [9193 / 128, 3688 / 64, 1, 1, 0, 0]
    assert table["subsampling"].tolist() == ["4:2:0", "other", "4:4:4", "4:2:2", "", ""]
    assert table["progressive"].tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("format", ["JPEG", "GIF", "PNG"])
def test_a_comment_is_not_written_into_the_aligned_file(format):
    picture, said = make_picture(0, 30, 20), PngInfo()
    said.add_text("comment", "A long prompt. " * 5000)  # longer than a comment of a JPEG file may be
    options = {"pnginfo": said} if format == "PNG" else {"comment": b"made by a tool"}
    assert aligned_bytes(encode(picture, format, **options), 16) == aligned_bytes(encode(picture, format), 16)


def test_pixel_hash_names_pixels_and_not_files():
    picture, exif = make_picture(0, 30, 20), Image.Exif()
    exif[0x0112] = 6
    turned = encode(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)
    white = [encode(Image.new("RGB", size, "white")) for size in ((20, 30), (30, 20))]
    table = inspect(encode(picture), encode(picture, compress_level=0), turned, encode(picture, "JPEG"), *white)
    assert pd.factorize(table["pixel_hash"])[0].tolist() == [0, 0, 0, 1, 2, 3]


def test_perceptual_hash_is_the_sign_of_the_lowest_frequencies():
    picture = make_picture(0)
    small = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    low = dctn(small)[:8, :8]
    hashes = inspect(encode(picture), encode(picture, "JPEG", quality=75), encode(make_picture(1)))["perceptual_hash"]
    assert hashes[0] == np.packbits(low > np.median(low)).tobytes().hex()
    words = [int(digits, 16) for digits in hashes]
    assert (words[0] ^ words[1]).bit_count() <= 4 and (words[0] ^ words[2]).bit_count() > 16


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # that would be waited for, without an end
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(UnreadableImage, match="no regular file"):
            encoded_bytes({"bytes": None, "path": str(path)})
    for path, reason in (("a\0b", "null byte"), (str(tmp_path / "absent.png"), "No such file")):
        with pytest.raises(UnreadableImage, match=f"its file cannot be read: .*{reason}"):
            encoded_bytes({"bytes": None, "path": path})
    Image.new("RGB", (2, 2)).save(tmp_path / "fine.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "fine.png")  # as the cache of the Hub has them
    assert encoded_bytes({"bytes": None, "path": str(tmp_path / "link.png")}) == (tmp_path / "fine.png").read_bytes()


ODD = [None, True, 0, 3.5, "", "x", [], ["x"], [None], [[]], [{}], {}, {"a": None}, {1: 2}]


def places(value, before=()):
    """The path to each value of nested dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ([before] if before else []) + [place for key, one in inner for place in places(one, (*before, key))]


@pytest.mark.parametrize("card", ["genimage", "twitter_ai", "genvidbench"])  # long, wide, folder
def test_a_card_with_one_value_changed_is_read_or_refused_in_a_sentence(card, tmp_path):
    _, front, body = (DATA_CARDS / card / "README.md").read_text().split("---\n", 2)
    block = yaml.safe_load(front)
    outcomes = Counter()
    for place in places(block):
        for value in ODD:
            changed = copy.deepcopy(block)
            inner = reduce(lambda one, key: one[key], place[:-1], changed)
            inner[place[-1]] = value
            (tmp_path / "README.md").write_text(
                f"---\n{json.dumps(changed)}\n---\n{body}"
            )  # JSON is YAML, and written fast
            try:
                found = read_card(tmp_path)
                outcomes[f"read {bool(found.summary and found.values)}"] += 1
            except (ValueError, FileNotFoundError) as error:
                assert "\n" not in str(error) and str(tmp_path) in str(error) or "unknown" in str(error)
                outcomes["refused"] += 1
    assert outcomes["read True"] > 50 and outcomes["refused"] > 50 and len(outcomes) == 2


@pytest.mark.parametrize(
    "name", ["../out", "a/b", "a\\b", "<b>", "[a]", "a|b", "=1", "-a", "", "a\nb", "`a`", "x" * 101]
)
def test_a_generator_whose_name_is_a_path_a_formula_or_markup_is_refused(name, tmp_path):
    text = CARD.replace("{name: smooth,", f"{{name: {json.dumps(name)}, value: smooth,")
    with pytest.raises(ValueError, match=r"a generator is called .*; its name becomes one of folders and of rows"):
        read_card(write_card(tmp_path, text))


def test_a_generator_may_be_called_almost_anything(tmp_path):
    for name in ("$_$", "DALL·E 3", "sdxl-1.0 (base)", "生成", "x" * 100):
        text = CARD.replace("{name: smooth,", f"{{name: {json.dumps(name, ensure_ascii=False)}, value: smooth,")
        assert name in read_card(write_card(tmp_path, text)).generators
