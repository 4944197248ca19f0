"""What each arm sees, computed by hand."""

import numpy as np
import pandas as pd
import pytest

from itemkit.arms import cosine_misalignment, feature_matrix, object_misalignment
from itemkit.data.load import inspect_images


def one_by_one(image_id, captions, boxes, vectors, texts, missing_box):
    """The item features of one image, by hand: global and mean local difference, and the count of objects."""
    vector = {(row.image_id, row.part): row.vector for row in vectors.itertuples()}
    word = {row.text: row.vector for row in texts.itertuples()}
    row = captions[captions.image_id == image_id].iloc[0]
    found = set(boxes[boxes.image_id == image_id].phrase)
    local = []
    for phrase in row.phrases:
        if phrase in found:
            local.append(vector[image_id, phrase] - word[phrase])
        elif missing_box == "whole image":
            local.append(vector[image_id, "whole"] - word[phrase])
    mean = np.mean(local, axis=0) if local else np.zeros(16)
    return np.concatenate([vector[image_id, "whole"] - word[row.caption], mean, [len(local)]])


@pytest.mark.parametrize("missing_box", ["drop", "whole image"])
def test_features_equal_arithmetic_by_hand(stages, missing_box):
    captions = stages[0]
    ids = captions[captions.status == "ok"].image_id.tolist()[::-1]
    ids.append(ids[0])
    matrix = feature_matrix(ids, *stages, missing_box=missing_box)
    assert matrix.dtype == np.float32 and matrix.shape == (len(ids), 33)
    np.testing.assert_allclose(matrix, [one_by_one(name, *stages, missing_box) for name in ids], atol=1e-6)


def test_features_are_the_same_from_tables_that_were_written_and_read(stages, tmp_path):
    read = []
    for number, table in enumerate(stages):
        table.to_parquet(tmp_path / f"{number}.parquet")
        read.append(pd.read_parquet(tmp_path / f"{number}.parquet"))
    ids = stages[0][stages[0].status == "ok"].image_id
    np.testing.assert_array_equal(feature_matrix(ids, *read), feature_matrix(ids, *stages))


def test_without_any_box_the_objects_are_zeros_and_the_count_is_zero(stages):
    captions, boxes, vectors, texts = stages
    ids = captions[captions.status == "ok"].image_id
    matrix = feature_matrix(ids, captions, boxes[:0], vectors, texts, arm="local")
    assert matrix.shape == (len(ids), 17) and not matrix.any()


def test_a_caption_without_objects_is_a_row_of_zeros(stages):
    captions, boxes, vectors, texts = stages
    captions = captions.assign(phrases=[[] for _ in captions.index])
    ids = captions[captions.status == "ok"].image_id
    for missing_box in ("drop", "whole image"):
        assert not feature_matrix(ids, captions, boxes, vectors, texts, arm="local", missing_box=missing_box).any()


def test_features_refuse_an_unreadable_image_and_an_unknown_choice(stages):
    with pytest.raises(ValueError, match="no vector for {'image_id': 'half', 'part': 'whole'}: an unreadable image"):
        feature_matrix(["half"], *stages)
    with pytest.raises(ValueError, match="unknown missing_box 'zero'; expected one of drop, whole image"):
        feature_matrix([], *stages, missing_box="zero")


# arms that are none of misalign's


def test_shuffled_is_item_with_the_given_words(stages):
    ids = stages[0][stages[0].status == "ok"].image_id
    np.testing.assert_array_equal(feature_matrix(ids, *stages, arm="shuffled"), feature_matrix(ids, *stages))


def test_metadata_is_what_can_be_counted(stages, images):
    captions, boxes, *vectors = stages
    name = captions[captions.status == "ok"].image_id[0]
    phrases = ["car", "red tree", "snow"]
    captions = captions.assign(caption="a car and a red tree", phrases=[phrases for _ in captions.index])
    rows = [(name, "car", 0, 0, 10, 4, 0.9), (name, "snow", 1, 1, 3, 3, 0.9), (name, "boat", 0, 0, 9, 9, 0.9)]
    boxes = pd.DataFrame(rows, columns=boxes.columns)  # the boat is another image's word
    matrix = feature_matrix([name, name], captions, boxes, *vectors, arm="metadata", files=inspect_images(images))
    size = len(images[list(images["image_id"]).index(name)]["image"]["bytes"])
    np.testing.assert_allclose(matrix, [[48, 40, size, 6, 3, 2, (40 + 4) / 2 / (48 * 40)]] * 2, rtol=1e-6)
    empty = feature_matrix([name], captions, boxes[:0], *vectors, arm="metadata", files=inspect_images(images))
    assert empty[0, -2:].tolist() == [0, 0]
    aligned = inspect_images(images).assign(track="aligned")  # where the size of a file is no fact of the file
    matrix[:, 2] = 0
    np.testing.assert_array_equal(
        feature_matrix([name] * 2, captions, boxes, *vectors, arm="metadata", files=aligned), matrix
    )


