"""Wrong labels on purpose, and right ones of real campaigns: what screening makes of them."""
