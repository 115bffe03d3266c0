"""A teaching kit and load-tester for System V message queues (see docs/architecture.md for the map)."""

__version__ = "0.1.0"
