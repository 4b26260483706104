"""Services that are no worker of ours: commands and URLs that answer any path; pooled models;
models that are fetched ahead of use or by somebody else's program."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.server import Server, serving, wait_until
from tests.models import iris, save_sklearn_lr

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROWS = iris()[0][[0, 60, 120]].tolist()
ALPHA = "/apis/serving.kserve.io/v1alpha1"

PLAIN = '''
"""A plain HTTP service: knows nothing of models, and answers everything its own way."""
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): ...
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.startswith("/stream"):
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for n in range(5):
                part = b"data: %d\\n\\n" % n
                self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(part), part))
                self.wfile.flush()
                time.sleep(0.2)
                if self.path.endswith("cut") and n == 1:
                    os.close(self.connection.detach())
                    self.close_connection = True
                    return
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        seen = {"method": self.command, "path": self.path, "body": body.decode(),
                "headers": {k.lower(): v for k, v in self.headers.items()}}
        text = b"" if self.command == "HEAD" else json.dumps(seen).encode()
        self.send_response(418 if self.path == "/teapot" else 200)
        self.send_header("content-length", str(len(text)))
        self.send_header("x-own", "yes")
        self.send_header("keep-alive", "timeout=5")
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''

FETCH = '''
"""Fetches `shelf://NAME` from a folder, as a storage container's program does."""
import os, shutil, sys
flag, source, target = sys.argv[1:]
assert flag == "--from-shelf", sys.argv
name = source.removeprefix("shelf://")
if name == "absent":
    sys.exit("no such thing on the shelf")
