"""The command line. Thin: each command reads its arguments and calls what does the work.

An error that the user can mend is one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from callkpi import __version__, config


class UsageError(Exception):
    """Something that the user can mend; the text says what and how."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (UsageError, FileNotFoundError) as error:
        _fail(str(error))
    except config.ConfigError as error:
        _fail("bad configuration: " + "; ".join(error.problems))
    except BrokenPipeError:
        sys.stderr.close()
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(text: str) -> NoReturn:
    print(f"callkpi: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="callkpi",
        description="Call-centre analytics: telephony events to calls, to a funnel, to KPIs.",
        epilog="example: callkpi demo",
    )
    parser.add_argument("--version", action="version", version=f"callkpi {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _serving_commands(commands)
    _reading_commands(commands)
    _file_commands(commands)
    _repair_commands(commands)
    child = commands.add_parser("_child")
    child.add_argument("role")
    child.add_argument("lifeline", type=int)
    child.set_defaults(run=_child)
    return parser


def _add(commands: Any, name: str, text: str, example: str, run: Callable[[argparse.Namespace], None]) -> _Parser:
    parser: _Parser = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
    parser.set_defaults(run=run)
    return parser


def _takes_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="callkpi.toml (else CALLKPI_CONFIG, else ./callkpi.toml)"
    )


def _serving_commands(commands: Any) -> None:
    parser = _add(commands, "serve", "run the daemon", "callkpi serve --config callkpi.toml", _serve)
    _takes_config(parser)
    parser.add_argument("--processes", type=int, metavar="N", help="web processes that share the port")
    parser = _add(commands, "demo", "run the daemon with a simulated shift", "callkpi demo", _demo)
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="N", help="simulated seconds per second (default 1)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another number is another shift")


def _reading_commands(commands: Any) -> None:
    parser = _add(
        commands, "report", "print KPIs of a period; report send: send a configured report",
        "callkpi report --period month:2026-10 --by queue --compare; callkpi report send --dry-run", _report,
    )  # fmt: skip
    _takes_config(parser)
    parser.add_argument("action", nargs="?", default="show", choices=["show", "send"], help="default: show")
    parser.add_argument("--report", default="", metavar="NAME", help="send: which; default: all of the tenant")
    parser.add_argument("--dry-run", action="store_true", help="send: only say what would go to whom")
    parser.add_argument("--again", action="store_true", help="send: also what was sent, failed or is in doubt")
    parser.add_argument("--tenant", default="", help="needed where there are several")
    parser.add_argument(
        "--from", dest="begin", default="", metavar="TIME", help="default: today's midnight of the centre"
    )
    parser.add_argument("--to", dest="end", default="", metavar="TIME", help="default: now")
    parser.add_argument(
        "--period", default="", metavar="PERIOD", help="shift:night@2026-11-23, day:…, week:2026-W47, last_month, …"
    )
    parser.add_argument(
        "--by", default="queue", metavar="WHAT,…", help="queue, team, agent, line, source, hour, day, shift, … or none"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WHAT=VALUE", help="only this queue, line, …; may come again"
    )
    parser.add_argument(
        "--compare", nargs="?", const="previous", default="", metavar="WITH", help="previous (default), week or year"
    )
    parser.add_argument("--json", action="store_true", help="the same as the API's answer")
    parser = _add(
        commands, "summary", "print the summary of a shift or a period, or write it into a file",
        "callkpi summary night@2026-11-23 --lang ru --output night.pdf", _summary,
    )  # fmt: skip
    _takes_config(parser)
    parser.add_argument("--tenant", default="", help="needed where there are several")
    parser.add_argument(
        "period", nargs="?", default="shift", metavar="PERIOD",
        help="night@2026-11-23, night, day:2026-11-23, yesterday, last_week, month:2026-11; default: the last shift",
    )  # fmt: skip
    parser.add_argument("--against", default="previous", choices=["previous", "week", "year"], help="to compare with")
    parser.add_argument("--lang", default="", choices=["en", "ru", "kk"], help="default: en")
    parser.add_argument(
        "--format", default="", choices=["txt", "html", "pdf", "xlsx", "csv", "json"],
        help="default: as the name of the output ends, else txt",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: the terminal")
    parser.add_argument("--numbers", action="store_true", help="whole numbers of customers instead of masked ones")
    parser = _add(commands, "missed", "print customers who wait for a call back", "callkpi missed", _missed)
    _takes_config(parser)
    parser.add_argument("--tenant", default="", help="needed where there are several")
    parser.add_argument("--json", action="store_true", help="the same as the API's answer")
    parser = _add(
        commands, "audit", "print who has read full numbers and raw payloads, exported and changed what",
        "callkpi audit --from 2026-11-23 --who anna", _audit,
    )  # fmt: skip
    _takes_config(parser)
    parser.add_argument("--from", dest="begin", default="", metavar="TIME", help="UTC where it has no offset")
    parser.add_argument("--to", dest="end", default="", metavar="TIME", help="default: now")
    parser.add_argument("--who", metavar="NAME", help="only what this reader did")
    parser.add_argument("--action", metavar="NAME", help="only this: read_numbers, export, resolve, …")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the newest so many (default 100)")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    parser = _add(
        commands,
        "roster",
        "import who is planned to work when",
        "callkpi roster import plan.csv --tenant acme",
        _roster,
    )
    parser.add_argument("action", choices=["import"])
    parser.add_argument("file", type=Path, metavar="FILE", help="a table (CSV) or a calendar (iCalendar)")
    _takes_config(parser)
    parser.add_argument("--tenant", default="", help="needed where there are several")
    parser.add_argument("--from", dest="first", default="", metavar="DATE", help="first day that is replaced")
    parser.add_argument("--to", dest="last", default="", metavar="DATE", help="last day that is replaced")
    parser = _add(commands, "check-config", "say what is wrong with the configuration", "callkpi check-config", _check)
    _takes_config(parser)
    _add(
        commands,
        "example-config",
        "print a commented callkpi.toml",
        "callkpi example-config > callkpi.toml",
        _example,
    )


