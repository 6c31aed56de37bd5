"""Components for ``dg`` and YAML: a store as a resource and as an IO manager, a crawl, and a mirror.

``dg`` finds them by the package's entry point; nothing else imports them.
"""

from anystore_dagster.components.crawl_component import AnystoreCrawlComponent
from anystore_dagster.components.io_manager_component import AnystoreIOManagerComponent
from anystore_dagster.components.mirror_component import AnystoreMirrorComponent
from anystore_dagster.components.resource_component import AnystoreResourceComponent

__all__ = [
    "AnystoreCrawlComponent",
    "AnystoreIOManagerComponent",
    "AnystoreMirrorComponent",
    "AnystoreResourceComponent",
]
