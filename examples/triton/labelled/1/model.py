"""Says of rows whether their sum is small or large."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.limit = float(config["parameters"]["limit"]["string_value"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        numbers = pb_utils.get_input_tensor_by_name(request, "NUMBERS").as_numpy()
        if np.isnan(numbers).any():
            error = pb_utils.TritonError("NUMBERS has NaN", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse([], error=error)
        is_large = numbers.sum(axis=1, keepdims=True) > self.limit
        labels = np.where(is_large, "large", "small").astype(object)
        return pb_utils.InferenceResponse([pb_utils.Tensor("LABELS", labels)])
