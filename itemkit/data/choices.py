"""Say which name is unknown, and which are known."""

from collections.abc import Iterable


def check_names(kind: str, given: Iterable, known: Iterable) -> None:
    """Raise a ValueError that names the first unknown one of `given`, and all that are known."""
    known = list(known)
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"unknown {kind} {unknown[0]!r}; expected one of {', '.join(map(str, known))}")
