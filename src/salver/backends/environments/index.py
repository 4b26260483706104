"""Which package index the machine uses: pip's configuration, in the words of uv.

uv reads its own variables and files, which win if there are any, but not pip's; machines
behind a proxy or a mirror often have only those. Decides by values that are handed in.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

_UV_VARIABLES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_CONFIG_FILE",
)
_OPTIONS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert")
_SECTIONS = ("global", "install")
_TRUE = frozenset({"1", "true", "yes", "on"})


class IndexSettings(msgspec.Struct, frozen=True):
    """What uv is told of the index: by variables, and by options where it has no variable."""

    variables: dict[str, str] = {}
    options: tuple[str, ...] = ()


def index_settings(environ: Mapping[str, str], pip: Mapping[str, str]) -> IndexSettings:
    """What `pip` (see `pip_options`) says in uv's words; nothing if uv has been told itself."""
    if any(environ.get(name) for name in _UV_VARIABLES):
        return IndexSettings()
    found: dict[str, str] = {}
    if pip.get("index-url"):
        found["UV_DEFAULT_INDEX"] = pip["index-url"].strip()
    if pip.get("extra-index-url"):
        found["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        # pip takes the best version of all indexes, uv would stop at the first that has any.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if pip.get("find-links"):
        found["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("trusted-host"):
        found["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    if pip.get("cert") and not environ.get("SSL_CERT_FILE"):
        found["SSL_CERT_FILE"] = pip["cert"].strip()
    is_off = pip.get("no-index", "").strip().lower() in _TRUE
    return IndexSettings(found, ("--no-index",) if is_off else ())


def pip_options(environ: Mapping[str, str], texts: Iterable[str]) -> dict[str, str]:
    """pip's options of interest: from its files' `texts`, weakest first, and its variables."""
    found: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error:
            continue
        for section in _SECTIONS:
            if parser.has_section(section):
                found.update({k.replace("_", "-"): v for k, v in parser.items(section)})
    for option in _OPTIONS:
        variable = environ.get("PIP_" + option.replace("-", "_").upper())
        if variable:
            found[option] = variable
    return {option: found[option] for option in _OPTIONS if option in found}


def pip_files(environ: Mapping[str, str], prefix: Path) -> list[Path]:
    """Where pip looks for its configuration, weakest first; `prefix` is its environment's."""
    if environ.get("PIP_CONFIG_FILE"):
        return [Path(environ["PIP_CONFIG_FILE"])]
    home = Path(environ.get("HOME", "/"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        config / "pip" / "pip.conf",
        prefix / "pip.conf",
    ]


def uv_files(environ: Mapping[str, str]) -> list[Path]:
    """Where uv looks for the configuration of the machine and of the user."""
    home = Path(environ.get("HOME", "/"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [Path("/etc/uv/uv.toml"), config / "uv" / "uv.toml"]


def configured_index(environ: Mapping[str, str], prefix: Path) -> IndexSettings:
    """`index_settings` of this machine's files. Those that cannot be read count as absent."""
    if any(path.is_file() for path in uv_files(environ)):
        return IndexSettings()
    texts = [text for path in pip_files(environ, prefix) if (text := _read(path))]
    return index_settings(environ, pip_options(environ, texts))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
