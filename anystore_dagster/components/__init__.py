"""Components for ``dg`` and YAML: a store as a resource, and as an IO manager.

``dg`` finds them by the package's entry point; nothing else imports them.
"""

from anystore_dagster.components.io_manager_component import AnystoreIOManagerComponent
from anystore_dagster.components.resource_component import AnystoreResourceComponent

__all__ = ["AnystoreIOManagerComponent", "AnystoreResourceComponent"]
