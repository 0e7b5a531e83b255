"""Findings about stores: whether each can be written, and keeps the written values."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tiktok_oauth_middleware._core.backends.command import backend_for, finish
from tiktok_oauth_middleware._core.findings import Finding, good, note, wrong
from tiktok_oauth_middleware._core.origins import LOOPBACK_HOSTS
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .registry import open_store

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

_LOCAL = (*LOOPBACK_HOSTS, None)
_LITTLE_SPACE = 64 * 1024 * 1024
_MOUNTS = Path("/proc/self/mountinfo")
#: The index of the mount point among a line's fields.
_MOUNT_POINT = 4
#: File systems on which the shared memory of SQLite's WAL does not work
#: (https://www.sqlite.org/wal.html, "all processes must be on the same host").
_REMOTE = re.compile(
    r"nfs4?|cifs|smb\w*|9p|afs|ceph|lustre|gpfs|gfs2|ocfs2|glusterfs|drvfs|davfs"
    r"|fuse\.(sshfs|s3fs|gcsfuse|rclone|glusterfs|davfs2?|cephfs|blobfuse2?|juicefs)"
)
_PASSING = {
    "tmpfs": "memory: a reboot empties it",
    "ramfs": "memory: a reboot empties it",
    "overlay": "a container's own layer: it goes with the container",
}


def memory() -> Iterator[Finding]:
    """Yield the findings about a store in memory."""
    yield note(
        "store_memory",
        "store",
        "store is memory://: a restart signs all users out, and workers do not share"
        " it",
        "use sqlite:///... on one host, redis://... across hosts",
    )


def write_and_read(url: str) -> Finding:
    """Write, read and delete a value, as a login would."""
    try:
        store = open_store(url)
        backend = backend_for(store)
        is_there = finish(_is_kept(backend.adapt_store(store)), backend)
    except ConfigurationError as error:
        message, _, fix = str(error).partition(": ")
        return wrong("store_library", "store", message, fix)
    except StoreError as error:
        return wrong(
            "store_unusable",
            "store",
            f"store: {error}",
            "check that it runs, can be reached, and lets this user write",
        )
    if not is_there:
        return wrong(
            "store_forgets",
            "store",
            "store does not return what was written",
            "check that it is one server, and keeps what is written",
        )
    return good("store", "store", "store can be written and read")


async def _is_kept(store: StoreAdapter) -> bool:
    key = f"tiktok:check:{secrets.token_hex(8)}"
    try:
        await store.compare_and_set(key, None, b"1", 60)
        is_there = await store.get(key) == b"1"
        await store.compare_and_set(key, b"1", None, 60)
    finally:
        await store.close()
    return is_there


# --- SQLite ------------------------------------------------------------------------


def sqlite(written: str) -> Iterator[Finding]:
    """Yield the findings about a file of SQLite.

    Args:
        written: The path as written in the URL.
    """
    try:
        yield from _sqlite(written)
    except OSError as error:
        yield wrong(
            "store_unreadable",
            "store",
            f"store's file or directory cannot be examined: {error.strerror}",
            "check the path, and that this user may enter it",
        )


def _is_there(path: Path) -> bool:
    """Whether a file exists; Python 3.14's `Path.exists` is False after any error.

    Raises:
        OSError: the path is too long, or a directory of it may not be entered.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _sqlite(written: str) -> Iterator[Finding]:
    path = Path(written).absolute()
    if not Path(written).is_absolute():
        yield note(
            "store_relative",
            "store",
            "store is a relative path: an app started in another directory has"
            f" another store, now {path}",
            f"write sqlite:///{path}",
        )
    directory = path.parent
    if not _is_there(directory) or not directory.is_dir():
        yield wrong(
            "store_no_directory",
            "store",
            f"store's directory {directory} does not exist",
            f"create it for the app's user alone: mkdir -p -m 700 {directory}",
        )
        return
    yield from _directory(directory)
    is_new = not _is_there(path)
    if not is_new:
        yield from _file(path)
    # A file created here might not be writable for the app's user, so a different file
    # is created beside it, and deleted.
    tried = path.with_name(f".check-{secrets.token_hex(8)}") if is_new else path
    had_no_wal = not is_new and _has_no_wal(path)
    try:
        yield write_and_read(f"sqlite:///{tried}")
    finally:
        for suffix in ("", "-wal", "-shm") if is_new else ():
            Path(f"{tried}{suffix}").unlink(missing_ok=True)
    if had_no_wal:
        yield _wal(path)


#: The byte of the header with the write version: 1 for a rollback journal, 2 for a WAL
#: (https://www.sqlite.org/fileformat.html, section 1.3.3).
_MAGIC = b"SQLite format 3\0"
_WRITE_VERSION = 18


def _has_no_wal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return False  # `write_and_read` reports it
    return (
        head.startswith(_MAGIC) and head[_WRITE_VERSION : _WRITE_VERSION + 1] == b"\1"
    )


