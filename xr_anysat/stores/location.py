"""Places where small objects and arrays are kept: paths, URLs and Zarr stores alike.

An object is written whole or not at all wherever the store can do so (Zarr's stores of local files
and of object storage can), and no object is read in order to be changed.
"""

import errno
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xr_anysat.errors import MissingExtraError, OptionError, StoreError

__all__ = ["ZarrLocation", "open_location"]

SIDE_BY_SIDE = 32
"""Small objects that are read at once: object storage takes some hundredths of a second to each."""


@dataclass(frozen=True, kw_only=True)
class ZarrLocation:
    """A Zarr store, and a path in it.

    Parameters
    ----------
    store
        A ``zarr.abc.store.Store``.
    path
        Within the store; empty for all of it.
    """

    store: Any
    path: str = ""

    def __str__(self) -> str:
        return f"{self.store}/{self.path}" if self.path else str(self.store)

    def key(self, name: str) -> str:
        """Full key of a name."""
        return f"{self.path}/{name}" if self.path else name

    def read(self, name: str) -> bytes | None:
        """Read an object, None where there is none."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        found = sync(self.store.get(self.key(name), default_buffer_prototype()))
        return None if found is None else found.to_bytes()

    def read_each(self, names: Iterable[str]) -> list[bytes | None]:
        """Read objects at once, as many side by side as the store takes."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.common import concurrent_map
        from zarr.core.sync import sync

        async def read(name: str) -> bytes | None:
            found = await self.store.get(self.key(name), default_buffer_prototype())
            return None if found is None else found.to_bytes()

        return list(sync(concurrent_map([(name,) for name in names], read, SIDE_BY_SIDE)))

    def read_json(self, name: str) -> Any:
        """Read an object of JSON, None where there is none or it was not written to its end."""
        found = self.read(name)
        try:
            return None if found is None else json.loads(found)
        except ValueError:
            return None

    def write(self, name: str, value: bytes) -> None:
        """Write an object, over what was there."""
        from zarr.core.sync import sync

        sync(self.store.set(self.key(name), _buffer(value)))

    def write_json(self, name: str, value: Any) -> None:
        """Write an object of JSON, over what was there."""
        self.write(name, json.dumps(value, indent=1).encode())

    def claim_json(self, name: str, value: Any) -> Any:
        """Write an object of JSON unless it is there, and return the one that is there."""
        from zarr.core.sync import sync

        if self.read_json(name) is None and self.read(name) is not None:
            self.delete(name)  # torn: a store that does not write whole objects, and a kill
        text = json.dumps(value, indent=1).encode()
        try:
            sync(self.store.set_if_not_exists(self.key(name), _buffer(text)))
        except OSError:  # of file systems without hard links
            if self.read(name) is None:
                self.write(name, text)
        return self.read_json(name)

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        from zarr.core.sync import sync

        with suppress(FileNotFoundError):
            sync(self.store.delete(self.key(name)))

    def delete_below(self, folder: str) -> None:
        """Delete a folder with all that is in it."""
        from zarr.core.sync import sync

        sync(self.store.delete_dir(self.key(folder)))

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects below a prefix, which is empty or ends in a slash."""
        from zarr.core.sync import sync

        async def collect() -> list[str]:
            return [key async for key in self.store.list_prefix(self.key(prefix))]

        skipped = len(self.path) + 1 if self.path else 0
        try:
            return [key[skipped:] for key in sync(collect())]
        except FileNotFoundError:
            return []

    def find(self, wanted: Callable[[str], bool]) -> str | None:
        """Name of some object that is wanted, without listing what comes after it."""
        from zarr.core.sync import sync

        skipped = len(self.path) + 1 if self.path else 0

        async def first() -> str | None:
            async for key in self.store.list_prefix(self.key("")):
                if wanted(key[skipped:]):
                    return key[skipped:]
            return None

        try:
            return sync(first())
        except FileNotFoundError:
            return None

    def settle(self, names: Iterable[str]) -> None:
        """Wait until objects are on the disk, where the store is one of local files.

        Some file systems tell only then that there was no room for them.
        """
        from zarr.storage import LocalStore

        if not isinstance(self.store, LocalStore):
            return
        files = [self.store.root / self.key(name) for name in names]
        there = [file for file in files if file.is_file()]
        folders = {file.parent for file in there} if os.name == "posix" else set()
        for path in (*there, *folders):
            handle = os.open(path, os.O_RDONLY if path in folders else os.O_RDWR)
            try:
                os.fsync(handle)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # cannot tell
                    raise
            finally:
                os.close(handle)


def open_location(
    store: Any, storage_options: dict[str, Any] | None = None, *, read_only: bool = False
) -> ZarrLocation:
    """Open a path, an fsspec URL, an fsspec mapping or a Zarr store.

    Raises
    ------
    OptionError
        For anything else.
    StoreError
        Where a URL cannot be opened, or the store cannot be written, though it is to be.
    MissingExtraError
        Where what a URL's protocol needs is not installed.
    """
    from zarr.abc.store import Store
    from zarr.storage import FsspecStore, LocalStore, StorePath

    if isinstance(store, os.PathLike):
        store = os.fspath(store)
    url = isinstance(store, str) and "://" in store
    if storage_options is not None and not (url and not store.startswith("file://")):
        raise OptionError("storage_options= goes with the URL of a remote store, such as s3://...")
    path = ""
    if isinstance(store, StorePath):
        store, path = store.store, store.path
    if isinstance(store, str) and (not url or store.startswith("file://")):
        # absolute: a worker's working directory may be another
        local = os.path.abspath(os.path.expanduser(store.removeprefix("file://")))
        opened: Any = LocalStore(local, read_only=read_only)
    elif url:
        opened = _open_url(store, storage_options, read_only)
    elif isinstance(store, Store):
        opened = store
    elif type(store).__name__ == "FSMap":
        opened = FsspecStore.from_mapper(store, read_only=read_only)
    else:
        raise OptionError(
            f"store= is a {type(store).__name__}; give a path, a URL such as s3://bucket/map.zarr, "
            "or a Zarr store such as zarr.storage.MemoryStore()"
        )
    if not read_only and not (
        opened.supports_writes and opened.supports_deletes and opened.supports_listing
    ):
        raise StoreError(
            f"{opened} cannot delete, list or replace what it holds, which resuming needs; write "
            "to a folder or to object storage, and pack it afterwards"
        )
    if not read_only and opened.read_only:
        raise StoreError(f"{opened} was opened read-only; open it for writing")
    return ZarrLocation(store=opened, path=path)


def _open_url(url: str, storage_options: dict[str, Any] | None, read_only: bool) -> Any:
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(url, storage_options=storage_options, read_only=read_only)
    except ImportError as error:
        raise MissingExtraError(
            f"{url} needs a package of its protocol, which is not installed ({error}); install it: "
            "pip install s3fs, gcsfs or adlfs for s3://, gs:// or abfs://, for example."
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{url} cannot be opened: {error}. Give a path, or a URL that fsspec knows, such as "
            "s3://bucket/map.zarr, with storage_options= where it needs them."
        ) from error


def _buffer(value: bytes) -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype().buffer.from_bytes(value)
