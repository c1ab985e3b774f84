# SPDX-License-Identifier: Apache-2.0
"""From a recipe to frozen dataclasses, with every mistake found before a device is touched.

`configs/*.py` give nested dicts; `build` turns them into the dataclasses that the rest of the
project sees. Nothing below the doors knows a config object.
"""

import ast
import copy
import dataclasses
import enum
import importlib.util
import json
import math
import pathlib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from omnigen import cli

T = typing.TypeVar("T")
_DERIVED = "derived"

# Keys that had other names: what older recipes, commands and checkpoints say, and what is meant.
RENAMED = {"model.tokenizer": "model.encoder", "train.tokenizer": "train.frozen_from"}

# Keys that older recipes, commands and checkpoints repeat: the product of others, from which
# `derived` fields get their values now.
DERIVED = {
    **dict.fromkeys(
        ("model.decoder.latent_dim", "model.ar.latent_dim", "model.head.latent_dim"),
        ("model.encoder.latent_dim",),
    ),
    "model.decoder.token_size": ("model.encoder.patch_size", "model.encoder.merge"),
    "model.head.cond_dim": ("model.ar.embed_dim",),
    "data.image_size": ("model.image_size",),
}


def derived(default: T) -> T:
    """Declares a field that no config sets: what holds its dataclass computes its value.

    Args:
        default: Value where the dataclass is used alone.
    """
    return dataclasses.field(default=default, metadata={_DERIVED: True})


def load_config(location: str) -> dict[str, Any]:
    """Runs `get_config` of a recipe, given as `path/to/recipe.py` or `path/to/recipe.py:argument`.

    Returns:
        Nested plain dicts.

    Raises:
        ValueError: If there is no such recipe, or it refuses the argument.
    """
    path, _, argument = location.partition(":")
    source = pathlib.Path(path)
    if not source.is_file():
        raise ValueError(f"config {path!r}: no such file")
    module_spec = importlib.util.spec_from_file_location(f"omnigen_recipe_{source.stem}", source)
    if source.suffix != ".py" or module_spec is None or module_spec.loader is None:
        raise ValueError(f"config {path!r}: not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(source.parent))  # recipes import the table of sizes beside them
    try:
        module_spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(source.parent))
    if not hasattr(module, "get_config"):
        raise ValueError(f"config {path!r} has no get_config")
    return (module.get_config(argument) if argument else module.get_config()).to_dict()


def current(
    settings: Mapping[str, Any], defaults: Mapping[str, Any] = types.MappingProxyType({})
) -> dict[str, Any]:
    """Returns nested settings with the keys that there are now; see `RENAMED` and `DERIVED`.

    Where both names of a key are there, nothing is renamed, and `build` refuses the old one.

    Args:
        settings: Nested settings, perhaps of an older recipe or checkpoint.
        defaults: Nested values of keys that `settings` leave out.

    Raises:
        ValueError: If a derived key is there whose value contradicts the others.
    """
    found = dict(settings)
    for old, new in RENAMED.items():
        (group, was), name = old.split("."), new.partition(".")[2]
        members = found.get(group)
        if isinstance(members, Mapping) and was in members and name not in members:
            found[group] = {name if key == was else key: value for key, value in members.items()}
    for key, owners in DERIVED.items():
        repeated = _at(found, key)
        if repeated is None:
            continue
        values = [_at(defaults, o) if (v := _at(found, o)) is None else v for o in owners]
        if all(type(value) is int for value in values):  # of anything else `build` names the type
            _check_derived(key, repeated, values)
        found = _without(found, key)
    return found


def _check_derived(key: str, repeated: Any, values: Sequence[int]) -> None:
    """Refuses another value of a derived key than that which it has by its owners' values."""
    for owner, value in zip(DERIVED[key], values, strict=True):
        _refuse_long(value, owner)
    if repeated != math.prod(values):
        _refuse_long(repeated, key)
        raise ValueError(
            f"config key {key} is {_shown(repeated)}; allowed: {math.prod(values)}, which follows "
            f"from {' x '.join(DERIVED[key])}, so that it can be left out"
        )


def _at(settings: Any, key: str) -> Any:
    """Returns the value at a key with dots, or None if there is none."""
    for name in key.split("."):
        settings = settings.get(name) if isinstance(settings, Mapping) else None
    return settings


