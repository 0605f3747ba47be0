"""The phones behind Local channels, and who took a call over from a colleague.

FreePBX writes every member of a queue as ``Local/21@from-queue/n``. The queue knows the pair's first half alone; the
second half runs a dialplan that dials PJSIP/21. Whatever the agent does, he does on that third channel: he holds there,
he transfers there and he hangs up there, while the queue goes on to believe that he talks until the customer's call
ends. Here is told which channel that is, when it left the call, and whom it left the customer to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from callkpi.calls.model import CallEvent
from callkpi.sources.asterisk.scene import TRANSFERS, Dial, Ring, Scene

#: Channels of one call end within this of each other.
TOGETHER = timedelta(seconds=2)
_DEEPEST = 5


def phone_behind(scene: Scene, uid: str) -> str:
    """The phone that answered behind the Local channel *uid*; "" where there is none, or none that we know of."""
    found = ""
    for _ in range(_DEEPEST):
        dial = _answered_by(scene, scene.pairs.get(uid, ""))
        if dial is None:
            break
        found = uid = dial.taken_by or dial.dest
    return found


def _answered_by(scene: Scene, half: str) -> Dial | None:
    """The first dial of the second half that was answered: what it dials later, a transfer made it dial."""
    if not half:
        return None
    dials = [dial for dial in scene.dials.values() if dial.origin == half and dial.status == "ANSWER"]
    return min(dials, key=lambda dial: dial.begin.order, default=None)


def speaks(scene: Scene, uid: str) -> str:
    """The channel of the one who was reached at *uid*: the phone behind it, else itself."""
    return phone_behind(scene, uid) or uid


def left(scene: Scene, phone: str, since: datetime) -> CallEvent | None:
    """What ended a phone's part of the call: its transfer, else its hang-up."""
    ends = [signal for signal in scene.transfers.get(phone, ()) if signal.at >= since]
    hangup = scene.hangup_of(phone)
    return min([*ends, *([hangup] if hangup is not None else [])], key=lambda signal: signal.order, default=None)


def end_of_phone(scene: Scene, ring: Ring, since: datetime) -> CallEvent | None:
    """When the phone behind a member's Local channel left the talk; None where it is the queue that tells it.

    A pair that Asterisk takes out of the call leaves the phone in the member's place: the queue sees all of it then.
    """
    phone = phone_behind(scene, ring.leg)
    if not phone or ring.leg in scene.replaced:
        return None
    end = left(scene, phone, since)
    if end is None:
        return None
    if end.detail["Event"] in TRANSFERS or ring.complete is None or abs(ring.complete.at - end.at) > TOGETHER:
        return end
    return None


def talks_on(scene: Scene, ring: Ring) -> bool:
    """Whether a member talks on with the customer after his queue's AgentComplete.

    A colleague had called the queue and now transfers the customer to the member who took that call.
    """
    complete = ring.complete
    if complete is None or ring.leg in scene.replaced or scene.hangup_of(speaks(scene, ring.leg)) is not None:
        return False
    return any(
        transfer.detail["Event"] == "AttendedTransfer"
        and abs(transfer.at - complete.at) <= TOGETHER
        and (
            transfer.detail.get("TransferTargetUniqueid") == ring.leg
            or transfer.detail.get("SecondTransfererUniqueid") == complete.detail.get("Uniqueid")
        )
        for transfers in scene.transfers.values()
        for transfer in transfers
    )


# -- who took over ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A colleague outside of any queue to whom the customer was transferred after a consultation."""

    transfer: CallEvent
    leg: str  #: the colleague's channel
    dial: Dial  #: by which he was called


def taken_over(scene: Scene) -> Iterator[TakenOver]:
    """Each attended transfer to a colleague whom the agent had called himself."""
    once = {t.event_id: t for transfers in scene.transfers.values() for t in transfers}
    for transfer in sorted(once.values(), key=lambda t: t.order):
        if transfer.detail["Event"] != "AttendedTransfer":
            continue
        for dial in _consultations(scene, transfer):
            queued = {stay.uid for stay in scene.stays} & scene.with_halves(dial.dest)
            if dial.dest not in scene.member_channels and not queued and not _is_gone(scene, dial, transfer.at):
                yield TakenOver(transfer, dial.taken_by or dial.dest, dial)


def _consultations(scene: Scene, transfer: CallEvent) -> list[Dial]:
    """The dials by which the agent consulted somebody before a transfer."""
    detail = transfer.detail
    first, second = detail.get("OrigTransfererUniqueid", ""), detail.get("SecondTransfererUniqueid", "")
    transferee = detail.get("TransfereeUniqueid", "")
    if first != second:
        origins = scene.with_halves(second)
    else:
        # By the code *2 a Local channel that nobody dialled carries the consultation.
        origins = _undialled_halves(scene, transfer.at) - scene.with_halves(transferee)
    return [
        dial
        for dial in scene.dials.values()
        if dial.origin in origins and dial.dest not in origins and dial.begin.at <= transfer.at
    ]


def _undialled_halves(scene: Scene, until: datetime) -> set[str]:
    root = scene.with_halves(scene.root.uid)
    halves: set[str] = set()
    for uid in scene.pairs:
        channel = scene.channel(uid)
        both = scene.with_halves(uid)
        is_old = channel.first is not None and channel.first.at <= until
        if is_old and not both & (root | scene.dials.keys() | scene.member_channels):
            halves |= both
    return halves


def _is_gone(scene: Scene, dial: Dial, at: datetime) -> bool:
    """Whether somebody consulted was not there any more when the call was transferred."""
    if dial.end is not None and dial.status != "ANSWER" and dial.end.at < at:
        return True
    hangup = scene.hangup_of(speaks(scene, dial.taken_by or dial.dest))
    return hangup is not None and hangup.at < at
