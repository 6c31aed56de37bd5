"""How the documents fall into partitions: one for each top folder of the listing."""

from anystore_dagster import CrawlPartitions

FOLDERS = CrawlPartitions.folders("folders")