def _without(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Returns nested settings that lack a key with dots, which they have."""
    name, _, rest = key.partition(".")
    if rest:
        return {**settings, name: _without(settings[name], rest)}
    return {other: value for other, value in settings.items() if other != name}


def current_key(key: str) -> str:
    """Returns the name that a key with dots, or its group, has now; see `RENAMED`."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def override(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns nested dicts with the values of `--config.key.key=value` arguments.

    The key must exist, or have existed (`RENAMED`, `DERIVED`). A value for a string is taken as it
    is; any other is a Python literal. A group of keys is replaced only by a dict.

    Raises:
        ValueError: If a key is unknown (the message has the nearest), or is a group of keys.
    """
    changed = copy.deepcopy(dict(config))
    for argument in overrides:
        _set(changed, argument)
    return changed


def _set(config: dict[str, Any], argument: str) -> None:
    """Sets one existing key of the nested dict."""
    path, equals, text = argument.removeprefix("--config.").partition("=")
    if not equals:
        raise ValueError(f"{argument}: write --config.{path}=VALUE")
    path = current_key(path)
    *groups, name = path.split(".")
    node: Any = config
    for depth, group in enumerate((*groups, name)):
        if not isinstance(node, dict) or (group not in node and path not in DERIVED):
            _raise_unknown(".".join(path.split(".")[: depth + 1]), node)
        node, parent = node.get(group), node
    if isinstance(node, str):
        parent[name] = text
        return
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text  # `build` names the type that is wanted
    if isinstance(node, dict) and not isinstance(value, dict):
        raise ValueError(f"config key {path} is a group of {sorted(node)}; set one of them")
    parent[name] = value


def _raise_unknown(path: str, allowed: Any) -> typing.NoReturn:
    group, _, name = path.rpartition(".")
    path, name = cli.printable(path), name[:100]  # a stranger's config may have any
    if not isinstance(allowed, Mapping) or not allowed:
        raise ValueError(f"unknown config key {path}: {group} holds no keys")
    near = cli.nearest(name, allowed)
    hint = f"{group}.{near}" if group else near
    raise ValueError(f"unknown config key {path}; did you mean {hint}?")


def build(
    cls: type[T],
    values: Mapping[str, Any],
    path: str = "",
    *,
    types: Mapping[str, type] | None = None,
) -> T:
    """Makes the frozen dataclass `cls` from nested dicts, checking every key and type.

    Ints widen to floats, lists become tuples, enums are given by value; nothing else converts, and
    None is refused unless the field allows it.

    Args:
        cls: Dataclass whose fields are dataclasses, scalars, enums, tuples or mappings of those.
        values: Values of the fields by name; those with a default may be missing.
        path: Origin of `values`, for messages.
        types: Types of fields that are annotated with less: a choice among subclasses.

    Raises:
        ValueError: If a key is unknown (the message has the nearest) or missing, a type is wrong,
            or the dataclass refuses a combination.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"config key {path} must be a group of keys, not {_shown(values)}")
    assert dataclasses.is_dataclass(cls)
    hints = {**typing.get_type_hints(cls), **(types or {})}
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init and _DERIVED not in f.metadata}
    prefix = f"{path}." if path else ""
    arguments = {}
    for name, value in values.items():
        if name not in fields:
            _raise_unknown(f"{prefix}{name}", fields)
        arguments[name] = _convert(hints[name], value, f"{prefix}{name}")
    for name, field in fields.items():
        required = (field.default, field.default_factory) == (dataclasses.MISSING,) * 2
        if required and name not in arguments:
            raise ValueError(f"config key {prefix}{name} is missing")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path else str(error)) from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Converts `value` to the annotated type; raises ValueError naming the key."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    _refuse_long(value, path)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, path)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, path)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ValueError(f"config key {path} is {_shown(value)}; allowed: {_names(arguments)}")
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        choices = {member.value: member for member in hint}
        if isinstance(value, str | int) and value in choices:
            return choices[value]
        raise ValueError(f"config key {path} is {_shown(value)}; allowed: {_names(choices)}")
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        keys, members = arguments
        return {
            _convert(keys, k, path): _convert(members, v, f"{path}.{k}") for k, v in value.items()
        }
    if origin is not None and issubclass(origin, Sequence) and isinstance(value, list | tuple):
        return _convert_items(arguments, value, path)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise ValueError(f"config key {path} is {_shown(value)}; it must be {_type_name(hint)}")


def _convert_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    """Converts to the first member that takes the value; to None only where it is a member."""
    if value is None and type(None) in members:
        return None
    others = [member for member in members if member is not type(None)]
    for member in others[:-1]:
        try:
            return _convert(member, value, path)
        except ValueError:
            continue
    return _convert(others[-1], value, path)


def _convert_items(arguments: tuple[Any, ...], value: Sequence[Any], path: str) -> tuple[Any, ...]:
    """Converts to a tuple of the items: `tuple[X, ...]`, `Sequence[X]` or `tuple[X, Y]`."""
    if len(arguments) == 1 or arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ValueError(
            f"config key {path} is {_shown(value)}; it must have {len(arguments)} items"
        )
    return tuple(
        _convert(hint, item, f"{path}[{i}]")
        for i, (hint, item) in enumerate(zip(arguments, value, strict=True))
    )


def _refuse_long(value: Any, path: str) -> None:
    """Refuses whole numbers that are too long for Python to print."""
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError(f"config key {path} is a whole number of more than 18 digits")


def _shown(value: Any) -> str:
    return cli.printable(repr(value))


def _names(values: typing.Iterable[Any]) -> str:
    return ", ".join(repr(value) for value in values)


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is not None:
        return str(hint).replace("typing.", "").replace("collections.abc.", "")
    return getattr(hint, "__name__", str(hint))


def to_dict(value: Any) -> Any:
    """Converts the dataclass to nested dicts, lists and scalars, which JSON can hold.

    Fields that are `derived` are left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value) if _DERIVED not in f.metadata]
        return {name: to_dict(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(to_dict(key)): to_dict(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(member) for member in value]
    return value.value if isinstance(value, enum.Enum) else value


def to_json(value: Any) -> str:
    """Serialises a dataclass, indented for people."""
    return json.dumps(to_dict(value), indent=2) + "\n"
