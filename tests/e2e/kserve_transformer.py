"""A transformer as users of the `kserve` SDK write them; run unchanged as a command."""

import argparse

from kserve import InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.model import PredictorConfig


class Tenfold(Model):
    def __init__(self, name: str, predictor_config: PredictorConfig):
        super().__init__(name, predictor_config)
        self.ready = True

    def preprocess(
        self, payload: dict | InferRequest, headers: dict[str, str] | None = None
    ) -> dict | InferRequest:
        if isinstance(payload, InferRequest):
            for tensor in payload.inputs:
                tensor.set_data_from_numpy(tensor.as_numpy() / 10, binary_data=False)
            return payload
        return {"instances": [[value / 10 for value in row] for row in payload["instances"]]}

    def postprocess(
        self,
        result: dict | InferResponse,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict | InferResponse:
        if isinstance(result, InferResponse):
            return result
        return {"predictions": [{"class": value} for value in result["predictions"]]}


parser = argparse.ArgumentParser(parents=[model_server.parser])
args, _ = parser.parse_known_args()

if __name__ == "__main__":
    config = PredictorConfig(
        predictor_host=args.predictor_host, predictor_protocol=args.predictor_protocol
    )
    ModelServer().start([Tenfold(args.model_name, config)])
