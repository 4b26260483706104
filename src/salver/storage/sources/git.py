"""Models in a git repository, through the git command.

Owns its command lines. Refuses what could run something: hooks, filters, other transports,
submodules, prompts.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.ports import Listing, Unreachable
from salver.storage.transfer import Transfer
from salver.storage.tree import inner_path
from salver.storage.unpack import Limits
from salver.storage.uris import Location, scheme_of, shown

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_POINTER = b"version https://git-lfs.github.com/spec/v1"
_ABSENT = ("not found", "does not exist", "not appear to be a git repository", "couldn't find")
_REFUSED = ("authentication failed", "could not read username", "permission denied", "403", "401")


class GitSource:
    """One revision of one repository, or a folder or file of it."""

    def __init__(
        self,
        location: Location,
        credentials: Credentials,
        limits: Limits,
        environ: Mapping[str, str],
    ) -> None:
        self._location = location
        self._limits = limits
        self._environ = {**_safe(environ), **_login(location.place, credentials)}
        self._url = (
            re.sub(r"(?<=://)[^/@]*@", "", location.place) if _is_web(location) else location.place
        )

    def listing(self, transfer: Transfer) -> Listing:
        """The commit that the revision is now."""
        revision = self._location.extra
        if _COMMIT.match(revision):
            return Listing((), revision)
        words = [revision or "HEAD"] if not revision else [revision, f"{revision}^{{}}"]
        found = self._git(["ls-remote", "--", self._url, *words], None, transfer)
        lines = [line.split("\t") for line in found.splitlines()]
        names = {name: commit for commit, name in lines}
        for name in (
            f"refs/tags/{revision}^{{}}",
            f"refs/tags/{revision}",
            f"refs/heads/{revision}",
        ):
            if names.get(name):
                return Listing((), names[name])
        if not lines:
            raise StorageError(
                f"{transfer.uri}: the repository has no branch or tag '{revision or 'HEAD'}'; name "
                "another after '@'"
            )
        return Listing((), lines[0][0])

    def collect(self, listing: Listing, work: Path, transfer: Transfer) -> Path:
        """Fetches that one commit and takes out what is wanted."""
        folder = work / "checkout"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        self._git(["init", "--quiet", "--template="], folder, transfer)
        fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--", self._url, listing.version]
        self._git(fetch, folder, transfer)
        self._check_size(folder, listing.version, transfer)
        self._git(["checkout", "--quiet", "--detach", listing.version], folder, transfer)
        shutil.rmtree(folder / ".git")
        return self._wanted(folder, transfer)

    def _wanted(self, folder: Path, transfer: Transfer) -> Path:
        path = folder
        if self._location.path:
            path = folder / inner_path(self._location.path, transfer.uri)
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
        if not path.exists() or not inside:
            raise StorageError(
                f"{transfer.uri}: the repository has no '{self._location.path}' at that revision; "
                "check the folder"
            )
        for each in path.rglob("*") if path.is_dir() else [path]:
            if _is_pointer(each):
                raise StorageError(
                    f"{transfer.uri}: '{each.name}' is kept in Git LFS, which is not fetched; "
                    "give its download address instead"
                )
        return path

    def _check_size(self, folder: Path, commit: str, transfer: Transfer) -> None:
        lines = self._git(["ls-tree", "-r", "-l", "-z", commit], folder, transfer).split("\0")
        sizes = [
            int(words[3])
            for words in (line.split() for line in lines)
            if len(words) > 4 and words[3].isdigit()
        ]
        transfer.total_bytes = sum(sizes)
        if sum(sizes) > self._limits.max_bytes or len(sizes) > self._limits.max_files:
            raise StorageError(
                f"{transfer.uri}: {len(sizes)} files with {sum(sizes)} bytes are over the limit "
                f"of {self._limits.max_files} files, {self._limits.max_bytes} bytes"
            )

    def _git(self, words: Sequence[str], folder: Path | None, transfer: Transfer) -> str:
        """Runs git; ends it when the transfer ends."""
        allowed = "file" if scheme_of(self._url) == "file" else scheme_of(self._url)
        command = [
            "git",
            "-c",
            "protocol.allow=never",
            "-c",
            f"protocol.{allowed}.allow=always",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "http.followRedirects=initial",
            "-c",
            "filter.lfs.required=false",
            *words,
        ]
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise StorageError(f"{transfer.uri}: git is not installed; install it") from error
        return self._outcome(process, transfer)

    def _outcome(self, process: subprocess.Popen[bytes], transfer: Transfer) -> str:
        while True:
            try:
                output, complaint = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                try:
                    transfer.check()
                except BaseException:
                    os.killpg(process.pid, 9)
                    process.communicate(timeout=10)
                    raise
        if process.returncode:
            raise _failure(complaint.decode("utf-8", "replace"), transfer.uri)
        return output.decode("utf-8", "replace")


def _is_pointer(path: Path) -> bool:
    """Whether the file only says where Git LFS keeps the real one."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 1024:
        return False
    return path.read_bytes().startswith(_POINTER)


def _is_web(location: Location) -> bool:
    return scheme_of(location.place) in ("http", "https")


def _safe(environ: Mapping[str, str]) -> dict[str, str]:
    """What git may see of the environment, and switches that keep it from asking or running."""
    kept = (
        "PATH",
        "HOME",
        "SSH_AUTH_SOCK",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
    )
    return {
        **{name: environ[name] for name in kept if environ.get(name)},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }


def _login(url: str, credentials: Credentials) -> dict[str, str]:
    """A header for this host alone, through the environment: arguments can be seen by all."""
    user = re.match(r"(https?://)(?:([^/@]*)@)?([^/]+)", url)
    if user is None:
        return {}
    name, _, password = (user[2] or "").partition(":")
    password = password or credentials.get("password")
    name = name or credentials.get("user", "x-access-token" if password else "")
    if not name:
        return {}
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{user[1]}{user[3]}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
    }


def _failure(complaint: str, uri: str) -> StorageError:
    lines = [line for line in complaint.splitlines() if line.strip()]
    reason = shown(lines[-1])[:200] if lines else "no reason given"
    lower = complaint.lower()
    if any(word in lower for word in _REFUSED):
        return StorageError(f"{uri}: access is refused ({reason}); check the credentials")
    if any(word in lower for word in _ABSENT):
        return StorageError(f"{uri}: the repository or revision is not there ({reason}); check it")
    if "unable to access" in lower or "unable to connect" in lower or "could not resolve" in lower:
        return Unreachable(f"{uri}: its server cannot be reached ({reason}); is it up?")
    return StorageError(f"{uri}: git failed ({reason}); check the repository")
