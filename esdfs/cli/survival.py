"""What a cluster's NameNodes survive, in words: for `quorum status`, `doctor` and `local up`. Pure."""


def survives(full: int, witnesses: int) -> int:
    """How many of these voters, any, may be lost when all are up. Arguments as for ``planned``."""
    voters = full + witnesses
    return max(0, min(voters - (voters // 2 + 1), full - 1))


def planned(full: int, witnesses: int) -> str:
    """What a cluster with these voters survives when all are up.

    Args:
        full: Voters that hold the namespace and serve clients.
        witnesses: Voters that only keep the journal.
    """
    voters = full + witnesses
    losses = survives(full, witnesses)
    what = f"{full} NameNode{'s' if full != 1 else ''}" + (
        f" and {'a witness' if witnesses == 1 else f'{witnesses} witnesses'}" if witnesses else ""
    )
    if voters == 1:
        return f"{what}: no failover; its disk is the only copy of the journal"
    if not losses:
        return (
            f"{what}: the journal is on {voters} disks, but every one of them must be up: while one is down"
            " nothing can be changed. Add a witness or another NameNode for failover"
        )
    return f"{what}: the loss of any {losses} of them; another leads within about a second, nothing is lost"


def present(up: int, voters: int, survives: int) -> str:
    """What it survives from here, with so many of its voters up."""
    state = f"{up} of {voters} are up"
    if up < voters // 2 + 1:
        return f"{state}: no majority, nothing can be changed; bring back {voters // 2 + 1 - up}"
    if not survives:
        return f"survives the loss of none of {voters} voters; {state}"
    return f"survives the loss of {survives} of {voters} voters; {state}"
