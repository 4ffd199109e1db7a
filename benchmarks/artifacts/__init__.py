"""The parts of ``benchmarks/artifacts.py``: servers, peers' environments, measured runs, families of rows, goals."""
