"""How a Triton Python model completes its own configuration: `auto_complete_config`.

Owns the object that the model is handed and what becomes of it. What `config.pbtxt` says is not to
be contradicted: the model may add to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from salver.errors import LoadFailed
from salver.spec.triton_config import TritonConfig


class ModelConfig:
    """What `auto_complete_config` fills in, under Triton's names. Raises `ValueError`."""

    def __init__(self, model_config: Mapping[str, Any]) -> None:
        self._config: dict[str, Any] = dict(model_config)

    def as_dict(self) -> dict[str, Any]:
        return self._config

    def add_input(self, input: Mapping[str, Any]) -> None:
        self._add("input", input, ("name", "data_type", "dims", "optional"))

    def add_output(self, output: Mapping[str, Any]) -> None:
        self._add("output", output, ("name", "data_type", "dims"))

    def set_max_batch_size(self, max_batch_size: int) -> None:
        if self._config.get("max_batch_size", 0) > max_batch_size:
            raise ValueError(
                f"max_batch_size is {self._config['max_batch_size']} in config.pbtxt, more than "
                f"the {max_batch_size} that the model can"
            )
        self._config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        other = next((each for each in _SCHEDULERS if self._config.get(each) is not None), "")
        if other:
            raise ValueError(f"the model has {other}: it cannot have dynamic_batching as well")
        self._config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        unknown = sorted(set(transaction_policy_dict) - {"decoupled"})
        if unknown:
            raise ValueError(f"model_transaction_policy has no '{unknown[0]}'; it has decoupled")
        own = self._config.get("model_transaction_policy") or {}
        wanted = bool(transaction_policy_dict.get("decoupled", False))
        if own.get("decoupled", wanted) != wanted:
            raise ValueError("model_transaction_policy says otherwise in config.pbtxt")
        self._config["model_transaction_policy"] = {"decoupled": wanted}

    def _add(self, field: str, tensor: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        unknown = sorted(set(tensor) - set(keys))
        missing = [each for each in ("name", "data_type", "dims") if each not in tensor]
        if unknown or missing:
            fault = f"has the unknown '{unknown[0]}'" if unknown else f"lacks '{missing[0]}'"
            raise ValueError(f"the {field} {tensor.get('name', '')!r} {fault}")
        given = self._config.setdefault(field, [])
        for known in given:
            if known["name"] != tensor["name"]:
                continue
            for key in ("data_type", "dims"):
                if known.get(key) and list_or_text(known[key]) != list_or_text(tensor[key]):
                    raise ValueError(
                        f"the {field} '{tensor['name']}' has {key} {known[key]} in config.pbtxt "
                        f"and {tensor[key]} in the model"
                    )
            known.update(tensor)
            return
        given.append(dict(tensor))


_SCHEDULERS = ("sequence_batching", "ensemble_scheduling")


def list_or_text(value: Any) -> Any:
    """The value so that equal ones compare equal."""
    return value if isinstance(value, str) else list(value)


def config_document(config: TritonConfig) -> dict[str, Any]:
    """The configuration as JSON values, as Triton hands it to models; what is not set is absent."""
    return {
        key: _without_nothing(value)
        for key, value in msgspec.to_builtins(config, enc_hook=dict).items()
        if value is not None
    }


def completed(config: TritonConfig, module_class: Any, name: str) -> TritonConfig:
    """The configuration with what the class adds. Raises `LoadFailed`, or what that raises."""
    complete = getattr(module_class, "auto_complete_config", None)
    if not callable(complete):
        return config
    given = ModelConfig(config_document(config))
    answer = complete(given)
    if not isinstance(answer, ModelConfig):
        raise LoadFailed(
            f"model '{name}': auto_complete_config must return the configuration it was given, not "
            f"a {type(answer).__name__}"
        )
    try:
        return msgspec.convert(answer.as_dict(), TritonConfig)
    except msgspec.ValidationError as error:
        raise LoadFailed(f"model '{name}': auto_complete_config: {error}") from error


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_nothing(each) for each in value]
    return value