shutil.copy(os.path.join(os.environ["SHELF"], name), target)
'''


class Elsewhere:
    """A V1 and V2 service that somebody else runs."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                self.reply(200, {"ready": True, "path": self.path})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                seen.append((self.path, body.decode()))
                if self.path.startswith("/v2"):
                    tensor = {"name": "y", "datatype": "INT64", "shape": [1], "data": [7]}
                    self.reply(200, {"model_name": "m", "outputs": [tensor]})
                else:
                    self.reply(200, {"predictions": ["from elsewhere"]})

            def reply(self, status: int, value: object) -> None:
                text = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


def service(
    name: str, predictor: dict[str, Any], annotations: dict[str, str] | None = None, **parts: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"predictor": predictor, **parts},
    }


def alpha(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name}
    api = "serving.kserve.io/v1alpha1"
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def trained(name: str, of: str, uri: str) -> dict[str, Any]:
    model = {"storageUri": uri, "framework": "sklearn", "memory": "10Mi"}
    return alpha("TrainedModel", name, {"inferenceService": of, "model": model})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign")
    for place in ("bucket/flowers", "state/pvc/claim", "shelf"):
        (path / place).mkdir(parents=True)
        save_sklearn_lr(path / place / "iris.joblib")
    (path / "plain.py").write_text(PLAIN)
    (path / "fetch.py").write_text(FETCH)
    return path


def manifests(folder: Path, elsewhere: Elsewhere) -> list[dict[str, Any]]:
    sklearn = {"modelFormat": {"name": "sklearn"}}
    model = {"model": {**sklearn, "storageUri": str(folder / "shelf/iris.joblib")}}
    by_url = {"salver.dev/url": elsewhere.url}
    plain = {"command": [sys.executable, str(folder / "plain.py")], "name": "kserve-container"}
    entry = json.dumps({"type": "s3", "bucket": "flowers-bucket"}).encode()
    fetcher = {
        "name": "storage-initializer",
        "image": "example/fetcher:1",
        "command": [sys.executable, str(folder / "fetch.py")],
        "args": ["--from-shelf"],
        "env": [{"name": "SHELF", "value": str(folder / "shelf")}],
    }
    shelf = {"container": fetcher, "supportedUriFormats": [{"prefix": "shelf://"}]}
    off = {**shelf, "supportedUriFormats": [{"prefix": "gone://"}], "disabled": True}
    return [
        service("plain", {"containers": [plain]}, {"salver.dev/protocol": "http"}),
        service("shy", {"containers": [plain], "minReplicas": 0}),
        service("remote", {}, by_url),
        service("remote-v2", {}, {**by_url, "salver.dev/protocol": "v2"}),
        service("renamed", {}, {**by_url, "salver.dev/url-model": "other"}),
        service("unreachable", {}, {"salver.dev/url": "http://127.0.0.1:9"}),
        service("around", model, transformer={"annotations": by_url}),
        service("own", model),
        service("pool", {"model": sklearn}),
        trained("rose", "pool", f"{folder}/bucket/flowers"),
        trained("tulip", "pool", f"{folder}/shelf/iris.joblib"),
        trained("wilted", "pool", f"{folder}/nowhere"),
        trained("orphan", "nobody", f"{folder}/shelf/iris.joblib"),
        trained("misplaced", "own", f"{folder}/shelf/iris.joblib"),
        service("meshed", model, {"serving.kserve.io/deploymentMode": "ModelMesh"}),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "storage-config"},
            "data": {"minio": base64.b64encode(entry).decode()},
        },
        alpha(
            "Predictor",
            "by-key",
            {
                "modelType": {"name": "sklearn"},
                "path": "flowers/iris.joblib",
                "storage": {"s3": {"secretKey": "minio"}},
            },
        ),
        alpha(
            "Predictor",
            "by-claim",
            {
                "modelType": {"name": "sklearn"},
                "path": "iris.joblib",
                "storage": {"persistentVolumeClaim": {"claimName": "claim"}},
            },
        ),
        alpha("ClusterStorageContainer", "shelf", shelf),
        alpha("ClusterStorageContainer", "off", off),
        service("shelved", {"model": {**sklearn, "storageUri": "shelf://iris.joblib"}}),
        service("unshelved", {"model": {**sklearn, "storageUri": "shelf://absent"}}),
        service("gone", {"model": {**sklearn, "storageUri": "gone://x"}}),
        alpha(
            "LocalModelCache",
            "ahead",
            {"sourceModelUri": "shelf://iris.joblib", "modelSize": "1Mi", "nodeGroups": ["all"]},
        ),
        alpha(
            "LocalModelCache",
            "vain",
            {"sourceModelUri": "shelf://absent", "modelSize": "1Mi", "nodeGroups": ["all"]},
        ),
    ]


@pytest.fixture(scope="module")
def server(folder: Path, elsewhere: Elsewhere) -> Iterator[Server]:
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(manifests(folder, elsewhere)))
    bucket = f"s3://flowers-bucket={folder}/bucket"
    options = ["-f", str(path), "--state-dir", str(folder / "state"), "--map", bucket]
    with serving(*options) as running:
        yield running


def status_of(server: Server, plural: str, name: str, namespaced: bool = True) -> Any:
    group = "/apis/serving.kserve.io/v1beta1" if plural == "inferenceservices" else ALPHA
    place = "namespaces/default/" if namespaced else ""
    answer = server.get(f"{group}/{place}{plural}/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json().get("status", {})


def ready(status: Any) -> Any:
    return next((each for each in status.get("conditions", []) if each["type"] == "Ready"), {})


def wait_ready(server: Server, name: str, plural: str = "inferenceservices") -> Any:
    wait_until(lambda: ready(status_of(server, plural, name)).get("status") == "True", 60)
    return status_of(server, plural, name)


def wait_problem(server: Server, plural: str, name: str) -> Any:
    wait_until(lambda: ready(status_of(server, plural, name)).get("status") == "False", 60)
    return ready(status_of(server, plural, name))


# Any path.


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_any_path_of_a_command_is_its_own(server: Server, method: str) -> None:
    wait_ready(server, "plain")
    path = "/serving/default/plain/a%2Fb/c?x=1&y=%20"
    headers = {"te": "trailers", "x-mine": "1", "connection": "keep-alive, x-gone", "x-gone": "1"}
    content = b"text" if method != "GET" else None
    answer = httpx.request(method, server.url + path, content=content, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-own"] == "yes"
    assert "keep-alive" not in answer.headers
    seen = answer.json()
    assert (seen["method"], seen["path"]) == (method, "/a%2Fb/c?x=1&y=%20")
    assert seen["body"] == ("text" if content else "")
    assert seen["headers"]["x-mine"] == "1"
    assert seen["headers"]["x-forwarded-prefix"] == "/serving/default/plain"
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert not {"x-gone", "te"} & seen["headers"].keys()


def test_the_root_statuses_and_heads_of_a_command_are_its_own(server: Server) -> None:
    wait_ready(server, "plain")
    assert server.get("/serving/default/plain").json()["path"] == "/"
    assert server.get("/serving/default/plain/").json()["path"] == "/"
    assert server.get("/serving/default/plain/teapot").status_code == 418
    assert httpx.head(server.url + "/serving/default/plain/x").headers["x-own"] == "yes"


@pytest.mark.parametrize("path", ["/v1/models/plain:predict", "/v2/models/other/infer", "/docs"])
def test_nothing_is_ours_under_a_service_with_a_protocol_of_its_own(
    server: Server, path: str
) -> None:
    wait_ready(server, "plain")
    seen = server.post(f"/serving/default/plain{path}", {"a": 1}).json()
    assert (seen["path"], json.loads(seen["body"])) == (path, {"a": 1})


def test_a_host_is_a_service_s_whole_address(server: Server) -> None:
    wait_ready(server, "plain")
    headers = {"host": "plain-default.example.com"}
    seen = httpx.get(server.url + "/v2/health/live?a=1", headers=headers, timeout=30).json()
    assert seen["path"] == "/v2/health/live?a=1"
    assert seen["headers"]["x-forwarded-host"] == "plain-default.example.com"
    assert server.get("/v2/health/live").json() == {"live": True}


def test_an_answer_comes_as_it_is_made(server: Server) -> None:
    wait_ready(server, "plain")
    times: list[float] = []
    began_s = time.monotonic()
    with httpx.stream("GET", server.url + "/serving/default/plain/stream", timeout=30) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        parts = []
        for part in answer.iter_bytes():
            parts.append(part)
            times.append(time.monotonic() - began_s)
    assert b"".join(parts) == b"".join(b"data: %d\n\n" % n for n in range(5))
    assert times[0] < 0.6 < times[-1]


def test_an_answer_that_is_cut_off_is_cut_off(server: Server) -> None:
    wait_ready(server, "plain")
    with pytest.raises(httpx.RemoteProtocolError):
        server.get("/serving/default/plain/stream/cut")
    assert server.get("/serving/default/plain/x").status_code == 200


def test_a_client_that_leaves_a_stream_leaves_nothing_behind(server: Server) -> None:
    wait_ready(server, "plain")
    with httpx.stream("GET", server.url + "/serving/default/plain/stream", timeout=30) as answer:
        next(answer.iter_bytes())
    assert server.get("/serving/default/plain/x").status_code == 200


def test_a_service_at_zero_is_woken_by_any_path(server: Server) -> None:
    wait_ready(server, "shy")
    scale = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/shy/scale"
    assert server.get(scale).status_code == 200
    assert server.get("/serving/default/shy/anything").json()["path"] == "/anything"


def test_a_service_of_our_own_workers_has_our_paths_only(server: Server) -> None:
    wait_ready(server, "own")
    assert server.get("/serving/default/own/anything").status_code == 404
    assert server.get("/serving/default/own/v2/models/own").json()["name"] == "own"


# Elsewhere.


def test_a_service_by_url_answers_v1_v2_and_any_path(server: Server, elsewhere: Elsewhere) -> None:
    wait_ready(server, "remote")
    answer = server.post("/v1/models/remote:predict", {"instances": [1]})
    assert answer.json() == {"predictions": ["from elsewhere"]}
    assert elsewhere.seen[-1] == ("/v1/models/remote:predict", '{"instances": [1]}')
    wait_ready(server, "remote-v2")
    answer = server.post("/v2/models/remote-v2/infer", {"inputs": []})
    assert answer.json()["outputs"][0]["data"] == [7]
    assert server.get("/serving/default/remote/a/b?c").json()["path"] == "/a/b?c"


def test_a_service_by_url_may_have_another_name_there(server: Server, elsewhere: Elsewhere) -> None:
    wait_ready(server, "renamed")
    server.post("/v1/models/renamed:predict", {"instances": [2]})
    assert elsewhere.seen[-1] == ("/v1/models/other:predict", '{"instances": [2]}')


def test_a_url_that_does_not_answer_shows_in_the_status(server: Server) -> None:
    status = wait_problem(server, "inferenceservices", "unreachable")
    assert "127.0.0.1:9 cannot be reached" in status["message"]


def test_a_transformer_by_url_gets_the_whole_request(server: Server, elsewhere: Elsewhere) -> None:
    wait_ready(server, "around")
    answer = server.post("/v1/models/around:predict", {"instances": ROWS})
    assert answer.json() == {"predictions": ["from elsewhere"]}
    direct = "/serving/default/around-predictor/v1/models/around:predict"
    assert server.post(direct, {"instances": ROWS}).json() == {"predictions": [0, 1, 2]}


# The shared pool.


def test_trained_models_answer_by_name_and_under_their_service(server: Server) -> None:
    wait_ready(server, "pool")
    for name in ("rose", "tulip"):
        status = wait_ready(server, name, "trainedmodels")
        assert status["url"] == f"{server.url}/serving/default/pool/v1/models/{name}:predict"
        for path in (status["url"], f"{server.url}/v1/models/{name}:predict"):
            answer = httpx.post(path, json={"instances": ROWS}, timeout=60)
            assert answer.json() == {"predictions": [0, 1, 2]}, answer.text
    headers = {"host": "pool-default.example.com"}
    answer = httpx.get(server.url + "/v2/models/rose/ready", headers=headers, timeout=30)
    assert answer.status_code == 200
    answer = httpx.get(server.url + "/v2/models/by-key/ready", headers=headers, timeout=30)
    assert (answer.status_code, "has no model 'by-key'" in answer.text) == (404, True)


def test_a_trained_model_without_its_service_is_not_served(server: Server) -> None:
    problem = wait_problem(server, "trainedmodels", "orphan")
    assert problem["reason"] == "InferenceServiceNotFound"
    assert "'default/nobody' is not there" in problem["message"]
    assert wait_problem(server, "trainedmodels", "misplaced")["reason"] == "NotMultiModel"
    assert server.get("/v2/models/orphan/ready").status_code == 404


def test_a_failed_load_of_a_pooled_model_shows_in_its_status(server: Server) -> None:
    wait_ready(server, "wilted", "trainedmodels")
    answer = server.post("/v1/models/wilted:predict", {"instances": ROWS})
    assert answer.status_code == 503
    problem = wait_problem(server, "trainedmodels", "wilted")
    assert problem["reason"] == "ModelLoadFailed"
    assert "nowhere" in problem["message"]


@pytest.mark.parametrize("name", ["by-key", "by-claim"])
def test_predictors_find_their_models_by_key_and_by_claim(server: Server, name: str) -> None:
    wait_until(lambda: status_of(server, "predictors", name).get("available") is True, 30)
    answer = server.infer(name, ROWS)
    assert answer.json()["outputs"][0]["data"] == [0, 1, 2], answer.text


def test_a_service_in_modelmesh_s_mode_is_served_from_the_pool(server: Server) -> None:
    status = wait_ready(server, "meshed")
    for base in (server.url, status["url"]):
        answer = httpx.post(
            f"{base}/v1/models/meshed:predict", json={"instances": ROWS}, timeout=60
        )
        assert answer.json() == {"predictions": [0, 1, 2]}, answer.text


def test_what_is_deleted_is_unloaded_and_unknown(server: Server, folder: Path) -> None:
    place = f"{ALPHA}/namespaces/default/trainedmodels"
    made = server.post(place, trained("brief", "pool", str(folder / "bucket/flowers")))
    assert made.is_success, made.text
    wait_until(lambda: server.get("/v2/models/brief/ready").status_code == 200, 30)
    assert server.infer("brief", ROWS).status_code == 200
    assert httpx.delete(f"{server.url}{place}/brief", timeout=30).is_success
    wait_until(lambda: server.get("/v2/models/brief/ready").status_code == 404, 30)
    path = "/serving/default/pool/v1/models/brief:predict"
    assert server.post(path, {"instances": ROWS}).status_code == 404


# Storage.


def test_a_storage_container_s_program_fetches_the_uris_it_is_for(server: Server) -> None:
    wait_ready(server, "shelved")
    answer = server.post("/v1/models/shelved:predict", {"instances": ROWS})
    assert answer.json() == {"predictions": [0, 1, 2]}


def test_what_the_program_says_when_it_fails_is_in_the_status(server: Server) -> None:
    problem = wait_problem(server, "inferenceservices", "unshelved")
    assert "no such thing on the shelf" in problem["message"]
    problem = wait_problem(server, "inferenceservices", "gone")
    assert "scheme 'gone' is not known" in problem["message"]


def test_a_cached_model_is_fetched_ahead_of_its_use(server: Server) -> None:
    def node(name: str) -> Any:
        status = status_of(server, "localmodelcaches", name, namespaced=False)
        return list(status.get("nodeStatus", {}).values())

    wait_until(lambda: node("ahead") == ["NodeDownloaded"], 30)
    status = status_of(server, "localmodelcaches", "ahead", namespaced=False)
    assert status["copies"] == {"total": 1, "available": 1, "failed": 0}
    wait_until(lambda: node("vain") == ["NodeDownloadError"], 30)
    status = status_of(server, "localmodelcaches", "vain", namespaced=False)
    assert "no such thing on the shelf" in status["message"]


def test_the_source_of_a_cached_model_cannot_be_changed(server: Server) -> None:
    path = f"{ALPHA}/localmodelcaches/ahead"
    obj = server.get(path).json()
    obj["spec"]["sourceModelUri"] = "shelf://other"
    answer = server.put(path, obj)
    assert answer.status_code in (400, 422), answer.text
    assert "spec.sourceModelUri: cannot be changed" in answer.json()["message"]


def test_revisions_show_whether_they_are_ready(server: Server) -> None:
    wait_ready(server, "own")
    place = "/apis/salver.dev/v1/namespaces/default/revisions"
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    wait_until(lambda: ready_of(server.get(place)).get("own-predictor-00001") == "True", 20)
    found = ready_of(server.get(place))
    assert "True" not in (found["unshelved-predictor-00001"], found["gone-predictor-00001"])
    table = server.get(place, headers={"accept": accept}).json()
    names = [each["name"] for each in table["columnDefinitions"]]
    row = next(r["cells"] for r in table["rows"] if r["cells"][0] == "own-predictor-00001")
    shown = dict(zip(names, row, strict=True))
    assert shown.pop("Age")
    assert shown == {
        "Name": "own-predictor-00001",
        "Service": "own",
        "Component": "predictor",
        "Number": 1,
        "Ready": "True",
        "Traffic": 100,
    }


def ready_of(answer: httpx.Response) -> dict[str, str]:
    return {
        each["metadata"]["name"]: ready(each.get("status", {})).get("status", "")
        for each in answer.json()["items"]
    }
