"""``python -m ase_bayesel`` is the command `bayesel`."""

from .cli import app

if __name__ == "__main__":
    app()
