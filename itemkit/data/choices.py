"""Names that people give: each of them known, and none twice."""

from collections.abc import Iterable

import yaml

MERGE = "tag:yaml.org,2002:merge"  # the key `<<`, by which a mapping takes over another one's keys


class OnceLoader(yaml.SafeLoader):
    """YAML in which no key may stand twice: the second value would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != MERGE]
        if twice := [key for place, key in enumerate(keys) if key in keys[:place]]:
            raise yaml.YAMLError(f"{twice[0]!r} stands there twice")
        return super().construct_mapping(node, deep)


def check_names(kind: str, given: Iterable, known: Iterable) -> None:
    """Raise a ValueError that names the first unknown one of `given`, and all that are known."""
    known = list(known)
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"unknown {kind} {unknown[0]!r}; expected one of {', '.join(map(str, known))}")
