"""MLServer's settings files: text in, typed settings out, with every fault on its line.

MLServer ignores what it does not know, so unknown names are notes here, and no problems.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from salver.spec.decode import Decoder
from salver.spec.mlserver import ModelSettings, ServerSettings, Settings
from salver.spec.places import Place, in_order
from salver.spec.problems import Finding, Note, Problem
from salver.spec.yaml_source import Document, read_documents

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
    settings = decoder.read(document.value, struct)
    unknown = [each for each in decoder.problems if _is_unknown(each)]
    faults = [each for each in decoder.problems if each not in unknown]
    problems = in_order(place.problem(each) for each in (*document.findings, *faults))
    inert = [(path, f"has no meaning on this backend ({text})") for path, text in decoder.inert]
    notes = in_order(place.note(each) for each in (*unknown, *inert))
    return SettingsReading(None if problems else settings, problems, notes)


def _is_unknown(finding: Finding) -> bool:
    return finding[1].startswith("unknown field")
