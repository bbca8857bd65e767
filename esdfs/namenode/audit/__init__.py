"""What each record was about, indexed: for questions by path or person, and for feeds of a subtree."""
