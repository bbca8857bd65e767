"""Where replicas are: soft state, filled by DataNode reports, never journaled."""
