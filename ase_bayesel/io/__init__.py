"""Files that are whole or not there, locks, and readers that trust no file."""
