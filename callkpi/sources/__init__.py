"""Sources: a module per PBX or CRM that turns what it sends into call events. See :mod:`.base`."""

from __future__ import annotations

from callkpi import config
from callkpi.sources.asterisk.kind import Asterisk
from callkpi.sources.base import SourceType
from callkpi.sources.binotel import Binotel
from callkpi.sources.bitrix24.kind import Bitrix24
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

_TYPES: tuple[SourceType, ...] = (
    Bitrix24(),
    Asterisk(),
    Native(),
    Zadarma(),
    Mango(),
    Megafon(),
    Twilio(),
    FreeSwitch(),
    Uis(),
    Binotel(),
    OnlinePbx(),
    Sipuni(),
    ThreeCx(),
    CSV,
)

#: Every kind by its name. To add a PBX: its file or folder, and a line above; its settings stand with it.
SOURCE_TYPES: dict[str, SourceType] = {config.register(each.keys): each for each in _TYPES}
