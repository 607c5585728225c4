"""Real servers for development, tests and benchmarks, on loopback ports, with data that go when they end."""
