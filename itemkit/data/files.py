"""Write a file or a folder whole, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a place beside `path` to write a file or a folder to; when the block ends well, it is moved to `path`.

    Whoever reads `path` sees the old content or the new one, and after a failure nothing is left behind. A file replaces
    another one; a folder that somebody else has completed meanwhile stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield part
        if part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        if not (part.is_dir() and path.is_dir()):
            os.replace(part, path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
