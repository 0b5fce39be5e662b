"""Real SDKs send real events: what each of them puts on the wire, and what must arrive."""