def _file_commands(commands: Any) -> None:
    parser = _add(
        commands,
        "grafana-files",
        "write dashboards and provisioning for a Grafana of your own",
        "callkpi grafana-files /etc/callkpi-grafana",
        _grafana_files,
    )
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="made if it is not there; files of ours are replaced"
    )


def _repair_commands(commands: Any) -> None:
    parser = _add(
        commands, "replay", "send recorded traffic to a running daemon",
        "callkpi replay events.jsonl.gz --source pbx --url http://127.0.0.1:8090 --token SECRET --speed max", _replay,
    )  # fmt: skip
    parser.add_argument(
        "file", type=Path, help="JSON Lines, an Asterisk queue_log, or a table of calls (.csv); .gz too"
    )
    parser.add_argument("--source", required=True, help="name of the source in callkpi.toml")
    parser.add_argument("--url", default="http://127.0.0.1:8090", help="address of the daemon")
    parser.add_argument("--speed", default="max", help="1 as recorded, 60 sixty times faster, max without waiting")
    parser.add_argument("--token", default="", help="the source's token; else read from the configuration")
    _takes_config(parser)
    parser = _add(
        commands, "backfill", "read calls of the past from a portal or a file, beside a running daemon or without one",
        "callkpi backfill --source portal --from 2026-09-01 --to 2026-10-01", _backfill,
    )  # fmt: skip
    parser.add_argument("--source", required=True, help="name of the source in callkpi.toml; it needs rest_url or FILE")
    parser.add_argument("--file", type=Path, metavar="FILE", help="of Asterisk: CEL or CDR (.csv, also gzipped), whole")
    parser.add_argument("--from", dest="begin", default="", metavar="TIME", help="calls that began from here on")
    parser.add_argument("--to", dest="end", default="", metavar="TIME", help="and before this (default: now)")
    parser.add_argument(
        "--rate",
        default="1",
        metavar="N",
        help="requests per second, 50 calls each, beside the daemon's (default 1)",
    )
    _takes_config(parser)
    parser = _add(
        commands, "crm-funnel", "print what the daemon would write into a portal's CRM",
        "callkpi crm-funnel --source portal --dry-run", _crm_funnel,
    )  # fmt: skip
    parser.add_argument("--source", required=True, help="name of the source in callkpi.toml; it needs rest_url")
    parser.add_argument("--dry-run", action="store_true", required=True, help="nothing is sent; the daemon writes")
    _takes_config(parser)
    parser = _add(
        commands,
        "replay-rejected",
        "take payloads that were rejected, after a fix",
        "callkpi replay-rejected",
        _rejected,
    )
    _takes_config(parser)
    parser = _add(
        commands, "erase", "replace a customer's number by a pseudonym everywhere; the figures stay",
        "callkpi erase +77011234567 --tenant acme --dry-run", _erase,
    )  # fmt: skip
    parser.add_argument("number", help="with its country code, or as it is dialled in the tenant's region")
    parser.add_argument("--tenant", default="", help="needed where there are several")
    parser.add_argument("--dry-run", action="store_true", help="only say where it is")
    _takes_config(parser)
    parser = _add(commands, "migrate", "bring the database's schema up to date", "callkpi migrate", _migrate)
    _takes_config(parser)
    parser = _add(
        commands,
        "rebuild",
        "compute everything again from the journal (stop the daemon first)",
        "callkpi rebuild",
        _rebuild,
    )
    _takes_config(parser)
    parser = _add(
        commands,
        "doctor",
        "check that rollups equal calls and calls equal the journal",
        "callkpi doctor",
        _doctor,
    )
    _takes_config(parser)


