"""Which names Kubernetes allows: of objects, containers, labels. Pure, and no more than that."""

from __future__ import annotations

import re
import unicodedata

from salver.spec.problems import quoted

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_ENVIRONMENT = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def label_fault(name: str, *, begins_with_letter: bool = False) -> str:
    """What is wrong with a DNS label (DNS-1123; DNS-1035 if it begins with a letter), or ``."""
    if not name:
        return "is empty"
    if len(name) > 63:
        return f"has {len(name)} characters; at most 63 are allowed"
    if begins_with_letter and name[0].isdigit():
        return f"must begin with a letter, found {quoted(name)}; try {quoted('m-' + name)}"
    if _LABEL.fullmatch(name):
        return ""
    return _characters("lower-case letters, digits and '-'", name, _proposal(name))


def subdomain_fault(name: str) -> str:
    """What is wrong with a name of labels joined by dots, or nothing."""
    if not name:
        return "is empty"
    if len(name) > 253:
        return f"has {len(name)} characters; at most 253 are allowed"
    if all(_LABEL.fullmatch(part) for part in name.split(".")):
        return ""
    proposal = ".".join(_proposal(part) for part in name.split(".") if part)
    return _characters("lower-case letters, digits, '-' and '.'", name, proposal)


def label_value_fault(value: str) -> str:
    """What is wrong with the value of a label, or nothing."""
    if len(value) > 63:
        return f"has {len(value)} characters; at most 63 are allowed"
    if _QUALIFIED.fullmatch(value):
        return ""
    return f"may have letters, digits, '-', '_' and '.' only, found {quoted(value)}"


def key_fault(key: str) -> str:
    """What is wrong with the key of a label or annotation, or nothing."""
    prefix, _, name = key.rpartition("/")
    if not name or len(name) > 63 or not _QUALIFIED.fullmatch(name):
        return "must be [PREFIX/]NAME, of letters, digits, '-', '_' and '.', at most 63 in NAME"
    return f"its prefix {subdomain_fault(prefix)}" if prefix and subdomain_fault(prefix) else ""


def variable_fault(name: str) -> str:
    """What is wrong with the name of an environment variable, or nothing."""
    if _ENVIRONMENT.fullmatch(name):
        return ""
    return f"is no name for an environment variable: {quoted(name)}"


def _characters(allowed: str, name: str, proposal: str) -> str:
    advice = f"; try {quoted(proposal)}" if proposal else ""
    return f"may have {allowed} only, found {quoted(name)}{advice}"


def plain_letters(name: str) -> str:
    """The name with the letters that ASCII has in place of those with accents."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def _proposal(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", plain_letters(name).lower()).strip("-")[:63].strip("-")
