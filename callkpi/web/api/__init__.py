"""``/api/v1``: figures, the calls behind them, the work list, exports; described by what serves it.

Each module has the operations of one subject. An operation (:mod:`contract`) declares its path, its parameters, the
right that it needs and the schema of its answer; :mod:`door` serves it and :mod:`openapi` writes it down.
"""

from callkpi.calendar.moments import BadQuery, moment
from callkpi.web.api.contract import tenant_of
from callkpi.web.api.door import Api

__all__ = ["Api", "BadQuery", "moment", "tenant_of"]