# -- commands --------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> None:
    from callkpi import log
    from callkpi.daemon import processes

    settings = config.load(arguments.config)
    if arguments.processes is not None:
        if arguments.processes < 1:
            raise UsageError(f"--processes: {arguments.processes} must be at least 1")
        settings = config.with_processes(settings, arguments.processes)
    log.configure(settings)

    def ready() -> None:
        told = f"callkpi listens on http://{settings.server.listen}  (board: /board, metrics: /metrics, ready: /readyz)"
        if not settings.sources:
            told += "\nNo source is configured yet: 'callkpi example-config > callkpi.toml' shows how."
        with contextlib.suppress(OSError):  # A disk that is full of logs does not end the daemon.
            print(told, flush=True)

    _run(processes.serve(settings, ready))


def _demo(arguments: argparse.Namespace) -> None:
    from callkpi.commands import demo

    if not 0.1 <= arguments.speed <= 100:
        raise UsageError(f"--speed: {arguments.speed:g} must be 0.1 to 100")
    _run(demo.run(arguments.speed, arguments.seed))


def _child(arguments: argparse.Namespace) -> None:

    with asyncio.Runner(loop_factory=processes.new_event_loop) as runner:
        runner.run(processes.child(arguments.role, processes.settings_of_parent(), arguments.lifeline))


def _report(arguments: argparse.Namespace) -> None:
    if arguments.action == "send":
        _send_report(arguments)
        return
    from callkpi.commands import terminal

    settings, window = _configured(arguments), (arguments.begin, arguments.end)
    if terminal.is_plain(arguments.by, arguments.period, arguments.only, arguments.compare):
        _run(terminal.report(settings, arguments.tenant, window, arguments.by, as_json=arguments.json))
        return
    asked = terminal.Asked(arguments.period, window, arguments.by, tuple(arguments.only), arguments.compare)
    _run(terminal.statistics(settings, arguments.tenant, asked, as_json=arguments.json))


