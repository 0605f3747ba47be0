"""One typed tree of settings: from ``callkpi.toml``, then the environment, validated as a whole.

Every key has an environment variable: ``CALLKPI_`` and the key's path with two underscores between its
parts (``CALLKPI_SOURCES__PBX__TOKEN``). A variable that ends in ``_FILE`` names a file that holds the value,
for secrets. The four short names of the quick start are aliases (:data:`loading.ALIASES`).

To add a key: a field in ``tree.py``, its check in ``checks.py`` (of a source: ``source_checks.py``), and in
``secrets.py`` if nobody may see it.
"""

from callkpi.config.example import example
from callkpi.config.hours import WEEKDAYS, hours_of, is_open, parse_hours
from callkpi.config.loading import ConfigError, is_given, load
from callkpi.config.same_call_checks import doubled
from callkpi.config.secret_checks import warnings
from callkpi.config.secrets import secrets_of
from callkpi.config.source_checks import rest_secrets
from callkpi.config.tree import (
    Agent,
    Api,
    Database,
    Funnel,
    FunnelItems,
    Goal,
    GoalDirection,
    Language,
    Log,
    Mail,
    Metrics,
    Named,
    NumbersShown,
    OnHolidays,
    Person,
    Queue,
    Report,
    ReportField,
    Retention,
    RingingCounts,
    Role,
    SameCall,
    Server,
    Settings,
    ShiftPlan,
    Source,
    SourceKind,
    Spool,
    Targets,
    Team,
    Telegram,
    Tenant,
    Token,
    with_processes,
)
from callkpi.glossary import ServiceLevelFormula

__all__ = [
    "WEEKDAYS",
    "Agent",
    "Api",
    "ConfigError",
    "Database",
    "Funnel",
    "FunnelItems",
    "Goal",
    "GoalDirection",
    "Language",
    "Log",
    "Mail",
    "Metrics",
    "Named",
    "NumbersShown",
    "OnHolidays",
    "Person",
    "Queue",
    "Report",
    "ReportField",
    "Retention",
    "RingingCounts",
    "Role",
    "SameCall",
    "Server",
    "ServiceLevelFormula",
    "Settings",
    "ShiftPlan",
    "Source",
    "SourceKind",
    "Spool",
    "Targets",
    "Team",
    "Telegram",
    "Tenant",
    "Token",
    "doubled",
    "example",
    "hours_of",
    "is_given",
    "is_open",
    "load",
    "parse_hours",
    "rest_secrets",
    "secrets_of",
    "warnings",
    "with_processes",
]
