"""Side-by-side measurements, each `python -m benchmarks.NAME`; none is imported by the package."""
