"""What is logged, changed while the server runs: the settings of Triton's logging extension.

Owns which lines of this process are written and how their times look. `log_file` is stderr and
stays so: a caller who may name a file could overwrite any. A wrong setting changes nothing. Worker
processes keep the level that they were started with.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from salver.errors import InvalidInput, Unsupported
from salver.telemetry.logs import ROOT, JsonFormatter, TextFormatter

FORMATS = ("default", "ISO8601")
_FLAGS = {
    "log_info": logging.INFO,
    "log_warning": logging.WARNING,
    "log_error": logging.ERROR,
}
_MOST_VERBOSE = 0xFFFF_FFFF


class LogSettings(msgspec.Struct, frozen=True):
    """The settings by their names on the wire. `default` is the format that the server was started
    with; `ISO8601` has dates and UTC in lines for people, as JSON lines always have."""

    log_file: str = ""
    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_verbose_level: int = 0
    log_format: str = "default"


def settings_at(level: str) -> LogSettings:
    """What a server logs that was started with this least level."""
    least = getattr(logging, level.upper())
    return LogSettings(
        log_info=least <= logging.INFO,
        log_warning=least <= logging.WARNING,
        log_verbose_level=int(least <= logging.DEBUG),
    )


def changed(settings: LogSettings, wanted: Mapping[str, Any]) -> LogSettings:
    """The settings with those that are wanted otherwise; null leaves one as it is.

    Raises `InvalidInput` for an unknown name and for a value of another type, and `Unsupported` for
    `log_file`.
    """
    for name, value in wanted.items():
        if name not in LogSettings.__struct_fields__:
            known = ", ".join(LogSettings.__struct_fields__)
            raise InvalidInput(f"there is no log setting {name[:40]!r}: use {known}")
        if name == "log_file":
            raise Unsupported(
                "log file location can not be updated through network protocol: redirect the "
                "server's stderr when you start it"
            )
        if value is not None:
            _check(name, value)
    return msgspec.structs.replace(
        settings, **{name: value for name, value in wanted.items() if value is not None}
    )


def _check(name: str, value: Any) -> None:
    shown = f"'{name}' is {str(value)[:40]!r}"
    if name in _FLAGS:
        if type(value) is not bool:
            raise InvalidInput(f"{shown}: give true or false")
    elif name == "log_verbose_level":
        if type(value) is not int or not 0 <= value <= _MOST_VERBOSE:
            raise InvalidInput(f"{shown}: give a whole number, 0 for no verbose lines")
    elif value not in FORMATS:
        raise InvalidInput(f"{shown}: give one of {', '.join(FORMATS)}")


class LogControl:
    """Applies settings to a handler and to the logger of all that is Salver's."""

    def __init__(
        self,
        handler: logging.Handler,
        logger: logging.Logger,
        settings: LogSettings,
        dated: logging.Formatter,
    ) -> None:
        """`dated` writes what the handler's own formatter writes, with whole dates."""
        self._handler = handler
        self._logger = logger
        self._formatters = {FORMATS[0]: handler.formatter, FORMATS[1]: dated}
        self.settings = settings
        self._filter = _Levels(settings)
        handler.addFilter(self._filter)

    def update(self, wanted: Mapping[str, Any]) -> LogSettings:
        """Applies what is wanted otherwise, and gives all settings. Raises as `changed` does."""
        settings = changed(self.settings, wanted)
        self.settings = self._filter.settings = settings
        self._logger.setLevel(_least_level(settings))
        self._handler.setFormatter(self._formatters[settings.log_format])
        return settings


class _Levels(logging.Filter):
    """Lets lines pass whose level is on."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()
        self.settings = settings

    def filter(self, record: logging.LogRecord) -> bool:
        settings = self.settings
        if record.levelno >= logging.ERROR:
            return settings.log_error
        if record.levelno >= logging.WARNING:
            return settings.log_warning
        if record.levelno >= logging.INFO:
            return settings.log_info
        return settings.log_verbose_level > 0


def _least_level(settings: LogSettings) -> int:
    """The least level that anything is written of: below it, no line is made at all."""
    if settings.log_verbose_level:
        return logging.DEBUG
    on = [level for name, level in _FLAGS.items() if getattr(settings, name)]
    return min(on, default=logging.CRITICAL + 1)


def log_control(level: str, log_format: str, handler: logging.Handler) -> LogControl:
    """The control over Salver's logs as `logs.configure` has set them up."""
    dated = JsonFormatter() if log_format == "json" else TextFormatter(is_dated=True)
    return LogControl(handler, logging.getLogger(ROOT), settings_at(level), dated)
