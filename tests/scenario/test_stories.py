"""Every story is told to its end, with all checkers watching."""

from pathlib import Path

import pytest

from tests.scenario.story import StepFailedError, tell

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_story(path: Path) -> None:
    tell(path)


def test_a_story_that_does_not_hold_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text("nodes 3\nelect 1\nexpect leader 2\n")

    with pytest.raises(StepFailedError, match=r"wrong\.txt:3: expect leader 2"):
        tell(path)


def test_there_are_at_least_sixty() -> None:
    assert len(STORIES) >= 60
