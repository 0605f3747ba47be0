"""Sources: a module per PBX or CRM that turns what it sends into call events. See :mod:`.base`."""

from __future__ import annotations

from callkpi import config
from callkpi.sources.asterisk.kind import Asterisk
from callkpi.sources.base import SourceType
from callkpi.sources.binotel import Binotel
from callkpi.sources.bitrix24 import Bitrix24
from callkpi.sources.freeswitch.kind import FreeSwitch
from callkpi.sources.mango import Mango
from callkpi.sources.megafon import Megafon
from callkpi.sources.native import Native
from callkpi.sources.onlinepbx import OnlinePbx
from callkpi.sources.sipuni import Sipuni
from callkpi.sources.tables import CSV
from callkpi.sources.threecx.kind import ThreeCx
from callkpi.sources.twilio import Twilio
from callkpi.sources.uis import Uis
from callkpi.sources.zadarma import Zadarma

#: To add a PBX: add its module, its member in config.SourceKind, and a line here.
SOURCE_TYPES: dict[config.SourceKind, SourceType] = {
    config.SourceKind.BITRIX24: Bitrix24(),
    config.SourceKind.ASTERISK: Asterisk(),
    config.SourceKind.NATIVE: Native(),
    config.SourceKind.ZADARMA: Zadarma(),
    config.SourceKind.MANGO: Mango(),
    config.SourceKind.MEGAFON: Megafon(),
    config.SourceKind.TWILIO: Twilio(),
    config.SourceKind.FREESWITCH: FreeSwitch(),
    config.SourceKind.UIS: Uis(),
    config.SourceKind.BINOTEL: Binotel(),
    config.SourceKind.ONLINEPBX: OnlinePbx(),
    config.SourceKind.SIPUNI: Sipuni(),
    config.SourceKind.THREECX: ThreeCx(),
    config.SourceKind.CSV: CSV,
}
