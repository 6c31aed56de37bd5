"""What a crawl of the tests is to find, and what it has stored."""

import os
import time

LONG_AGO = time.time() - 7200


def fill(root, files, moment=LONG_AGO):
    """Write files below a folder, as of a moment; names may be bytes, and contents text."""
    for name, data in files.items():
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        os.utime(path, (moment, moment))


def stored(target):
    """Read all that a store has."""
    return {key: target.get(key) for key in target.iterate_keys()}
