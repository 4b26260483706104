"""A container run by podman, with an image made on the spot; skipped where there is none.

The image holds the test's small server alone: the interpreter is this machine's, mounted. The
flags are those that a machine without the right to raise limits needs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.calls import RecordingCall

from salver.backends.processes.containers import container_launch, container_name, find_engine
from salver.backends.processes.output import OutputLog
from salver.backends.processes.service import ProcessOptions, ProcessService
from salver.backends.processes.storage_programs import Program, ProgramSource
from salver.backends.remote.model import RemoteModel, RemoteOptions
from salver.graphs.plan import ContainerRunner
from salver.protocol.wire_codes import Codec
from salver.storage.ports import Listing
from salver.storage.transfer import Transfer
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

SERVER = Path(__file__).parents[3] / "small_server.py"
IMAGE = "localhost/salver-small-server:test"
FLAGS = ["--runtime", "runc", "--cgroup-manager", "cgroupfs"]
MOUNTED = [sys.base_prefix, "/lib", "/lib64", "/usr/lib"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.getuid() != 0 or not all(map(shutil.which, ("podman", "buildah", "runc"))),
        reason="needs podman, buildah and runc, as root",
    ),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    shutil.copy(SERVER, folder / "server.py")
    (folder / "Containerfile").write_text("FROM scratch\nCOPY server.py /server.py\n")
    build = ["buildah", "bud", "--isolation", "chroot", "-q", "-t", IMAGE, str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no image can be built here: {done.stderr[-300:]}")
    return IMAGE


def run_flags() -> list[str]:
    limits = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=500:500", "--network", "host"]
    volumes = [f"--volume={path}:{path}:ro" for path in MOUNTED if Path(path).exists()]
    return [*limits, *volumes]


def containers() -> str:
    command = ["podman", *FLAGS, "ps", "--all", "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_container_serves_and_is_gone_afterwards(image: str, tmp_path: Path) -> None:
    engine = find_engine(
        {**os.environ, "SALVER_CONTAINER_FLAGS": " ".join([*FLAGS, "--", *run_flags()])}
    )
    assert engine is not None
    name = container_name(["test", str(os.getpid()), "1"])
    runner = ContainerRunner(
        image=image,
        command=(str(Path(sys.base_prefix) / "bin" / "python3"), "/server.py", "--in=/mnt/models"),
        env=(("PYTHONUNBUFFERED", "1"),),
        uri="s3://models/m",
    )

    async def scenario() -> None:
        remote = RemoteModel(
            "m",
            "1",
            RemoteOptions(is_external=False, holds_while_starting=True),
            ModelMetrics(Registry(), "m", "1"),
            clock=time.monotonic,
        )
        service = ProcessService(
            remote,
            lambda _number, port: container_launch(
                engine,
                runner,
                container=name,
                name="m",
                port=port,
                model_path=str(tmp_path),
                env=dict(os.environ),
            ),
            ProcessOptions(load_timeout_s=30.0, grace_s=5.0),
            OutputLog(),
            clock=time.monotonic,
        )
        try:
            await service.start()
            assert name in containers()
            call = RecordingCall(b"hello", Codec.V1_JSON)
            service.submit(call)
            assert json.loads((await call.wait()).text)["body"] == "hello"
            assert "arguments --in=/mnt/models" in service.read_logs()
            assert "model dir /mnt/models s3://models/m" in service.read_logs()
        finally:
            await service.close()

    asyncio.run(scenario())
    assert name not in containers()


def test_a_storage_container_fetches_into_the_folder_it_is_given(
    image: str, tmp_path: Path
) -> None:
    engine = find_engine(
        {**os.environ, "SALVER_CONTAINER_FLAGS": " ".join([*FLAGS, "--", *run_flags()])}
    )
    python = str(Path(sys.base_prefix) / "bin" / "python3")
    code = "import sys,os; open(sys.argv[2]+'/m','w').write(sys.argv[1]+os.environ['MINE'])"
    env = {"MINE": "!"}
    program = Program((python, "-c", code), dict(os.environ), "", engine, image, env)
    transfer = Transfer("own://a", 60.0, time.monotonic)
    folder = ProgramSource(program, "own://a").collect(Listing((), ""), tmp_path, transfer)
    assert (folder / "m").read_text() == "own://a!"
    assert "salver-fetch" not in containers()
