"""The command `stiffgrad`, and `python -m stiffgrad`."""

import atexit
import gc
import sys

from stiffgrad._collector import loading
from stiffgrad._extras import needing


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        with needing("report", "the command stiffgrad"), loading():
            from stiffgrad.cli import app
    except ImportError as error:
        sys.exit(str(error))
    atexit.register(gc.freeze)  # a last look through all objects would take a fifth of a second
    app()


if __name__ == "__main__":
    main()