def _roster(arguments: argparse.Namespace) -> None:
    from callkpi.commands import terminal

    window = (arguments.first, arguments.last)
    settings = _configured(arguments)
    try:
        text = arguments.file.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{arguments.file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{arguments.file}: is no UTF-8; save it as that") from None
    _run(terminal.import_roster(settings, arguments.tenant, (arguments.file.name, text), window))


def _send_report(arguments: argparse.Namespace) -> None:
    from callkpi import log
    from callkpi.calendar.periods import BadPeriod
    from callkpi.commands import database
    from callkpi.delivery import by_hand

    settings = _configured(arguments)
    log.configure(settings, role="courier-command")
    tenant = _one_tenant(settings, arguments.tenant)

    async def send() -> None:
        async with database.database(settings, role="courier-command") as pool:
            async for line in by_hand.send(
                pool, settings, tenant, arguments.report, arguments.period,
                dry_run=arguments.dry_run, again=arguments.again,
            ):  # fmt: skip
                print(line)

    try:
        _run(send())
    except (by_hand.NothingToSend, BadPeriod) as error:
        raise UsageError(str(error)) from None


def _summary(arguments: argparse.Namespace) -> None:
    from callkpi.commands import summary

    ending = arguments.output.suffix.lstrip(".") if arguments.output else ""
    form = arguments.format or (ending if ending in ("txt", "html", "pdf", "xlsx", "csv", "json") else "txt")
    if form in ("pdf", "xlsx") and arguments.output is None:
        raise UsageError(f"--output: a file is needed for {form}")
    asked = summary.Asked(
        arguments.tenant, arguments.period, arguments.against, arguments.lang or "en", form, numbers=arguments.numbers
    )
    body = _run(summary.summary(_configured(arguments), asked))
    if arguments.output is None:
        print(body.decode("utf-8-sig"), end="")
        return
    try:
        arguments.output.write_bytes(body)
    except OSError as error:
        raise UsageError(f"{arguments.output}: can't be written: {error.strerror}") from None


def _missed(arguments: argparse.Namespace) -> None:
    from callkpi.commands import terminal

    _run(terminal.missed(_configured(arguments), arguments.tenant, as_json=arguments.json))


def _audit(arguments: argparse.Namespace) -> None:
    from callkpi.commands import terminal

    if not 1 <= arguments.limit <= 1_000_000:
        raise UsageError(f"--limit: {arguments.limit} must be 1 to 1000000")
    settings = _configured(arguments)
    wanted = terminal.AuditQuery(
        (arguments.begin, arguments.end), arguments.who, arguments.action, arguments.limit, as_json=arguments.json
    )
    _run(terminal.audited(settings, wanted))


def _check(arguments: argparse.Namespace) -> None:
    try:
        settings = config.load(arguments.config)
    except config.ConfigError as error:
        for line in error.problems:
            print(line, file=sys.stderr)
        sys.exit(2)
    sources = ", ".join(f"{name} ({source.kind})" for name, source in settings.sources.items()) or "none"
    print(f"The configuration is good. Tenants: {', '.join(settings.tenants)}. Sources: {sources}.")
    for name, source in settings.funnels.items():
        how = "only logged (dry_run)" if source.funnel.dry_run else "written"
        print(
            f"The call funnel of tenant {source.tenant} is {how} into the CRM of {name}, "
            f'pipeline "{source.funnel.pipeline}"; its webhook needs the rights telephony and crm.'
        )
    print(f"Listens on {settings.server.listen}; database: {'given' if settings.database.url else settings.data_dir}.")
    for doubt in [*config.doubled(settings), *_missing_folders(settings)]:
        print(f"Note: {doubt}", file=sys.stderr)
    for warning in config.warnings(settings):
        print(f"Warning: {warning}", file=sys.stderr)


def _missing_folders(settings: config.Settings) -> Iterator[str]:
    """Places that callkpi writes files to and never makes: it could do so behind a mount that is missing."""
    if settings.retention.archive_dir and not Path(settings.retention.archive_dir).is_dir():
        yield f"retention.archive_dir: {settings.retention.archive_dir} is not there; make it, or mount what it lies on"
    for tenant, own in settings.tenants.items():
        for name, report in own.reports.items():
            for to in report.to:
                way, _, place = to.partition(":")
                if way == "folder" and not Path(place).is_dir():
                    where = f"tenants.{tenant}.reports.{name}.to"
                    yield f"{where}: {place} is not there; make it, or mount what it lies on"


def _example(_arguments: argparse.Namespace) -> None:
    print(config.example())


def _grafana_files(arguments: argparse.Namespace) -> None:
    from callkpi.commands import grafana_files

    try:
        files = grafana_files.write(arguments.directory)
    except OSError as error:
        raise UsageError(f"{arguments.directory}: can't be written: {error.strerror}") from None
    print(
        f"{len(files)} files in {arguments.directory}. Give Grafana its provisioning/datasources and "
        "provisioning/dashboards; datasources/callkpi.yaml says which variables and secrets it needs."
    )


def _replay(arguments: argparse.Namespace) -> None:
    from callkpi.commands import replay

    speed = None if arguments.speed == "max" else _positive(arguments.speed)
    if not arguments.file.is_file():
        raise UsageError(f"{arguments.file}: no such file")
    token = arguments.token or _token_of(arguments)
    target = replay.Target(url=arguments.url.rstrip("/"), source=arguments.source, token=token)

    async def send() -> None:
        try:
            result = await replay.replay(arguments.file, target, speed, _progress("sent"))
        except replay.ReplayError as error:
            raise UsageError(str(error)) from None
        print(
            f"\nSent in {result.requests} requests: {result.events} events, {result.rejected} rejected.",
            file=sys.stderr,
        )

    _run(send())


def _token_of(arguments: argparse.Namespace) -> str:
    try:
        source = config.load(arguments.config).sources.get(arguments.source)
    except config.ConfigError:
        return ""
    return source.token if source else ""


def _positive(text: str, what: str = "--speed", other: str = ", or max") -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"{what}: {text!r} must be a number above 0{other}")
    return value


