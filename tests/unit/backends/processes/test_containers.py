"""Command lines of OCI runtimes."""

from __future__ import annotations

from pathlib import Path

from salver.backends.processes.containers import (
    ContainerEngine,
    container_launch,
    container_name,
    find_engine,
    no_engine,
    seen_from_within,
)
from salver.graphs.plan import ContainerRunner

RUNNER = ContainerRunner(
    image="example/model:1",
    command=("/server", "--fast"),
    args=("--port=$(PORT)", "--dir=/mnt/models"),
    env=(("A", "b $(MODEL_NAME)"),),
    port=9000,
    uri="s3://b/m",
)


def test_a_container_gets_its_port_its_model_and_its_arguments() -> None:
    engine = ContainerEngine("podman", ("--runtime", "runc"), ("--memory", "1g"))
    launch = container_launch(
        engine, RUNNER, container="c1", name="m", port=50, model_path="/srv/m", env={"PATH": "/b"}
    )
    assert launch.command == (
        *("podman", "--runtime", "runc", "run", "--rm", "--name", "c1", "--pull", "missing"),
        *("--memory", "1g", "--publish", "127.0.0.1:50:9000"),
        *("--volume", "/srv/m:/mnt/models:ro", "--env", "PORT=9000", "--env", "MODEL_NAME=m"),
        *("--env", "STORAGE_URI=s3://b/m", "--env", "MODEL_DIR=/mnt/models", "--env", "A=b m"),
        *("--entrypoint", "/server", "example/model:1", "--fast"),
        *("--port=9000", "--dir=/mnt/models"),
    )
    assert launch.env == {"PATH": "/b"}
    assert launch.after[:4] == ("podman", "--runtime", "runc", "rm")


def test_with_the_machine_s_network_the_port_is_the_machine_s() -> None:
    engine = ContainerEngine("podman", (), ("--network", "host"))
    command = container_launch(
        engine, RUNNER, container="c", name="m", port=50, model_path="", env={}
    ).command
    assert "--publish" not in command
    assert "PORT=50" in command
    assert "--port=50" in command


def test_the_engine_is_the_one_named_else_the_first_there_is(tmp_path: Path) -> None:
    assert find_engine({"PATH": str(tmp_path)}) is None
    for name in ("docker", "podman"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": str(tmp_path)}
    found = find_engine(path)
    assert found is not None and found.program == str(tmp_path / "podman")
    named = find_engine(
        {
            **path,
            "SALVER_CONTAINER_ENGINE": "docker",
            "SALVER_CONTAINER_FLAGS": "--runtime runc -- --network host",
        }
    )
    assert named is not None
    assert (named.program, named.flags, named.run_flags, named.shares_network) == (
        str(tmp_path / "docker"),
        ("--runtime", "runc"),
        ("--network", "host"),
        True,
    )


def test_without_an_engine_the_remedy_is_told() -> None:
    assert "install podman" in str(no_engine("a/b"))
    assert container_name(["ns", "my_model", "", "00001"]) == "salver-ns-my-model-00001"


def test_a_transformer_gets_kserve_s_arguments_and_an_address_it_can_reach() -> None:
    engine = ContainerEngine("podman")
    url = seen_from_within(engine, "http://127.0.0.1:80/serving/default/m-predictor")
    launch = container_launch(
        engine, RUNNER, container="c", name="m", port=50, model_path="", env={}, predictor_url=url
    )
    host = "host.containers.internal:80/serving/default/m-predictor"
    assert f"PREDICTOR_URL=http://{host}" in launch.command
    assert launch.command[-6:] == (
        *("--model_name", "m", "--predictor_host", host, "--http_port", "9000"),
    )
    shared = ContainerEngine("docker", (), ("--network=host",))
    assert seen_from_within(shared, "http://127.0.0.1:80") == "http://127.0.0.1:80"
    docker = ContainerEngine("docker")
    assert seen_from_within(docker, "http://[::1]:80/x") == "http://host.docker.internal:80/x"
