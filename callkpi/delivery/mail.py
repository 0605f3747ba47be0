"""E-mail by SMTP. What is sent twice has the same Message-ID; a correction is an answer to what it corrects."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from callkpi import config
from callkpi.delivery.message import InDoubt, Message, Permanent, Receiver, Temporary

SECONDS = 30.0


class MailWay:
    knows_repetitions = True

    def __init__(self, settings: config.Mail, context: ssl.SSLContext | None = None) -> None:
        """*context* is for servers whose certificate the system does not know."""
        self._settings = settings
        self._context = context

    async def send(self, receiver: Receiver, message: Message) -> None:
        await asyncio.to_thread(self._send, compose(self._settings.sender, receiver.address, message))

    async def try_out(self) -> None:
        """Log in and part again. Raises Temporary or Permanent."""
        await asyncio.to_thread(self._send, None)

    def _send(self, mail: EmailMessage | None) -> None:
        handed_over = False
        try:
            server = self._connected()
            handed_over = mail is not None
            try:
                if mail is not None:
                    server.send_message(mail)
            finally:
                _part(server)
        except smtplib.SMTPAuthenticationError as error:
            if 400 <= error.smtp_code < 500:
                raise Temporary(f"the server can't check mail.user now ({error.smtp_code})") from None
            raise Permanent(f"the server refuses mail.user and mail.password ({error.smtp_code})") from None
        except smtplib.SMTPNotSupportedError:
            raise Permanent(f"the server does not do what mail.security = {self._settings.security} wants") from None
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = next(iter(error.recipients.values()), (550, b""))
            raise _refused(code, "the receiver") from None
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code, "the message") from None
        except ssl.SSLError as error:
            raise Temporary(f"TLS failed: {error.reason or type(error).__name__}") from None
        except (smtplib.SMTPException, OSError) as error:
            if handed_over:
                raise InDoubt(type(error).__name__) from None
            raise Temporary(f"the server does not answer: {type(error).__name__}") from None

    def _connected(self) -> smtplib.SMTP:
        mail = self._settings
        host, _, port = mail.server.rpartition(":")
        context = self._context or ssl.create_default_context()
        server: smtplib.SMTP
        if mail.security == "tls":
            server = smtplib.SMTP_SSL(host, int(port), timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(host, int(port), timeout=SECONDS)
        try:
            if mail.security == "starttls":
                server.starttls(context=context)
            if mail.user:
                server.login(mail.user, mail.password)
        except BaseException:
            server.close()
            raise
        return server


def _part(server: smtplib.SMTP) -> None:
    """Say good-bye. Whatever the server says to that, what it has taken it has."""
    try:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.docmd("QUIT")
    finally:
        server.close()


def _refused(code: int, what: str) -> Temporary | Permanent:
    """4xx: not now; 5xx: never. RFC 5321, section 4.2.1."""
    text = f"the server refuses {what} ({code})"
    return Temporary(text) if 400 <= code < 500 else Permanent(text)


def compose(sender: str, receiver: str, message: Message) -> EmailMessage:
    """The mail, with plain text, HTML and files."""
    domain = sender.rpartition("@")[2]
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, receiver, message.subject
    mail["Date"], mail["Message-ID"] = formatdate(localtime=False), f"<{message.key}@{domain}>"
    if message.earlier_key:
        mail["In-Reply-To"] = mail["References"] = f"<{message.earlier_key}@{domain}>"
    # RFC 3834: no answers by machines, please.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    if message.html:
        mail.add_alternative(message.html, subtype="html")
    for attachment in message.attachments:
        main, _, sub = attachment.media_type.partition("/")
        mail.add_attachment(attachment.content, maintype=main, subtype=sub.split(";")[0], filename=attachment.name)
    return mail
