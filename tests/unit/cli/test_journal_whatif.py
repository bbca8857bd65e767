"""What a policy file may say, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from esdfs.cli.journal_whatif import load_policy
from esdfs.errors import InvalidRequest, NotFound
from esdfs.namenode.whatif import Policy, Quota


def written(directory: Path, text: str) -> Path:
    file = directory / "policy.toml"
    file.write_text(text)
    return file


def test_quotas_and_retention_are_read(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        '[quota."/logs/"]\nmax_bytes = "10G"\nmax_files = 1000\n[quota.""]\nmax_bytes = 5\n'
        '[retention]\nwindow = "7d"\nrecords = 100000\n',
    )
    quotas = (Quota("/logs", 10 << 30, 1000), Quota("/", 5))
    assert load_policy(file) == Policy(quotas, 7 * 86_400, 100_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[quota", "is not TOML"),
        ("", "no quota and no retention"),
        ("[quotas]", "unknown key 'quotas'; expected are quota, retention"),
        ("quota = 5", "quota is a table"),
        ('[quota."/a"]', 'quota."/a": give max_bytes'),
        ('[quota."/a"]\nmax_byte = 1', "unknown key 'max_byte'; expected are max_bytes, max_files"),
        ('[quota."/a"]\nmax_bytes = "lots"', "max_bytes: 'lots' is not a size"),
        ('[quota."/a"]\nmax_bytes = -1', "max_bytes is a whole number from 0 on"),
        ('[quota."/a"]\nmax_files = true', "max_files is a whole number from 0 on"),
        ('[quota."/a"]\nmax_files = "9"', "max_files is a whole number from 0 on"),
        ('[quota."a"]\nmax_files = 1', 'quota."a":'),
        ('[quota."/a"]\nmax_files = 1\n[quota."/a/"]\nmax_files = 2', "named twice"),
        ("[retention]", "retention: give window"),
        ("[retention]\nwindow = 7", "retention.window is a duration"),
        ('[retention]\nwindow = "0d"', "retention.window is a duration"),
        ("[retention]\nrecords = 0", "retention.records is a whole number from 1 on"),
        ("[retention]\ndays = 7", "retention: unknown key 'days'"),
    ],
)
def test_a_bad_policy_is_refused_with_the_key_and_what_is_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        load_policy(written(tmp_path, text))
    assert said in refused.value.message


def test_a_missing_policy_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing\.toml"):
        load_policy(tmp_path / "nothing.toml")
