"""The block store: bytes, their checksums, and the pipeline that copies them."""
