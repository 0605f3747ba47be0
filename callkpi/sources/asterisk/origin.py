"""Who called whom: direction, customer, line and agent of a call, by the channels that began it.

A call that begins with a Local channel was begun by the exchange itself (Originate): a call back, whose second half
dials the customer before anything else, or a click to call, whose second half dials the agent's own phone and whose
first half then dials the customer. Both are outbound. A phone of ours is told by the extension in its channel's name, a
trunk by the number that is dialled over it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from callkpi import config
from callkpi.calls.model import Direction
from callkpi.calls.phone import is_hidden
from callkpi.sources.asterisk.scene import Channel, Dial, Scene
from callkpi.sources.asterisk.settings import AsteriskSource

#: Channels that are named after the phone; a number in another one's name may be a trunk's or the dialplan's.
PHONES = ("PJSIP/", "SIP/", "IAX2/", "SCCP/")
_SPECIAL_EXTENS = {"", "s", "h", "i", "t", "o", "a"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Who called whom."""

    direction: Direction
    customer: str
    line: str
    calls_back: bool = False  #: the exchange dialled the customer before anybody of ours


def origin_of(scene: Scene, settings: config.Source) -> Origin:
    """Who called whom, as far as it is known."""
    contexts = _contexts(scene)
    own = config.as_kind(settings, AsteriskSource)
    is_inbound = bool(contexts & set(own.inbound_contexts))
    is_outbound = bool(contexts & set(own.outbound_contexts))
    if not is_inbound and (back := _call_back(scene)) is not None:
        return Origin(Direction.OUTBOUND, _number_of(scene, back), "", calls_back=True)
    direction = _direction(scene, is_inbound=is_inbound, is_outbound=is_outbound)
    if direction is Direction.OUTBOUND:
        return Origin(direction, _dialled_number(scene), "")
    return Origin(direction, scene.root.caller or _caller_at_queue(scene), _line(scene))


def customer_dials(scene: Scene) -> list[Dial]:
    """The dials of who began an outbound call: those for the customer, and none for the agent's own phone."""
    side = scene.with_halves(scene.root.uid)
    if agents_own(scene) is not None:
        side = {scene.root.uid}
    return [dial for dial in scene.dials.values() if dial.origin in side and dial.dest not in side]


def agents_own(scene: Scene) -> Dial | None:
    """The dial of the agent's own phone, where a click in a CRM made the exchange call him before the customer."""
    root = scene.root
    half = scene.pairs.get(root.uid, "")
    if not half or not root.name.startswith("Local/"):
        return None
    if not any(dial.origin == root.uid for dial in scene.dials.values()):
        return None
    dials = [dial for dial in scene.dials.values() if dial.origin == half and is_ours(scene, dial)]
    return min(dials, key=lambda dial: (dial.status != "ANSWER", dial.begin.order), default=None)


def outbound_agent(scene: Scene) -> str:
    """Who made an outbound call."""
    own = agents_own(scene)
    if own is not None:
        return agent_at(scene, own)
    root = scene.root
    phone = extension(root.name)
    is_phone = root.name.startswith(PHONES) and scene.internal.fullmatch(phone)
    return phone if is_phone else root.caller or phone


def agent_at(scene: Scene, dial: Dial) -> str:
    """Who is rung by a dial: the extension in the channel's name, behind a trunk the number that was dialled."""
    uid = dial.taken_by or dial.dest
    found = extension(scene.channel(uid).name)
    number = _external_number(scene, dial)
    return number if number and not dial.taken_by else found


def is_ours(scene: Scene, dial: Dial) -> bool:
    """Whether a dial rings a phone of ours, and not somebody outside over a trunk."""
    if _external_number(scene, dial):
        return False
    return bool(scene.internal.fullmatch(extension(scene.channel(dial.dest).name)))


def _external_number(scene: Scene, dial: Dial) -> str:
    """The number that was dialled over a trunk; "" where a channel was dialled that is named after its phone."""
    name, text = extension(scene.channel(dial.dest).name), dial.begin.detail.get("DialString", "")
    number = number_in(text)
    if not number or scene.internal.fullmatch(number) or number in name:
        return ""
    if scene.internal.fullmatch(name) and ("sip:" in text or not re.search(rf"(^|/){re.escape(number)}(@|$)", text)):
        return ""  # the address of a phone's contact, not a number behind a trunk that is named by digits
    return number


