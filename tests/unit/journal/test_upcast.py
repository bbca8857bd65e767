import pytest

from esdfs.errors import NewerRelease
from esdfs.journal.upcast import Upcasters


def three_versions() -> Upcasters:
    upcasters = Upcasters({7: 3, 8: 1})

    @upcasters.step(7, 1)
    def _one(payload: bytes) -> bytes:
        return payload + b">2"

    @upcasters.step(7, 2)
    def _two(payload: bytes) -> bytes:
        return payload + b">3"

    return upcasters


@pytest.mark.parametrize(("version", "lifted"), [(1, b"x>2>3"), (2, b"x>3"), (3, b"x")])
def test_a_payload_is_lifted_step_by_step(version: int, lifted: bytes) -> None:
    assert three_versions().upcast(7, version, b"x") == lifted


@pytest.mark.parametrize(("kind", "version"), [(7, 4), (7, 0), (9, 1)])
def test_what_a_newer_release_wrote_is_refused(kind: int, version: int) -> None:
    with pytest.raises(NewerRelease) as refused:
        three_versions().upcast(kind, version, b"x")
    assert refused.value.details == {"kind": kind, "version": version}


def test_a_forgotten_step_is_listed() -> None:
    assert three_versions().missing() == []
    assert Upcasters({7: 3, 8: 1}).missing() == [(7, 1), (7, 2)]


def test_a_step_cannot_be_registered_twice_or_beyond_the_newest() -> None:
    upcasters = three_versions()
    for version in (1, 3):
        with pytest.raises(AssertionError):
            upcasters.step(7, version)(bytes)