def _rejected(arguments: argparse.Namespace) -> None:
    from callkpi.commands import replay_rejected

    understood, left, tried = _run(replay_rejected.replay_rejected(_configured(arguments), _progress("replayed")))
    print(f"\n{understood} payloads understood now, {left} still not.", file=sys.stderr)
    if tried:
        print(f"{tried} calls and agents that were set aside are tried again; callkpi doctor says how it went.",
              file=sys.stderr)  # fmt: skip


def _backfill(arguments: argparse.Namespace) -> None:
    from callkpi import log
    from callkpi.commands import backfill
    from callkpi.web.api import BadQuery, moment

    settings = _configured(arguments)
    log.configure(settings, role="backfill")
    if arguments.file is not None:
        _load_history(settings, arguments)
        return
    if not arguments.begin:
        raise UsageError("--from: is required; write e.g. --from 2026-09-01, or --file FILE")
    source = settings.sources.get(arguments.source)
    zone = settings.tenants[source.tenant] if source else config.Tenant()
    try:
        begin, end = moment(arguments.begin, "--from", zone), moment(arguments.end, "--to", zone)
    except BadQuery as error:
        raise UsageError(str(error)) from None
    if begin is None or begin >= (end or datetime.now(UTC)):
        raise UsageError(f"--from: {arguments.begin!r} is not before --to")
    rate = _positive(arguments.rate, "--rate", "")
    if rate > 10:
        raise UsageError(f"--rate: {rate:g} is more than any portal allows; at most 10")
    result = _run(backfill.backfill(settings, arguments.source, (begin, end), rate, _progress("read")))
    if result.resumed_after:
        print(f"\nWent on behind the {result.resumed_after} rows of the last time.", end="", file=sys.stderr)
    taken = result.taken
    print(
        f"\nRead {taken.rows} rows: {taken.new} new, {taken.corrected} corrected, {taken.rejected} rejected.",
        file=sys.stderr,
    )


