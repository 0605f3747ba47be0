"""Every way of a report to people, against a server that speaks its protocol."""

from __future__ import annotations

import contextlib
import email
import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import Message as Mail
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from callkpi import config
from callkpi.delivery import bitrix24
from callkpi.delivery.folder import FolderWay
from callkpi.delivery.mail import MailWay
from callkpi.delivery.message import Attachment, InDoubt, Message, Permanent, Receiver, Temporary, receivers
from callkpi.delivery.telegram import TelegramWay, shortened
from callkpi.delivery.web import session
from callkpi.delivery.webhook import WebhookWay
from tests.stand_ins.receivers import Server

PDF = Attachment("acme-night-2026-11-23.pdf", "application/pdf", b"%PDF-1.7 \xff")
MESSAGE = Message(
    key="callkpi.0123", earlier_key="", subject="acme: Сводка смены", text="120 звонков. 24 пропущено.",
    html="<p>120 звонков</p>", attachments=(PDF,), data={"figures": {"offered": 120}},
    file_stem="acme-night-2026-11-23",
)  # fmt: skip


# -- mail -------------------------------------------------------------------------------------------------


class Mailbox:
    """A mail server: what came, and how it answers."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refuses: dict[str, str] = {}  #: command -> answer

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "RCPT" in self.refuses:
            return self.refuses["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if "DATA" in self.refuses:
            return self.refuses["DATA"]
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content))
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return self.refuses.get("QUIT", "221 Bye")

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        if "AUTH" in self.refuses:
            return AuthResult(success=False, handled=False, message=self.refuses["AUTH"])
        right = (data.login, data.password) == (b"reports", b"right password")
        return AuthResult(success=right, handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def mail(authority: trustme.CA) -> Iterator[tuple[Mailbox, config.Mail, ssl.SSLContext]]:
    """A server that wants TLS and a password, its settings, and who vouches for its certificate."""
    served, trusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(served)
    authority.configure_trust(trusted)
    box = Mailbox()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    controller = Controller(
        box, hostname="localhost", port=port, tls_context=served, require_starttls=True, auth_required=True,
        authenticator=box.authenticate,
    )  # fmt: skip
    controller.start()
    settings = config.Mail(f"localhost:{port}", "starttls", "reports", "right password", "callkpi@example.com")
    yield box, settings, trusted
    controller.stop()


TO = Receiver("mail", "boss@example.com")


async def test_a_mail_has_words_markup_and_files(mail: tuple[Mailbox, config.Mail, ssl.SSLContext]) -> None:
    box, settings, trusted = mail
    await MailWay(settings, trusted).send(TO, replace(MESSAGE, earlier_key="callkpi.old"))

    (got,) = box.mails
    parts = {part.get_content_type(): part for part in got.walk()}
    assert str(email.header.make_header(email.header.decode_header(got["Subject"]))) == MESSAGE.subject
    text = parts["text/plain"].get_payload(decode=True)
    assert isinstance(text, bytes) and text.decode().strip() == MESSAGE.text
    assert parts["application/pdf"].get_payload(decode=True) == PDF.content
    assert parts["application/pdf"].get_filename() == PDF.name
    assert got["Message-ID"] == "<callkpi.0123@example.com>"
    assert got["In-Reply-To"] == "<callkpi.old@example.com>"
    assert (got["From"], got["To"]) == ("callkpi@example.com", "boss@example.com")


async def test_a_wrong_password_is_for_a_person_to_mend(mail: tuple[Mailbox, config.Mail, ssl.SSLContext]) -> None:
    _, settings, trusted = mail
    with pytest.raises(Permanent, match=r"mail.user and mail.password \(535\)") as caught:
        await MailWay(replace(settings, password="wrong one"), trusted).send(TO, MESSAGE)
    assert "wrong one" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "answer", "kind"),
    [("RCPT", "451 greylisted", Temporary), ("RCPT", "550 unknown", Permanent), ("DATA", "452 full", Temporary)],
)
async def test_4xx_is_not_now_and_5xx_is_never(
    mail: tuple[Mailbox, config.Mail, ssl.SSLContext], command: str, answer: str, kind: type[Exception]
) -> None:
    box, settings, trusted = mail
    box.refuses[command] = answer
    with pytest.raises(kind, match=answer[:3]):
        await MailWay(settings, trusted).send(TO, MESSAGE)


@pytest.mark.parametrize("goodbye", ["421 too long", "250 hm"])
async def test_what_was_taken_was_taken_whatever_the_server_says_at_the_end(
    mail: tuple[Mailbox, config.Mail, ssl.SSLContext], goodbye: str
) -> None:
    """A mail that arrived must neither come again nor be told as refused."""
    box, settings, trusted = mail
    box.refuses["QUIT"] = goodbye
    await MailWay(settings, trusted).send(TO, MESSAGE)
    assert len(box.mails) == 1


async def test_a_server_that_can_not_look_passwords_up_now_is_tried_again(
    mail: tuple[Mailbox, config.Mail, ssl.SSLContext],
) -> None:
    box, settings, trusted = mail
    box.refuses["AUTH"] = "454 4.7.0 temporary authentication failure"
    with pytest.raises(Temporary, match="454"):
        await MailWay(settings, trusted).send(TO, MESSAGE)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    mail: tuple[Mailbox, config.Mail, ssl.SSLContext],
) -> None:
    box, settings, _ = mail
    with pytest.raises(Temporary, match="TLS failed"):
        await MailWay(settings).send(TO, MESSAGE)
    assert box.mails == []


async def test_a_server_that_is_away_is_tried_again() -> None:
    with pytest.raises(Temporary, match="does not answer"):
        await MailWay(config.Mail("localhost:1", "none", sender="a@b.example")).send(TO, MESSAGE)


# -- the web ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def webhook(secret: str = "") -> AsyncIterator[WebhookWay]:
    async with session() as http:
        yield WebhookWay(http, secret)


async def test_a_webhook_is_signed_and_known_again(server: Server) -> None:
    async with webhook("key") as way:
        await way.send(Receiver("webhook", server.url + "/in?x=1"), MESSAGE)

    ((path, body, headers),) = server.requests
    told = json.loads(body)
    assert path == "/in" and headers["Idempotency-Key"] == MESSAGE.key
    assert headers["X-Callkpi-Signature"] == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert told["summary"] == {"figures": {"offered": 120}} and told["corrects"] is None
    assert told["files"][0]["name"] == PDF.name


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Temporary), (429, Temporary), (408, Temporary), (404, Permanent), (302, Permanent)]
)
async def test_what_an_answer_means(server: Server, status: int, kind: type[Exception]) -> None:
    server.answer = lambda path: web.Response(status=status, headers={"Retry-After": "77"})
    async with webhook() as way:
        with pytest.raises(kind, match=str(status)) as caught:
            await way.send(Receiver("webhook", server.url), MESSAGE)
    if isinstance(caught.value, Temporary):
        assert caught.value.wait_seconds == 77


async def test_a_connection_that_breaks_is_in_doubt_and_none_at_all_is_not(server: Server) -> None:
    server.answer = lambda path: None
    async with webhook() as way:
        with pytest.raises(InDoubt):
            await way.send(Receiver("webhook", server.url), MESSAGE)
        with pytest.raises(Temporary, match="no connection"):
            await way.send(Receiver("webhook", "http://127.0.0.1:1/"), MESSAGE)


async def test_who_does_not_take_the_connection_has_got_nothing() -> None:
    """A wall that drops packets: a message that may not be repeated can go again all the same."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as others:
        for _ in range(4):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(deaf.getsockname())
        port = deaf.getsockname()[1]
        async with session(connect_seconds=0.3) as http:
            way = TelegramWay(http, config.Telegram(token="1:A", api_url=f"http://127.0.0.1:{port}"))
            with pytest.raises(Temporary, match="no connection"):
                await way.send(CHAT, MESSAGE)


