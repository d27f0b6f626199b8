"""Credentials are masked wherever they may stand; what only looks a bit like one stays."""

import html
import json
import string
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator import masking
from orchestrator.masking import list_secrets, mask_address, mask_credentials, open_address, remember_address


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """Begin without an address that another test made known."""
    monkeypatch.setattr(masking, "_known", set())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://anna:s3cret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://anna:p@ss@host/db", "postgresql+psycopg2://***@host/db"),
        ("mysql://anna:a/b@host/db", "mysql://***@host/db"),
        ("https://token@host", "https://***@host"),
        ("https://:token@host", "https://***@host"),
        ("postgresql://host/db?user=a&password=s3cret&x=1", "postgresql://host/db?user=a&password=***&x=1"),
        ("s3://b/k?AWSAccessKeyId=abc&sig=xyz", "s3://b/k?AWSAccessKeyId=***&sig=***"),
        ("DB_PASSWORD=s3cret next", "DB_PASSWORD=*** next"),
        ('{"password": "a b\'c", "user": "anna"}', '{"password": "***", "user": "anna"}'),
        ("{'api_key': 'abc', 'n': 1}", "{'api_key': '***', 'n': 1}"),
        ("name: demo\n  access_token: abc def\nx: 1", "name: demo\n  access_token: ***\nx: 1"),
        ("login hf_ABCDEFGHIJKLMNOPQRSTUVWX failed", "login *** failed"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: Bearer ***"),
    ],
)
def test_credentials_are_masked(text, expected):
    assert mask_credentials(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "no http://host/a@b here",
        "sqlite:////tmp/a b/mlflow.db",
        "max_tokens=5 tokenizer=bert secretary=anna",
        '{"lr": 0.1, "optimizer": "adam"}',
        "unexpected token: }",
        "basic block",
    ],
)
def test_other_text_stays(text):
    assert mask_credentials(text) == text


def test_json_stays_json():
    text = json.dumps({"a": "http://anna:pw@host/x", "b": "me@home", "c": "http://host:80"}, separators=(",", ":"))
    assert json.loads(mask_credentials(text)) == {"a": "http://***@host/x", "b": "me@home", "c": "http://host:80"}


RESERVED = "!#$&'()*+,/:;=?@[]% \"<>\\^`{|}~-._"
WORD = st.text(string.ascii_letters + string.digits, min_size=6, max_size=9).map(lambda word: f"Zq{word}")
"""A part of a secret that stands nowhere else, so that it can be looked for."""


@st.composite
def secrets(draw):
    """Parts of a secret, and the secret: the parts between reserved characters, with one at its ends or not."""
    words = draw(st.lists(WORD, min_size=1, max_size=3))
    between = st.text(RESERVED, min_size=1, max_size=2)
    whole = words[0] + "".join(f"{draw(between)}{word}" for word in words[1:])
    return words, draw(st.sampled_from(["", *RESERVED])) + whole + draw(st.sampled_from(["", *RESERVED]))


@st.composite
def addresses(draw):
    """Parts of the secrets of an address, and the address: encoded, or as careless people write it."""
    parts, password = draw(secrets())
    tokens, token = draw(secrets())
    write = draw(st.sampled_from([lambda text: quote(text, safe=""), quote, lambda text: text.replace(" ", "")]))
    user = draw(st.sampled_from(["anna", "anna%40host", ""]))
    scheme = draw(st.sampled_from(["http", "https", "postgresql+psycopg2", "mysql", "s3"]))
    userinfo = draw(st.sampled_from([f"{user}:{write(password)}@", ""]))
    query = draw(
        st.sampled_from(["", f"?token={quote(token, safe='')}", f"?x=1&Sig={quote_plus(token)}&sslmode=require"])
    )
    place = draw(st.sampled_from(["host", "host:5000", "[::1]:80"])) + draw(st.sampled_from(["", "/", "/db", "/a@b"]))
    hidden = (parts if userinfo else []) + (tokens if query else [])
    return hidden, f"{scheme}://{userinfo}{place}{query}"


@settings(deadline=None)
@given(addresses())
def test_no_part_of_a_secret_is_in_a_masked_address(drawn):
    parts, address = drawn
    for shown in (mask_address(address), open_address(address), mask_credentials(address)):
        assert [part for part in parts if part in shown] == []
    assert mask_address(mask_address(address)) == mask_address(address)


@settings(deadline=None, max_examples=60)
@given(addresses())
@example(
    (["Zq000000", "Zq0000001"], "http://anna:Zq000000:Zq000000.Zq0000001@host?token=Zq000000%3AZq0000001.Zq000000")
)
def test_no_part_of_a_known_secret_is_in_any_text_however_it_is_quoted(drawn):
    parts, address = drawn
    masking._known.clear()
    remember_address(address)
    rest = address.partition("://")[2]
    texts = [
        f"cannot open {address}: refused",
        f"('{address}', \"{address}\")",
        repr(address),
        json.dumps({"uri": address, "list": [address]}),
        yaml.safe_dump({"uri": address}, width=10_000),
        quote(address, safe=""),
        html.escape(f"<a href='{address}'>"),
        *(f"failed to resolve {secret!r} as {secret}" for secret in list_secrets(address)),
        *(f"could not translate host name {piece!r}" for piece in rest.split("@")[:-1] if ":" in piece),
        f"Failed to parse: {rest}",
    ]
    for text in texts:
        assert [part for part in parts if part in mask_credentials(text)] == [], text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://host:5000/x", "http://host:5000/x"),
        ("http://host/a@b", "http://host/a@b"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("mlruns", "mlruns"),
        ("http://anna:p'w@host/db", "http://***@host/db"),
        ("http://anna:p@s:s@host/db", "http://***@host/db"),
        ("http://anna:p#w@host/db", "http://***"),  # the password, or the end of the host: nobody knows
        ("http://anna:pw@host/x?token=a@b", "http://***"),
        ("https://host?token=abc&sslmode=require&x=1", "https://host?token=***&sslmode=require&x=1"),
        ("http://h/#/experiments/1/runs?workflowType=x&o=abc", "http://h/#/experiments/1/runs?workflowType=x&o=***"),
    ],
)
def test_an_address_is_masked_by_its_parts(address, expected):
    assert mask_address(address) == expected


def test_an_address_that_may_be_shown_can_be_opened():
    assert open_address("http://anna:pw@host:5000/x") == "http://host:5000/x"


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN", "DB_PASSWORD"]
)
def test_secrets_of_the_environment_are_masked_wherever_they_stand(name, monkeypatch):
    monkeypatch.setenv(name, "Zq7'secret")
    assert mask_credentials("refused: Zq7'secret, 'Zq7\\'secret', Zq7%27secret") == "refused: ***, '***', ***"


def test_words_are_not_taken_for_secrets(monkeypatch):
    monkeypatch.setenv("PWD", "/home/anna/beans-project")
    monkeypatch.setenv("DB_PASSWORD", "postgres")
    assert mask_credentials("postgresql in /home/anna/beans-project") == "postgresql in /home/anna/beans-project"
    assert mask_credentials("password postgres refused") == "password *** refused"


def test_an_address_of_the_environment_is_masked_too(monkeypatch):
    monkeypatch.setenv("TRACKING", "http://anna:'Zq1secret'@host")
    assert mask_credentials("open 'http://anna:'Zq1secret'@host' failed") == "open 'http://***@host' failed"
