"""MLServer's settings files: text in, typed settings out, with every fault on its line.

MLServer ignores what it does not know, so unknown names are notes here, and no problems.
"""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from salver.spec.decode import Decoder
from salver.spec.mlserver import ModelSettings, ServerSettings, Settings
from salver.spec.places import Place, in_order
from salver.spec.problems import Finding, Note, Problem
from salver.spec.yaml_source import Document, read_documents

_SPOKEN = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

AnySettings = TypeVar("AnySettings", bound=Settings)


class SettingsReading(msgspec.Struct, Generic[AnySettings], frozen=True):
    """The settings, None if they have problems. Notes are no faults."""

    settings: AnySettings | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()


def read_model_settings(text: str, source: str) -> SettingsReading[ModelSettings]:
    """Reads a `model-settings.json`; `source` is its name in messages."""
    return _read(text, source, ModelSettings)


def read_server_settings(text: str, source: str) -> SettingsReading[ServerSettings]:
    """Reads a `settings.json`; `source` is its name in messages."""
    return _read(text, source, ServerSettings)


def _read(text: str, source: str, struct: type[AnySettings]) -> SettingsReading[AnySettings]:
    documents = read_documents(text) or [Document({}, {}, {})]
    document = documents[0]
    place = Place(source, document)
    if document.value is None:
        return SettingsReading(None, tuple(map(place.problem, document.findings)))
    decoder = Decoder(document.plain)
    settings = decoder.read(_unquoted(document.value, struct), struct)
    unknown = [each for each in decoder.problems if _is_unknown(each)]
    faults = [each for each in decoder.problems if each not in unknown]
    problems = in_order(place.problem(each) for each in (*document.findings, *faults))
    inert = [(path, f"has no meaning on this backend ({text})") for path, text in decoder.inert]
    notes = in_order(place.note(each) for each in (*unknown, *inert))
    return SettingsReading(None if problems else settings, problems, notes)


def _unquoted(value: Any, struct: type[Settings]) -> Any:
    """Numbers and true or false in quotes, which MLServer takes for what they say."""
    if not isinstance(value, dict):
        return value
    found = dict(value)
    for name, hint in get_type_hints(struct).items():
        raw = found.get(name)
        if not isinstance(raw, str):
            continue
        if hint is bool and raw.lower() in _SPOKEN:
            found[name] = _SPOKEN[raw.lower()]
        elif hint in (int, float, int | None) and re.fullmatch(r"-?\d+(\.\d+)?", raw):
            found[name] = float(raw) if "." in raw else int(raw)
    return found


def _is_unknown(finding: Finding) -> bool:
    return finding[1].startswith("unknown field")
