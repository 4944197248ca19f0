"""Write a file or a folder whole, or not at all."""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

DAY = 86_400  # seconds: no file takes as long to write


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a place beside `path` to write a file or a folder to; when the block ends well, it is moved to `path`.

    Whoever reads `path` sees the old content or the new one, and after a failure nothing is left behind. A file replaces
    another one; of a folder that is there already, each file does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid4().hex}.part")
    try:
        yield part
        if part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        if path.is_dir():
            for file in part.iterdir():
                os.replace(file, path / file.name)
        else:
            os.replace(part, path)
    finally:
        _remove(part)


def clear_parts(folder: str | Path) -> None:
    """Remove what was being written below `folder` by processes of this machine that are dead, or more than a day ago."""
    for part in Path(folder).rglob("*.part"):
        host, _, process = part.name.removesuffix(".part").rpartition("-")[0].rpartition("-")
        dead = host.endswith(f".{socket.gethostname()}") and process.isdigit() and not _is_alive(int(process))
        if dead or time.time() - part.stat().st_mtime > DAY:
            _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
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