@pytest.mark.parametrize("asked", ["9" * 30, "-5", "²", "soon"])
async def test_a_pause_that_nobody_can_mean_is_none(server: Server, asked: str) -> None:
    server.answer = lambda path: web.Response(status=503, headers={"Retry-After": asked})
    async with webhook() as way:
        with pytest.raises(Temporary) as caught:
            await way.send(Receiver("webhook", server.url), MESSAGE)
    assert caught.value.wait_seconds == 0


def test_an_address_on_the_web_is_told_by_its_host_alone() -> None:
    report = config.Report(to=("https://hooks.example.com/T0/secret", "mailto:a@b.example", "mailto:a@b.example"))
    assert [each.label for each in receivers(report)] == ["webhook hooks.example.com", "mail a@b.example"]


# -- Telegram ---------------------------------------------------------------------------------------------

CHAT = Receiver("telegram", "-100123")


@asynccontextmanager
async def telegram(server: Server) -> AsyncIterator[TelegramWay]:
    async with session() as http:
        yield TelegramWay(http, config.Telegram("42:token", server.url))


def refusal(status: int, **more: Any) -> Callable[[str], web.StreamResponse]:
    return lambda path: web.json_response({"ok": False, "error_code": status, **more}, status=status)


async def test_telegram_gets_the_words_and_then_the_files(server: Server) -> None:
    async with telegram(server) as way:
        await way.send(CHAT, MESSAGE)

    words, file = server.requests
    assert words[0] == "/bot42:token/sendMessage"
    assert words[1] == {"chat_id": "-100123", "text": f"{MESSAGE.subject}\n\n{MESSAGE.text}"}
    assert file[0] == "/bot42:token/sendDocument"
    assert file[1] == {"chat_id": "-100123", "document": (PDF.name, PDF.content)}


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (refusal(429, parameters={"retry_after": 35}), Temporary, "429"),
        (refusal(403, description="Forbidden: bot was blocked"), Permanent, "blocked"),
        (refusal(401), Permanent, "does not know telegram.token"),
        (refusal(400, parameters={"migrate_to_chat_id": -100999}), Permanent, "has become -100999"),
        (lambda path: web.Response(text="<html>bad gateway", status=502), Temporary, "502"),
    ],
)
async def test_telegrams_refusals(
    server: Server, answer: Callable[[str], web.StreamResponse], kind: type[Exception], text: str
) -> None:
    server.answer = answer
    async with telegram(server) as way:
        with pytest.raises(kind, match=text) as caught:
            await way.send(CHAT, MESSAGE)
    assert "42:token" not in str(caught.value)
    if isinstance(caught.value, Temporary) and "429" in text:
        assert caught.value.wait_seconds == 35


