"""How settings behave: frozen classes next to what they set, checked, named by dots, compared and digested.

Each room keeps the settings of its own components; `raysys.config` puts them together.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from raysys.catalogue import MOVED, unknown
from raysys.errors import ConfigError

T = TypeVar("T")


def require(holds: bool, setting: str, value: object, rule: str) -> None:
    """Let a value pass, or say what it must be.

    Raises:
        ConfigError: the rule does not hold.
    """
    if not holds:
        raise ConfigError(f"{setting} is {as_set(value)}, but must be {rule}: set --{setting}")


def as_set(value: object) -> str:
    """A value as messages show it: tuples are the lists that YAML and flags have."""
    return repr(list(value) if isinstance(value, tuple) else value)


def to_dict(settings: Any) -> dict[str, Any]:
    """Nested plain types of a settings class, as YAML and JSON hold them (tuples become lists).

    It is what is stored and logged for others to read: the password of a URI is masked.
    """
    plain: dict[str, Any] = json.loads(without_password(json.dumps(dataclasses.asdict(settings))))
    return plain


def without_password(text: str) -> str:
    """A URI, or a text that quotes one, whose password (or what its query says of one) is not for others to read."""
    text = re.sub(r"(://[^\s/:@\"']*):[^\s/\"']+@", r"\1:***@", text)
    return re.sub(r"(?i)([?&][\w.-]*(?:passw|token|secret)[\w.-]*=)[^\s&\"']+", r"\1***", text)


def from_dict(kind: type[T], plain: Mapping[str, Any]) -> T:
    """The inverse of `to_dict` (but for passwords); a setting that was not there when it was written takes its default.

    Settings are also known by the names that they had then.

    Raises:
        ConfigError: the values are not those of the class, or one is of a setting that the class does not have.
    """
    try:
        return TypeAdapter(kind).validate_python(_moved(plain), extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "unexpected_keyword_argument":
            raise ConfigError(unknown(place, field_names(kind))) from error
        raise ConfigError(f"{place}: {first['msg']} (it is {first['input']!r})") from error


def _moved(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """With the names of today."""
    found = {}
    for key, value in plain.items():
        name = MOVED.get(prefix + key, prefix + key).removeprefix(prefix)
        deeper = any(old.startswith(f"{prefix}{key}.") for old in MOVED)
        inner = deeper and isinstance(value, Mapping)
        found[name] = _moved(value, f"{prefix}{key}.") if inner else value
    return found


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain types by their dotted names."""
    named: dict[str, Any] = {}
    for key, value in plain.items():
        inner = isinstance(value, Mapping)
        named |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return named


def differences(settings: Any, default: Any) -> dict[str, Any]:
    """What a preset must hold to turn `default` into `settings`: nested plain types, equal settings left out."""

    def changed(value: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, new in value.items():
            if key not in usual:
                kept[key] = new
            elif isinstance(new, dict) and new != usual[key]:
                kept[key] = changed(new, usual[key])
            elif new != usual[key]:
                kept[key] = new
        return kept

    return changed(to_dict(settings), to_dict(default))


def replaced(settings: Any, values: Mapping[str, Any]) -> Any:
    """A copy with other values, given by their dotted names.

    Raises:
        ConfigError: a value out of range, alone or with the others.
    """
    nested: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for name, value in values.items():
        group, _, rest = name.partition(".")
        if rest:
            nested.setdefault(group, {})[rest] = value
        else:
            own[group] = value
    inner = {group: replaced(getattr(settings, group), rest) for group, rest in nested.items()}
    if isinstance(settings, Mapping):
        return {**settings, **own, **inner}
    return dataclasses.replace(settings, **own, **inner)


def value_of(settings: Any, name: str) -> Any:
    """What the setting of a dotted name is."""
    return getattr(holder_of(settings, name), name.rpartition(".")[2])


def holder_of(settings: Any, name: str) -> Any:
    """The settings among which that of a dotted name is; of a plug-in's `options` they are those that it chose."""
    value: Any = settings
    *above, _ = name.split(".")
    for part in above:
        value = getattr(value, "chosen" if part == "options" else part)
    return value


def field_names(kind: type, prefix: str = "") -> dict[str, type | None]:
    """Dotted name of every setting; groups are listed too, with their class as value."""
    names: dict[str, type | None] = {}
    for item in dataclasses.fields(kind):
        group = item.default_factory if dataclasses.is_dataclass(item.default_factory) else None
        names[prefix + item.name] = group if isinstance(group, type) else None
        if isinstance(group, type):
            names |= field_names(group, f"{prefix}{item.name}.")
    return names


def groups_with(kind: type, attribute: str) -> dict[str, Any]:
    """Field name -> class of every group whose class has an attribute: the plug-ins that are registered there."""
    groups = {item.name: item.default_factory for item in dataclasses.fields(kind)}
    return {name: group for name, group in groups.items() if hasattr(group, attribute)}


def under(prefix: str, named: Mapping[str, T]) -> dict[str, T]:
    """What has names that begin with a prefix, without it."""
    return {n.removeprefix(prefix): value for n, value in named.items() if n.startswith(prefix)}


def digest(*parts: object) -> str:
    """64 hex digits over JSON-able parts: equal parts, equal digest, in any process."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
