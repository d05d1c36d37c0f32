"""Tell the plan's stakeholders what happens to a wave: each once an occasion, whatever dies in between."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from medferry.errors import MedferryError, OptionError, TransientError
from medferry.governance.messages import Event, Message, messages, occasion_of_schedule
from medferry.manifest.announced import Occasion, Sending, note_sending, sending_of
from medferry.manifest.slice_lock import SliceBusy, only_worker
from medferry.runtime.environment import Environment
from medferry.sync.wave import check_wave

Send = Callable[[Message], None]
"""Sends one message. Raises NotSent where it certainly was not, PerhapsSent where nobody knows."""

_SECONDS = 30.0


class NotSent(TransientError):
    """A message was certainly not sent."""


class PerhapsSent(MedferryError):
    """Nobody knows whether a message was sent: it is not sent again."""


class AnnouncerBusy(TransientError):
    """Another process tells the stakeholders of the same migration."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a message."""

    message: Message
    state: Sending
    before: bool = False
    """An earlier call did it."""


def preview(environment: Environment, wave: str, event: Event) -> list[Message]:
    """What `announce` would send. Raises NoSuchWave."""
    check_wave(environment.migration.plan, wave)
    return messages(environment.migration.plan, wave, event)


def announce(environment: Environment, wave: str, event: Event, number: str, send: Send) -> Iterator[Told]:
    """Send a message of an event to each stakeholder who has not had it, one after the other; yields what became of it.

    `number` is that of the attempt (the epoch), and says nothing of the event `scheduled`, which goes by the window. A
    message is noted before it is sent: who dies in between has perhaps sent it, and it is not sent again. Raises
    NoSuchWave, OptionError, AnnouncerBusy.
    """
    found = preview(environment, wave, event)
    plan = environment.migration.plan
    occasion = Occasion(plan.name, wave, event, _number(environment, wave, event, number))
    with ExitStack() as held:
        try:
            held.enter_context(only_worker(environment.manifest, f"{plan.name}/announce", ""))
        except SliceBusy:
            raise AnnouncerBusy("Another process tells the stakeholders.", "Wait for it, then try again.") from None
        for message in found:
            yield _tell(environment, occasion, message, send)


def _number(environment: Environment, wave: str, event: Event, number: str) -> str:
    if event is not Event.SCHEDULED:
        if not number:
            raise OptionError(f"Which {event}? Of each attempt it is told once.", "Give the attempt's number.")
        return number
    if not (window := occasion_of_schedule(environment.migration.plan, wave)):
        raise OptionError(f"The wave {wave} has no window to tell of.", "Answer `timeline` in the plan.")
    return window


def _tell(environment: Environment, occasion: Occasion, message: Message, send: Send) -> Told:
    contact = message.to.contact

    def note(state: Sending) -> None:
        with environment.manifest.begin() as connection:
            note_sending(connection, occasion, contact, state)

    with environment.manifest.begin() as connection:
        state = sending_of(connection, occasion, contact)
    if state in (Sending.SENT, Sending.BEGUN):
        return Told(message, state, before=True)
    note(Sending.BEGUN)
    try:
        send(message)
    except NotSent:
        note(Sending.NOT_SENT)
        return Told(message, Sending.NOT_SENT)
    except PerhapsSent:
        return Told(message, Sending.BEGUN)
    note(Sending.SENT)
    return Told(message, Sending.SENT)


def by_mail(url: str, sender: str) -> Send:
    """Sends by ``smtp://user:password@host:port``, with STARTTLS where the server has it, or ``smtps://``.

    Raises OptionError for another URL.
    """
    try:
        parsed = urlsplit(url)
        usable = parsed.port is None or parsed.port > 0
    except ValueError:  # its text may hold the password
        usable, parsed = False, urlsplit("")
    if not usable or parsed.scheme not in ("smtp", "smtps") or not parsed.hostname or "@" not in sender:
        raise OptionError(
            "The mail server is not usable.", "Give smtp://user:password@host:port and a sender's address."
        )

    def send(message: Message) -> None:
        if "@" not in message.to.contact:
            raise NotSent("The contact is no address of electronic mail.", "Tell him yourself, or correct the plan.")
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = message.subject, sender, message.to.contact
        mail.set_content(message.text)
        try:
            server = _connected(url)
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"The mail server does not answer ({type(error).__name__}).", "Try again.") from None
        try:
            with server:
                server.send_message(mail)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise NotSent(f"The mail server refused it ({type(error).__name__}).", "Correct the address.") from None
        except (OSError, smtplib.SMTPException) as error:
            raise PerhapsSent(f"The mail server went away ({type(error).__name__}).", "Ask the recipient.") from None

    return send


def _connected(url: str) -> smtplib.SMTP:
    parsed, context = urlsplit(url), ssl.create_default_context()
    host, secure = parsed.hostname or "", parsed.scheme == "smtps"
    server: smtplib.SMTP
    if secure:
        server = smtplib.SMTP_SSL(host, parsed.port or 465, timeout=_SECONDS, context=context)
    else:
        server = smtplib.SMTP(host, parsed.port or 25, timeout=_SECONDS)
    try:
        server.ehlo()
        if not secure and server.has_extn("starttls"):
            server.starttls(context=context)
        if parsed.username:
            server.login(unquote(parsed.username), unquote(parsed.password or ""))
    except BaseException:
        server.close()
        raise
    return server
