"""A model of your own: any class with `predict`. Serve it: `salver serve examples/my_model.py:Iris`

Only `predict` is needed. Type hints say what it wants and returns: `np.ndarray`,
`pd.DataFrame`, `dict`, `list`, `str`, `bytes`; several parameters are filled by the names of
the request's inputs.
"""

from __future__ import annotations

import numpy as np

SPECIES = np.array(["setosa", "versicolor", "virginica"])


class Iris:
    """Names the species whose average flower is nearest."""

    # Optional: requests that do not fit are refused before they reach `predict`.
    inputs = [{"name": "flowers", "datatype": "FP64", "shape": [-1, 4]}]
    outputs = [
        {"name": "species", "datatype": "BYTES", "shape": [-1]},
        {"name": "distance", "datatype": "FP64", "shape": [-1]},
    ]
    # Optional: the rows of several requests may be predicted together.
    batchable = True
    # Optional: predicted on before the model is called ready.
    example = [[5.1, 3.5, 1.4, 0.2]]

    def load(self) -> None:
        """Runs once in each worker, before the first request: read weights here."""
        self._averages = np.array(
            [
                [5.006, 3.428, 1.462, 0.246],
                [5.936, 2.770, 4.260, 1.326],
                [6.588, 2.974, 5.552, 2.026],
            ]
        )

    def predict(self, flowers: np.ndarray) -> dict[str, np.ndarray]:
        """A dict has an output for each key; an array alone would be the output `predict`."""
        distances = np.linalg.norm(flowers[:, None, :] - self._averages, axis=2)
        return {"species": SPECIES[distances.argmin(axis=1)], "distance": distances.min(axis=1)}
