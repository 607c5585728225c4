"""onward, its peers and hand-written loops, measured side by side: `python -m benchmarks`."""
