from esdfs.namenode.leases import LeaseTable
from tests.unit.namenode.world import FakeClock


def pass_time(clock: FakeClock, leases: LeaseTable, seconds: float) -> None:
    """Awake all the time."""
    for _ in range(int(seconds * 2)):
        clock.sleep(0.5)
        leases.tick()


def test_a_lease_is_young_when_first_asked_about() -> None:
    clock = FakeClock()
    leases = LeaseTable(clock, soft_ms=1000, hard_ms=5000)

    assert not leases.may_take_over(7)
    clock.sleep(1.1)
    assert leases.may_take_over(7)


def test_renewal_holds_both_limits_off() -> None:
    clock = FakeClock()
    leases = LeaseTable(clock, soft_ms=1000, hard_ms=5000)
    leases.renew(7)
    leases.renew(8)
    pass_time(clock, leases, 4)
    leases.renew(7)
    pass_time(clock, leases, 1.5)

    assert leases.lapsed([7, 8]) == [8]
    assert leases.may_take_over(7)
    leases.renew(7)
    assert not leases.may_take_over(7)


def test_while_we_slept_no_lease_grew_older() -> None:
    clock = FakeClock()
    leases = LeaseTable(clock, soft_ms=1000, hard_ms=5000)
    leases.renew(7)
    clock.sleep(3_600)  # its writer's renewals are not read yet

    assert not leases.may_take_over(7)
    assert leases.lapsed([7]) == []
    pass_time(clock, leases, 1.5)
    assert leases.may_take_over(7)
