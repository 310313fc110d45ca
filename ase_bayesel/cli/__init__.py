"""The command `bayesel`: parsing, tables, progress and report pages."""

from .main import app

__all__ = ["app"]
