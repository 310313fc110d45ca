"""A module that cannot be imported without ending the process."""

raise SystemExit("not here")
