"""Messages as text, HTML and bytes: they can be parsed, and user text cannot inject anything."""

from __future__ import annotations

from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.kit.formatting import formats
from shop.kit.ids import new_id
from shop.notification.domain import MAIL_TEMPLATES, OWNER_ALERT, TEMPLATES
from shop.notification.mail import BadAddress, Mail, check_address, compose
from shop.notification.render import MAX_SUBJECT_CHARACTERS, Renderer

NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
SHOP = {"title": "Old & New Pages", "url": "https://shop.example"}
EVIL = '<script>alert("x")</script>{{ 7*7 }}'
printable = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(TEMPLATES, SHOP, formats("DE"))


def mail(**changed: Any) -> Mail:
    values: dict[str, Any] = {"id": new_id(), "sender": "shop@shop.example", "recipient": "ada@example.com"}
    values |= {"subject": "Hello", "text": "Hello\n", "html": "<p>Hello</p>", "made_at": NOW}
    return Mail(**values | changed)


def parsed(composed: bytes) -> EmailMessage:
    message = BytesParser(policy=policy.default).parsebytes(composed)
    assert not message.defects
    return message


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_every_event_has_a_subject_a_text_and_html(renderer: Renderer, samples: Any) -> None:
    for event in samples.each():
        content = renderer.render(MAIL_TEMPLATES[type(event)], event.model_dump(mode="json"), "Ada Lovelace")
        assert content.subject
        assert not content.subject.startswith("Subject")
        assert "Ada Lovelace" in content.text
        assert content.html is not None
        assert "Ada Lovelace" in content.html
        assert "https://shop.example" in content.text
        assert "https://shop.example" in content.html


def test_an_order_is_listed_with_its_amounts(renderer: Renderer, samples: Any) -> None:
    content = renderer.render("order-confirmed", samples.confirmed().model_dump(mode="json"), None)
    for expected in (
        "Moby-Dick",
        "25,98\N{NO-BREAK SPACE}€",
        "5,00\N{NO-BREAK SPACE}€",
        "1,47\N{NO-BREAK SPACE}€",
        "4,90\N{NO-BREAK SPACE}€",
        "27,35\N{NO-BREAK SPACE}€",
        "53111 Bonn",
        str(samples.order_id),
    ):
        assert expected in content.text
        assert expected in str(content.html)
    assert str(samples.order_id)[-8:].upper() in content.subject


def test_html_is_escaped_and_templates_in_data_stay_text(renderer: Renderer, samples: Any) -> None:
    samples.name = EVIL
    event = samples.confirmed()
    data = event.model_dump(mode="json")
    data["lines"][0]["name"] = EVIL
    content = renderer.render("order-confirmed", data, None)
    html = str(content.html)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 3
    assert "{{ 7*7 }}" in html
    assert EVIL in content.text


def test_a_title_cannot_inject_headers(renderer: Renderer, samples: Any) -> None:
    renderer = Renderer(TEMPLATES, {"title": "A\r\nBcc: all@example.com " + "x" * 500, "url": ""}, formats("DE"))
    content = renderer.render("welcome", samples.registered().model_dump(mode="json"), None)
    assert "\n" not in content.subject
    assert len(content.subject) <= MAX_SUBJECT_CHARACTERS


def test_an_unvalidated_name_is_written_in_one_line(renderer: Renderer, samples: Any) -> None:
    samples.name = "Ada\r\nBcc: all@example.com\x1b\u202e"
    for event in (samples.registered(), samples.pending()):
        content = renderer.render(MAIL_TEMPLATES[type(event)], event.model_dump(mode="json"), None)
        assert "Hello Ada Bcc: all@example.com," in content.text
        assert "\x1b" not in content.text + str(content.html)


def test_the_owners_alert_is_short_text(renderer: Renderer, samples: Any) -> None:
    content = renderer.render(OWNER_ALERT, samples.rejected().model_dump(mode="json"), None)
    assert content.html is None
    assert "insufficient_stock" in content.text
    assert len(content.text) < 200


@given(subject=printable.map(str.strip), text=printable, html=printable, title=printable)
def test_a_mail_reads_back_as_it_was_written(subject: str, text: str, html: str, title: str) -> None:
    written = mail(subject=" ".join(subject.split()), text=text + "\n", html=html + "\n")
    message = parsed(compose(written, title))
    assert message["Message-ID"] == f"<{written.id}@shop.example>"
    assert message["To"] == "ada@example.com"
    assert message["Date"].datetime == NOW
    assert str(message["Subject"]).split() == written.subject.split()
    assert part(message, "plain") == text + "\n"
    assert part(message, "html") == html + "\n"


def test_long_and_non_ascii_lines_stay_within_mail_limits() -> None:
    written = mail(subject="Büch" * 60, text="ü" * 5_000 + "\n.\n..\nFrom me\n", html="<p>" + "x" * 5_000)
    composed = compose(written, 'Läden & "Co"')
    assert all(len(line) <= 200 for line in composed.split(b"\r\n"))
    assert composed.isascii()
    assert b"\n" not in composed.replace(b"\r\n", b"")
    message = parsed(composed)
    assert str(message["Subject"]) == "Büch" * 60
    assert message["From"].addresses[0].display_name == 'Läden & "Co"'
    assert part(message, "plain") == written.text


def test_a_mail_without_html_is_plain_text() -> None:
    message = parsed(compose(mail(html=None), "Shop"))
    assert message.get_content_type() == "text/plain"
    assert part(message, "plain") == "Hello\n"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example.com\r\nBcc: all@example.com",
        "ada@example.com, bob@example.com",
        "ada <ada@example.com>",
        "ada@exa mple.com",
        "ädä@example.com",
        "a" * 320 + "@example.com",
        "ada@example.com>",
        "ada\x00@example.com",
    ],
)
def test_addresses_that_would_break_a_header_or_a_command(address: str) -> None:
    with pytest.raises(BadAddress):
        check_address(address)
    with pytest.raises(BadAddress):
        compose(mail(recipient=address), "Shop")


@pytest.mark.parametrize("address", ["ada@example.com", "a.b+c-d_e@sub.example.co.uk", "o'neil@xn--bcher-kva.example"])
def test_ordinary_addresses(address: str) -> None:
    assert check_address(address) == address
