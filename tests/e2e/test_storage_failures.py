"""Fetching goes wrong in every way that it can; nothing half-done is ever seen."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.errors import StorageError
from salver.storage.ports import FetchOrder
from tests.e2e.storage_kit import Fetcher, content, member, tar_of
from tests.e2e.storage_servers import ROOT, FileServer, Reply, free_port

pytestmark = pytest.mark.e2e

BODY = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def web() -> Iterator[FileServer]:
    server = FileServer()
    server.files["/model.bst"] = BODY
    yield server
    server.stop()


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "cache")


def left_over(fetcher: Fetcher) -> list[str]:
    """What lies in the cache beside whole objects."""
    found = [*(fetcher.cache_dir / "work").iterdir(), *(fetcher.cache_dir / "trash").iterdir()]
    return [each.name for each in found]


def objects(fetcher: Fetcher) -> list[Path]:
    """What the cache holds; nothing if no fetch has got so far as to make it."""
    return sorted((fetcher.cache_dir / "objects").glob("*"))


def test_a_download_that_breaks_off_goes_on_where_it_was(fetcher: Fetcher, web: FileServer) -> None:
    web.cuts = [100_000, 50_000]
    assert content(fetcher.fetch(f"{web.url}/model.bst").path) == {"model.bst": BODY}
    assert web.ranges == ["", "bytes=100000-", "bytes=150000-"]
    assert left_over(fetcher) == []


def break_off(fetcher: Fetcher, web: FileServer) -> None:
    """A download that ends after 100,000 bytes, as its time is up."""
    web.cuts = [100_000] + [0] * 9
    limit = {"timeout_s": 0.5}
    assert "what has come is kept" in fetcher.problem(f"{web.url}/model.bst", limit)
    assert objects(fetcher) == []
    web.cuts.clear()


def test_a_download_that_ends_early_every_time_is_given_up(
    fetcher: Fetcher, web: FileServer
) -> None:
    web.cuts = [100_000] + [0] * 5
    assert "broke off after" in fetcher.problem(f"{web.url}/model.bst")


def test_what_has_come_of_a_download_is_kept_for_the_next_try(
    fetcher: Fetcher, web: FileServer
) -> None:
    break_off(fetcher, web)
    web.requests.clear()
    assert content(fetcher.fetch(f"{web.url}/model.bst").path) == {"model.bst": BODY}
    assert web.ranges == ["bytes=100000-"]


def test_a_file_that_changes_meanwhile_is_fetched_anew(fetcher: Fetcher, web: FileServer) -> None:
    break_off(fetcher, web)
    web.files["/model.bst"] = BODY[::-1]
    assert content(fetcher.fetch(f"{web.url}/model.bst").path) == {"model.bst": BODY[::-1]}


def test_a_server_without_ranges_or_validators_sends_all_again(
    fetcher: Fetcher, web: FileServer
) -> None:
    def plain(cut: int | None = None) -> Reply:
        return Reply(200, BODY, {}, cut)

    web.replies = [plain(), plain(100_000), plain()]
    found = fetcher.fetch(f"{web.url}/model.bst")
    assert content(found.path) == {"model.bst": BODY}
    web.replies = [plain(), plain()]
    again = fetcher.fetch(f"{web.url}/model.bst")
    assert not again.was_cached
    assert again.digest == found.digest


def test_a_busy_server_is_asked_again(fetcher: Fetcher, web: FileServer) -> None:
    web.replies = [Reply(503), Reply(429)]
    assert content(fetcher.fetch(f"{web.url}/model.bst").path) == {"model.bst": BODY}


def test_wrong_credentials_and_missing_files_are_told_apart(
    fetcher: Fetcher, web: FileServer
) -> None:
    assert "there is nothing" in fetcher.problem(f"{web.url}/none.bst")
    web.replies = [Reply(401)]
    assert "refuses access (401); check the credentials" in fetcher.problem(f"{web.url}/model.bst")
    problem = fetcher.problem(f"http://127.0.0.1:{free_port()}/model.bst")
    assert "cannot be reached" in problem


def test_a_password_in_a_uri_is_used_and_never_shown(fetcher: Fetcher, web: FileServer) -> None:
    uri = f"http://me:geheim@{web.host}/model.bst?sig=geheim"
    found = fetcher.fetch(uri)
    assert "geheim" not in found.uri
    sent = web.requests[0].headers["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"me:geheim"
    web.replies = [Reply(401)]
    assert "geheim" not in fetcher.problem(uri)


@pytest.mark.parametrize(
    ("uri", "headers"),
    [
        ("#sha256=" + "0" * 64, {}),
        ("", {"Content-MD5": base64.b64encode(b"0" * 16).decode()}),
        ("", {"Repr-Digest": f"sha-256=:{base64.b64encode(b'0' * 32).decode()}:"}),
        ("", {"x-amz-checksum-sha256": base64.b64encode(b"0" * 32).decode()}),
        ("", {"x-goog-hash": f"crc32c=AAAAAA==,md5={base64.b64encode(b'0' * 16).decode()}"}),
    ],
)
def test_a_checksum_that_does_not_fit_is_refused(
    fetcher: Fetcher, web: FileServer, uri: str, headers: dict[str, str]
) -> None:
    web.extra = headers
    problem = fetcher.problem(f"{web.url}/model.bst{uri}")
    assert "as it should; it is damaged or another file" in problem
    assert objects(fetcher) == []
    web.extra = {}
    assert content(fetcher.fetch(f"{web.url}/model.bst").path) == {"model.bst": BODY}


def test_a_checksum_that_fits_needs_no_second_question(fetcher: Fetcher, web: FileServer) -> None:
    first = fetcher.fetch(f"{web.url}/model.bst#sha256={SHA256}")
    asked = len(web.requests)
    again = fetcher.fetch(f"{web.url}/model.bst#sha256={SHA256}")
    assert (again.digest, again.was_cached, len(web.requests)) == (first.digest, True, asked)


def test_the_digest_of_an_artifact_can_be_asked_for(fetcher: Fetcher, tmp_path: Path) -> None:
    """A folder's checksum is the digest that its fetch told."""
    from tests.e2e.storage_servers import NameNode

    node = NameNode({"m/a": b"a", "m/b": b"b"})
    uri = f"webhdfs://{node.host}/m"
    try:
        digest = fetcher.fetch(uri).digest
        assert fetcher.fetch(f"{uri}#sha256={digest}").digest == digest
        assert "not " + "0" * 64 in fetcher.problem(f"{uri}#sha256={'0' * 64}")
    finally:
        node.stop()


