"""Which of the settings must never be seen."""

from __future__ import annotations

from callkpi.config.source_checks import rest_secrets
from callkpi.config.tree import Settings


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every value that must never be seen in a log, a metric or an error."""
    found = {settings.server.api_token, settings.server.metrics_token, settings.database.reader_password}
    found.update(entry.token for entry in settings.tokens.values())
    found.update((settings.mail.password, settings.telegram.token))
    for tenant in settings.tenants.values():
        for report in tenant.reports.values():
            # The address of a webhook is often all that its receiver asks for.
            found.update((report.secret, *(text for text in report.to if text.startswith(("http:", "https:")))))
    for source in settings.sources.values():
        found.update(source.application_tokens, source.secrets)
        found.update((source.token, source.api_key, source.ami_secret, source.esl_password))
        found.update(rest_secrets(source.rest_url))
    return frozenset(value for value in found if value)
