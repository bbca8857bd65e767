"""The write-ahead journal: what a record is, how it is kept, how it is proven. Knows nothing of files."""
