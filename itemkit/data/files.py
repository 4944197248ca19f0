"""Write a file or a folder whole, or not at all, and know later whether it still is what was written."""

import filecmp
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from uuid import uuid4

PART = re.compile(r"(?P<begin>.+\..+)-(?P<process>\d+)-[0-9a-f]{32}\.part")  # as whole() calls them
HIDDEN = {"@eaDir", "__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini"}
DAY = 86_400  # seconds: no file takes as long to write


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a place beside `path` to write a file or a folder to; when the block ends well, it is moved to `path`.

    Whoever reads `path` sees the old content or the new one, and after a failure nothing is left behind. A file replaces
    another one; of a folder that is there already, each file does. One that would be the same is left alone: what is
    replaced has to reach the disk, which takes longer than to compare.
    """
    path = Path(path)
    place = path if path.is_dir() else path.parent  # a folder that is there may be a disk of its own
    place.mkdir(parents=True, exist_ok=True)
    part = place / f"{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid4().hex}.part"
    try:
        yield part
        made = {file: path / file.name for file in part.iterdir()} if path.is_dir() else {part: path}
        for new, old in made.items():
            if _is_same(new, old):
                continue
            if new == part and new.is_file():
                with new.open("rb+") as file:
                    os.fsync(file.fileno())
            os.replace(new, old)
    finally:
        _remove(part)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is one that systems, Python and Jupyter leave beside others."""
    return name.startswith(".") or name in HIDDEN


def clear_parts(folder: str | Path) -> None:
    """Remove what `whole` was writing below `folder` in processes of this machine that are dead, or more than a day ago."""
    for part in Path(folder).rglob("*.part"):
        if not (named := PART.fullmatch(part.name)):  # of another program, or of a person
            continue
        here = named["begin"].endswith(f".{socket.gethostname()}")
        dead = here and not _is_alive(int(named["process"]))
        if dead or time.time() - part.stat().st_mtime > DAY:
            _remove(part)


def checksum(file: Path) -> str:
    """Return the SHA-256 of what a file holds, in 64 hex digits."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def seal(files: Iterable[Path]) -> None:
    """Write beside each file what `check_seals` will know it by; one that has its seal keeps it."""
    for file in files:
        if not (place := _seal_of(file)).exists():
            with whole(place) as part:
                part.write_text(checksum(file))


def check_seals(folder: Path) -> None:
    """Look at each sealed file below a folder that a library keeps for itself, before that library opens it.

    If one is no longer what was sealed, it is set aside under the ending `.damaged`, and the folder is emptied, so that
    the library builds it anew; that is said in a line.
    """
    folder = folder.resolve()  # what is set aside stays on the disk where it is, if this is a link
    for place in sorted(folder.rglob(_seal_of(Path("*")).name)):
        file = place.with_suffix("")
        if place.is_symlink():  # a checksum that came with the data
            continue
        if not file.is_file():
            said = "is gone; it is built anew"
        elif place.read_bytes() != checksum(file).encode():
            file.replace(aside := folder.with_name(f"{folder.name}-{file.name}.damaged"))
            said = f"is not as it was written; it is set aside as {aside.name} and built anew"
        else:
            continue
        for one in folder.iterdir():  # the folder stays, to which a link may lead
            _remove(one)
        print(file, said, flush=True)
        return


def _is_same(new: Path, old: Path) -> bool:
    return new.is_file() and old.is_file() and filecmp.cmp(new, old, shallow=False)


def _seal_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True
