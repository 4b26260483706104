"""Where settings come from: flags, `SALVER_*` variables and a TOML file, in that order.

Owns the names, the parsing and the checking of every setting; they derive from the fields of
`ServeSettings`, so an option is written once. `resolve` is pure: it reads no file and no
environment, and reports every problem at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from salver.errors import SettingsError
from salver.settings import Option, ServeSettings, Unit, rate_limit_resource

PREFIX = "SALVER_"
OTHER_VARIABLES = frozenset(
    {"SALVER_DEBUG", "SALVER_CONFIG", "SALVER_SERVER", "SALVER_API_KEY", "SALVER_NAMESPACE"}
)
"""Variables that are ours but no setting."""

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SECONDS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")
_SHORT_FLAGS = {"filename": ("-f",)}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class _RejectedError(ValueError):
    """Why a value cannot be used; the caller adds which setting, and where it stands."""


class Setting:
    """One field of `ServeSettings` under all its names."""

    def __init__(self, field: dataclasses.Field[Any]) -> None:
        self.key: str = field.name
        self.flag: str = "--" + field.name.replace("_", "-")
        self.short_flags: tuple[str, ...] = _SHORT_FLAGS.get(field.name, ())
        self.variable: str = PREFIX + field.name.upper()
        self.option: Option = field.metadata["option"]
        factory = field.default_factory
        self.default: Any = field.default if factory is dataclasses.MISSING else factory()

    @property
    def is_switch(self) -> bool:
        return isinstance(self.default, bool)

    @property
    def is_list(self) -> bool:
        """Whether it may be given several times."""
        return isinstance(self.default, tuple)

    def parse(self, raw: Any) -> Any:
        """The value that text (a flag, a variable) or a TOML value stands for.

        Raises `ValueError` that says what would be right.
        """
        value = _convert(raw, self.default, self.option.unit)
        _check_range(value, self.option)
        return value


SETTINGS: Sequence[Setting] = tuple(Setting(field) for field in dataclasses.fields(ServeSettings))


def resolve(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    toml: Mapping[str, Any],
    *,
    target_count: int = 1,
    file: str = "salver.toml",
) -> ServeSettings:
    """The settings of one run; `flags` and `toml` are keyed by field name.

    A flag wins over a variable, a variable over the file, the file over the default. A flag
    of None and an empty variable count as not given. Raises `SettingsError` with all problems.
    """
    problems = [*_unknown_keys(toml, file), *_misspelt_variables(environ)]
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        for place, raw in _given(setting, flags, environ, toml, file):
            try:
                values.setdefault(setting.key, setting.parse(raw))
            except _RejectedError as rejected:
                problems.append(f"{place}: {rejected}")
    problems += _contradictions(values, target_count)
    if problems:
        raise SettingsError(problems)
    return ServeSettings(**values)


def _given(
    setting: Setting,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    toml: Mapping[str, Any],
    file: str,
) -> Iterator[tuple[str, Any]]:
    """Every place that gives the setting a value, the strongest first."""
    if flags.get(setting.key) is not None:
        yield setting.flag, flags[setting.key]
    if environ.get(setting.variable):
        yield setting.variable, environ[setting.variable]
    peer = setting.option.peer_variable
    if peer and environ.get(peer):
        yield peer, environ[peer]
    if setting.key in toml:
        yield f"{setting.key} in {file}", toml[setting.key]


def _unknown_keys(toml: Mapping[str, Any], file: str) -> Iterator[str]:
    known = [setting.key for setting in SETTINGS]
    for key in toml:
        if key not in known:
            near = nearest(key.replace("-", "_").lower(), known)
            hint = f"did you mean {near}?" if near else "salver serve --help lists all settings"
            yield f"{key} in {file}: no such setting; {hint}"


def _misspelt_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Only near misses: Kubernetes sets SALVER_SERVICE_HOST and more beside a Service."""
    known = [setting.variable for setting in SETTINGS]
    for variable in environ:
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or variable in known:
            continue
        bare = [name.removeprefix(PREFIX) for name in known]
        near = nearest(variable.removeprefix(PREFIX), bare, cutoff=0.85)
        if near:
            yield f"{variable}: no such variable; did you mean {PREFIX}{near}?"


