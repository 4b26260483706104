"""A custom predictor as users of the `kserve` SDK write them; run unchanged as a command."""

from kserve import Model, ModelServer


class Summer(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.ready = True

    def predict(
        self,
        payload: dict,
        headers: dict[str, str] | None = None,
        response_headers: dict | None = None,
    ) -> dict:
        return {"predictions": [sum(row) for row in payload["instances"]]}


if __name__ == "__main__":
    ModelServer().start([Summer("summed")])
