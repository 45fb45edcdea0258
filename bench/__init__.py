"""Side-by-side benchmarks: `python -m bench`. What is measured and how is in README.md, next to this file."""