def _contradictions(values: Mapping[str, Any], target_count: int) -> Iterator[str]:
    if values.get("tls_cert") and not values.get("tls_key"):
        yield "--tls-cert is given without --tls-key: give both to serve HTTPS"
    if values.get("tls_key") and not values.get("tls_cert"):
        yield "--tls-key is given without --tls-cert: give both to serve HTTPS"
    for name in ("nats_stream", "nats_credentials"):
        if values.get(name) and not values.get("nats"):
            flag = "--" + name.replace("_", "-")
            yield f"{flag} is given without --nats: give the address of NATS, too"
    for entry in values.get("map", ()):
        prefix, equals, target = entry.partition("=")
        if not (prefix and equals and target):
            yield f"--map: {entry!r} is not PREFIX=TARGET; give such as gs://bucket=./models"
    for entry in values.get("rate_limit_resource", ()):
        try:
            rate_limit_resource(entry)
        except ValueError as error:
            yield f"--rate-limit-resource: {error}"
    for pattern in values.get("propagate_headers", ()):
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"--propagate-headers: {pattern!r} is no regular expression: {error}"
    if values.get("name") and target_count == 0:
        yield f"--name {values['name']} is given without a TARGET, and names one; leave it out"
    if values.get("name") and target_count > 1:
        yield (
            f"--name {values['name']} is given with {target_count} targets: it names one; "
            "leave it out and each model is named after its file"
        )
    http = values.get("http_port", ServeSettings.http_port)
    grpc = values.get("grpc_port", ServeSettings.grpc_port)
    if http == grpc and http > 0:
        yield f"--http-port and --grpc-port are both {http}: give each a port of its own"


def nearest(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """The known word that `word` is most like, or nothing."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), "")


def _convert(raw: Any, default: Any, unit: Unit) -> Any:
    if isinstance(default, bool):
        return _switch(raw)
    if isinstance(default, tuple):
        return _texts(raw)
    if unit is Unit.BYTES:
        return _size(raw)
    if unit is Unit.SECONDS:
        return _duration(raw)
    if isinstance(default, int):
        return _whole(raw)
    if isinstance(default, float):
        return _number(raw)
    if not isinstance(raw, str | Path):
        raise _RejectedError(f"{raw!r} is not text; write it in quotes")
    if unit in (Unit.FILE, Unit.FOLDER):
        return type(default)(os.path.expanduser(raw))  # noqa: PTH111  # keeps str a str
    return str(raw)


def _check_range(value: Any, option: Option) -> None:
    if option.choices and value not in option.choices:
        raise _RejectedError(f"{value!r} is not one of {', '.join(option.choices)}")
    least, most = option.least, option.most
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"give {least:g} or more" if most is None else f"give {least:g} to {most:g}"
        raise _RejectedError(f"{value} is out of range; {bounds}")


def _switch(raw: Any) -> bool:
    text = str(raw).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise _RejectedError(f"{raw!r} is neither true nor false")


def _texts(raw: Any) -> tuple[str, ...]:
    """A list as flags and TOML give it, or text with commas or newlines between its parts."""
    if isinstance(raw, str):
        raw = [part.strip() for part in raw.replace("\n", ",").split(",") if part.strip()]
    if not isinstance(raw, list | tuple) or not all(isinstance(part, str) for part in raw):
        raise _RejectedError(f'{raw!r} is not a list of texts; write it as ["...", "..."]')
    return tuple(raw)


def _whole(raw: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", raw):
        return int(raw)
    raise _RejectedError(f"{raw!r} is not a whole number")


def _number(raw: Any) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) < 1e300:
        return float(raw)
    match = _QUANTITY.fullmatch(raw) if isinstance(raw, str) else None
    if match is None or match[2]:
        raise _RejectedError(f"{raw!r} is not a number")
    return float(match[1])


def _size(raw: Any) -> int:
    number, suffix = _quantity(raw, "a size", "bytes, or such as 512KiB, 64MiB, 2GB")
    if suffix not in _SIZES:
        raise _RejectedError(f"{raw!r} has an unknown unit; units are KiB, MiB, GiB, kB, MB, GB")
    return int(number * _SIZES[suffix])


def _duration(raw: Any) -> float:
    number, suffix = _quantity(raw, "a duration", "seconds, or such as 500ms, 30s, 2m")
    if suffix not in _SECONDS:
        raise _RejectedError(f"{raw!r} has an unknown unit; units are us, ms, s, m, h")
    return number * _SECONDS[suffix]


def _quantity(raw: Any, what: str, instead: str) -> tuple[float, str]:
    if isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) < 1e18:
        return raw, ""
    match = _QUANTITY.fullmatch(raw) if isinstance(raw, str) else None
    if match is None or abs(float(match[1])) >= 1e18:
        raise _RejectedError(f"{raw!r} is not {what}; give {instead}")
    number = int(match[1]) if re.fullmatch(r"[+-]?\d+", match[1]) else float(match[1])
    return number, match[2].lower()


def shown(value: Any, unit: Unit) -> str:
    """A value as it would be typed: 64MiB, 30s, 500ms."""
    if unit is Unit.BYTES and value:
        for suffix, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % size == 0:
                return f"{value // size}{suffix}"
    if isinstance(value, tuple):
        return ",".join(value)
    if unit is Unit.SECONDS and value:
        return f"{value:g}s" if value >= 1 else f"{value * 1e3:g}ms"
    return f"{value:g}" if isinstance(value, float) else str(value)
