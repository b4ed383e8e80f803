"""Fixtures of the lab's tests."""

from tests.postgres import postgres

__all__ = ["postgres"]
