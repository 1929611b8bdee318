"""Figures, each measured beside its peer: `make bench NAME=x`."""