async def test_words_that_arrived_are_not_sent_again_for_a_file_that_did_not(server: Server) -> None:
    server.answer = lambda path: (
        web.json_response({"ok": True}) if path.endswith("sendMessage") else web.Response(status=500)
    )
    async with telegram(server) as way:
        with pytest.raises(InDoubt, match="the words arrived"):
            await way.send(CHAT, MESSAGE)


def test_long_words_are_cut_at_a_line() -> None:
    text = shortened(replace(MESSAGE, text="\n".join(f"line {n}" for n in range(1000))))
    assert len(text) <= 4096 and text.endswith("\n…") and text.splitlines()[-2].startswith("line ")


# -- Bitrix24 ---------------------------------------------------------------------------------------------


def test_a_chat_gets_words_and_the_feed_gets_files() -> None:
    method, parameters = bitrix24.request("chat42", replace(MESSAGE, text="[B]24[/B] missed"))
    assert (method, parameters["DIALOG_ID"]) == ("im.message.add", "chat42")
    assert parameters["MESSAGE"] == f"[B]{MESSAGE.subject}[/B]\n(B)24(/B) missed"

    method, parameters = bitrix24.request("feed:DR23", MESSAGE)
    assert (method, parameters["DEST"], parameters["POST_TITLE"]) == ("log.blogpost.add", ["DR23"], MESSAGE.subject)
    assert parameters["FILES"][0][0] == PDF.name


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (200, {"result": 77}, None),
        (403, {"error": "INSUFFICIENT_SCOPE"}, Permanent),
        (400, {"error": "ERROR_CHAT_ID"}, Permanent),
        (500, {}, InDoubt),
    ],
)
async def test_a_portals_answers(
    server: Server, status: int, answer: dict[str, Any], kind: type[Exception] | None
) -> None:
    server.answer = lambda path: web.json_response(answer, status=status)
    source = config.Source(kind=config.SourceKind.BITRIX24, rest_url=f"{server.url}/rest/1/secret/")
    async with session() as http:
        way = bitrix24.Bitrix24Way(http, config.Settings(sources={"portal": source}))
        to = Receiver("bitrix24", "portal/chat42")
        if kind is None:
            await way.send(to, MESSAGE)
            assert server.requests[0][0].startswith("/rest/1/secret/im.message.add")
            return
        with pytest.raises(kind) as caught:
            await way.send(to, MESSAGE)
        assert "secret" not in str(caught.value)


# -- a folder ---------------------------------------------------------------------------------------------


async def test_a_folder_gets_whole_files_and_the_same_ones_again(tmp_path: Path) -> None:
    to = Receiver("folder", str(tmp_path / "reports" / "acme"))
    (tmp_path / "reports" / "acme").mkdir(parents=True)
    for _ in range(2):
        await FolderWay().send(to, MESSAGE)
    files = sorted(path.name for path in (tmp_path / "reports" / "acme").iterdir())
    assert files == ["acme-night-2026-11-23.pdf", "acme-night-2026-11-23.txt"]
    assert (tmp_path / "reports" / "acme" / PDF.name).read_bytes() == PDF.content


async def test_a_folder_behind_a_missing_mount_is_waited_for_and_not_made(tmp_path: Path) -> None:
    """The mount point is there, and what lies on it is not: files must not go to the disk under it."""
    place = tmp_path / "mount" / "reports"
    place.parent.mkdir()
    with pytest.raises(Temporary, match="is not there: make it, or mount what it lies on"):
        await FolderWay().send(Receiver("folder", str(place)), MESSAGE)
    assert list(place.parent.iterdir()) == []
    place.mkdir()
    await FolderWay().send(Receiver("folder", str(place)), MESSAGE)
    assert len(list(place.iterdir())) == 2


async def test_a_folder_that_can_not_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Temporary, match=r"can't be written: (Not a directory|File exists)"):
        await FolderWay().send(Receiver("folder", str(tmp_path / "file")), MESSAGE)