def _wal(path: Path) -> Finding:
    fact = f"store's file {path} had no WAL, so each write blocked all reads"
    if _has_no_wal(path):
        return wrong(
            "store_no_wal",
            "store",
            f"{fact}, and it could not be changed",
            f"stop the app and run: sqlite3 {path} 'PRAGMA journal_mode = WAL'",
        )
    return note(
        "store_no_wal",
        "store",
        f"{fact}; it has one now",
        "nothing: a backup made by VACUUM INTO has none, and this package adds it"
        " when it opens the file",
    )


def _directory(directory: Path) -> Iterator[Finding]:
    mode = directory.stat().st_mode
    if mode & stat.S_IWOTH:
        level = note if mode & stat.S_ISVTX else wrong
        yield level(
            "store_directory_open",
            "store",
            f"store's directory {directory} is writable for all users",
            "keep the file in a directory of the app's user, with mode 0700",
        )
    kind = file_system(directory)
    if kind is not None and _REMOTE.fullmatch(kind):
        yield wrong(
            "store_remote",
            "store",
            f"store is on {kind}, a network file system, on which SQLite loses data",
            "keep it on a local disk; across hosts use redis://...",
        )
    elif kind in _PASSING:
        yield note(
            "store_passing",
            "store",
            f"store is on {kind}, {_PASSING[kind]}",
            "keep it on a disk or a volume that stays",
        )
    if shutil.disk_usage(directory).free < _LITTLE_SPACE:
        yield note(
            "store_space",
            "store",
            "store's disk has less than 64 MB left",
            "make room: on a full disk no login succeeds",
        )


def _file(path: Path) -> Iterator[Finding]:
    about = path.stat()
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o077:
        level = wrong if mode & 0o022 else note
        yield level(
            "store_file_open",
            "store",
            f"store's file has the mode {mode:04o}: others may"
            f" {'write' if mode & 0o022 else 'read'} it",
            f"chmod 600 {path}",
        )
    if about.st_uid != os.geteuid():
        yield note(
            "store_owner",
            "store",
            f"store's file belongs to user id {about.st_uid}, and this is"
            f" {os.geteuid()}",
            "run check as the app's user, who must own the file",
        )


def file_system(path: Path, mounts: str | None = None) -> str | None:
    """Return the type of the file system that a path is on, if Linux reports it.

    Args:
        path: of a directory that exists.
        mounts: in the form of proc_pid_mountinfo(5); this process's if not given.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text()
        except OSError:
            return None
    found, longest = None, -1
    place = f"{path.resolve()}/"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > _MOUNT_POINT and after:
            point = re.sub(
                r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[_MOUNT_POINT]
            )
            point = point.rstrip("/")
            # The last file system mounted on a point hides those before it.
            if place.startswith(f"{point}/") and len(point) >= longest:
                found, longest = after.split(" ")[0], len(point)
    return found


# --- Redis -------------------------------------------------------------------------


def redis(url: str) -> Iterator[Finding]:
    """Yield the findings about a server of Redis."""
    yield from _redis_address(url)
    tried = write_and_read(url)
    yield tried
    if tried.level != "good":
        return
    from .redis import RedisStore

    store = RedisStore(url)
    try:
        facts = store.facts()
    except StoreError:
        yield note(
            "redis_silent",
            "store",
            "store does not report how it keeps data: this user may not run INFO",
            "check that it evicts nothing and writes to a disk",
        )
        return
    finally:
        store.close()
    yield _eviction(facts)
    yield _persistence(facts)


def _redis_address(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return
    if parts.scheme == "redis" and parts.hostname not in _LOCAL:
        yield note(
            "redis_plain",
            "store",
            "store is reached without TLS on another host",
            "use rediss://..., unless the network is private",
        )
    if parts.password is None:
        yield note(
            "redis_open",
            "store",
            "store's URL has no password",
            "set requirepass or a user, and write redis://:password@host:6379/0",
        )


def _eviction(facts: dict[str, Any]) -> Finding:
    policy = str(facts.get("maxmemory_policy", "unknown"))
    if policy == "noeviction" or not int(facts.get("maxmemory") or 0):
        return good("redis_eviction", "store", "store evicts no keys")
    return note(
        "redis_evicts",
        "store",
        f"store evicts keys when its memory is full ({policy}): their users are logged"
        " out",
        "give it enough memory, and CONFIG SET maxmemory-policy noeviction",
    )


def _persistence(facts: dict[str, Any]) -> Finding:
    if int(facts.get("aof_enabled") or 0):
        return good("redis_persistence", "store", "store writes a log to its disk")
    if facts.get("save", "unknown"):
        return note(
            "redis_snapshots",
            "store",
            "store writes no log, at best snapshots: a crash loses the tokens since"
            " the last one, and TikTok accepts no older ones",
            "CONFIG SET appendonly yes",
        )
    return note(
        "redis_keeps_nothing",
        "store",
        "store writes nothing to a disk: its restart signs all users out",
        "CONFIG SET appendonly yes",
    )
