"""From the calls as each source tells them to the calls that they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import asyncpg

from callkpi import config
from callkpi.calls import counters, facts
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import StreamKey
from callkpi.projection.rows import After, compare, rows_at
from callkpi.same_call import rules, unions


class Uniting:
    """Makes one call of what several sources tell of it, for the tenants that have a rule."""

    def __init__(self, settings: config.Settings) -> None:
        self._limits = {name: Thresholds(tenant) for name, tenant in settings.tenants.items()}
        self._rules = rules.rules(settings)
        self._by_fields = any(tenant.fields for tenant in settings.tenants.values())

    async def calls(
        self, connection: asyncpg.Connection, after: Sequence[After], united: Counter[tuple[str, counters.Series]]
    ) -> list[After]:
        """The calls as their sources tell them, to the calls that they are; adds to *united* what changed."""
        by_tenant: dict[str, list[After]] = defaultdict(list)
        for item in after:
            if item.side is not None:
                by_tenant[item.call.tenant].append(item)
        if not by_tenant:
            return list(after)
        await unions.lock(connection, by_tenant)
        result = [item for item in after if item.side is None]
        for tenant, items in sorted(by_tenant.items()):
            touched: dict[rules.Key, rules.Side | None] = {
                rules.Key(*key[1:]): None for item in items for key in item.keys
            }
            touched |= {item.side.key: item.side for item in items if item.side is not None}
            decided = await unions.decide(connection, tenant, self._rules[tenant], touched)
            result += await self._afterwards(connection, tenant, items, decided)
            united.update((tenant, counters.Series("united", outcome=rule)) for rule in decided.united)
            united.update((tenant, counters.Series("split", outcome=rule)) for rule in decided.split)
        return result

    async def _afterwards(
        self, connection: asyncpg.Connection, tenant: str, items: Sequence[After], decided: unions.Decided
    ) -> list[After]:
        """What to write of the unions that changed, each with the rows that it replaces."""
        of_side = {item.key: item for item in items}
        places = {key: at for item in items for key, at in item.places.items()}
        places |= {StreamKey(tenant, *key): at for key, at in decided.places.items()}
        before = await rows_at(connection, places, by_fields=self._by_fields)
        some_counted = any(item.counted for item in items)
        result = []
        for union in decided.unions:
            leads = [StreamKey(tenant, *side.key) for side in union.sides]
            told = [of_side[key] for key in leads if key in of_side]
            call = rules.unite(union, self._rules[tenant])
            item = After(call, facts.facts(call, self._limits[tenant]))
            item.keys = tuple(key for lead in leads for key in (of_side[lead].keys if lead in of_side else (lead,)))
            item.counted = any(one.counted for one in told) if told else some_counted
            compare(item, before, item.keys)
            result.append(item)
        return result
