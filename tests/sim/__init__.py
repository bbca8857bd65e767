"""A simulated cluster around the production quorum: simulated clock, network and disks, one seed."""
