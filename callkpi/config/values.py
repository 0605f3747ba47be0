"""Values of settings as a person writes them: secrets, numbers, lists of texts; and how a key is declared.

These are plain types. Only who reads a file needs pydantic, which finds here how each is read: the daemon's children
get their settings ready-made, and start without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

#: How pydantic reads a table: a key that is not known is an error, and so is a number that is none, such as inf.
STRICT = {"extra": "forbid", "allow_inf_nan": False}


class Secret(str):
    """Text that opens a door. It is used like any text, and no ``repr`` shows it.

    A subclass of str rather than pydantic's SecretStr: a hundred places hand a token to a library that wants text, and
    one that forgot to unwrap it would send asterisks. Logs and errors are searched for secrets besides (secrets_of).
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'" if self else "''"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


@dataclass(frozen=True, slots=True)
class _Before:
    """What a value goes through before pydantic reads it, by the name of a function below."""

    name: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(globals()[self.name], handler(source))


def _no_truth(value: Any) -> Any:
    """True is 1 to Python, and a mistake to whoever wrote ``processes = true``."""
    if isinstance(value, bool):
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("no_number", "is no number")
    return value


def _split(value: Any) -> Any:
    """A variable has one text where the file has a list: ``a, b``."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Number = Annotated[float, _Before("_no_truth")]
Whole = Annotated[int, _Before("_no_truth")]
Texts = Annotated[tuple[str, ...], _Before("_split")]
Secrets = Annotated[tuple[Secret, ...], _Before("_split")]


def setting(default: Any, description: str, *, shown: bool = True, **limits: Any) -> Any:
    """A key with the sentence that the example file prints above it, and what pydantic checks: gt, ge, le.

    One that may hold a secret besides other things is not *shown* by ``repr``.
    """
    metadata = {"description": description, **limits}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, repr=shown, metadata=metadata)


def secret_setting(default: Any, description: str) -> Any:
    """A key whose value nobody may see: no ``repr`` has it, and :func:`callkpi.config.secrets_of` finds it here."""
    default = Secret(default) if isinstance(default, str) else default
    # What pydantic adds to the schema for editors, and the mark by which we know it.
    metadata = {"description": description, "json_schema_extra": {"writeOnly": True}}
    return field(default=default, repr=False, metadata=metadata)
