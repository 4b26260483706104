"""A model for Triton's Python backend: stacks the rows of a batch, predicts once, splits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from predictors import load_predict


class TritonPythonModel:
    """Triton's contract: `initialize`, then `execute` with a list of requests."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the file that the configuration's `path` parameter names."""
        config = json.loads(args["model_config"])
        self.predict = load_predict(config["parameters"]["path"]["string_value"])
        output = config["output"][0]
        self.output_type = pb_utils.triton_string_to_numpy(output["data_type"])
        self.output_dims = output["dims"]
        self.input_name = config["input"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order."""
        batch = [
            pb_utils.get_input_tensor_by_name(request, self.input_name).as_numpy()
            for request in requests
        ]
        rows = batch[0] if len(batch) == 1 else np.concatenate(batch)
        answers = self.predict(rows).astype(self.output_type, copy=False)
        answers = answers.reshape(len(rows), *self.output_dims)
        ends = np.cumsum([len(part) for part in batch])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("output-0", part)])
            for part in np.split(answers, ends)
        ]
