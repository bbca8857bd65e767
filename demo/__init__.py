"""`./dev demo`: what esdfs does, on real processes."""
