"""Files that appear when they are complete."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StoreError

__all__ = ["atomic_replace", "check_folder", "check_target"]


def check_folder(path: Path) -> Path:
    """Give the absolute path of what can be made, as far as that can be known before.

    Raises
    ------
    StoreError
        Where its folder is not there.
    """
    target = path.absolute()
    if not target.parent.is_dir():
        raise StoreError(f"{target.parent} is no folder; make it first.")
    return target


def check_target(path: Path) -> Path:
    """Give the absolute path of a file that can be written, as far as that can be known before.

    Raises
    ------
    StoreError
        Where its folder is not there, or it is a folder itself.
    """
    target = check_folder(path)
    if target.is_dir():
        raise StoreError(f"{target} is a folder; give the name of a file in it.")
    return target


@contextmanager
def atomic_replace(path: Path, *, store: bool = False) -> Iterator[Path]:
    """Give a place in a folder beside a file; what was written there takes the file's place.

    With `store`, an earlier Zarr store gives way, too.
    """
    target = check_folder(path) if store else check_target(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        fresh = Path(folder, target.name)
        yield fresh
        if target.is_dir():  # no rename replaces a folder that holds something
            target.rename(Path(folder, "earlier"))
        fresh.replace(target)
