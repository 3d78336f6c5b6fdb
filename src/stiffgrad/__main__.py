"""The command `stiffgrad`, and `python -m stiffgrad`."""

import sys

from stiffgrad._extras import needing


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        with needing("report", "the command stiffgrad"):
            from stiffgrad.cli import app
    except ImportError as error:
        sys.exit(str(error))
    app()


if __name__ == "__main__":
    main()
