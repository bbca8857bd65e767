"""The namespace in LMDB: disposable, rebuilt from the journal."""
