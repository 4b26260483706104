"""MLServer's files on the command line: `settings.json` as defaults, `-f model-settings.json`.

Owns which of MLServer's settings are which of ours; what has no meaning here becomes a note.
Reads nothing where there is no such file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salver.errors import SettingsError

if TYPE_CHECKING:
    from salver.spec.mlserver import ServerSettings

MODEL_FILE, SERVER_FILE = "model-settings.json", "settings.json"

_SAME = {"host": "host", "http_port": "http_port", "grpc_port": "grpc_port"}
_WITHOUT_EFFECT = {
    "load_models_at_startup": "all models load at the start; with a memory budget none does",
    "metrics_endpoint": "metrics are at /metrics",
    "server_name": "the server says that it is Salver",
    "tracing_server": "spans go out by OTLP over HTTP: give --otlp-endpoint",
    "parallel_workers_timeout": "workers stop at once when their requests are answered",
}


def split_files(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The manifests among the files of `-f`, and those that are MLServer's: models to serve."""
    ours = [name for name in names if Path(name).name not in (MODEL_FILE, SERVER_FILE)]
    theirs = [name for name in names if name not in ours]
    models = [str(Path(name).parent) if Path(name).name == SERVER_FILE else name for name in theirs]
    return ours, models


def find_server_file(targets: Sequence[str]) -> Path | None:
    """The first `settings.json` that lies in a target, or beside one that is a model's file."""
    for target in targets:
        path = Path(target).expanduser()
        folder = path.parent if path.name == MODEL_FILE else path
        if (folder / SERVER_FILE).is_file():
            return folder / SERVER_FILE
    return None


def read_defaults(file: Path) -> tuple[dict[str, Any], list[str], str]:
    """Defaults by the names of `ServeSettings`, notes for people, and the models' folder if the
    file names one, else nothing.

    Raises `SettingsError` with all that is wrong in the file.
    """
    from salver.spec.settings_files import read_server_settings

    try:
        text = file.read_text()
        given = json.loads(text)
    except (OSError, ValueError) as error:
        raise SettingsError([f"{file}: cannot be read as JSON: {error}"]) from error
    reading = read_server_settings(text, str(file))
    if reading.settings is None:
        raise SettingsError([str(problem) for problem in reading.problems])
    notes = [str(note) for note in reading.notes]
    notes += [
        f"{file}: {name} has no effect: {reason}"
        for name, reason in _WITHOUT_EFFECT.items()
        if name in given
    ]
    root = reading.settings.model_repository_root if "model_repository_root" in given else ""
    folder = str(file.parent / root) if root else ""
    return dict(_defaults(given, reading.settings)), notes, folder


def _defaults(given: Mapping[str, Any], settings: ServerSettings) -> Iterator[tuple[str, Any]]:
    """Only what the file says: MLServer's own defaults are not ours."""
    for theirs, ours in _SAME.items():
        if theirs in given:
            yield ours, getattr(settings, theirs)
    if "parallel_workers" in given:
        yield "workers", max(1, settings.parallel_workers)
    if "debug" in given:
        yield "log_level", "debug" if settings.debug else "info"
    if "use_structured_logging" in given:
        yield "log_format", "json" if settings.use_structured_logging else "text"
    if (settings.grpc_max_message_length or 0) > 0:
        yield "max_body_size", settings.grpc_max_message_length
