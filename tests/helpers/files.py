"""Files compared by their content."""

import hashlib
from pathlib import Path


def hashes(folder: Path) -> dict[str, str]:
    """Content hash of every file below a folder, by its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
