"""Asks with Seldon's own Python client; run by the client's environment, not by the tests'.

Reads a JSON object from stdin: where the server is, the deployment, rows. Writes what the client
got, by how it asked, as JSON.
"""

import json
import sys
from typing import Any

import numpy as np
from seldon_core.seldon_client import SeldonClient
from seldon_core.utils import get_data_from_proto


def main() -> None:
    asked = json.load(sys.stdin)
    rows = np.array(asked["rows"])
    found: dict[str, Any] = {}
    for transport in ("rest", "grpc"):
        endpoint = asked["http" if transport == "rest" else "grpc"]
        client = SeldonClient(
            deployment_name=asked["name"],
            namespace=asked["namespace"],
            gateway="ambassador",
            transport=transport,
            gateway_endpoint=endpoint,
            client_return_type="proto",
        )
        for kind in ("tensor", "ndarray"):
            names = [f"column {index}" for index in range(rows.shape[1])]
            got = client.predict(data=rows, payload_type=kind, names=names)
            found[f"{transport} {kind}"] = shown(got)
        raw = {"data": {"ndarray": asked["rows"]}, "meta": {"puid": "mine", "tags": {"a": 1}}}
        got = client.predict(raw_data=raw)
        found[f"{transport} raw"] = {**shown(got), "puid": got.response.meta.puid}
        sent = client.feedback(got.request, got.response, reward=1.0)
        found[f"{transport} feedback"] = {"success": sent.success, "msg": sent.msg}
        if "graph" in sys.argv:
            continue
        wrong = client.predict(data=np.zeros((1, 3)))
        failed: dict[str, Any] = {"success": wrong.success, "msg": wrong.msg}
        if transport == "rest":
            failed["status"] = wrong.response.status.status
            failed["info"] = wrong.response.status.info
        found[f"{transport} wrong"] = failed
    if "graph" not in sys.argv:
        found["microservice rest"] = microservice(asked["http"], "rest", rows)
        found["microservice grpc"] = microservice(asked["grpc"], "grpc", rows)
    json.dump(found, sys.stdout)


def microservice(endpoint: str, transport: str, rows: Any) -> dict[str, Any]:
    client = SeldonClient(
        microservice_endpoint=endpoint, transport=transport, client_return_type="proto"
    )
    return shown(client.microservice(data=rows, method="predict", payload_type="ndarray"))


def shown(got: Any) -> dict[str, Any]:
    if not got.success:
        return {"success": False, "msg": got.msg}
    return {
        "success": True,
        "names": list(got.response.data.names),
        "kind": got.response.data.WhichOneof("data_oneof"),
        "data": np.asarray(get_data_from_proto(got.response)).tolist(),
    }


if __name__ == "__main__":
    main()
