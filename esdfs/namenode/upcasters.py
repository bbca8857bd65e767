"""The newest version of every event, and the steps from each shipped version to the next.

A shipped event is never edited. To change one: raise its number here, register the step that lifts the
previous version's payload (defaults are constants: no clock, no setting), and add a golden payload of the
new version; the old one stays and must read for ever.
"""

from typing import Final

from esdfs.journal.upcast import Upcasters
from esdfs.namenode.events import Kind

VERSIONS: Final[dict[int, int]] = dict.fromkeys(map(int, Kind), 1)
"""What this release writes."""

upcasters: Final = Upcasters(VERSIONS)
