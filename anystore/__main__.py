"""The console script ``anystore``, also to be had as ``python -m anystore``."""

import sys

from anystore.errors import MissingExtra
from anystore.extras import load


def main() -> None:
    """Run the command line; without its extra, say what to install.

    Raises:
        SystemExit: Always, with the exit code.
    """
    try:
        code = load("anystore.cli").run()
    except MissingExtra as error:
        print(f"anystore: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:  # while the libraries are loaded; later, the command line takes care of it
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
