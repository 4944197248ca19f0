"""Ask the Hugging Face Hub: which commit, which files; and say in one sentence what stands in the way.

Its errors name the remedy, since most of them end a run on its first minute; whoever reads over the network elsewhere
does so inside `explained`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from itemkit.data.files import whole

TIMEOUT = 5  # seconds until an answer counts as none
REVISIONS = "revisions.json"  # in the cache: the commit of each hub id that was asked for without one
KINDS = {"model": "network", "dataset": "data set"}  # the hub's word, and ours


class HubError(OSError):
    """Something that is not here could not be fetched; the message says what, why, and how to get it."""


def is_commit(revision: object) -> bool:
    """Return whether `revision` is the 40 hex digits of a commit, which alone never changes."""
    return bool(re.fullmatch("[0-9a-f]{40}", str(revision)))


def resolve_revision(name: str | Path, revision: str | None, cache: str | Path, kind: str = "model") -> str | None:
    """Return the commit of a network or data set: the one given, or the newest one, looked up once and then kept.

    Args:
        name: a folder, or a hub id.
        revision: the 40 digits of a commit; None for the one recorded in the cache or, the first time, the newest.
        cache: a folder; its revisions.json holds the record.
        kind: "model" or "dataset".

    Returns:
        40 hex digits; None for a folder.

    Raises:
        ValueError: a revision that is no commit.
        HubError: nothing is recorded and the hub does not tell; the message says what to do.
    """
    if Path(name).is_dir():
        return None
    if revision is not None:
        if not is_commit(revision):
            raise ValueError(f"{name} has revision {revision!r}; expected the 40 hex digits of a commit, or null")
        return revision
    record, entry = Path(cache) / REVISIONS, f"{kind}s/{name}"
    known = recorded_revisions(cache)
    if entry not in known:
        with explained(name, kind):
            commit = HfApi().repo_info(name, repo_type=kind, timeout=TIMEOUT).sha
        known = recorded_revisions(cache) | {entry: commit}
        with whole(record) as part:
            part.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return known[entry]


def recorded_revisions(cache: str | Path) -> dict[str, str]:
    """Return the commits that resolve_revision recorded, by "models/<id>" or "datasets/<id>".

    Raises:
        ValueError: the record is damaged.
    """
    record = Path(cache) / REVISIONS
    try:
        known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if not isinstance(known, dict) or not all(map(is_commit, known.values())):
            raise ValueError("expected a commit of 40 hex digits for each hub id")
        return known
    except ValueError as error:
        raise ValueError(f"{record} is damaged ({error}); correct or remove it, and run again") from None


def fetch(name: str | Path, revision: str | None, kind: str = "model", patterns: list[str] | None = None) -> Path:
    """Return the folder of a network or data set, downloading from the hub what is not here yet.

    Args:
        name: a folder, which is returned as it is, or a hub id.
        revision: the commit of a hub id.
        kind: "model" or "dataset".
        patterns: of the files that are needed; None for all.

    Raises:
        HubError: it is not here, and the download failed; the message says what to do. What came is kept.
    """
    if Path(name).is_dir():
        return Path(name)
    if folder := local_folder(name, revision, kind, patterns):
        return folder
    with explained(name, kind, revision):
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=TIMEOUT)  # or minutes of trying again
        return Path(snapshot_download(name, revision=revision, repo_type=kind, allow_patterns=patterns))


def to_fetch(
    name: str, revision: str | None, kind: str, patterns: list[str] | None = None
) -> tuple[float, float, str | None]:
    """Return how many gigabytes there are, how many of them fetch would bring, and the licence, None where none is named.

    Raises:
        HubError: the hub does not answer, or does not let us in; the message says what to do.
    """
    with explained(name, kind, revision):
        info = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=TIMEOUT)  # or minutes of trying again
        settings = {"revision": info.sha, "repo_type": kind, "allow_patterns": patterns}
        files = snapshot_download(name, dry_run=True, tqdm_class=_Quiet, **settings)
    sizes = [(file.file_size or 0) / 1e9 for file in files]
    absent = sum(size for size, file in zip(sizes, files, strict=True) if file.will_download)
    return sum(sizes), absent, info.card_data.license if info.card_data else None


class _Quiet(tqdm):
    """A progress bar that is not shown: of a dry run, which asks for a file's size and takes no time."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options | {"disable": True})


def local_folder(name: str, revision: str | None, kind: str, patterns: list[str] | None = None) -> Path | None:
    """Return where an earlier fetch put it, or None if it is not here in full; asks nobody."""
    settings = {"revision": revision, "repo_type": kind, "allow_patterns": patterns, "local_files_only": True}
    try:
        return Path(snapshot_download(name, **settings)) if is_commit(revision) else None
    except (LocalEntryNotFoundError, HFValidationError):
        return None


@contextmanager
def explained(name: str | Path, kind: str, revision: str | None = None) -> Iterator[None]:
    """Turn whatever the hub's libraries raise inside into a HubError of one sentence."""
    what, page = f"{KINDS[kind]} {name!r}", f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    try:
        yield
    except HFValidationError:
        message = f"no folder {str(name)!r}, and no hub id either: expected organisation/name"
    except GatedRepoError:
        message = f"{what} is gated: accept its terms at {page}, then call `hf auth login` or set HF_TOKEN"
    except RepositoryNotFoundError:
        message = f"the hub knows no {what}: correct the id; if it is private, call `hf auth login` or set HF_TOKEN"
    except RevisionNotFoundError:
        message = (
            f"the hub no longer has revision {revision} of {what}: see {page}/commits/main for those it has; a commit "
            f"that itemkit looked up itself stands in the cache's {REVISIONS}, and is looked up anew once removed there"
        )
    except OfflineModeIsEnabled:
        message = f"{what} is not here, and HF_HUB_OFFLINE forbids to fetch it: unset it, or fetch once where it may be"
    except HfHubHTTPError as error:
        message = f"the hub refused {what}: {_first_line(error)}"
    except (HTTPError, ConnectionError) as error:
        message = (
            f"{what} is not here in full, and the hub cannot be reached or broke off ({_first_line(error)}): run again "
            "when it can, and the download goes on; HF_ENDPOINT names a mirror"
        )
    except OSError as error:
        message = f"{what} could not be fetched and kept: {_first_line(error)}"
    else:
        return
    raise HubError(message) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
