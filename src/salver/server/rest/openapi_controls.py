"""Triton's trace and logging extensions in the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from salver.server.rest.schemas import Schema, obj
from salver.telemetry.log_settings import FORMATS
from salver.telemetry.trace_settings import OFF, TENSORS, TIMESTAMPS

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NOT_ALLOWED = "changes are for those who may use the admin API"
_BAD = (400, 404, 405, 408, 413, 415, 417, 431, 500, 501, 503, 504)


def control_paths() -> dict[str, Any]:
    """The settings of traces, of all models or of one, and of logs."""
    name: dict[str, Any] = {
        "name": "model_name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    }
    traces = ("Trace settings", _trace_settings(), _trace_change())
    return {
        "/v2/trace/setting": _both(*traces),
        "/v2/models/{model_name}/trace/setting": {"parameters": [name], **_both(*traces)},
        "/v2/logging": _both("Log settings", _log_settings(), _log_change()),
    }


def _both(summary: str, answer: Schema, change: Schema) -> dict[str, Any]:
    update = _operation(f"{summary}, changed", answer)
    # No example here: a tool that tries the examples out would change the server.
    update["responses"] |= {str(status): _error(_NOT_ALLOWED) for status in (401, 403)}
    update["requestBody"] = {"content": {"application/json": {"schema": change}}}
    return {"get": _operation(summary, answer), "post": update}


def _trace_settings() -> Schema:
    levels: Schema = {"type": "array", "items": {"enum": [OFF, TIMESTAMPS, TENSORS]}}
    texts = ("trace_rate", "trace_count", "log_frequency", "trace_file", "trace_mode")
    return obj({"trace_level": levels, **dict.fromkeys(texts, _TEXT)}, required=[*texts])


def _trace_change() -> Schema:
    """Of each setting its value, or null to clear it."""
    number = {"type": ["string", "null"], "pattern": "^[0-9]{1,9}$"}
    level = {"type": "array", "minItems": 1, "items": {"enum": [TIMESTAMPS, TENSORS]}}
    change = obj(
        {
            "trace_level": {"anyOf": [level, {"const": [OFF]}, {"type": "null"}]},
            "trace_rate": number,
            "trace_count": {**number, "pattern": "^(-1|[0-9]{1,9})$"},
            "log_frequency": number,
        }
    )
    return {**change, "additionalProperties": False}


def _log_settings() -> Schema:
    settings = _log_values() | {"log_file": _TEXT}
    return obj(settings, required=[*settings])


def _log_change() -> Schema:
    return {**obj(_log_values()), "additionalProperties": False}


def _log_values() -> dict[str, Schema]:
    return {
        **dict.fromkeys(("log_info", "log_warning", "log_error"), _FLAG),
        "log_verbose_level": {"type": "integer", "minimum": 0, "maximum": 0xFFFF_FFFF},
        "log_format": {"enum": [*FORMATS]},
    }


def _operation(summary: str, answer: Schema) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "what holds", "content": {"application/json": {"schema": answer}}}
    }
    responses |= {str(status): _error("what is wrong") for status in _BAD}
    return {"summary": summary, "tags": ["server"], "responses": responses}


def _error(description: str) -> Schema:
    error = {"application/json": {"schema": obj({"error": _TEXT}, required=["error"])}}
    return {"description": description, "content": error}
