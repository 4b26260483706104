"""Components written for Seldon Core: classes with `predict`, `transform_input`, `route`, ...

The contract is that of Seldon's Python wrapper. For each method NAME, `NAME_raw` comes first if
the class has it: it is given the whole message as a dict and gives one. Else NAME is given the
data (an array; text, bytes or JSON values where the message has those), the names of its columns,
and its `meta`, as far as its signature takes them. It may return an array, a list, text, bytes, a
dict (JSON), or Seldon's `SeldonResponse`. `tags()` and `metrics()` are asked after each call,
`class_names` (a method or an attribute) names the columns of what it returned. A method of the
SDK's own base class counts as missing. Refuses to know how messages are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from salver.errors import ModelFailed
from salver.inference.tensor import Tensor
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.seldon_methods import Method, is_not_implemented, names_of, own_method
from salver.runtimes.step_ports import StepAnswer, StepContext, StepInput
from salver.runtimes.step_values import branch_of, tensors_of, value_of

METHODS = (
    "predict",
    "transform_input",
    "transform_output",
    "route",
    "aggregate",
    "send_feedback",
    "explain",
)
_PASSES_ON = frozenset({"transform_input", "transform_output"})
"""A class without these hands the message on; without the others, it cannot be asked."""
_METRIC_TYPES = ("COUNTER", "GAUGE", "TIMER")
_HEALTHY = "healthy"
_WRAPPED = ("SeldonResponse", "ClientResponse")


class Component:
    """Implements `StepFunction` over an instance of the user's class."""

    wants_headers = False

    def __init__(self, name: str, instance: Any, awaiter: Awaiter) -> None:
        self.label = f"component {name}"
        self.is_idempotent = bool(getattr(instance, "idempotent", True))
        self._name = name
        self._instance = instance
        self._awaiter = awaiter
        self._plain = {
            method: Method(found, "routing" if method == "send_feedback" else "meta")
            for method in METHODS
            if (found := own_method(instance, method)) is not None
        }
        self._raw = {
            method: found
            for method in METHODS
            for suffix in ("_rest", "_raw")
            if (found := own_method(instance, method + suffix)) is not None
        }
        self._tags = own_method(instance, "tags")
        self._metrics = own_method(instance, "metrics")
        self._class_names = names_of(instance, "class_names")
        self._feature_names = names_of(instance, "feature_names")
        self._metadata = _described(instance)

    def perform(self, method: str, inputs: Sequence[StepInput], context: StepContext) -> StepAnswer:
        if method == "health_status":
            return self._health()
        if method == "metadata":
            return StepAnswer(content=dict(self._metadata))
        if method == "call":
            method = "predict"
        raw = self._raw.get(method)
        if raw is not None:
            try:
                return self._of_document(
                    method, self._awaiter.finished(raw(_whole(inputs, method)))
                )
            except Exception as error:
                if not is_not_implemented(error):
                    raise
        found = self._plain.get(method)
        if found is None:
            return self._without(method, inputs)
        return self._of_value(method, self._called(method, found, inputs, context), inputs)

    def close(self) -> None:
        unload = own_method(self._instance, "unload")
        if unload is not None:
            self._awaiter.finished(unload())

    # Calling.

    def _called(
        self,
        method: str,
        found: Method,
        inputs: Sequence[StepInput],
        context: StepContext,
    ) -> Any:
        try:
            if method == "send_feedback":
                told = inputs[0].feedback()
                names = list(told.request.columns()) if told.request is not None else []
                values = (_value_in(told.request), names, told.reward, _value_in(told.truth))
                answer = found(values, routing=context.routing)
            elif method == "aggregate":
                answer = found(
                    ([value_of(each) for each in inputs], [list(each.columns()) for each in inputs])
                )
            else:
                given = inputs[0]
                answer = found((value_of(given), list(given.columns())), meta=given.meta())
        except Exception as error:
            if is_not_implemented(error) and method in (*_PASSES_ON, "send_feedback"):
                return inputs[0]
            raise
        return self._awaiter.finished(answer)

    def _without(self, method: str, inputs: Sequence[StepInput]) -> StepAnswer:
        if method in _PASSES_ON:
            return self._noted(StepAnswer(passed=inputs[0]))
        if method == "send_feedback":
            return StepAnswer()
        has = ", ".join(dict.fromkeys((*self._raw, *self._plain))) or "none of Seldon's methods"
        raise ModelFailed(f"{type(self._instance).__name__} has no method {method}, it has {has}")

    def _health(self) -> StepAnswer:
        method = own_method(self._instance, "health_status")
        answer = _HEALTHY if method is None else self._awaiter.finished(method())
        return self._of_value("predict", answer, ())

    # Answers.

    def _of_value(self, method: str, value: Any, inputs: Sequence[StepInput]) -> StepAnswer:
        if inputs and value is inputs[0]:
            if method == "send_feedback":
                return StepAnswer()
            return self._noted(StepAnswer(passed=inputs[0]))
        answer = StepAnswer()
        if type(value).__name__ in _WRAPPED and hasattr(value, "data"):
            answer.tags = self._dict(getattr(value, "tags", None) or {}, "tags")
            answer.metrics = _checked_metrics(getattr(value, "metrics", None) or [])
            value = value.data
        if method == "route":
            answer.branch = branch_of(value)
        elif value is not None or method != "send_feedback":
            self._fill(answer, value, method)
        return self._noted(answer)

    def _fill(self, answer: StepAnswer, value: Any, method: str) -> None:
        """Puts what the method returned where it belongs."""
        if isinstance(value, str | Mapping):
            answer.content = dict(value) if isinstance(value, Mapping) else value
        elif isinstance(value, bytes | bytearray):
            answer.content = bytes(value)
        else:
            answer.tensors = tensors_of(value, self._name)
            answer.columns = self._columns(answer.tensors, method)

    def _columns(self, tensors: Sequence[Tensor], method: str) -> list[str]:
        """What the columns are called: as the class says, else `t:0`, `t:1`, ..."""
        if len(tensors) != 1 or tensors[0].data.ndim < 2:
            return []
        names = self._class_names
        if method == "transform_input" and self._feature_names is not None:
            names = self._feature_names
        if names is not None:
            try:
                return [str(each) for each in (names() if callable(names) else names)]
            except Exception as error:
                if not is_not_implemented(error):
                    raise
        return [f"t:{index}" for index in range(tensors[0].data.shape[1])]

    def _of_document(self, method: str, value: Any) -> StepAnswer:
        """What a raw method returned: `meta` has its tags and metrics."""
        if value is None and method == "send_feedback":
            return StepAnswer()
        document = self._dict(value, f"{method}_raw")
        meta = document.get("meta")
        tags, metrics = {}, []
        if isinstance(meta, Mapping):
            tags = self._dict(meta.get("tags") or {}, "meta.tags")
            metrics = _checked_metrics(meta.get("metrics") or [])
            kept = {key: each for key, each in meta.items() if key not in ("tags", "metrics")}
            document = {**document, "meta": kept}
        if method == "route":
            return StepAnswer(branch=_branch_in(document), tags=tags, metrics=metrics)
        return StepAnswer(document=document, tags=tags, metrics=metrics)

    def _noted(self, answer: StepAnswer) -> StepAnswer:
        """The answer with what `tags` and `metrics` say now."""
        try:
            if self._tags is not None:
                own = self._dict(self._awaiter.finished(self._tags()) or {}, "tags")
                # What was said along with the answer is nearer to it.
                answer.tags = {**own, **(answer.tags or {})}
        except Exception as error:
            if not is_not_implemented(error):
                raise
        try:
            if self._metrics is not None:
                own_metrics = _checked_metrics(self._awaiter.finished(self._metrics()))
                answer.metrics = [*own_metrics, *(answer.metrics or ())]
        except Exception as error:
            if not is_not_implemented(error):
                raise
        return answer

    def _dict(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ModelFailed(f"its {what} gave {type(value).__name__}; return a dict")
        return {str(key): each for key, each in value.items()}


def _described(instance: Any) -> dict[str, Any]:
    """What `init_metadata` says. Raises `TypeError` if that is no dict."""
    method = own_method(instance, "init_metadata")
    try:
        found = method() if method is not None else {}
    except Exception as error:
        if not is_not_implemented(error):
            raise
        found = {}
    if not isinstance(found, Mapping):
        raise TypeError(f"init_metadata gave {type(found).__name__}; return a dict")
    return dict(found)


def _value_in(part: StepInput | None) -> Any:
    """What a part of a Feedback carries; an empty array if nothing, as Seldon's wrapper has it."""
    return np.empty(0) if part is None else value_of(part)


def _whole(inputs: Sequence[StepInput], method: str) -> dict[str, Any]:
    if method == "aggregate":
        return {"seldonMessages": [each.document() for each in inputs]}
    if method == "send_feedback":
        return inputs[0].feedback_document()
    return inputs[0].document()


def _branch_in(document: Mapping[str, Any]) -> int:
    data = document.get("data")
    values: Any = None
    if isinstance(data, Mapping):
        tensor = data.get("tensor")
        values = tensor.get("values") if isinstance(tensor, Mapping) else data.get("ndarray")
    if values is None:
        raise ModelFailed("its route_raw gave no data; return the branch as data.ndarray [[0]]")
    return branch_of(np.asarray(values))


def _checked_metrics(metrics: Any) -> list[dict[str, Any]]:
    """Raises `ModelFailed` for what is no list of Seldon's metrics."""
    if not isinstance(metrics, list | tuple):
        raise ModelFailed(f"its metrics gave {type(metrics).__name__}; return a list of dicts")
    for metric in metrics:
        is_one = (
            isinstance(metric, Mapping)
            and {"key", "value"} <= metric.keys()
            and metric.get("type") in _METRIC_TYPES
            and isinstance(metric["value"], int | float | np.number)
        )
        if not is_one:
            raise ModelFailed(
                f"its metrics gave {_shown(metric)}; a metric has key, value (a number) and "
                f"type ({', '.join(_METRIC_TYPES)})"
            )
    return [dict(metric) for metric in metrics]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
