"""Errors that are ours and Python's at once."""

import errno
from operator import attrgetter

import pytest

from esdfs.client.errors import familiar
from esdfs.errors import EsdfsError, every_error, from_code


@pytest.mark.parametrize("kind", list(every_error()), ids=attrgetter("code"))
def test_a_familiar_error_is_still_the_error_it_was(kind: type[EsdfsError]) -> None:
    error = familiar(kind("what is wrong", path="/x"))
    assert isinstance(error, kind)
    assert (error.code, error.retry, error.message, error.details) == (
        kind.code,
        kind.retry,
        "what is wrong",
        {"path": "/x"},
    )
    assert str(error) == "what is wrong"
    assert familiar(error) is error


@pytest.mark.parametrize(
    ("code", "builtin", "number"),
    [
        ("not-found", FileNotFoundError, errno.ENOENT),
        ("parent-not-found", FileNotFoundError, errno.ENOENT),
        ("already-exists", FileExistsError, errno.EEXIST),
        ("not-a-directory", NotADirectoryError, errno.ENOTDIR),
        ("is-a-directory", IsADirectoryError, errno.EISDIR),
        ("directory-not-empty", OSError, errno.ENOTEMPTY),
        ("unauthenticated", PermissionError, errno.EACCES),
        ("unreachable", ConnectionError, errno.ECONNREFUSED),
        ("deadline-exceeded", TimeoutError, errno.ETIMEDOUT),
    ],
)
def test_python_programs_catch_what_they_know(code: str, builtin: type[OSError], number: int) -> None:
    with pytest.raises(builtin) as caught:
        raise familiar(from_code(code, "m", {"path": "/x"}))
    assert caught.value.errno == number
    assert caught.value.filename == "/x"


def test_a_code_of_a_newer_peer_passes_through() -> None:
    error = from_code("from-the-future", "m", {})
    assert familiar(error) is error
