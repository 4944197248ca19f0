"""What each parameter of the notebooks may be, checked before anything runs."""

from itemkit.arms import ARMS
from itemkit.data.choices import check_names
from itemkit.data.perturb import PERTURBATIONS
from itemkit.evaluation.metrics import METRICS, MINIMUM_ROWS
from itemkit.evaluation.others import check_tables
from itemkit.misalign import DISTANCES, FUSIONS, POOLS, VECTOR_ARMS

DTYPES = ("float32", "bfloat16", "float16")
TEXTS = ("results", "cache", "card", "captioner", "nouns", "locator", "encoder", "device")
REVISIONS = ("captioner_revision", "locator_revision", "encoder_revision")
CHOICES = {
    "phrase": ("object", "noun", "modified noun"),
    "dtype": DTYPES,
    "encoder_dtype": DTYPES,
    "engine": ("local", "ray"),
    "missing_box": ("drop", "whole image"),
    "distance": DISTANCES,
    "pool": POOLS,
    "fuse": FUSIONS,
    "metric": [name for name in METRICS if name != "expected_calibration_error"],  # of which more is better
}
LISTS = {  # of what is known
    "tracks": ("aligned", "raw"),
    "arms": ARMS,
    "robustness_arms": (
        *VECTOR_ARMS,
        "linear",
    ),  # of a perturbed picture there are no words of another one, and no file
    "perturbations": tuple(PERTURBATIONS),
}
NAMES = ("generators", "train_on")  # lists of what the card names
SCORES = "others"  # a list of tables, one for each detector of others; it may be empty
NUMBERS = {  # the least
    "limit": 1,
    "aligned_side": 8,
    "shown": 1,
    "batch_size": 1,
    "draws": 1,
    "robustness_contents": MINIMUM_ROWS,  # of fewer pictures there is no number
    "examples": 1,
}
COUNTS = {
    "seeds": 0,
    "ablation_seeds": 0,
    "robustness_seeds": 0,
    "most_objects": 1,
    "widths": 1,
    "training_contents": 1,
}
RANGES = {"box_threshold": (0, 1), "tolerance": (0, float("inf"))}
OPTIONAL = ("limit", "generators", "train_on", "perturbations", *REVISIONS)  # may be null


def check_value(name: str, value: object) -> None:
    """Raise a ValueError if a parameter of a notebook cannot have this value; the message says what it may have.

    Args:
        name: of a parameter; nothing is known of others than those of the project's notebooks.
        value: as YAML or a notebook has it.
    """
    if value is None and name in OPTIONAL:
        return
    if name in TEXTS and not (isinstance(value, str) and value):
        raise ValueError(f"{name} is {value!r}; expected a text, {_quoted(value)}")
    if name in REVISIONS and not (isinstance(value, str) and len(value) == 40):
        raise ValueError(f"{name} is {value!r}; expected the 40 hex digits of a commit, or null")
    if name in CHOICES:
        check_names(name, [value], CHOICES[name])
    if name == SCORES:
        if type(value) is not list:
            raise ValueError(f"{name} is {value!r}; expected a list of tables, such as [../npr.csv], or [] for none")
        check_tables(value, ARMS)
    if name in LISTS or name in NAMES or name in COUNTS:
        _check_list(name, value)
    if name in LISTS:
        check_names(f"{name}:", value, LISTS[name])
    if name == "arms" and "item" not in value:
        raise ValueError("arms lacks item, which is what all others are compared with; add it")
    if name in NUMBERS and not (_is_whole(value) and value >= NUMBERS[name]):
        null = ", or null" if name in OPTIONAL else ""
        raise ValueError(f"{name} is {value!r}; expected a whole number from {NUMBERS[name]} on{null}")
    if name in COUNTS and (odd := [one for one in value if not (_is_whole(one) and one >= COUNTS[name])]):
        raise ValueError(f"{name} holds {odd[0]!r}; expected whole numbers from {COUNTS[name]} on")
    if name in RANGES:
        low, high = RANGES[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}; expected a number from {low} {'on' if high > 1 else f'to {high}'}")


def _check_list(name: str, value: object) -> None:
    if type(value) is not list:
        raise ValueError(f"{name} is {value!r}; expected a list, such as [{value}]")
    if not value:
        raise ValueError(f"{name} is empty; expected a list of one at least")
    if name in NAMES and (odd := [one for one in value if not isinstance(one, str)]):
        raise ValueError(f"{name} holds {odd[0]!r}; expected names, {_quoted(odd[0])}")
    if twice := [one for place, one in enumerate(value) if one in value[:place]]:
        raise ValueError(f"{name} holds {twice[0]!r} twice; remove one")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _quoted(value: object) -> str:
    return "in quotes if it is a number" if isinstance(value, (int, float)) else "and not an empty one"
