"""Faults for real processes, and what tells whether a cluster bore them."""
