"""Types of configuration that take a secret by the name of its variable, and refuse it as it is."""

from collections.abc import Mapping
from typing import Any, Self, cast

from dagster import Any as AnyConfig
from dagster import Field, Map, Noneable, ScalarUnion, Selector, Shape, String

from anystore_dagster.dagster_internals import ConfigType
from anystore_dagster.literal_secrets import refuse_literals, refuse_tokens


class GuardedText(ScalarUnion):
    """Text, or ``{env: NAME}``, which stays as it is until the store is used.

    Dagster's own type would put the value of the variable in its place, into what it keeps of the resource.

    Args:
        name: The field of the store.
    """

    def __init__(self, name: str) -> None:
        variable = cast("Any", Selector)({"env": str})  # has no types
        super().__init__(scalar_type=str, non_scalar_schema=variable, _key=f"AnystoreText.{name}")
        self._name = name

    def post_process(self, value: Any) -> Any:
        """Check a value when a run is launched, and when it is started.

        Args:
            value: Of the right type.

        Returns:
            The same.

        Raises:
            InvalidOption: If it is a literal secret.
        """
        refuse_literals(value, where=self._name)
        return value


class GuardedOptions(Map):
    """Options of a backend under their names, of any type and depth.

    Args:
        name: The field of the store.
    """

    def __init__(self, name: str) -> None:
        cast("Any", super()).__init__(String, AnyConfig)  # has no types
        self.key = f"AnystoreOptions.{name}"
        self._name = name

    def post_process(self, value: Any) -> Any:
        """Check options when a run is launched, and when it is started.

        Args:
            value: Options by name.

        Returns:
            The same.

        Raises:
            InvalidOption: If a literal secret is in it.
        """
        refuse_literals(value, where=self._name)
        return value


class GuardedFields(Shape):
    """All fields of a store, since a name that is a token can be told only beside the URI.

    Args:
        fields: The fields by name.
    """

    def __new__(cls, fields: Mapping[str, Field]) -> Self:  # noqa: ARG004 - as __init__ has it
        """Make one of its own; Dagster would give a plain one that it has made of such fields before."""
        made = object.__new__(cls)
        made._initialized = False
        return made

    def __init__(self, fields: Mapping[str, Field]) -> None:
        cast("Any", super()).__init__(fields)  # has no types

    def post_process(self, value: Any) -> Any:
        """Check a configuration when a run is launched, and when it is started.

        Args:
            value: Fields by name.

        Returns:
            The same.

        Raises:
            InvalidOption: If the name is a literal token.
        """
        refuse_tokens(value)
        return value


STORE_TYPES: Mapping[str, ConfigType] = {
    "uri": Noneable(GuardedText("uri")),
    "username": Noneable(GuardedText("username")),
    "password": Noneable(GuardedText("password")),
    "backend_config": Noneable(GuardedOptions("backend_config")),
}
"""The types of the fields of a store that can hold a secret."""
