"""Flavors that run on AWS: one file per service."""
