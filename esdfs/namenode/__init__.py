"""The metadata service: commands in, events out, the namespace as their projection."""
