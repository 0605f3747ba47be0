"""callkpi: telephony events to calls, to a funnel, to KPIs that every screen agrees on."""

__version__ = "0.2.0"
