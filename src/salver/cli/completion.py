"""`salver completion`: a script for the shell, made from the commands and their flags.

Flags and commands are written into the script; names of resources it asks for, through the
hidden command `__complete`.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from salver.cli.commands import COMMANDS, find_module
from salver.cli.session import Session

USAGE = "(bash | zsh | fish)"
DESCRIPTION = "Prints a script that completes commands, flags, types and names in the shell."
EXAMPLES = """\
examples:
  source <(salver completion bash)
  source <(salver completion zsh)
  salver completion fish > ~/.config/fish/completions/salver.fish
"""

_WITH_FILES = frozenset({"-f", "--filename", "--cacert", "--tls-cert", "--tls-key", "--config"})
_FILES_AFTER = frozenset({"serve"})


class Flags(NamedTuple):
    """What one command takes."""

    flags: tuple[str, ...]
    choices: dict[str, tuple[str, ...]]
    """Flags, or positions (as text), that take one of a few values."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `salver completion`."""
    parser.add_argument(
        "shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Prints the script."""
    scripts = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
    session.say(scripts[arguments.shell]().rstrip("\n"))
    return 0


def flags_of(name: str) -> Flags:
    """The flags of a command, and the values of those that take few."""
    from salver.cli import parser

    if name == "serve":
        made = parser.serve_parser()
    else:
        made = parser.client_parser(name, find_module(COMMANDS[name]))
    flags: list[str] = []
    choices: dict[str, tuple[str, ...]] = {}
    for action in made._actions:
        values = tuple(str(each) for each in action.choices or () if str(each))
        flags += action.option_strings
        for flag in action.option_strings:
            if values:
                choices[flag] = values
        if not action.option_strings and values:
            choices["1"] = values
    return Flags(tuple(flags), choices)


_BASH = """\
# salver: completion for bash. Load it with: source <(salver completion bash)
_salver() {
    local cur prev command i
    COMPREPLY=()
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD-1]}
    command=""
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -n|--namespace|-s|--server|--api-key|--request-timeout) ((i++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "@COMMANDS@" -- "$cur"))
        return
    fi
    case $prev in
        @FILES@) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    local flags="" values=""
    case $command in
@CASES@    esac
    if [[ -n $values ]]; then
        COMPREPLY=($(compgen -W "$values" -- "$cur"))
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    elif [[ $command == serve ]]; then
        COMPREPLY=($(compgen -f -- "$cur"))
    else
        values=$(salver __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
        COMPREPLY=($(compgen -W "$values" -- "$cur"))
    fi
}
complete -o filenames -F _salver salver
"""

_ZSH = """\
# salver: completion for zsh. Load it with: source <(salver completion zsh)
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
@BASH@"""


def bash_script() -> str:
    """The script for bash."""
    cases = ""
    for name in COMMANDS:
        found = flags_of(name)
        cases += f'        {name})\n            flags="{" ".join(found.flags)}"\n'
        cases += _bash_values(found)
        cases += "            ;;\n"
    return (
        _BASH.replace("@COMMANDS@", " ".join(COMMANDS))
        .replace("@FILES@", "|".join(sorted(_WITH_FILES)))
        .replace("@CASES@", cases)
    )


def _bash_values(found: Flags) -> str:
    flagged = {flag: values for flag, values in found.choices.items() if flag != "1"}
    text = ""
    if flagged:
        text += "            case $prev in\n"
        for flag, values in flagged.items():
            text += f'                {flag}) values="{" ".join(values)}" ;;\n'
        text += "            esac\n"
    if "1" in found.choices:
        text += (
            f'            [[ $prev == "$command" ]] && values="{" ".join(found.choices["1"])}"\n'
        )
    return text


def zsh_script() -> str:
    """The script for zsh, which can run that for bash."""
    return _ZSH.replace("@BASH@", bash_script())


def fish_script() -> str:
    """The script for fish."""
    lines = [
        "# salver: completion for fish.",
        "complete -c salver -f",
        "function __salver_names",
        "    salver __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null",
        "end",
        f"set -l commands {' '.join(COMMANDS)}",
    ]
    none_yet = "not __fish_seen_subcommand_from $commands"
    for name, command in COMMANDS.items():
        lines.append(f'complete -c salver -n "{none_yet}" -a {name} -d "{command.summary}"')
    for name in COMMANDS:
        found = flags_of(name)
        seen = f'-n "__fish_seen_subcommand_from {name}"'
        for flag in found.flags:
            lines.append(f"complete -c salver {seen} {_fish_flag(flag, found)}")
        if "1" in found.choices:
            lines.append(f'complete -c salver {seen} -a "{" ".join(found.choices["1"])}"')
        elif name in _FILES_AFTER:
            lines.append(f"complete -c salver {seen} -F")
        else:
            lines.append(f'complete -c salver {seen} -a "(__salver_names)"')
    return "\n".join(lines) + "\n"


def _fish_flag(flag: str, found: Flags) -> str:
    option = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    if flag in _WITH_FILES:
        return f"{option} -r -F"
    if flag in found.choices:
        return f'{option} -x -a "{" ".join(found.choices[flag])}"'
    return option
