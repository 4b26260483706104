"""Asks a running server through the `kserve` SDK; runs in the SDK's own environment.

Its protobuf descriptors clash with tritonclient's, so it cannot share a process with the
tests. Reads {"url", "grpc", "cases": [{"model", "input", "datatype", "rows"}]} from standard
input and writes the answers as JSON: {how it was asked: {model: the first output's values}}.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)

NUMPY = {"FP32": np.float32, "FP64": np.float64}


def request_for(case: dict[str, Any], *, binary: bool) -> InferRequest:
    array = np.array(case["rows"], NUMPY[case["datatype"]])
    tensor = InferInput(case["input"], list(array.shape), case["datatype"])
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(
        model_name=case["model"], infer_inputs=[tensor], request_id=f"id-{case['model']}"
    )


async def ask_rest(url: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", verify=False))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2", verify=False))
    answers: dict[str, Any] = {"v1": {}, "v2 json": {}, "v2 binary": {}, "ids": {}}
    for case in cases:
        model = case["model"]
        answer = await v1.infer(url, {"instances": case["rows"]}, model_name=model)
        answers["v1"][model] = answer["predictions"]
        for how, binary in (("v2 json", False), ("v2 binary", True)):
            asked = request_for(case, binary=binary)
            if binary:
                asked.parameters = {"binary_data_output": True}
            answer = await v2.infer(url, asked, model_name=model)
            answers[how][model] = answer.outputs[0].as_numpy().tolist()
            answers["ids"][model] = answer.id
    first = cases[0]["model"]
    answers["ready"] = {
        "v1 server live": await v1.is_server_live(url),
        "v2 server live": await v2.is_server_live(url),
        "v2 server ready": await v2.is_server_ready(url),
        "v1 model ready": await v1.is_model_ready(url, first),
        "v2 model ready": await v2.is_model_ready(url, first),
    }
    try:
        await v2.infer(url, request_for(cases[0], binary=False), model_name="roses")
    except httpx.HTTPStatusError as error:
        answers["rest refusal"] = [error.response.status_code, str(error)]
    await v1.close()
    await v2.close()
    return answers


async def ask_grpc(address: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    answers: dict[str, Any] = {"grpc typed": {}, "grpc raw": {}}
    async with InferenceGRPCClient(address) as client:
        for case in cases:
            for how, binary in (("grpc typed", False), ("grpc raw", True)):
                answer = await client.infer(request_for(case, binary=binary))
                answers[how][case["model"]] = answer.outputs[0].as_numpy().tolist()
        answers["grpc ready"] = {
            "server live": await client.is_server_live(),
            "server ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(cases[0]["model"]),
        }
        stranger = dict(cases[0], model="roses")
        try:
            await client.infer(request_for(stranger, binary=True))
        except grpc.RpcError as error:
            answers["grpc refusal"] = [error.code().name, error.details()]
    return answers


async def main() -> None:
    order = json.load(sys.stdin)
    answers = await ask_rest(order["url"], order["cases"])
    answers.update(await ask_grpc(order["grpc"], order["cases"]))
    json.dump(answers, sys.stdout)


asyncio.run(main())
