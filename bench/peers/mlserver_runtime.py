"""An ONNX runtime for MLServer, which ships none: a custom model as its documentation has it."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri
from predictors import load_predict


class OnnxModel(MLModel):  # type: ignore[misc]
    """One input, one output."""

    async def load(self) -> bool:
        """Reads the model named by `parameters.uri`."""
        self.file_predict = load_predict(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Decodes with MLServer's NumPy codec, predicts, encodes."""
        rows = self.decode_request(payload, default_codec=NumpyRequestCodec)
        output = NumpyCodec.encode_output("output-0", self.file_predict(rows))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
