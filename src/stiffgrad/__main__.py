"""`python -m stiffgrad` is `stiffgrad`."""

from stiffgrad.cli import app

if __name__ == "__main__":
    app()
