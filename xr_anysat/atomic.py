"""Files that appear only when they are complete."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StoreError

__all__ = ["atomic_replace", "check_folder", "check_target"]


def check_folder(path: Path) -> Path:
    """Make a path absolute, and check that something can be made there.

    Raises
    ------
    StoreError
        If its folder does not exist.
    """
    target = path.absolute()
    if not target.parent.is_dir():
        raise StoreError("target.no-folder", folder=target.parent)
    return target


def check_target(path: Path) -> Path:
    """Make a path absolute, and check that a file can be written there.

    Raises
    ------
    StoreError
        If its folder does not exist, or the path is a folder itself.
    """
    target = check_folder(path)
    if target.is_dir():
        raise StoreError("target.is-folder", path=target)
    return target


@contextmanager
def atomic_replace(path: Path, *, store: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` at the end.

    If the block raises, `path` stays as it was.

    Parameters
    ----------
    path
        The file to write.
    store
        Whether it is a Zarr store, that is, a folder; an earlier one is replaced too.
    """
    target = check_folder(path) if store else check_target(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        temporary = Path(folder, target.name)
        yield temporary
        if target.is_dir():  # a rename cannot replace a folder that is not empty
            target.rename(Path(folder, "earlier"))
        temporary.replace(target)
