"""Python models of Triton that send any number of responses to a request.

Owns the thread that `execute` runs in while its responses are handed on as they come.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from salver.errors import ModelFailed, RequestError, Unsupported
from salver.inference.tensor import InferRequest, InferResponse
from salver.runtimes.ports import AskedRequest
from salver.runtimes.triton_execution import PythonExecution
from salver.runtimes.triton_shapes import rows_of
from salver.runtimes.triton_values import InferenceRequest, InferenceResponse, ResponseSender

_STREAM_ENDS_S = 300.0
"""A model that sends nothing for so long is given up."""
_MOST_UNREAD = 1024


class DecoupledModel(PythonExecution):
    """One that sends any number of responses to a request. Implements `StreamingModel`."""

    def predict(self, request: InferRequest) -> InferResponse:
        answers = list(self.stream(request))
        if len(answers) != 1:
            raise Unsupported(
                f"it gave {len(answers)} responses to the request, where one is wanted: ask for a "
                "stream"
            )
        return answers[0]

    def stream(self, request: InferRequest) -> Iterator[InferResponse]:
        """The responses as the model sends them. Raises what stands in the place of one."""
        rows_of(request, self.config)
        sent: queue.Queue[InferenceResponse | BaseException | None] = queue.Queue(_MOST_UNREAD)
        told = self.told(AskedRequest(request, parameters=request.parameters))
        told.sender = ResponseSender(sent.put)
        thread = threading.Thread(target=self._run, args=(told, sent), daemon=True)
        thread.start()
        while (response := self._next(sent)) is not None:
            if isinstance(response, BaseException):
                raise response
            answer = self.answer(response, request)
            if isinstance(answer, RequestError):
                raise answer
            yield answer
        thread.join(_STREAM_ENDS_S)

    def _next(self, sent: queue.Queue[Any]) -> Any:
        try:
            return sent.get(timeout=_STREAM_ENDS_S)
        except queue.Empty:
            return ModelFailed(f"it has sent no response for {_STREAM_ENDS_S:g} s")

    def _run(self, told: InferenceRequest, sent: queue.Queue[Any]) -> None:
        try:
            returned = self.awaiter.finished(self.instance.execute([told]))
        except BaseException as error:  # The thread that reads raises it.
            sent.put(error)
            return
        if returned is not None:
            sent.put(
                ModelFailed("execute of a decoupled model must return None: it sends responses")
            )
