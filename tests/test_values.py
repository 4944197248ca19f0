"""What a profile may say, and what is refused before anything runs."""

import pytest
import yaml

from itemkit.arms import MISSING_BOX
from itemkit.captions import PHRASES
from itemkit.data.load import TRACKS
from itemkit.network import DTYPES
from itemkit.paper.notebooks import FOLDER, STEPS, declared
from itemkit.running import values
from itemkit.running.run import RunError, plan
from itemkit.running.values import check_value

PARAMETERS = {name: value for step in STEPS for name, value in declared(FOLDER / f"{step}.ipynb").items()}
KNOWN = {
    *values.TEXTS,
    *values.REVISIONS,
    *values.CHOICES,
    *values.LISTS,
    *values.NAMES,
    *values.NUMBERS,
    *values.COUNTS,
    values.SCORES,
}


def test_every_parameter_of_every_notebook_is_known_and_its_default_is_fine():
    assert set(PARAMETERS) == KNOWN | set(values.RANGES)
    for name, value in PARAMETERS.items():
        check_value(name, value)


def test_choices_are_those_of_the_modules_that_own_them():
    assert values.DTYPES == DTYPES
    assert values.CHOICES["phrase"] == tuple(PHRASES) and values.CHOICES["missing_box"] == MISSING_BOX
    assert values.LISTS["tracks"] == TRACKS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('limit: "10"', "limit is '10'; expected a whole number from 1 on, or null"),
        ("limit: 0", "limit is 0; expected a whole number from 1 on"),
        ("limit: 2.5", "limit is 2.5; expected a whole number"),
        ("limit: true", "limit is True; expected a whole number"),
        ("generators: gan", "generators is 'gan'; expected a list, such as \\[gan\\]"),
        ("generators: []", "generators is empty; expected a list"),
        ("generators: [2022]", "generators holds 2022; expected names, in quotes if it is a number"),
        ("train_on: [gan, gan]", "train_on holds 'gan' twice"),
        ("batch_size: null", "batch_size is None; expected a whole number from 1 on"),
        ("batch_size: -1", "batch_size is -1"),
        ("results: null", "results is None; expected a text"),
        ("cache: ''", "cache is ''; expected a text"),
        ("distance: cos", "unknown distance 'cos'; expected one of difference, absolute, product, cosine"),
        ("pool: null", "unknown pool None"),
        ("phrase: nouns", "unknown phrase 'nouns'; expected one of object, noun, modified noun"),
        ("dtype: float31", "unknown dtype 'float31'"),
        ("missing_box: zero", "unknown missing_box 'zero'"),
        ("metric: auc", "unknown metric 'auc'"),
        ("box_threshold: 30", "box_threshold is 30; expected a number from 0 to 1"),
        ("box_threshold: null", "box_threshold is None"),
        ("tolerance: -1", "tolerance is -1; expected a number from 0 on"),
        ("tracks: [alined]", "unknown tracks: 'alined'; expected one of aligned, raw"),
        ("tracks: raw", "tracks is 'raw'; expected a list"),
        ("arms: [items]", "unknown arms: 'items'"),
        ("robustness_arms: [texture, item]", "unknown robustness_arms: 'texture'"),
        ("robustness_arms: [shuffled]", "unknown robustness_arms: 'shuffled'"),
        ("arms: [image]", "arms lacks item, which is what all others are compared with; add it"),
        ("metric: expected_calibration_error", "unknown metric 'expected_calibration_error'"),
        ("perturbations: [jpg]", "unknown perturbations: 'jpg'"),
        ("seeds: [0, a]", "seeds holds 'a'; expected whole numbers from 0 on"),
        ("seeds: [-1]", "seeds holds -1"),
        ("widths: [0]", "widths holds 0; expected whole numbers from 1 on"),
        ("draws: 0", "draws is 0"),
        (
            "others: npr.csv",
            "others is 'npr.csv'; expected a list of tables, such as \\[../npr.csv\\], or \\[\\] for none",
        ),
        ("others: null", "others is None; expected a list of tables"),
        ('others: [""]', "others holds ''; expected tables"),
        ("others: [scores/]", "others holds 'scores/'; expected tables"),
        ("others: [strength.csv]", "others holds 'strength.csv'; expected tables"),
        ("others: [item_captions_frozen.csv]", "others holds 'item_captions_frozen.csv'; expected tables"),
        (
            "others: [1]",
            "others holds 1; expected tables such as npr.csv, each named as its arm is to be, and none of concat",
        ),
        (
            "others: [../item.csv]",
            "others holds '../item.csv'; expected tables such as npr.csv, .* none of concat, .*, item, .*, texture",
        ),
        ("others: [a/npr.csv, b/npr.csv]", "others holds 'b/npr.csv'; expected .* none of .*, npr, "),
        ("captioner_revision: main", "captioner_revision is 'main'; expected the 40 hex digits of a commit, or null"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_may_be(tmp_path, line, message):
    (tmp_path / "notebooks").symlink_to(FOLDER)
    profile = tmp_path / "wrong.yaml"
    with pytest.raises((RunError, ValueError), match=message):
        for name, value in yaml.safe_load(line).items():
            check_value(name, value)
    assert not profile.exists()


def test_a_profile_is_checked_before_it_is_run(tmp_path):
    (tmp_path / "notebooks" / "params").mkdir(parents=True)
    for step in STEPS:
        (tmp_path / "notebooks" / f"{step}.ipynb").symlink_to(FOLDER / f"{step}.ipynb")
    profile = tmp_path / "notebooks" / "params" / "mine.yaml"
    profile.write_text('limit: "10"\n')
    with pytest.raises(RunError, match="mine.yaml: limit is '10'; expected a whole number"):
        plan("mine", tmp_path)
    profile.write_text("limit: 1\nlimit: 2\n")
    with pytest.raises(RunError, match="mine.yaml is not YAML: 'limit' stands there twice"):
        plan("mine", tmp_path)
    profile.write_bytes("card: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(RunError, match="mine.yaml is not UTF-8"):
        plan("mine", tmp_path)
    profile.write_text("arms: [item]\n")
    with pytest.raises(
        RunError, match="mine.yaml: robustness_arms holds 'image', which is none of arms: add it there, or"
    ):
        plan("mine", tmp_path)
    profile.write_text("seeds: [7]\n")
    with pytest.raises(
        RunError, match=r"mine.yaml: robustness_seeds \[0, 1, 2\] are none of seeds \[7\]; name some of them"
    ):
        plan("mine", tmp_path)
