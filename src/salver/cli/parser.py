"""What `salver` accepts on the command line, and the help that teaches it.

Built on argparse, since it imports in a tenth of the time of its rivals. The flags of `serve`
derive from `options.SETTINGS`; their values stay text here, so that `options.resolve` can judge
all of them at once. Other commands add their arguments in their own modules.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from salver import __version__
from salver.cli.commands import COMMANDS, HIDDEN, CommandModule
from salver.cli.options import SETTINGS, Setting, nearest, shown
from salver.errors import SettingsError
from salver.settings import Unit

_TARGETS = """\
each TARGET is one of
  a model file            iris.skops  churn.joblib  trees.ubj  net.onnx
  a Python class          my_model.py:Iris
  a graph in Python       fraud.py            (functions with @salver.graph)
  a manifest              isvc.yaml  pipeline.yaml   (what kubectl applies)
  a folder                with one model per entry, versions as folders 1, 2, ...
The format is recognised from the content; --runtime overrides it. Manifests, and with -f also
folders and URLs of them, are applied at the start. Without anything to serve, what was applied
before is served again.
"""

_EXAMPLES = """\
examples:
  salver serve examples/iris.skops
  salver serve churn.joblib trees.ubj --workers 2
  salver serve models/ --http-port 9000
  salver serve my_model.py:Iris --max-batch-size 64 --max-batch-delay 2ms
  salver serve -f isvc.yaml --map gs://kfserving-examples=./models
  salver serve net.onnx --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem

Every option can also be given as a variable (--http-port is SALVER_HTTP_PORT) or in
salver.toml in the working directory (http_port = 9000). A flag wins over a variable, a
variable over the file. A SIZE is 64MiB or bytes, a DURATION 500ms, 30s or seconds. What can be
repeated is a list in the file, and has commas or newlines between its parts in a variable.
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
    """The command's name and what follows it. Raises `SettingsError`.

    Flags that every command has may stand before it, as kubectl allows: `salver -n a get isvc`.
    """
    leading, rest = _leading_flags(arguments)
    if rest and (rest[0] in COMMANDS or rest[0] in HIDDEN):
        return rest[0], [*leading, *rest[1:]]
    parser = _overview_parser()
    if not rest:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    parser.parse_args(rest[:1])
    raise SettingsError([_no_command(rest[0])])


def _leading_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags before the command, and the rest."""
    rest = list(arguments)
    leading: list[str] = []
    while rest and rest[0].partition("=")[0] in _GLOBAL_FLAGS:
        has_value = "=" in rest[0]
        leading += rest[: 1 if has_value else 2]
        rest = rest[1 if has_value else 2 :]
    return leading, rest


def _no_command(word: str) -> str:
    near = nearest(word, list(COMMANDS))
    hint = f"did you mean salver {near}?" if near else f"to serve it: salver serve {word}"
    return f"no such command {word}; {hint}"


def _overview_parser() -> argparse.ArgumentParser:
    groups: dict[str, list[str]] = {}
    for name, command in COMMANDS.items():
        groups.setdefault(command.group, []).append(f"  {name:<12}{command.summary}")
    listed = "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in groups.items())
    parser = _Parser(
        prog="salver",
        usage="salver COMMAND ...",
        description=f"Serves machine-learning models.\n\n{listed}",
        epilog="salver COMMAND --help says more of each, with examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"salver {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


_GLOBAL_FLAGS = ("--server", "-s", "--api-key", "-n", "--namespace", "--request-timeout")


def parse_client(name: str, module: CommandModule, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command that asks a server. Raises `SettingsError`."""
    parser = client_parser(name, module)
    if name in HIDDEN:
        # Not intermixed: that would read flags behind `--`, which are words to complete.
        return parser.parse_args(list(arguments))
    return parser.parse_intermixed_args(list(arguments))


def client_parser(name: str, module: CommandModule) -> argparse.ArgumentParser:
    """The parser of a command that asks a server: its own arguments, then the common ones."""
    parser = _Parser(
        prog=f"salver {name}",
        usage=f"salver {name} {module.USAGE}".rstrip(),
        description=module.DESCRIPTION,
        epilog=module.EXAMPLES,
        formatter_class=_wide_formatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    common = parser.add_argument_group("the server")
    common.add_argument(
        "-n",
        "--namespace",
        metavar="NAME",
        help="namespace (default: SALVER_NAMESPACE, or 'default')",
    )
    common.add_argument(
        "-s",
        "--server",
        metavar="URL",
        help="address (default: SALVER_SERVER, or http://127.0.0.1:8080)",
    )
    common.add_argument("--api-key", metavar="KEY", help="key (default: SALVER_API_KEY)")
    common.add_argument("--cacert", metavar="FILE", help="authority (PEM) that signed its https")
    common.add_argument(
        "--request-timeout", metavar="DURATION", help="time for one answer (default: 30s)"
    )
    return parser


def parse_serve(arguments: Sequence[str]) -> tuple[list[str], Mapping[str, Any]]:
    """The targets, and the flags given by field name, unparsed. Raises `SettingsError`."""
    parser = serve_parser()
    given = vars(parser.parse_intermixed_args(list(arguments)))
    return given.pop("targets", []), given


def serve_parser() -> argparse.ArgumentParser:
    """The parser of `salver serve`."""
    parser = _Parser(
        prog="salver serve",
        usage="salver serve [TARGET...] [-f FILE...] [options]",
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
    if setting.is_list:
        group.add_argument(
            *setting.short_flags,
            setting.flag,
            metavar=setting.option.metavar,
            action="append",
            help=text,
        )
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


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """`-f, --filename FILE`, as Python 3.13 writes it, whatever the version."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        flags = ", ".join(action.option_strings)
        if action.nargs == 0:
            return flags
        metavar = self._get_default_metavar_for_optional(action)
        return f"{flags} {self._format_args(action, metavar)}"


def _wide_formatter(prog: str) -> argparse.HelpFormatter:
    return _Formatter(prog, max_help_position=32, width=100)