def test_texture_is_what_was_seen_of_the_file_and_linear_is_the_picture_s_vector(stages, images):
    files = inspect_images(images)
    ids = files.image_id[files.status == "ok"].unique().tolist()[::-1]
    matrix = feature_matrix(ids, *stages, arm="texture", files=files)
    seen = files.drop_duplicates("image_id").set_index("image_id")
    np.testing.assert_array_equal(
        matrix, seen.loc[ids, ["bytes", "high_frequencies", "local_variance"]].astype("float32")
    )
    np.testing.assert_array_equal(feature_matrix(ids, *stages, arm="linear"), feature_matrix(ids, *stages, arm="image"))


def test_an_arm_that_does_not_exist_or_lacks_its_table_is_refused(stages):
    with pytest.raises(ValueError, match="unknown arm 'items'; expected one of image, text, .*, shuffled, metadata"):
        feature_matrix([], *stages, arm="items")
    for arm in ("metadata", "texture"):
        with pytest.raises(ValueError, match=f"{arm} needs files="):
            feature_matrix([], *stages, arm=arm)
    old = pd.DataFrame({"image_id": [], "bytes": []})
    with pytest.raises(
        ValueError, match="texture needs high_frequencies, local_variance of each image, .* 00_data first"
    ):
        feature_matrix([], *stages, arm="texture", files=old)


def test_a_feature_that_is_no_number_names_its_image(stages):
    captions, boxes, vectors, texts = stages
    ids = captions[captions.status == "ok"].image_id.tolist()
    broken = vectors.copy()
    row = broken.index[(broken.image_id == ids[2]) & (broken.part == "whole")][0]
    broken.at[row, "vector"] = np.full(16, np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match=f"1 images have features that are not finite; the first is {ids[2]}"):
        feature_matrix(ids, captions, boxes, broken, texts)


# one number for each picture, and for each object


def test_cosine_misalignment_is_one_number_a_level_and_blank_where_nothing_was_found(stages):
    captions, boxes, vectors, texts = stages
    ids = captions[captions.status == "ok"].image_id.tolist()
    boxes = boxes[boxes.image_id != ids[0]]
    table = cosine_misalignment(ids, captions, boxes, vectors, texts)
    vector = {(row.image_id, row.part): row.vector for row in vectors.itertuples()}
    word = {row.text: row.vector for row in texts.itertuples()}
    for place, name in enumerate(ids):
        row = captions[captions.image_id == name].iloc[0]
        found = [phrase for phrase in row.phrases if phrase in set(boxes[boxes.image_id == name].phrase)]
        local = sum(1 - vector[name, one] @ word[one] for one in found) / len(found) if found else np.nan
        assert table["global"][place] == pytest.approx(1 - vector[name, "whole"] @ word[row.caption], abs=1e-6)
        assert table["local"][place] == pytest.approx(local, abs=1e-6, nan_ok=True)
        assert table["objects_found"][place] == len(found)
    assert table["local"].notna().any()
    assert np.isnan(table["local"][0]) and table["objects_found"][0] == 0


def test_object_misalignment_has_a_row_for_each_object_of_a_caption_that_was_found(stages):
    captions, boxes, vectors, texts = stages
    named = {(row.image_id, phrase) for row in captions.itertuples() for phrase in row.phrases}
    extra = boxes.iloc[:1].assign(phrase="word of another picture")
    table = object_misalignment(captions, pd.concat([boxes, extra]), vectors, texts)
    assert set(zip(table.image_id, table.phrase, strict=True)) == named & set(
        zip(boxes.image_id, boxes.phrase, strict=True)
    )
    one = table.iloc[0]
    crop = vectors[(vectors.image_id == one.image_id) & (vectors.part == one.phrase)].vector.iloc[0]
    assert one.misalignment == pytest.approx(1 - crop @ texts[texts.text == one.phrase].vector.iloc[0], abs=1e-6)
