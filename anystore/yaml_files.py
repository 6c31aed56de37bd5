"""YAML, for the store file; loaded only when such a file is read."""

from typing import Any

import yaml


def parse_yaml(text: bytes) -> Any:
    """Parse YAML into plain values; no tag ever makes an object.

    Raises:
        ValueError: If it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from error
