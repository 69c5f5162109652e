"""The yardstick: networks of three small spaces, trained alone, to hold rankings against.

PYTHONPATH=benchmarks python -m yardstick --out benchmarks/results/yardstick.jsonl
"""
