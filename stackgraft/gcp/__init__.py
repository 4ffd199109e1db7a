"""Flavors that run on Google Cloud: one file per service."""
