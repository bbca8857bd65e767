"""${message}

Every migration keeps these rules:

- The previous release must still be able to read and append while this one is in place: nodes are upgraded
  one after another. Add; drop only what the previous release no longer names.
- Tables only. A journaled payload is never rewritten; a changed event gets a new version and an upcaster.
- It imports nothing from `esdfs`: it must mean the same in ten years.
- `downgrade` undoes it. Raise REVISION in `esdfs/journal/tables.py`.

Revision: ${up_revision}, after ${down_revision | comma,n}.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "raise NotImplementedError"}


def downgrade() -> None:
    ${downgrades if downgrades else "raise NotImplementedError"}
