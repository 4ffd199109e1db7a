"""Flavors that need no daemon, no account and no root: every component of the stack model on one machine."""
