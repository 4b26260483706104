"""A mosec service: one worker process that stacks a batch's rows and predicts once.

MODEL_NAME, MODEL_PATH, BATCH_SIZE and BATCH_WAIT_MS in the environment; mosec's own flags
on the command line.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mosec import Server, Worker
from predictors import load_predict
from v2 import decode, encode

NAME = os.environ["MODEL_NAME"]
BATCH_SIZE = int(os.environ["BATCH_SIZE"])


class Model(Worker):
    """Decodes V2 JSON, predicts, encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = load_predict(os.environ["MODEL_PATH"])

    def deserialize(self, data: bytes) -> Any:
        """V2 JSON -> array, with orjson in place of mosec's json."""
        return decode(data)

    def serialize(self, data: Any) -> bytes:
        """Array -> V2 JSON."""
        return encode(NAME, data)

    def forward(self, data: Any) -> Any:
        """One array when batches are off, else a list of arrays, predicted together."""
        if BATCH_SIZE == 1:
            return self.predict(data)
        if len(data) == 1:
            return [self.predict(data[0])]
        answers = self.predict(np.concatenate(data))
        return np.split(answers, np.cumsum([len(rows) for rows in data])[:-1])


if __name__ == "__main__":
    server = Server()
    wait_ms = int(os.environ["BATCH_WAIT_MS"])
    route = f"/v2/models/{NAME}/infer"
    server.append_worker(
        Model, max_batch_size=BATCH_SIZE, max_wait_time=wait_ms, route=route, timeout=10
    )
    server.run()
