"""A small mail server (RFC 5321) for one trusted network: it takes mail for anybody and hands it to one function.

It speaks what mail clients need and nothing more, over asyncio's streams, because it shares its process and its two
cores with the shop: a general server that reads line by line takes ten times as long per mail.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

MAX_MAIL_BYTES = 1024 * 1024
MAX_COMMAND_BYTES = 2_048
MAX_RECIPIENTS = 100
MAX_CONNECTIONS = 32
IDLE_TIMEOUT_S = 300.0

END = b".\r\n"
END_OF_MAIL = b"\r\n.\r\n"
PATH = re.compile(r"(?:FROM|TO):\s*<([^<>]*)>\s*(.*)", re.IGNORECASE)
SIZE = re.compile(r"\bSIZE=(\d+)", re.IGNORECASE)
GREETING = "220 mailbox.local ESMTP Shopkeeper mailbox"
EXTENSIONS = f"250-mailbox.local\r\n250-SIZE {MAX_MAIL_BYTES}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING"
TOO_LARGE = f"552 5.3.4 A mail has at most {MAX_MAIL_BYTES} bytes"


class NotKept(Exception):
    """The mail could not be kept now; the client is told to try again later."""


@dataclass(slots=True)
class Envelope:
    """From whom and to whom a mail is; ``sender`` is None before the mail has begun."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


Keep = Callable[[bytes, Envelope], Awaitable[None]]


class MailServer:
    """Answers 250 to a mail once ``keep(content, envelope)`` has returned, and 451 when it raises NotKept."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError when the port is taken."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=MAX_MAIL_BYTES)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= MAX_CONNECTIONS:
            writer.write(b"421 4.7.0 Too many connections\r\n")
            writer.close()
            return
        self._writers.add(writer)
        try:
            await _Session(reader, writer, self._keep).run()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("connection ended: %r", error)
        finally:
            self._writers.discard(writer)
            writer.close()


class _Session:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: Keep) -> None:
        self._reader = reader
        self._writer = writer
        self._keep = keep
        self._envelope = Envelope()

    async def run(self) -> None:
        """Answer commands until QUIT or the end of the connection."""
        await self._say(GREETING)
        while True:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                line = await self._reader.readuntil(b"\r\n")
            verb, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
            if verb.upper() == "QUIT":
                await self._say("221 2.0.0 Bye")
                return
            too_long = len(line) > MAX_COMMAND_BYTES
            await self._say("500 5.5.6 Line too long" if too_long else await self._answer(verb.upper(), argument))
            # A client that sends many commands at once is read from memory: let others have their turn.
            await asyncio.sleep(0)

    async def _say(self, answer: str) -> None:
        self._writer.write(f"{answer}\r\n".encode())
        await self._writer.drain()

    async def _answer(self, verb: str, argument: str) -> str:
        match verb:
            case "MAIL":
                return self._mail(argument)
            case "RCPT":
                return self._rcpt(argument)
            case "DATA":
                return await self._data()
            case "EHLO" | "HELO":
                self._envelope = Envelope()
                return EXTENSIONS if verb == "EHLO" else "250 mailbox.local"
            case "RSET":
                self._envelope = Envelope()
                return "250 2.0.0 Forgotten"
            case "NOOP":
                return "250 2.0.0 Here"
        return "502 5.5.1 No such command"

    def _mail(self, argument: str) -> str:
        path = PATH.fullmatch(argument)
        if path is None or not argument.upper().startswith("FROM"):
            return "501 5.5.4 MAIL FROM:<address>"
        size = SIZE.search(path[2])
        if size and int(size[1]) > MAX_MAIL_BYTES:
            return TOO_LARGE
        self._envelope = Envelope(path[1])
        return "250 2.1.0 Go on"

    def _rcpt(self, argument: str) -> str:
        path = PATH.fullmatch(argument)
        if self._envelope.sender is None:
            return "503 5.5.1 MAIL first"
        if path is None or not path[1] or not argument.upper().startswith("TO"):
            return "501 5.5.4 RCPT TO:<address>"
        if len(self._envelope.recipients) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        self._envelope.recipients.append(path[1])
        return "250 2.1.5 Go on"

    async def _data(self) -> str:
        if not self._envelope.recipients:
            return "503 5.5.1 RCPT first"
        await self._say("354 End with <CRLF>.<CRLF>")
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            content = await self._content()
        envelope, self._envelope = self._envelope, Envelope()
        if content is None:
            return TOO_LARGE
        try:
            await self._keep(content, envelope)
        except NotKept as error:
            log.warning("mail not kept: %s", error)
            return "451 4.3.0 The mail cannot be kept now, try again later"
        return "250 2.0.0 Kept"

    async def _content(self) -> bytes | None:
        """The mail up to the line with a single dot, with the dots undoubled; None for one that is too large."""
        content = bytearray()
        too_large = False
        while content != END and not content.endswith(END_OF_MAIL):
            try:
                content += await self._reader.readuntil(END)
            except asyncio.LimitOverrunError as error:
                content += await self._reader.readexactly(error.consumed)
            if len(content) > MAX_MAIL_BYTES:
                too_large = True
                del content[: -len(END_OF_MAIL)]
        if too_large:
            return None
        mail = bytes(content[: -len(END)])
        return mail.removeprefix(b".").replace(b"\r\n..", b"\r\n.")
