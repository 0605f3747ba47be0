"""Events of AMI, written by hand."""

from __future__ import annotations

T0 = 1_790_000_000

#: name: channel, Uniqueid, and of members their name and interface
CAST = {
    "caller": ("PJSIP/trunk-00000001", "1.1"),
    "half1": ("Local/500@inbound-00000001;1", "1.1"),
    "half2": ("Local/500@inbound-00000001;2", "1.11"),
    "dana": ("PJSIP/1003-00000002", "1.2", "Dana", "PJSIP/1003"),
    "dana-again": ("PJSIP/1003-00000012", "1.12", "Dana", "PJSIP/1003"),
    "erlan": ("PJSIP/1004-00000003", "1.3", "Erlan", "PJSIP/1004"),
    "erlan-again": ("PJSIP/1004-00000013", "1.13", "Erlan", "PJSIP/1004"),
    "local-dana": ("Local/1003@phones-00000005;1", "1.5", "Dana", "Local/1003@phones"),
    "local-dana2": ("Local/1003@phones-00000005;2", "1.6", "Dana", "Local/1003@phones"),
    "phone-dana": ("PJSIP/1003-00000007", "1.7", "Dana", "Local/1003@phones"),
    "other-phone": ("PJSIP/1009-00000009", "1.9", "Dana", "PJSIP/1003"),
    "consult1": ("Local/600@internal-00000008;1", "1.81"),
    "consult2": ("Local/600@internal-00000008;2", "1.82"),
}


def event(line: str) -> dict[str, str]:
    seconds, name, *words = line.split()
    result = {"Event": name, "Timestamp": f"{T0 + float(seconds):.6f}"}
    prefixes = iter(("", "Dest"))
    for word in words:
        key, equals, value = word.partition("=")
        if word.startswith("@"):
            result["Queue"] = word[1:]
        elif equals:
            result[key] = CAST[value][1] if key.endswith("Uniqueid") and value in CAST else value
        elif ">" in word:
            result.update(_pair(word.split(">"), "Transferer", "Transferee"))
        elif "+" in word:
            result.update(_pair(word.split("+"), "LocalOne", "LocalTwo"))
        else:
            result.update(_headers(next(prefixes), *CAST[word]))
    return result


def _pair(names: list[str], *prefixes: str) -> dict[str, str]:
    result = {}
    for name, prefix in zip(names, prefixes, strict=True):
        result.update({f"{prefix}Uniqueid": CAST[name][1], f"{prefix}Linkedid": "1.1"})
    return result


def _headers(prefix: str, channel: str, uid: str, member: str = "", interface: str = "") -> dict[str, str]:
    result = {f"{prefix}Channel": channel, f"{prefix}Uniqueid": uid, f"{prefix}Linkedid": "1.1"}
    if member and prefix:
        result.update(MemberName=member, Interface=interface)
    if not prefix:
        result.update(CallerIDNum="+77011234567", Context="inbound", Exten="7172700100")
    return result
