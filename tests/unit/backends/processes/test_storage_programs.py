"""Storage containers' programs as sources: which is chosen, and what a run of it comes to."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from salver.backends.processes.containers import ContainerEngine
from salver.backends.processes.storage_programs import Program, ProgramSource, StoragePrograms
from salver.errors import LoadFailed, StorageError
from salver.spec.kserve_runtimes import ClusterStorageContainer
from salver.spec.read import parse_object
from salver.storage.ports import FetchOrder, Listing
from salver.storage.transfer import Cancelled, TimedOut, Transfer

NOTHING = Listing((), "")


def container(name: str = "own", **spec: Any) -> ClusterStorageContainer:
    program = {"name": "c", "image": "example/x:1", "command": ["fetch"], **spec.pop("program", {})}
    found = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ClusterStorageContainer",
            "metadata": {"name": name},
            "spec": {
                "container": program,
                "supportedUriFormats": [{"prefix": "own://"}, {"regex": "https://[^/]+/own/"}],
                **spec,
            },
        }
    )
    assert isinstance(found.resource, ClusterStorageContainer), found.problems
    return found.resource


def chosen(
    uri: str, *containers: ClusterStorageContainer, env: dict[str, str] | None = None
) -> Any:
    programs = StoragePrograms(
        lambda: containers, look_up=lambda *_: {"key": "secret"}, environ=env or dict(os.environ)
    )
    return programs(FetchOrder(uri), uri)


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        ("own://a", True),
        ("https://h/own/a", True),
        ("https://h/other/own/", False),
        ("s3://own://", False),
    ],
)
def test_uris_are_fetched_by_the_program_whose_forms_they_have(uri: str, fits: bool) -> None:
    assert (chosen(uri, container()) is not None) is fits


def test_disabled_ones_and_kserve_s_own_are_not_used() -> None:
    own = {"image": "kserve/storage-initializer:v0.15", "command": []}
    for each in (
        container(disabled=True),
        container(program=own),
    ):
        assert chosen("own://a", each) is None


def test_what_a_program_fetched_is_its_own() -> None:
    same, other = container(), container(program={"args": ["--other"]})
    found = [chosen("own://a", each).identity for each in (same, container(), other)]
    assert found[0] == found[1] != found[2]


def test_an_image_without_a_command_needs_an_engine(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"own://a: .* needs an OCI runtime.* install podman"):
        chosen("own://a", container(program={"command": []}), env={"PATH": str(tmp_path)})


def test_an_image_is_run_with_the_folder_mounted() -> None:
    engine = ContainerEngine("podman", ("--runtime", "runc"), ("--network", "none"))
    program = Program(("--x",), {}, "", engine, "example/x:1", {"A": "b"})
    command, after = program.command("own://a", Path("/work"))
    name = after[-1]
    assert command == [
        *("podman", "--runtime", "runc", "run", "--rm", "--name", name, "--network", "none"),
        *("--env", "A=b", "--volume", "/work:/mnt/models", "example/x:1"),
        *("--x", "own://a", "/mnt/models"),
    ]
    assert after == ["podman", "--runtime", "runc", "rm", "--force", name]


def source(code: str, **env: str) -> ProgramSource:
    return ProgramSource(Program((sys.executable, "-c", code), {**os.environ, **env}), "own://a/b")


def collect(made: ProgramSource, work: Path, transfer: Transfer | None = None) -> Path:
    transfer = transfer or Transfer("own://a/b", 30.0, time.monotonic)
    return made.collect(made.listing(transfer), work, transfer)


def test_what_the_program_leaves_is_the_artifact(tmp_path: Path) -> None:
    code = "import sys,os; open(sys.argv[2]+'/m','w').write(sys.argv[1]+os.environ['MINE'])"
    transfer = Transfer("own://a/b", 30.0, time.monotonic)
    path = collect(source(code, MINE="!"), tmp_path, transfer)
    assert (path / "m").read_text() == "own://a/b!"
    assert transfer.done_bytes == len("own://a/b!")


def test_variables_come_from_the_manifest_and_from_secrets() -> None:
    env = [
        {"name": "A", "value": "$(HOME)/x"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
    ]
    program = {"env": env}
    home = {"HOME": "/h", "SALVER_API_KEY": "k"}
    found = chosen("own://a", container(program=program), env=home)
    given = found.source._program.env
    assert given == {"HOME": "/h", "A": "/h/x", "B": "secret"}
    absent = {"env": [{**env[1], "valueFrom": {"secretKeyRef": {"name": "s", "key": "no"}}}]}
    with pytest.raises(LoadFailed, match="has no key 'no'"):
        chosen("own://a", container(program=absent))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no such model')", "ended with status 1; it wrote: no such model"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9; it wrote: nothing"),
        ("pass", "left nothing in the folder"),
    ],
)
def test_a_program_that_fails_is_told_with_its_words(
    tmp_path: Path, code: str, reason: str
) -> None:
    with pytest.raises(StorageError, match=f"own://a/b: .*{reason}"):
        collect(source(code), tmp_path)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no-such-program cannot be run: No such file"):
        collect(ProgramSource(Program(("no-such-program",), dict(os.environ)), "own://a"), tmp_path)
    nowhere = Program(("true",), dict(os.environ), str(tmp_path / "absent"))
    (tmp_path / "model").rmdir()
    with pytest.raises(StorageError, match=r"cannot be started in .*absent"):
        collect(ProgramSource(nowhere, "own://a"), tmp_path)


HANG = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    open(sys.argv[2] + '/pid', 'w').write(str(os.getpid()))
    time.sleep(600)
time.sleep(600)
"""


def test_a_program_that_takes_too_long_ends_with_all_it_has_started(tmp_path: Path) -> None:
    with pytest.raises(TimedOut):
        collect(source(HANG), tmp_path, Transfer("own://a", 1.0, time.monotonic))
    pid = (tmp_path / "model" / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_a_fetch_that_nobody_waits_for_ends_its_program(tmp_path: Path) -> None:
    transfer = Transfer("own://a", 30.0, time.monotonic)
    canceller = threading.Timer(0.3, transfer.cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        collect(source("import time; time.sleep(600)"), tmp_path, transfer)
    canceller.join()
