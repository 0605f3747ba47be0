"""How an Asterisk is listened to: over its manager interface, or by its queue_log."""

from __future__ import annotations

from callkpi import config
from callkpi.connections.asterisk_ami import AmiLink
from callkpi.connections.keeping import Link
from callkpi.connections.office import Office
from callkpi.connections.queue_log import QueueLogLink
from callkpi.sources.asterisk.settings import AsteriskSource


def link(office: Office, name: str, source: config.Source) -> Link:
    """The link of a source of kind asterisk."""
    own = config.as_kind(source, AsteriskSource)
    return AmiLink(office, name, own) if own.ami_address else QueueLogLink(office, name, own)
