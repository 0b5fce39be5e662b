"""For authors of adapters: conformance suites, one per protocol, to be run by pytest."""
