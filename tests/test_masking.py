"""Credentials are masked wherever they may stand; what only looks a bit like one stays."""

import json

import pytest

from orchestrator.masking import mask_credentials


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
