"""The mail server of the local mailbox, spoken to byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiosmtplib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shop.devkit import embedded
from shop.notification import mail_server
from shop.notification.mail_server import MAX_COMMAND_BYTES, MAX_MAIL_BYTES, MAX_RECIPIENTS, Envelope, NotKept

READ_TIMEOUT_S = 10.0
HEAD = b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"


@dataclass
class Box:
    """A server that keeps its mail in memory."""

    port: int = field(default_factory=embedded.free_port)
    mails: list[tuple[bytes, Envelope]] = field(default_factory=list)
    full: bool = False

    async def keep(self, content: bytes, envelope: Envelope) -> None:
        if self.full:
            raise NotKept("full")
        self.mails.append((content, envelope))

    @property
    def contents(self) -> list[bytes]:
        return [content for content, _ in self.mails]

    async def say(self, sent: bytes) -> list[str]:
        """Send everything at once, then QUIT; the answers but for greeting and continued lines."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent + b"QUIT\r\n")
        answers = await asyncio.wait_for(reader.read(), READ_TIMEOUT_S)
        writer.close()
        lines = answers.decode().splitlines()
        assert lines[0].startswith("220 ")
        return [line for line in lines[1:] if line[3] == " "]

    async def codes(self, sent: bytes) -> list[str]:
        return [line[:3] for line in await self.say(sent)]


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    box = Box()
    server = mail_server.MailServer(box.keep)
    await server.start("127.0.0.1", box.port)
    yield box
    await server.close()


async def test_a_mail_with_everything_sent_at_once(box: Box) -> None:
    codes = await box.codes(HEAD + b"Subject: x\r\n\r\nHello\r\n.\r\nNOOP\r\n")
    assert codes == ["250", "250", "250", "354", "250", "250", "221"]
    assert box.mails == [(b"Subject: x\r\n\r\nHello\r\n", Envelope("a@x", ["b@x"]))]


async def test_several_mails_over_one_connection(box: Box) -> None:
    one = b"MAIL FROM:<>\r\nRCPT TO:<b@x>\r\nrcpt to:<c@x> NOTIFY=NEVER\r\nDATA\r\n1\r\n.\r\n"
    two = "mail from: <ä@x> SIZE=10 SMTPUTF8\r\nRCPT TO:<d@x>\r\nDATA\r\n2\r\n.\r\n".encode()
    await box.say(one + two)
    assert box.mails == [(b"1\r\n", Envelope("", ["b@x", "c@x"])), (b"2\r\n", Envelope("ä@x", ["d@x"]))]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"ends with a dot.\r\n.\r\n", b"ends with a dot.\r\n"),
        (b"a.\r\nb.\r\n..\r\n...\r\n.\r\n", b"a.\r\nb.\r\n.\r\n..\r\n"),
        (b"bare\n.\nline ends\r\n.\r\n", b"bare\n.\nline ends\r\n"),
    ],
)
async def test_where_a_mail_ends(box: Box, sent: bytes, kept: bytes) -> None:
    await box.say(HEAD + sent)
    assert box.contents == [kept]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text("ab.", max_size=4), max_size=8))
async def test_whatever_a_client_sends_is_what_is_kept(box: Box, lines: list[str]) -> None:
    content = "".join(f"{line}\r\n" for line in ["Subject: x", "", *lines]).encode()
    await aiosmtplib.send(
        content, sender="a@x.example", recipients=["b@x.example"], hostname="127.0.0.1", port=box.port
    )
    assert box.contents[-1] == content


@pytest.mark.parametrize(
    ("sent", "codes"),
    [
        (b"DATA\r\n", ["503", "221"]),
        (b"RCPT TO:<b@x>\r\n", ["503", "221"]),
        (b"MAIL FROM:<a@x>\r\nDATA\r\n", ["250", "503", "221"]),
        (b"MAIL FROM:<a@x>\r\nRCPT TO:<>\r\n", ["250", "501", "221"]),
        (b"MAIL FROM:<a@x>\r\nRSET\r\nRCPT TO:<b@x>\r\n", ["250", "250", "503", "221"]),
        (b"MAIL TO:<a@x>\r\nMAIL a@x\r\nMAIL\r\n", ["501", "501", "501", "221"]),
        (b"MAIL FROM:<a@x> SIZE=99999999\r\n", ["552", "221"]),
        (b"AUTH PLAIN x\r\nVRFY a\r\n\r\n\xff\xfe\r\n", ["502", "502", "502", "502", "221"]),
        (b"NOOP " + b"x" * MAX_COMMAND_BYTES + b"\r\nNOOP\r\n", ["500", "250", "221"]),
    ],
)
async def test_what_is_out_of_order(box: Box, sent: bytes, codes: list[str]) -> None:
    assert await box.codes(sent) == codes
    assert not box.mails


async def test_too_many_recipients(box: Box) -> None:
    codes = await box.codes(b"MAIL FROM:<a@x>\r\n" + b"RCPT TO:<b@x>\r\n" * (MAX_RECIPIENTS + 1))
    assert codes == ["250"] * (MAX_RECIPIENTS + 1) + ["452", "221"]


@pytest.mark.parametrize("line", [b"x" * 998 + b"\r\n", b"x" * 100_000, b"dots.\r\n"])
async def test_a_mail_too_large_is_read_to_its_end_and_refused(box: Box, line: bytes) -> None:
    large = line * (MAX_MAIL_BYTES // len(line) + 2)
    codes = await box.codes(HEAD + large + b"\r\n.\r\n" + HEAD + b"small\r\n.\r\n")
    assert codes == ["250", "250", "250", "354", "552", "250", "250", "250", "354", "250", "221"]
    assert box.contents == [b"small\r\n"]


async def test_a_mail_that_is_not_kept_is_not_accepted(box: Box) -> None:
    box.full = True
    assert (await box.codes(HEAD + b"x\r\n.\r\n"))[-2:] == ["451", "221"]


async def test_half_a_mail_is_none(box: Box) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", box.port)
    writer.write(HEAD + b"half\r\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await box.codes(b"NOOP\r\n")) == ["250", "221"]
    assert not box.mails


async def test_a_flood_of_commands_leaves_others_their_turn(box: Box) -> None:
    _, flooding = await asyncio.open_connection("127.0.0.1", box.port)
    flooding.write(b"NOOP\r\n" * 150_000)
    await asyncio.wait_for(box.say(HEAD + b"x\r\n.\r\n"), READ_TIMEOUT_S)
    assert box.contents == [b"x\r\n"]
    flooding.transport.abort()
