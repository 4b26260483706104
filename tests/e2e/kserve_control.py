"""Runs in the `kserve` environment: KServeClient and the `kubernetes` client on a real server.

Reads `{"url": ..., "models": [...]}` from stdin, the URIs of two models, and prints what the
clients got as JSON. No cluster configuration but the one made here is read.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from typing import Any

from kserve import (
    KServeClient,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
)
from kubernetes import client, watch

GROUP, VERSION, NAMESPACE, PLURAL = "serving.kserve.io", "v1beta1", "default", "inferenceservices"


def config_for(url: str) -> dict[str, Any]:
    """A kubeconfig of one server, without credentials."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "me"}}],
    }


def service(name: str, uri: str) -> V1beta1InferenceService:
    model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="sklearn"), storage_uri=uri)
    return V1beta1InferenceService(
        api_version=f"{GROUP}/{VERSION}",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name=name, namespace=NAMESPACE),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(model=model)),
    )


def predicted(url: str) -> Any:
    """What the service answers there."""
    body = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
    request = urllib.request.Request(
        f"{url}/v1/models/iris:predict", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["predictions"]


def wait_rolled_out(kserve: KServeClient, revision: str) -> dict[str, Any]:
    """The service once that revision has all of its requests."""
    deadline_s = time.monotonic() + 60
    while True:
        found: dict[str, Any] = kserve.get("iris", namespace=NAMESPACE)
        predictor = found["status"]["components"]["predictor"]
        if predictor["latestRolledoutRevision"] == revision:
            return found
        if time.monotonic() > deadline_s:
            raise SystemExit(f"{revision} is not rolled out: {found['status']}")
        time.sleep(0.1)


def with_kserve(url: str, models: list[str]) -> dict[str, Any]:
    kserve = KServeClient(config_dict=config_for(url), persist_config=False)
    got: dict[str, Any] = {"created": kserve.create(service("iris", models[0]))}
    got["ready before"] = kserve.is_isvc_ready("iris", namespace=NAMESPACE)
    kserve.wait_isvc_ready("iris", namespace=NAMESPACE, polling_interval=0.2, timeout_seconds=60)
    kserve.wait_isvc_ready("iris", namespace=NAMESPACE, watch=True, timeout_seconds=60)
    got["first"] = kserve.get("iris", namespace=NAMESPACE)
    got["first answers"] = predicted(got["first"]["status"]["url"])
    changed = service("iris", models[1])
    got["patched"] = kserve.patch("iris", changed, namespace=NAMESPACE)
    got["second"] = wait_rolled_out(kserve, "iris-predictor-00002")
    got["second answers"] = predicted(got["second"]["status"]["url"])
    back = service("iris", models[0])
    got["replaced"] = kserve.replace("iris", back, namespace=NAMESPACE)
    wait_rolled_out(kserve, "iris-predictor-00001")
    got["third answers"] = predicted(got["second"]["status"]["url"])
    got["deleted"] = kserve.delete("iris", namespace=NAMESPACE)
    try:
        kserve.get("iris", namespace=NAMESPACE)
    except RuntimeError as error:
        got["after"] = str(error)
    return got


def with_kubernetes(uri: str) -> dict[str, Any]:
    api = client.CustomObjectsApi()
    where = (GROUP, VERSION, NAMESPACE, PLURAL)
    seen: list[str] = []
    begun = threading.Event()

    def follow() -> None:
        listed = api.list_namespaced_custom_object(*where)
        version = listed["metadata"]["resourceVersion"]
        begun.set()
        stream = watch.Watch()
        for event in stream.stream(
            api.list_namespaced_custom_object, *where, resource_version=version, timeout_seconds=20
        ):
            line = f"{event['type']} {event['object']['metadata']['name']}"
            if line not in seen:
                seen.append(line)
            if event["type"] == "DELETED":
                stream.stop()

    follower = threading.Thread(target=follow)
    follower.start()
    begun.wait(10)
    body = client.ApiClient().sanitize_for_serialization(service("rose", uri))
    api.create_namespaced_custom_object(*where, body)
    api.patch_namespaced_custom_object(*where, "rose", {"metadata": {"labels": {"a": "b"}}})
    selected = api.list_namespaced_custom_object(*where, label_selector="a=b")
    got = {"selected": [each["metadata"]["name"] for each in selected["items"]]}
    body["spec"]["predictor"] = {"minReplica": 1}
    try:
        api.replace_namespaced_custom_object(*where, "rose", body)
    except client.ApiException as error:
        got["refused"] = json.loads(error.body)
    api.delete_namespaced_custom_object(*where, "rose")
    follower.join(20)
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s3"), string_data={"k": "abc"})
    client.CoreV1Api().create_namespaced_secret(NAMESPACE, secret)
    got["secret"] = client.CoreV1Api().read_namespaced_secret("s3", NAMESPACE).data
    got["version"] = client.VersionApi().get_code().git_version
    return {**got, "watched": seen}


def main() -> None:
    order = json.load(sys.stdin)
    got = with_kserve(order["url"], order["models"])
    got["kubernetes"] = with_kubernetes(order["models"][0])
    # The SDK prints its own tables while it watches: the answer is the last line.
    print()
    json.dump(got, sys.stdout, default=str)


main()
