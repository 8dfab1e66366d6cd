"""A value of JSON as YAML in block form, which every YAML parser reads as the same value."""

import json
import re
from collections.abc import Iterator, Mapping

from steps.core import located_yaml
from steps.core.typed_yaml import Value

# Not quoted is what no parser, of YAML 1.1 or 1.2, takes for anything but text.
_PLAIN = re.compile(
    r"(?!\.(?:[0-9_]|inf$|nan$)|0[xb])(?:[a-z_./][a-z0-9_./@+,-]*(?::[a-z0-9_./@+,-]+)*|[0-9]+[a-z_./@+,-][a-z0-9_./@+,-]*)",
    re.ASCII | re.IGNORECASE,
)
# What JSON writes as it is, and YAML refuses or takes for the end of a line.
_NOT_AS_IT_IS = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def written(value: Mapping[str, Value]) -> str:
    """The document of a mapping."""
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: Mapping[str, Value] | list[Value], indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, Mapping | list) and each:
                yield f"{indent}{_scalar(key)}:"
                yield from _lines(each, indent + "  ")
            else:
                yield f"{indent}{_scalar(key)}: {_scalar(each)}"
        return
    for each in value:
        if isinstance(each, Mapping | list) and each:
            first, *rest = _lines(each, indent + "  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(each)}"


def _scalar(value: Value | Mapping[str, Value]) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not located_yaml.needs_quotes(value):
        return value
    # Within double quotes YAML reads what JSON writes, but that it has no surrogate pairs.
    return _NOT_AS_IT_IS.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
