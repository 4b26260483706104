"""Doubles numbers: a model of Triton's Python backend."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "VALUES").as_numpy()
            doubled = pb_utils.Tensor("DOUBLED", values * 2)
            responses.append(pb_utils.InferenceResponse([doubled]))
        return responses
