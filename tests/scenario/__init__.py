"""Stories of the quorum, one text file each."""
