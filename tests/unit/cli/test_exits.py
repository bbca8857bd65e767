"""One exit status for every error there is."""

from esdfs.cli.exits import STATUS, Exit, exit_status
from esdfs.errors import OutcomeUnknown, Unreachable, every_error, from_code


def test_every_error_has_an_exit_status_and_no_other_has() -> None:
    assert {kind.code for kind in every_error()} == STATUS.keys()


def test_shells_can_tell_refused_unreachable_and_unknown_apart() -> None:
    assert exit_status(Unreachable("x")) == 3
    assert exit_status(OutcomeUnknown("x")) == 4
    assert exit_status(from_code("not-found", "x", {})) == 1
    assert exit_status(from_code("from-the-future", "x", {})) == Exit.REFUSED
