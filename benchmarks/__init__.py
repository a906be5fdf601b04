"""durably beside its peers on the same work: `python -m benchmarks`, or `make bench`."""
