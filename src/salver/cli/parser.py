"""What `salver` accepts on the command line, and the help that teaches it.

Built on argparse, since it imports in a tenth of the time of its rivals. The flags derive
from `options.SETTINGS`; their values stay text here, so that `options.resolve` can judge all
of them at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from salver import __version__
from salver.cli.options import SETTINGS, Setting, nearest, shown
from salver.errors import SettingsError
from salver.settings import Unit

_COMMANDS = {"serve": "serve models over HTTP and gRPC"}

_TARGETS = """\
each TARGET is one of
  a model file            iris.skops  churn.joblib  trees.ubj  net.onnx
  a Python class          my_model.py:Iris
  a folder                with one model per entry, versions as folders 1, 2, ...
The format is recognised from the content; --runtime overrides it.
"""

_EXAMPLES = """\
examples:
  salver serve examples/iris.skops
  salver serve churn.joblib trees.ubj --workers 2
  salver serve models/ --http-port 9000
  salver serve my_model.py:Iris --max-batch-size 64 --max-batch-delay 2ms
  salver serve net.onnx --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem

Every option can also be given as a variable (--http-port is SALVER_HTTP_PORT) or in
salver.toml in the working directory (http_port = 9000). A flag wins over a variable, a
variable over the file. A SIZE is 64MiB or bytes, a DURATION 500ms, 30s or seconds.
"""


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print before it exits, and suggests near flags."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            message = "; ".join(self._unknown(word) for word in unknown.split())
        raise SettingsError([f"{message}; see {self.prog} --help"])

    def _unknown(self, word: str) -> str:
        near = nearest(word.partition("=")[0], list(self._option_string_actions))
        return f"no such option {word}" + (f", did you mean {near}?" if near else "")


def parse_command(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The command's name and what follows it. Raises `SettingsError`."""
    if arguments and arguments[0] in _COMMANDS:
        return arguments[0], arguments[1:]
    parser = _command_parser()
    if not arguments:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    parser.parse_args(arguments[:1])
    raise SettingsError([_no_command(arguments[0])])


def _no_command(word: str) -> str:
    near = nearest(word, list(_COMMANDS))
    hint = f"did you mean salver {near}?" if near else f"to serve it: salver serve {word}"
    return f"no such command {word}; {hint}"


def _command_parser() -> argparse.ArgumentParser:
    lines = "".join(f"\n  {name:<10} {text}" for name, text in _COMMANDS.items())
    parser = _Parser(
        prog="salver",
        usage="salver COMMAND ...",
        description=f"Serves machine-learning models.\n\ncommands:{lines}",
        epilog="salver COMMAND --help says more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"salver {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


def parse_serve(arguments: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
    """The targets, and the flags given by field name, unparsed. Raises `SettingsError`."""
    parser = serve_parser()
    given = vars(parser.parse_intermixed_args(list(arguments)))
    targets = given.pop("targets", [])
    if not targets:
        parser.error("there is nothing to serve: give a model file, a folder or file.py:Class")
    return targets, given


def serve_parser() -> argparse.ArgumentParser:
    """The parser of `salver serve`."""
    parser = _Parser(
        prog="salver serve",
        usage="salver serve TARGET... [options]",
        description=f"Serves models over HTTP and gRPC until Ctrl-C.\n\n{_TARGETS}",
        epilog=_EXAMPLES,
        formatter_class=_wide_formatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("targets", metavar="TARGET", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--config", metavar="FILE", help="settings file (default: salver.toml)")
    groups: dict[str, Any] = {}
    for setting in SETTINGS:
        name = setting.option.group
        group = groups.get(name) or groups.setdefault(name, parser.add_argument_group(name))
        _add_flag(group, setting)
    return parser


def _add_flag(group: Any, setting: Setting) -> None:
    """argparse has no public type for a group."""
    text = setting.option.help.replace("%", "%%")
    if setting.is_switch:
        group.add_argument(setting.flag, action=argparse.BooleanOptionalAction, help=text)
        return
    if setting.default != "":
        text += f" (default: {shown(setting.default, setting.option.unit)})".replace("%", "%%")
    group.add_argument(setting.flag, metavar=_metavar(setting), help=text)


def _metavar(setting: Setting) -> str:
    if setting.option.choices:
        return "{" + ",".join(setting.option.choices) + "}"
    if setting.option.unit is not Unit.PLAIN:
        return str(setting.option.unit.value)
    return "TEXT" if isinstance(setting.default, str) else "N"


def _wide_formatter(prog: str) -> argparse.RawDescriptionHelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=100)
