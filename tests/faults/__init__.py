"""Faults, one a round, against the real daemon under traffic, and the proof after each that nothing was lost.

``python -m tests.faults --rounds 200`` runs them and prints a table; ``--list`` says which there are.

- :mod:`tests.faults.system`: the daemon as a service manager keeps it, and its database.
- :mod:`tests.faults.traffic`: sources that push numbered events, and who sees when their calls are in the tables.
- ``processes``, ``database``, ``disk``, ``network``, ``clock``, ``deliveries``: what is broken.
- :mod:`tests.faults.verdict`: what has to be true after a round.
- :mod:`tests.faults.campaign`: rounds, and the table of them.

:mod:`tests.faults.fuzz` is apart: it sends mutations of recorded payloads to every door, in process.
"""
