import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from salver.errors import StorageError
from salver.storage.credentials import Credentials, find_credentials
from salver.storage.ports import FetchOrder


class Secrets:
    def __init__(self, secrets: Mapping[str, Mapping[str, bytes]], *of_account: str) -> None:
        self._secrets = secrets
        self._of_account = of_account

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        assert namespace == "team"
        return self._secrets.get(name)

    def service_account_secrets(self, namespace: str, name: str) -> Sequence[str]:
        return self._of_account if name == "sa" else ()


ENTRY = {"type": "s3", "access_key_id": "from-key", "secret_access_key": "x"}
ACCOUNT = {"AWS_ACCESS_KEY_ID": b"from-account", "AWS_SECRET_ACCESS_KEY": b"x"}
ENVIRON = {"AWS_ACCESS_KEY_ID": "from-environ", "AWS_SECRET_ACCESS_KEY": "x"}
SECRETS = Secrets(
    {"storage-config": {"mine": json.dumps(ENTRY).encode()}, "aws": ACCOUNT}, "nothing", "aws"
)


def found(kind: str, secrets: Secrets, environ: dict[str, str], **order: object) -> Credentials:
    wanted = FetchOrder("s3://b/a", namespace="team", **order)  # type: ignore[arg-type]
    return find_credentials(kind, "host", wanted, secrets, environ)


def test_a_storage_key_comes_before_an_account_and_that_before_the_environment() -> None:
    both = {"storage_key": "mine", "service_account": "sa"}
    assert found("s3", SECRETS, ENVIRON, **both).get("access_key") == "from-key"
    assert found("s3", SECRETS, ENVIRON, service_account="sa").get("access_key") == "from-account"
    assert found("s3", SECRETS, ENVIRON).get("access_key") == "from-environ"


def test_storage_config_comes_before_the_environment() -> None:
    environ = {**ENVIRON, "STORAGE_CONFIG": json.dumps(ENTRY)}
    assert found("s3", Secrets({}), environ).get("access_key") == "from-key"


def test_secrets_of_different_origin_are_not_mixed() -> None:
    anonymous = {"storage-config": {"mine": b'{"type": "s3", "anonymous": "true"}'}}
    assert found("s3", Secrets(anonymous), ENVIRON, storage_key="mine").values == {
        "anonymous": "true"
    }


def test_overrides_change_single_fields() -> None:
    environ = {**ENVIRON, "STORAGE_OVERRIDE_CONFIG": '{"region": "eu-west-1"}'}
    parameters = (("region", "eu-north-1"),)
    assert found("s3", Secrets({}), environ).get("region") == "eu-west-1"
    late = found("s3", Secrets({}), environ, storage_parameters=parameters)
    assert (late.get("region"), late.get("access_key")) == ("eu-north-1", "from-environ")


def test_a_missing_key_names_those_there_are() -> None:
    with pytest.raises(StorageError, match=r"not in Secret team/storage-config \(it has mine\)"):
        found("s3", SECRETS, {}, storage_key="yours")


def test_a_secret_for_another_kind_or_host_is_passed_over() -> None:
    other = Secrets({"web": {"https-host": b"elsewhere", "headers": b"{}"}, "aws": ACCOUNT}, "web")
    assert found("http", other, {}, service_account="sa").values == {}
    assert found("gs", SECRETS, {}, service_account="sa").values == {}


@pytest.mark.parametrize(
    ("kind", "environ", "name", "value"),
    [
        ("gs", {"STORAGE_EMULATOR_HOST": "http://h"}, "endpoint", "http://h"),
        ("azure", {"AZ_CLIENT_ID": "a", "AZURE_CLIENT_ID": "b"}, "client_id", "b"),
        ("azure", {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=a2V5"}, "account_key", "a2V5"),
        ("hf", {"HUGGING_FACE_HUB_TOKEN": "old", "HF_TOKEN": "new"}, "token", "new"),
        ("http", {"host-headers": '{"A": "b"}'}, "headers", '{"A": "b"}'),
        ("webhdfs", {"HDFS_NAMENODE": "http://a;http://b"}, "namenode", "http://a;http://b"),
        ("s3", {"S3_ENDPOINT": "minio:9000", "S3_USE_HTTPS": "0"}, "use_https", "0"),
    ],
)
def test_the_environment_gives_what_each_kind_knows(
    kind: str, environ: dict[str, str], name: str, value: str
) -> None:
    assert found(kind, Secrets({}), environ).get(name) == value


def test_files_that_are_named_are_read(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"type": "service_account"}')
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
    assert found("gs", Secrets({}), environ).get("service_account_json").startswith("{")
    environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "none.json")
    with pytest.raises(StorageError, match=r"none\.json cannot be read"):
        found("gs", Secrets({}), environ)


def test_an_aws_profile_and_a_docker_login_are_found_at_home(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    profile = "[default]\naws_access_key_id = a\n[work]\naws_access_key_id = w%1\n"
    (tmp_path / ".aws/credentials").write_text(profile)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{}")
    home = {"HOME": str(tmp_path)}
    assert found("s3", Secrets({}), home).get("access_key") == "a"
    assert found("s3", Secrets({}), {**home, "AWS_PROFILE": "work"}).get("access_key") == "w%1"
    assert found("oci", Secrets({}), home).get("docker_config") == "{}"
    assert found("s3", Secrets({}), {**home, "AWS_PROFILE": "none"}).values == {}


def test_credentials_tell_who_looks_but_not_the_secret() -> None:
    one, other = Credentials({"password": "geheim"}), Credentials({"password": "anders"})
    assert one.identity != other.identity
    assert one.identity == Credentials({"password": "geheim"}).identity
    assert "geheim" not in repr(one) + one.identity


@pytest.mark.parametrize(("text", "is_on"), [("1", True), ("True", True), ("0", False), ("", True)])
def test_switches_are_read_as_kserve_writes_them(text: str, is_on: bool) -> None:
    assert Credentials({"use_https": text}).is_true("use_https", True) is is_on