def _load_history(settings: config.Settings, arguments: argparse.Namespace) -> None:
    from callkpi.commands import history

    result = _run(history.load(settings, arguments.source, arguments.file, _progress("read")))
    print(f"\nRead {result.rows} rows: {result.events} events, {result.rejected} rejected.", file=sys.stderr)


def _crm_funnel(arguments: argparse.Namespace) -> None:
    from callkpi import log
    from callkpi.commands import crm_preview

    settings = _configured(arguments)
    log.configure(settings, role="crm-funnel")
    for line in _run(crm_preview.preview(settings, arguments.source)):
        print(line)


def _erase(arguments: argparse.Namespace) -> None:
    from callkpi import log
    from callkpi.calls import pseudonyms
    from callkpi.commands import erase

    settings = _configured(arguments)
    log.configure(settings, role="erase")
    tenant = _one_tenant(settings, arguments.tenant)
    try:
        found = _run(erase.erase(settings, tenant, arguments.number, _progress("read"), dry_run=arguments.dry_run))
    except pseudonyms.NotErasable as error:
        raise UsageError(str(error)) from None
    print("", file=sys.stderr)
    ids = f"{found.ids} calls have the number in their own id, as the source made it: ids stay."
    if arguments.dry_run:
        print(f"The number is in {found.calls} calls and in {found.rejected} payloads that were not understood.")
        if found.ids:
            print(ids)
        return
    print(f"Replaced by {found.pseudonym} in {found.calls} calls, {found.events} events, {found.rejected} payloads.")
    if found.ids:
        print(ids)
    print("Not reached: archives of retention, backups, and what the sources themselves keep.")


def _migrate(arguments: argparse.Namespace) -> None:
    from callkpi.commands import database

    applied = _run(database.migrate(config.load(arguments.config)))
    print(f"Applied: {', '.join(applied)}" if applied else "The schema is up to date.")


def _rebuild(arguments: argparse.Namespace) -> None:
    from callkpi.commands import rebuild

    calls = _run(rebuild.rebuild(_configured(arguments), _progress("projected")))
    print(f"\nRebuilt {calls} calls from the journal.", file=sys.stderr)


def _doctor(arguments: argparse.Namespace) -> None:
    from callkpi.commands import doctor, notes

    settings = _configured(arguments)
    findings = _run(doctor.doctor(settings, _progress("checked")))
    print("", file=sys.stderr)
    for finding in [*_run(notes.notes(settings)), *findings]:
        print(finding)
    print(f"{len(findings)} differences." if findings else "Rollups equal calls, calls equal the journal.")
    sys.exit(1 if findings else 0)


# -- helpers ---------------------------------------------------------------------------------------------


def _run(work: Any) -> Any:

    try:
        return asyncio.run(work)
    except processes.Failed as error:
        _fail(str(error))


def _configured(arguments: argparse.Namespace) -> config.Settings:
    """The settings of a command that reads or mends a store, which must be there: nothing is said of an empty one."""
    from callkpi.database import embedded

    settings = config.load(arguments.config)
    if not config.is_given(arguments.config) and not embedded.exists(settings.data_dir):
        raise UsageError(
            "no configuration file was found: name it with --config FILE or CALLKPI_CONFIG, or go where callkpi.toml "
            f"is; there is no database in {settings.data_dir} either"
        )
    return settings


def _one_tenant(settings: config.Settings, name: str) -> str:
    from callkpi.commands import terminal

    try:
        return terminal.one_tenant(settings, name)
    except processes.Failed as error:
        _fail(str(error))


def _progress(verb: str) -> Callable[[int, int], None]:
    """A line on the terminal that counts; silent where nobody looks."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{verb} {_bar(done, total)} ", end="", file=sys.stderr, flush=True)

    return show


def _bar(done: int, total: int) -> str:
    if not total:
        return str(done)
    share = min(done / total, 1.0)
    return f"[{'#' * round(30 * share):.<30}] {100 * share:.0f} % {done} of {total}"
