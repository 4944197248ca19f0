import numpy as np
import pytest

from itemkit.misalign import DISTANCES, POOLS, VECTOR_ARMS, features, local_misalignment, misalignment

IMAGE = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
CAPTION = np.array([[0.0, 1.0], [0.8, 0.6]], dtype=np.float32)

# Three images: the first has the objects 0 and 3, the second none, the third the objects 1 and 2.
CROP = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]], dtype=np.float32)
PHRASE = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
OWNER = np.array([0, 2, 2, 0])


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        ("difference", [[1.0, -1.0], [-0.2, 0.2]]),
        ("absolute", [[1.0, 1.0], [0.2, 0.2]]),
        ("product", [[0.0, 0.0], [0.48, 0.48]]),
        ("cosine", [[1.0], [0.04]]),
    ],
)
def test_misalignment_by_hand(distance, expected):
    np.testing.assert_allclose(misalignment(IMAGE, CAPTION, distance), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("mean", [[0.4, -0.2], [0, 0], [-0.2, 0.4]]),
        ("sum", [[0.8, -0.4], [0, 0], [-0.4, 0.8]]),
        ("max", [[1.0, 0.6], [0, 0], [0.0, 0.8]]),
    ],
)
def test_local_misalignment_by_hand(pool, expected):
    np.testing.assert_allclose(local_misalignment(CROP, PHRASE, OWNER, 3, pool=pool), expected, atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_local_misalignment_equals_a_loop_over_images(distance, pool):
    random = np.random.default_rng(0)
    crop, phrase = random.normal(size=(2, 40, 5))
    owner = random.integers(0, 12, 40)
    result = local_misalignment(crop, phrase, owner, 15, distance, pool)
    for image in range(15):
        own = misalignment(crop[owner == image], phrase[owner == image], distance)
        expected = getattr(own, pool)(axis=0) if len(own) else np.zeros(result.shape[1])
        np.testing.assert_allclose(result[image], expected, atol=1e-12)


@pytest.mark.parametrize("pool", POOLS)
def test_images_without_any_object_get_zeros(pool):
    nothing = np.zeros((0, 2), dtype=np.float32)
    result = local_misalignment(nothing, nothing, np.array([], dtype=int), 2, pool=pool)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("arm", "fuse", "expected"),
    [
        ("image", "concat", [[1, 0], [0.6, 0.8]]),
        ("text", "concat", [[0, 1], [0.8, 0.6]]),
        ("concat", "concat", [[1, 0, 0, 1], [0.6, 0.8, 0.8, 0.6]]),
        ("global", "concat", [[1, -1], [-0.2, 0.2]]),
        ("local", "concat", [[0, 0, 0], [0.4, -0.2, 2]]),
        ("item", "concat", [[1, -1, 0, 0, 0], [-0.2, 0.2, 0.4, -0.2, 2]]),
        ("item", "sum", [[1, -1, 0], [0.2, 0.0, 2]]),
    ],
)
def test_features_by_hand(arm, fuse, expected):
    # the second image has two objects, the first none
    result = features(arm, IMAGE, CAPTION, CROP[[0, 3]], PHRASE[[0, 3]], np.array([1, 1]), fuse=fuse)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("arm", VECTOR_ARMS)
def test_every_arm_takes_every_distance(arm):
    for distance in DISTANCES:
        assert len(features(arm, IMAGE, CAPTION, CROP, PHRASE, np.array([0, 0, 1, 1]), distance)) == 2


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"arm": "itme"}, "unknown arm 'itme'; expected one of image, text, concat, global, local, item"),
        ({"distance": "l2"}, "unknown distance 'l2'; expected one of difference, absolute, product, cosine"),
        ({"pool": "min"}, "unknown pool 'min'; expected one of mean, sum, max"),
        ({"fuse": "add"}, "unknown fuse 'add'; expected one of concat, sum"),
    ],
)
def test_unknown_choices_are_refused_with_the_list(choice, message):
    with pytest.raises(ValueError, match=message):
        features(**{"arm": "item"} | choice, image=IMAGE, caption=CAPTION, crop=CROP, phrase=PHRASE, owner=OWNER)


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"a text vector for each picture's; got shapes \(2, 2\) and \(1, 2\)"):
        misalignment(IMAGE, CAPTION[:1])
    with pytest.raises(ValueError, match=r"expected 4 owners in \[0, 2\)"):
        local_misalignment(CROP, PHRASE, OWNER, 2)
    with pytest.raises(ValueError, match="expected 4 owners"):
        local_misalignment(CROP, PHRASE, OWNER[:3], 3)
