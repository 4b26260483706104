"""The command line: reads what was asked for, hands it to `bootstrap`, prints what came of it.

Owns flags, environment variables, the settings file and what a person reads on the terminal.
Serves nothing itself and imports `bootstrap` only when a command runs, so that `--help` and a
wrong flag answer at once.
"""
