"""Biased MD: schedules, ensembles, moves, triggers, guards, walkers and their records."""
