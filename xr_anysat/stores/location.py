"""Locations of small objects and arrays: paths, URLs and Zarr stores alike.

An object is written whole or not at all wherever the store can do so (Zarr's stores of local files
and of object storage can), and no object is read in order to be changed.
"""

import asyncio
import errno
import json
import os
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from xr_anysat.errors import MissingExtraError, OptionError, StoreError
from xr_anysat.findings import Advice, Call

__all__ = ["ZarrLocation", "open_location"]

T = TypeVar("T")

CONCURRENT_READS = 32
"""Small objects that are read at once: object storage takes hundredths of a second for each."""


@dataclass(frozen=True, kw_only=True)
class ZarrLocation:
    """A Zarr store, and a path in it.

    Everything is deleted by `delete` and `delete_folder`; what only one of several processes may
    write is written by `claim_json`.

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
        return _wait(self._get(name))

    def read_each(self, names: Iterable[str]) -> list[bytes | None]:
        """Read several objects concurrently."""

        async def read_all() -> list[bytes | None]:
            limit = asyncio.Semaphore(CONCURRENT_READS)

            async def read(name: str) -> bytes | None:
                async with limit:
                    return await self._get(name)

            return await asyncio.gather(*map(read, names))

        return _wait(read_all())

    async def _get(self, name: str) -> bytes | None:
        from zarr.buffer import default_buffer_prototype

        value = await self.store.get(self.key(name), default_buffer_prototype())
        return None if value is None else value.to_bytes()

    def read_json(self, name: str) -> Any:
        """Read an object of JSON, None where there is none or it was not written to its end."""
        text = self.read(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return None

    def write(self, name: str, value: bytes) -> None:
        """Write an object, replacing an earlier one."""
        _wait(self.store.set(self.key(name), as_buffer(value)))

    def write_json(self, name: str, value: Any) -> None:
        """Write an object of JSON, replacing an earlier one."""
        self.write(name, _to_text(value))

    def claim_json(self, name: str, value: Any) -> Any:
        """Write an object of JSON unless there is one, and return the one in the store."""
        if self.read_json(name) is None and self.read(name) is not None:
            self.delete(name)  # torn: a store that does not write whole objects, and a kill
        try:
            _wait(self.store.set_if_not_exists(self.key(name), as_buffer(_to_text(value))))
        except OSError:  # of file systems without hard links
            if self.read(name) is None:
                self.write_json(name, value)
        return self.read_json(name)

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        with suppress(FileNotFoundError):
            _wait(self.store.delete(self.key(name)))

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with everything in it."""
        _wait(self.store.delete_dir(self.key(folder)))

    def names(self, prefix: str = "", *, until: Callable[[str], bool] | None = None) -> list[str]:
        """Names of the objects below a prefix, which is empty or ends in a slash.

        With `until`, the last one is the first for which it holds; none after it is listed.
        """

        async def collect() -> list[str]:
            names: list[str] = []
            async for key in self.store.list_prefix(self.key(prefix)):
                names.append(key[len(self.key("")) :])
                if until is not None and until(names[-1]):
                    break
            return names

        try:
            return _wait(collect())
        except FileNotFoundError:
            return []

    def flush(self, names: Iterable[str]) -> None:
        """Wait until objects are on the disk, where the store is one of local files.

        Some file systems report only then that there was no room for them.
        """
        from zarr.storage import LocalStore

        if not isinstance(self.store, LocalStore):
            return
        paths = (self.store.root / self.key(name) for name in names)
        files = [path for path in paths if path.is_file()]
        folders = {file.parent for file in files} if os.name == "posix" else set()
        for path in (*files, *folders):
            handle = os.open(path, os.O_RDONLY if path in folders else os.O_RDWR)
            try:
                os.fsync(handle)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported there
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
        Where a URL cannot be opened, or the store is to be written and cannot be.
    MissingExtraError
        Where the package that a URL's protocol needs is not installed.
    """
    from zarr.abc.store import Store
    from zarr.storage import FsspecStore, LocalStore, StorePath

    if isinstance(store, os.PathLike):
        store = os.fspath(store)
    remote = isinstance(store, str) and "://" in store and not store.startswith("file://")
    if storage_options is not None and not remote:
        raise OptionError("store.storage-options")
    path = ""
    if isinstance(store, StorePath):
        store, path = store.store, store.path
    if remote:
        opened: Any = _open_url(store, storage_options, read_only)
    elif isinstance(store, str):
        # absolute: a worker's working directory may be another
        local = os.path.abspath(os.path.expanduser(store.removeprefix("file://")))
        opened = LocalStore(local, read_only=read_only)
    elif isinstance(store, Store):
        opened = store
    elif type(store).__name__ == "FSMap":
        opened = FsspecStore.from_mapper(store, read_only=read_only)
    else:
        example = Call("zarr.storage.MemoryStore()")
        raise OptionError("store.kind", example, kind=type(store).__name__)
    if not read_only:
        _check_writable(opened)
    return ZarrLocation(store=opened, path=path)


def _check_writable(store: Any) -> None:
    if not (store.supports_writes and store.supports_deletes and store.supports_listing):
        raise StoreError(
            "store.cannot-resume",
            Advice("write to a folder or to object storage, and pack it afterwards"),
            store=store,
        )
    if store.read_only:
        raise StoreError("store.read-only", store=store)


def _open_url(url: str, storage_options: dict[str, Any] | None, read_only: bool) -> Any:
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(url, storage_options=storage_options, read_only=read_only)
    except ImportError as error:
        raise MissingExtraError(
            "store.protocol",
            *(Call(f"pip install {package}") for package in ("s3fs", "gcsfs", "adlfs")),
            url=url,
            error=error,
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError("store.url", url=url, error=error) from error


def as_buffer(value: bytes) -> Any:
    """Bytes as Zarr's stores take them."""
    from zarr.buffer import default_buffer_prototype

    return default_buffer_prototype().buffer.from_bytes(value)


def _to_text(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a store's coroutine to its end.

    Zarr has no public function for it. A loop of our own would not do: clients of object storage
    belong to the loop that used them first, and Zarr reads and writes the same store in its own.
    """
    from zarr.core.sync import sync

    return sync(coroutine)
