"""The stack model for the orchestrator you already run: named components, swapped by configuration."""

__version__ = "0.1.0"
