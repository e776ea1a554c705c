"""How a setting is refused."""

from raysys.errors import ConfigError


def require(holds: bool, setting: str, value: object, rule: str) -> None:
    """Let a value pass, or say what it must be.

    Raises:
        ConfigError: the rule does not hold.
    """
    if not holds:
        raise ConfigError(f"{setting} is {value!r}, but must be {rule}: set --{setting}")
