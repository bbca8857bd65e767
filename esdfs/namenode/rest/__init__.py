"""The Falcon REST edge of a NameNode."""
