"""Live connections to PBXes and files: what is kept open, by whom, and how what comes gets to the journal.

A protocol is one module with one class, a :class:`.keeping.Link`: ``hold`` connects, logs in, says ``status.up()`` when
what it reads is complete, gives each payload to ``intake.put``, and raises :class:`.keeping.Trouble` when it ends. What
is the same for all is done here: back-off, one holder over several daemons, the state that every web process shows,
groups for the journal, what to do while PostgreSQL is away. To add one: the module, a line in
:data:`.connector.LINKS`, its key in ``config.Source`` and in ``Source.keeps_connection``.
"""
