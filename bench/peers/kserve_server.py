"""A model under the KServe SDK's server, written as KServe's own sklearnserver is.

MODEL_PATH in the environment; `--model_name` and the SDK's own flags on the command line.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
from kserve import InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.utils.utils import get_predict_input, get_predict_response
from predictors import load_predict


class FileModel(Model):  # type: ignore[misc]
    """Any model that `predictors` can load."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.file_predict = load_predict(os.environ["MODEL_PATH"])
        self.ready = True

    def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """V1 and V2, by the SDK's helpers."""
        rows = get_predict_input(payload)
        answer = self.file_predict(np.asarray(rows, dtype=np.float32))
        return get_predict_response(payload, answer, self.name)


if __name__ == "__main__":
    arguments, _ = argparse.ArgumentParser(parents=[model_server.parser]).parse_known_args()
    ModelServer().start([FileModel(arguments.model_name)])