def _call_back(scene: Scene) -> Dial | None:
    """The dial of a customer whom the exchange calls: the first one of the second half of a Local root."""
    root = scene.root
    half = scene.pairs.get(root.uid, "")
    if not half or not root.name.startswith("Local/"):
        return None
    dials = [dial for dial in scene.dials.values() if dial.origin == half]
    first = min(dials, key=lambda dial: dial.begin.order, default=None)
    if first is None or is_ours(scene, first) or not _is_outside(scene, first):
        return None
    joined = [stay.joined_at for stay in scene.stays if stay.uid in (root.uid, half)]
    dialled = [dial.begin.at for dial in scene.dials.values() if dial.origin == root.uid]
    return first if all(first.begin.at <= at for at in [*joined, *dialled]) else None


def _is_outside(scene: Scene, dial: Dial) -> bool:
    """Whether somebody is dialled who is no phone of ours, over a channel of a trunk."""
    channel = scene.channel(dial.dest)
    number = _number_of(scene, dial)
    return not channel.name.startswith("Local/") and bool(number) and not scene.internal.fullmatch(number.lstrip("+"))


def _contexts(scene: Scene) -> set[str]:
    root = scene.root
    contexts = {root.context} | {scene.channel(uid).context for uid in scene.with_halves(root.uid)}
    return contexts | {dial.begin.detail.get("Context", "") for dial in scene.dials.values() if dial.origin == root.uid}


def _direction(scene: Scene, *, is_inbound: bool, is_outbound: bool) -> Direction:
    root = scene.root
    if scene.stays or is_inbound:
        return Direction.INBOUND
    if is_outbound:
        return Direction.OUTBOUND
    dialled = _dialled_number(scene)
    is_agents = _is_ours(scene, root) or agents_own(scene) is not None
    if not is_agents:
        told = root.caller or root.hangup or _has_dialled(scene)
        return Direction.INBOUND if told else Direction.UNKNOWN
    if dialled and not scene.internal.fullmatch(dialled):
        return Direction.OUTBOUND
    return Direction.INTERNAL


def _is_ours(scene: Scene, channel: Channel) -> bool:
    """Whether a channel is a phone of ours: by its name (it may show a number of the company's), else its number."""
    if channel.name.startswith(PHONES) and scene.internal.fullmatch(extension(channel.name)):
        return True
    return bool(channel.caller and scene.internal.fullmatch(channel.caller.lstrip("+")))


def _has_dialled(scene: Scene) -> bool:
    """Whether the call has got anywhere: before that a caller without a number may still get one."""
    side = scene.with_halves(scene.root.uid)
    return any(dial.origin in side for dial in scene.dials.values())


def _caller_at_queue(scene: Scene) -> str:
    numbers = [stay.told_by.detail.get("CallerIDNum", "") for stay in scene.stays]
    return next((number for number in numbers if not is_hidden(number)), "")


def _line(scene: Scene) -> str:
    """The number that the customer called: the first extension that is a number of ours."""
    root = scene.root
    candidates = [root.exten, *(scene.channel(uid).exten for uid in sorted(scene.with_halves(root.uid)))]
    candidates += [dial.begin.detail.get("Exten", "") for dial in scene.dials.values() if dial.origin == root.uid]
    candidates += [stay.told_by.detail.get("Exten", "") for stay in scene.stays]
    return next((exten for exten in candidates if exten not in _SPECIAL_EXTENS), "")


def _dialled_number(scene: Scene) -> str:
    """What the one who began the call dialled: his first dial's target, else the extension."""
    first = min(customer_dials(scene), key=lambda dial: dial.begin.order, default=None)
    if first is not None:
        return _number_of(scene, first)
    return scene.root.exten if scene.root.exten.lstrip("+").isdigit() else ""


def _number_of(scene: Scene, dial: Dial) -> str:
    exten = dial.begin.detail.get("Exten", "")
    if exten not in _SPECIAL_EXTENS and exten.lstrip("+").isdigit():
        return exten
    return number_in(dial.begin.detail.get("DialString", ""))


def number_in(text: str) -> str:
    """The longest run of digits of a dial string or a channel's name: ``trunk/77011234567@pstn`` and the like."""
    return max(re.findall(r"\+?\d+", text.split("-")[0]), key=len, default="")


def extension(channel_name: str) -> str:
    """The agent in a channel's name: ``PJSIP/1006-0000000a``, ``Local/1006@agents-0000000e;1``."""
    match = re.match(r"[^/]+/([^@;/]+?)(?:@.*|-[0-9a-f]+(?:;\d)?)?$", channel_name)
    return match.group(1) if match else channel_name
