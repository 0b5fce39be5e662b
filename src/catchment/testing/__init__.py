"""Conformance suites for authors of adapters; they need pytest."""
