"""Variables of the environment in a configuration: named when it is written, read when it is used."""

import os
from collections.abc import Mapping
from typing import Any

from dagster import EnvVar

from anystore.errors import InvalidOption
from anystore_dagster.dagster_internals import IntEnvVar


def resolve_variables(value: Any, *, where: str) -> Any:
    """Replace ``EnvVar`` and ``{"env": NAME}`` by what the environment says, at any depth.

    Args:
        value: A part of a configuration.
        where: Its place, for the message, such as ``backend_config.auth``.

    Returns:
        The same, resolved.

    Raises:
        InvalidOption: If a variable is not set; the message names it and its place.

    Example:
        >>> resolve_variables({"timeout": 3, "retries": [1, 2]}, where="backend_config")
        {'timeout': 3, 'retries': [1, 2]}
    """
    if value is None or type(value) is str:  # no EnvVar, which is a text of its own class
        return value
    name = variable_name(value)
    if name is not None:
        found = os.environ.get(name)
        if found is None:
            raise InvalidOption(
                f"{where} of the store asks for the environment variable {name}, which is not set; "
                "set it, also where steps run"
            )
        return found
    if isinstance(value, Mapping):
        return {key: resolve_variables(part, where=f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_variables(part, where=f"{where}[{number}]") for number, part in enumerate(value)]
    return value


def variable_name(value: Any) -> str | None:
    """Give the name of the variable that a value stands for, or None.

    Example:
        >>> variable_name({"env": "STORE_PASSWORD"}), variable_name("STORE_PASSWORD")
        ('STORE_PASSWORD', None)
    """
    if isinstance(value, EnvVar | IntEnvVar):
        return value.env_var_name
    # Dagster gives variables as they stand in YAML
    if isinstance(value, Mapping) and set(value) == {"env"} and isinstance(value["env"], str):
        return value["env"]
    return None


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two parts of a configuration say the same, also where variables are named in both ways.

    Args:
        one: A part, as a field or run configuration has it.
        other: The other.

    Returns:
        Whether types and values are equal at any depth; of what is no configuration, whether it is one object.

    Example:
        >>> is_same({"token": {"env": "TOKEN"}}, {"token": EnvVar("TOKEN")}), is_same(1, True)
        (True, False)
    """
    if one is other:
        return True
    name = variable_name(one)
    if name is not None or variable_name(other) is not None:
        return name == variable_name(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(part, other[key]) for key, part in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return isinstance(one, str | bytes | int | float) and bool(one == other)
