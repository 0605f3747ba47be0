"""One typed tree of settings: from ``callkpi.toml``, then the environment, validated as a whole.

Every key has an environment variable: ``CALLKPI_`` and the key's path with two underscores between its
parts (``CALLKPI_SOURCES__PBX__TOKEN``). A variable that ends in ``_FILE`` names a file that holds the value,
for secrets. The four short names of the quick start are aliases (:data:`loading.ALIASES`).

To add a key: a field in ``tree.py``, and its check in ``checks.py`` where the field itself can't say it. A key of one
kind of source stands beside its reader in ``callkpi.sources``.
"""

from callkpi.config.doubts import doubts
from callkpi.config.example import example, schema, whole_example
from callkpi.config.hours import WEEKDAYS, hours_of, is_open, parse_hours
from callkpi.config.loading import ConfigError, chosen_file, is_given, load
from callkpi.config.same_call_checks import doubled
from callkpi.config.secret_checks import warnings
from callkpi.config.secrets import secrets_of
from callkpi.config.source import Source, as_kind, is_address, kinds, new_source, register
from callkpi.config.tree import (
    Agent,
    Api,
    Database,
    Goal,
    GoalDirection,
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
    Spool,
    Targets,
    Team,
    Telegram,
    Tenant,
    Token,
    with_processes,
)
from callkpi.config.values import Number, Secret, Secrets, Texts, Whole, secret_setting, setting
from callkpi.glossary import ServiceLevelFormula

__all__ = [
    "WEEKDAYS",
    "Agent",
    "Api",
    "ConfigError",
    "Database",
    "Goal",
    "GoalDirection",
    "Log",
    "Mail",
    "Metrics",
    "Named",
    "Number",
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
    "Secret",
    "Secrets",
    "Server",
    "ServiceLevelFormula",
    "Settings",
    "ShiftPlan",
    "Source",
    "Spool",
    "Targets",
    "Team",
    "Telegram",
    "Tenant",
    "Texts",
    "Token",
    "Whole",
    "as_kind",
    "chosen_file",
    "doubled",
    "doubts",
    "example",
    "hours_of",
    "is_address",
    "is_given",
    "is_open",
    "kinds",
    "load",
    "new_source",
    "parse_hours",
    "register",
    "schema",
    "secret_setting",
    "secrets_of",
    "setting",
    "warnings",
    "whole_example",
    "with_processes",
]
