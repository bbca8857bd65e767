"""Checkpoints: images of the projection at a position of the journal. See DESIGN.md of the NameNode."""
