"""The configuration, at the desk: what is in force, what was, and a new one."""

from __future__ import annotations

from monitor import views
from monitor.config.effective import body, digest, plain
from monitor.config.revisions import is_of
from monitor.desk.base import DeskBase
from monitor.store.revision_rows import KEPT, Revision
from monitor.views import DeskError


class ConfigDesk(DeskBase):
    """Questions and commands about the configuration."""

    def config_history(self, *, limit: int = 50) -> list[views.ConfigRevision]:
        """Newest first, without their bodies."""
        with self._reading() as tx:
            found = tx.revisions.newest(min(max(limit, 0), KEPT))
        return [_row(revision, "") for revision in found]

    def config_revision(self, *, number: int = 0) -> views.ConfigRevision:
        """One with its body; 0 is the one in force."""
        self._must("responder")
        with self._reading() as tx:
            found = tx.revisions.get(number) if number else tx.revisions.latest()
        if found is None and not number:
            text = "no configuration has been in force here: start the daemon first"
            raise DeskError("not_found", text, "tocsin run")
        if found is None:
            hint = "list them: tocsin config history"
            raise DeskError("not_found", f"no revision r{number}", hint)
        if number or self._who.via == "direct":
            return _row(found, found.body)
        # Several machines may share a store; what is in force is what this daemon runs with.
        data = plain(self._configured.settings)
        row = _row(found, body(data))
        return row if is_of(found, data) else _elsewhere(row, digest(data))

    def reload_config(self) -> views.ConfigReloaded:
        """Take the configuration as it is on disk now, whole or not at all."""
        self._must("admin")
        return self._reload(self._who)


def _row(revision: Revision, text: str) -> views.ConfigRevision:
    return views.ConfigRevision(
        number=revision.id,
        at=revision.at,
        who=revision.who,
        via=revision.via,
        note=revision.note,
        digest=revision.digest,
        body=text,
    )


def _elsewhere(row: views.ConfigRevision, digest: str) -> views.ConfigRevision:
    return views.ConfigRevision(
        number=0,
        at=row.at,
        who="",
        via="",
        note="in force here; the last revision is another machine's",
        digest=digest,
        body=row.body,
    )
