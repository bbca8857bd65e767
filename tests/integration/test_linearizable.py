"""Leaders killed, frozen, cut off and asked to leave under load: every call is explained by one order of all.

Clients follow the leader, others insist on one NameNode each, also on the one that was deposed. The full
proof, with its times, is ``./dev bench failover --rounds 200``.
"""

from tests.faults.history import evidence
from tests.faults.load import Load
from tests.faults.rig import Fault, rig

OUTAGE_S_MAX = 6.0  # under one on a quiet machine; this one runs tests beside it


def test_whatever_befalls_a_leader_no_call_sees_the_past_and_no_write_is_lost_or_done_twice() -> None:
    with rig("--datanodes", "1") as three:
        load = Load(three.urls)
        load.start()
        try:
            for fault in (Fault.FREEZE, Fault.CUT, Fault.TRANSFER, Fault.KILL, Fault.LEAVE):
                three.run(fault, load)
        finally:
            load.stop()
        assert load.failed == []
        verdict = three.verdict(load)

    assert [evidence(part)[-20:] for part in verdict.unexplained] == []
    assert verdict.lost == []
    assert verdict.twice == []
    waits = [wait for each in verdict.outages_s.values() for wait in each]
    print(f"without an acknowledged write: {[round(wait, 2) for wait in waits]} s")  # noqa: T201 - measured
    assert max(waits) <= OUTAGE_S_MAX
    # A test that asked for nothing would pass, too.
    assert verdict.acknowledged > 50
    assert verdict.calls["done"] > 200
