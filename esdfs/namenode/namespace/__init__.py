"""The rules of the namespace: pure functions over a view."""
