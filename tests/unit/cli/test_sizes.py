import pytest
from hypothesis import given
from hypothesis import strategies as st

from esdfs.cli.sizes import parse_size
from esdfs.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("65536", 65536),
        ("64K", 65536),
        ("64k", 65536),
        ("1MiB", 1 << 20),
        ("2 GB", 2 << 30),
        ("1t", 1 << 40),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "64 X", "1MM", "12 34"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidRequest, match="1MiB"):
        parse_size(text)


@given(st.integers(0, 1 << 20))
def test_a_number_with_each_unit_grows_by_1024(number: int) -> None:
    sizes = [parse_size(f"{number}{unit}") for unit in ("", "K", "M", "G", "T")]
    assert sizes == [number << 10 * power for power in range(5)]
