import io

import numpy as np
import pytest
from PIL import Image

from itemkit.data.images import decode_image
from itemkit.data.perturb import PERTURBATIONS, perturb


@pytest.fixture
def picture() -> Image.Image:
    """A smooth gradient with a hard edge, 60 x 40."""
    y, x = np.mgrid[:40, :60]
    return Image.fromarray(np.stack([x * 4, y * 6, 255 * (x > 30)], axis=2).astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_usual_strength_works_and_leaves_the_given_image_alone(name, picture):
    before = picture.tobytes()
    for strength in PERTURBATIONS[name]:
        assert perturb(picture, name, strength).mode == "RGB"
    assert picture.tobytes() == before


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_same_seed_gives_the_same_pixels(name, picture):
    strength = PERTURBATIONS[name][0]
    assert perturb(picture, name, strength, seed=1).tobytes() == perturb(picture, name, strength, seed=1).tobytes()


def test_jpeg_is_a_jpeg_of_that_quality(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=30)
    assert perturb(picture, "jpeg", 30).tobytes() == Image.open(buffer).convert("RGB").tobytes()
    errors = [np.abs(pixels(perturb(picture, "jpeg", quality)) - pixels(picture)).mean() for quality in (95, 50, 10)]
    assert errors == sorted(errors)


def test_blur_has_the_standard_deviation_it_says():
    line = np.zeros((41, 41, 3), dtype=np.uint8)
    line[:, 20] = 255
    profile = pixels(perturb(Image.fromarray(line), "blur", 3))[20, :, 0]
    deviation = np.sqrt(np.sum(profile * (np.arange(41) - 20) ** 2) / profile.sum())
    assert deviation == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(("strength", "size"), [(0.5, (30, 20)), (0.75, (45, 30)), (1, (60, 40)), (20, (30, 20))])
def test_resize_by_factor_and_by_shorter_side(strength, size, picture):
    assert perturb(picture, "resize", strength).size == size


def test_crop_keeps_the_centre(picture):
    np.testing.assert_array_equal(pixels(perturb(picture, "crop", 0.5)), pixels(picture)[10:30, 15:45])


@pytest.mark.parametrize("size", [(594, 6), (6, 594), (594, 594), (50, 1), (1, 1)])
@pytest.mark.parametrize("name", ["resize", "crop", "resize_jpeg"])
def test_no_picture_is_made_so_thin_that_it_is_refused(name, size):
    """594 x 6 pixels are read; three quarters of them, 446 x 4, would not be."""
    for strength in PERTURBATIONS[name]:
        perturb(Image.new("RGB", size), name, strength).save(file := io.BytesIO(), "PNG")
        assert min(decode_image(file.getvalue()).size) >= 1


def test_noise_has_the_standard_deviation_it_says():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noise = pixels(perturb(grey, "noise", 10, seed=3)) - 128
    assert noise.std() == pytest.approx(10, rel=0.02)
    assert abs(noise.mean()) < 0.1
    assert perturb(grey, "noise", 10, seed=4).tobytes() != perturb(grey, "noise", 10, seed=3).tobytes()
    assert pixels(perturb(Image.new("RGB", (50, 50)), "noise", 20)).min() == 0  # clipped, not wrapped


def test_resize_jpeg_is_the_chain(picture):
    chain = perturb(perturb(picture, "resize", 0.5), "jpeg", 75)
    assert perturb(picture, "resize_jpeg", 0.5).tobytes() == chain.tobytes()


def test_global_random_state_is_untouched(picture):
    before = np.random.get_state()[1].copy()
    perturb(picture, "noise", 5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_unknown_names_and_strengths_out_of_range_are_refused(picture):
    with pytest.raises(ValueError, match="unknown perturbation 'gif'; expected one of jpeg, blur, resize, crop, noise"):
        perturb(picture, "gif", 1)
    for name, strength in [("jpeg", 0), ("blur", -1), ("resize", 0), ("crop", 1.5), ("noise", 300), ("crop", np.nan)]:
        with pytest.raises(ValueError, match=f"{name} of strength {strength} is out of range"):
            perturb(picture, name, strength)
    with pytest.raises(ValueError, match="expected an RGB image, got mode L"):
        perturb(picture.convert("L"), "jpeg", 90)
