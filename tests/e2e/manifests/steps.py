"""A transformer and an explainer as Python classes."""

CLASSES = ["setosa", "versicolor", "virginica"]


class Transformer:
    """Takes millimetres instead of centimetres, and answers with names."""

    def preprocess(self, payload: dict) -> dict:
        return {"instances": [[value / 10 for value in row] for row in payload["instances"]]}

    def postprocess(self, result: dict) -> dict:
        return {"predictions": [CLASSES[int(each)] for each in result["predictions"]]}


class Explainer:
    """Says how many rows it was asked about, and what the predictor makes of them."""

    def explain(self, payload: dict) -> dict:
        answer = self.predict(payload)
        return {"rows": len(payload["instances"]), "predictions": answer["predictions"]}
