"""Campaigns: config, exploration, labels, refits, and the directory that keeps them."""
