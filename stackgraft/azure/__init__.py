"""Flavors that run on Azure: one file per service."""