def test_offline_uses_the_cache_and_says_if_it_cannot(fetcher: Fetcher, web: FileServer) -> None:
    offline = {"offline": True}
    assert "Salver is offline" in fetcher.problem(f"{web.url}/model.bst", offline)
    fetcher.fetch(f"{web.url}/model.bst")
    asked = len(web.requests)
    assert fetcher.fetch(f"{web.url}/model.bst", offline).was_cached
    assert len(web.requests) == asked


def test_a_server_that_is_down_is_no_harm_to_a_cached_model(
    fetcher: Fetcher, web: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    first = fetcher.fetch(f"{web.url}/model.bst")
    web.stop()
    again = fetcher.fetch(f"{web.url}/model.bst")
    assert (again.digest, again.was_cached) == (first.digest, True)
    assert "the copy in the cache is used" in caplog.text


def test_a_damaged_object_is_fetched_again(fetcher: Fetcher, web: FileServer) -> None:
    found = fetcher.fetch(f"{web.url}/model.bst")
    found.path.write_bytes(BODY[:1000])
    again = fetcher.fetch(f"{web.url}/model.bst")
    assert not again.was_cached
    assert again.path.read_bytes() == BODY


def test_a_lost_index_costs_a_download_and_no_more(fetcher: Fetcher, web: FileServer) -> None:
    fetcher.fetch(f"{web.url}/model.bst")
    (fetcher.cache_dir / "index.sqlite").write_bytes(b"this is no database" * 1000)
    for each in fetcher.cache_dir.glob("index.sqlite-*"):
        each.unlink()
    assert fetcher.fetch(f"{web.url}/model.bst").path.read_bytes() == BODY
    assert len(objects(fetcher)) == 1


def test_a_file_without_an_end_in_sight_is_cut_off(fetcher: Fetcher, web: FileServer) -> None:
    """Nothing announces its length; the limit counts what comes."""
    endless = Reply(200, BODY, {"Content-Length": "", "Connection": "close"})
    web.replies = [endless, endless]
    limit = {"max_artifact_bytes": 1000}
    assert "larger than the limit of 1000 bytes" in fetcher.problem(f"{web.url}/x", limit)


def test_two_fetches_share_one_download(fetcher: Fetcher, web: FileServer) -> None:
    web.delay_s = 0.3

    async def both() -> None:
        store = fetcher.store()
        orders = [FetchOrder(f"{web.url}/model.bst")] * 5
        seen: list[tuple[int, int | None]] = []
        found = await asyncio.gather(
            *(store.fetch(order, lambda *told: seen.append(told)) for order in orders)
        )
        assert len({each.path for each in found}) == 1
        assert (len(BODY), len(BODY)) in seen
        assert store.fetches_under_way == 0
        await store.aclose()

    asyncio.run(both())
    assert len(web.ranges) == 1


def test_a_cancelled_fetch_does_not_take_others_with_it(fetcher: Fetcher, web: FileServer) -> None:
    web.delay_s = 0.3

    async def run() -> None:
        store = fetcher.store()
        order = FetchOrder(f"{web.url}/model.bst")
        leaving = asyncio.create_task(store.fetch(order))
        staying = asyncio.create_task(store.fetch(order))
        await asyncio.sleep(0.1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (await staying).path.read_bytes() == BODY
        alone = asyncio.create_task(store.fetch(FetchOrder(f"{web.url}/none?x")))
        await asyncio.sleep(0)
        alone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await alone
        assert store.fetches_under_way == 0
        await store.aclose()

    asyncio.run(run())


def test_a_time_limit_ends_a_fetch(fetcher: Fetcher, web: FileServer) -> None:
    web.delay_s = 0.4
    web.cuts = [1000] * 20
    problem = fetcher.problem(f"{web.url}/model.bst", {"timeout_s": 0.6})
    assert "not fetched within 0.6 s" in problem


def test_what_was_used_longest_ago_makes_room_and_what_is_in_use_stays(
    fetcher: Fetcher, web: FileServer
) -> None:
    for name in "abcd":
        web.files[f"/{name}.bst"] = name.encode() * 1000

    async def run() -> None:
        store = fetcher.store(cache_bytes=2500)
        a = await store.fetch(FetchOrder(f"{web.url}/a.bst"))
        b = await store.fetch(FetchOrder(f"{web.url}/b.bst"))
        with pytest.raises(StorageError, match="full of models in use"):
            await store.fetch(FetchOrder(f"{web.url}/c.bst"))
        store.release(a)
        c = await store.fetch(FetchOrder(f"{web.url}/c.bst"))
        assert not a.path.exists()
        assert b.path.exists()
        store.pin(c)
        store.release(c)
        store.release(b)
        await store.fetch(FetchOrder(f"{web.url}/d.bst"))
        assert c.path.exists()
        assert not b.path.exists()
        assert store.cached_bytes == 2000
        web.files["/e.bst"] = b"e" * 3000
        with pytest.raises(StorageError, match=r"2.9 KiB, the cache may hold 2.4 KiB; raise"):
            await store.fetch(FetchOrder(f"{web.url}/e.bst"))
        await store.aclose()

    asyncio.run(run())


def test_another_process_keeps_what_it_uses(fetcher: Fetcher, web: FileServer) -> None:
    """Two stores stand for two processes: their locks belong to different open files."""
    for name in "ab":
        web.files[f"/{name}.bst"] = name.encode() * 1000

    async def run() -> None:
        one, other = fetcher.store(cache_bytes=1500), fetcher.store(cache_bytes=1500)
        a = await one.fetch(FetchOrder(f"{web.url}/a.bst"))
        with pytest.raises(StorageError, match="full of models in use"):
            await other.fetch(FetchOrder(f"{web.url}/b.bst"))
        await one.aclose()
        await other.fetch(FetchOrder(f"{web.url}/b.bst"))
        assert not a.path.exists()
        await other.aclose()

    asyncio.run(run())


PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.e2e.storage_kit import Fetcher
fetcher = Fetcher(Path(sys.argv[1]))
for uri in sys.argv[2:]:
    print(fetcher.fetch(uri).path, flush=True)
"""


def in_process(fetcher: Fetcher, *uris: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", PROGRAM, str(fetcher.cache_dir), *uris]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_killed_download_goes_on_and_leaves_nothing_half_visible(
    fetcher: Fetcher, web: FileServer
) -> None:
    web.files["/m.tar.gz"] = tar_of({f"f{n}": BODY for n in range(5)}, "w")
    moments = random.Random(3)
    for _ in range(6):
        process = in_process(fetcher, f"{web.url}/m.tar.gz", f"{web.url}/model.bst")
        web.cuts = [200_000, 300_000]
        time.sleep(0.25 + moments.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        for each in objects(fetcher):
            assert (each / "files.json").exists()
    web.cuts = []
    found = fetcher.fetch(f"{web.url}/m.tar.gz")
    assert content(found.path) == {f"f{n}": BODY for n in range(5)}
    assert fetcher.fetch(f"{web.url}/model.bst").path.read_bytes() == BODY
    assert left_over(fetcher) == []


def test_a_killed_download_is_resumed(fetcher: Fetcher, web: FileServer) -> None:
    web.cuts = [100_000] + [0] * 5
    process = in_process(fetcher, f"{web.url}/model.bst")
    deadline = time.monotonic() + 30
    while len(web.ranges) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=30)
    web.cuts.clear()
    web.requests.clear()
    assert fetcher.fetch(f"{web.url}/model.bst").path.read_bytes() == BODY
    assert web.ranges == ["bytes=100000-"]


def test_two_processes_share_one_download(fetcher: Fetcher, web: FileServer) -> None:
    web.delay_s = 0.5
    both = [in_process(fetcher, f"{web.url}/model.bst") for _ in range(2)]
    paths = {process.communicate(timeout=60)[0] for process in both}
    assert len(paths) == 1
    assert len(web.ranges) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_partial_thing_removed(
    small_disk: Path, web: FileServer
) -> None:
    fetcher = Fetcher(small_disk / "cache")
    web.files["/announced.bst"] = BODY * 5
    assert "the cache's disk has" in fetcher.problem(f"{web.url}/announced.bst")
    web.files["/packed.tgz"] = tar_of({"zeros": bytes(3_000_000)})
    problem = fetcher.problem(f"{web.url}/packed.tgz")
    assert "the disk is full (No space left on device); what had come is removed" in problem
    assert left_over(fetcher) == []
    assert fetcher.fetch(f"{web.url}/model.bst").path.read_bytes() == BODY


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, body)
    return whole.getvalue()


HOSTILE = {
    "climbs.tar": (tar_of({"../evil": b"x"}, "w"), "would lie outside"),
    "climbs.zip": (zip_of(("a/../../evil", b"x", 0)), "would lie outside"),
    "absolute.tar": (tar_of({"/tmp/evil": b"x"}, "w"), "would lie outside"),
    "absolute.zip": (zip_of(("/tmp/evil", b"x", 0)), "would lie outside"),
    "link.tar": (tar_of({"a": b"a"}, "w", member("l", tarfile.SYMTYPE, "/etc/passwd")), "link 'l'"),
    "link-up.tar": (
        tar_of({"a": b"a"}, "w", member("l", tarfile.SYMTYPE, "../../../../etc/passwd")),
        "leads out of the model",
    ),
    "link.zip": (zip_of(("l", b"../../x", stat.S_IFLNK | 0o777)), "leads out of the model"),
    "device.tar": (tar_of({"a": b"a"}, "w", member("d", tarfile.CHRTYPE)), "device or pipe, 'd'"),
    "pipe.tar": (tar_of({"a": b"a"}, "w", member("p", tarfile.FIFOTYPE)), "device or pipe, 'p'"),
    "hard.tar": (
        tar_of({"a": b"a"}, "w", member("h", tarfile.LNKTYPE, "../../etc/passwd")),
        "would lie outside",
    ),
    "bomb.tgz": (tar_of({"zeros": bytes(80_000_000)}), "more than 200 times its size"),
    "bomb.zip": (zip_of(("zeros", bytes(80_000_000), 0)), "more than 200 times its size"),
    "crowd.tgz": (tar_of({f"f{n}": b"" for n in range(2000)}), "more than 1000 files"),
    "cut.tgz": (tar_of({"a": BODY})[:5000], "the archive is damaged"),
    "text.zip": (b"<html>not found</html>", "the archive is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_broken_archive_is_refused(
    fetcher: Fetcher, web: FileServer, tmp_path: Path, name: str
) -> None:
    body, reason = HOSTILE[name]
    web.files[f"/{name}"] = body
    assert reason in fetcher.problem(f"{web.url}/{name}", {"max_files": 1000})
    assert objects(fetcher) == []
    assert left_over(fetcher) == []
    assert not list(tmp_path.rglob("evil"))


def test_nothing_is_written_behind_a_link(fetcher: Fetcher, web: FileServer) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        archive.addfile(member("sub", tarfile.SYMTYPE, "."))
        archive.addfile(member("sub/up", tarfile.SYMTYPE, ".."))
    web.files["/m.tar"] = whole.getvalue()
    assert "behind a link" in fetcher.problem(f"{web.url}/m.tar")


def test_links_that_stay_inside_are_kept(fetcher: Fetcher, web: FileServer) -> None:
    links = [
        member("latest", tarfile.SYMTYPE, "v1"),
        member("v1/same", tarfile.LNKTYPE, "v1/m"),
        member("v1/top", tarfile.SYMTYPE, "../v1/m"),
    ]
    web.files["/m.tar"] = tar_of({"v1/m": b"m"}, "w", *links)
    found = fetcher.fetch(f"{web.url}/m.tar")
    assert (found.path / "latest" / "m").read_bytes() == b"m"
    assert (found.path / "v1" / "top").read_bytes() == b"m"
    assert (found.path / "v1" / "same").read_bytes() == b"m"
    assert fetcher.fetch(f"{web.url}/m.tar").was_cached


def test_a_model_over_the_limit_is_refused(fetcher: Fetcher, web: FileServer) -> None:
    limit = {"max_artifact_bytes": 1000}
    assert "the limit for one model is 1000 bytes" in fetcher.problem(f"{web.url}/model.bst", limit)
    web.files["/big.tgz"] = tar_of({"a": bytes(2000)})
    assert "unpacks to more than the limit of 1000 bytes" in fetcher.problem(
        f"{web.url}/big.tgz", limit
    )


def test_redirects_are_followed_and_secrets_stay_at_home(fetcher: Fetcher, web: FileServer) -> None:
    door = FileServer()
    door.replies = [Reply(302, b"", {"Location": f"{web.url}/model.bst"})] * 2
    fetcher.environ = {f"{door.host}-headers": '{"Authorization": "Bearer geheim"}'}
    try:
        assert fetcher.fetch(f"{door.url}/model.bst").path.read_bytes() == BODY
        assert door.requests[0].headers["Authorization"] == "Bearer geheim"
        assert all("Authorization" not in request.headers for request in web.requests)
        door.replies = [Reply(302, b"", {"Location": "file:///etc/passwd"})]
        assert "redirects to file:///etc/passwd; refused" in fetcher.problem(f"{door.url}/x")
        door.replies = [Reply(302, b"", {"Location": "/x"})] * 20
        assert "redirects more than" in fetcher.problem(f"{door.url}/x")
    finally:
        door.stop()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[FileServer, str]]:
    """A server with a certificate of its own, and that certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*words, *names, *files], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = FileServer(context)
    server.files["/model.bst"] = BODY
    yield server, (tmp_path / "cert").read_text()
    server.stop()


def test_a_certificate_must_be_trusted(fetcher: Fetcher, secure: tuple[FileServer, str]) -> None:
    server, certificate = secure
    problem = fetcher.problem(f"{server.url}/model.bst")
    assert "is not trusted" in problem
    folder = fetcher.cache_dir.parent / "bundle"
    folder.mkdir()
    (folder / "cabundle.crt").write_text(certificate)
    fetcher.environ = {"CA_BUNDLE_VOLUME_MOUNT_POINT": str(folder)}
    assert fetcher.fetch(f"{server.url}/model.bst").path.read_bytes() == BODY


def test_a_redirect_from_https_to_http_is_refused(
    fetcher: Fetcher, web: FileServer, secure: tuple[FileServer, str]
) -> None:
    server, certificate = secure
    fetcher.cache_dir.parent.joinpath("cabundle.crt").write_text(certificate)
    fetcher.environ = {"CA_BUNDLE_VOLUME_MOUNT_POINT": str(fetcher.cache_dir.parent)}
    server.replies = [Reply(302, b"", {"Location": f"{web.url}/model.bst"})]
    assert "which is not encrypted; refused" in fetcher.problem(f"{server.url}/model.bst")
    assert web.requests == []


@pytest.mark.parametrize("key", ["iris/../../evil", "iris//etc/../../evil"])
def test_an_object_whose_name_climbs_is_refused(
    fetcher: Fetcher, web: FileServer, tmp_path: Path, key: str
) -> None:
    entry = f"<Key>{key}</Key><Size>4</Size><ETag>x</ETag>"
    entry += "<LastModified>2024-01-01T00:00:00Z</LastModified>"
    listing = f"<ListBucketResult><Contents>{entry}</Contents></ListBucketResult>".encode()
    web.replies = [Reply(404), Reply(200, listing), Reply(200, b"evil", {"ETag": '"x"'})]
    fetcher.environ = {"AWS_ENDPOINT_URL": web.url}
    assert "cannot be a path" in fetcher.problem("s3://models/iris")
    assert not list(tmp_path.rglob("evil"))


def test_an_object_whose_download_breaks_off_goes_on(fetcher: Fetcher, web: FileServer) -> None:
    """A server that speaks S3 as far as this needs, and hangs up twice."""
    web.files["/models/m.bst"] = BODY
    web.extra = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    web.cuts = [0, 100_000, 50_000]
    fetcher.environ = {"AWS_ENDPOINT_URL": web.url}
    found = fetcher.fetch("s3://models/m.bst")
    assert found.path.read_bytes() == BODY
    assert web.ranges[-1].startswith("bytes=150000-")
    web.stop()
    again = fetcher.fetch("s3://models/m.bst")
    assert (again.digest, again.was_cached) == (found.digest, True)


def test_a_store_that_closes_ends_its_downloads(fetcher: Fetcher, web: FileServer) -> None:
    web.delay_s = 0.3

    async def run() -> None:
        store = fetcher.store()
        fetching = asyncio.create_task(store.fetch(FetchOrder(f"{web.url}/model.bst")))
        await asyncio.sleep(0.1)
        await store.aclose()
        with pytest.raises(StorageError, match="the server is closing"):
            await fetching

    asyncio.run(run())
