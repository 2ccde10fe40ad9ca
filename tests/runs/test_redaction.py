from __future__ import annotations

import pytest

from rosenblatt.runs.redaction import is_secret_file, redact, redact_arguments


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://ana:hunter2@db/runs", "hunter2"),
        ("https://x-token:abc@git.example/repo.git", "abc"),
        ("export API_KEY=abcdef123", "abcdef123"),
        ('{"password": "tiger"}', "tiger"),
        ("Authorization: token=ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
        ("key AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
        ("auth: Bearer eyJhbGciOi.eyJzdWIiOiIx.SflKxwRJSM", "eyJhbGciOi"),
        ("hf_abcdefghijklmnopqrstuvwxyz01234567", "hf_abcdefghijklmnopqrstuvwxyz01234567"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "MIIE"),
    ],
)
def test_credentials_are_masked(text, secret):
    assert secret not in redact(text)
    assert "******" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512",
        "the author: ana",
        "learning rate 0.1",
        "https://example.org/a@b",
        "tokenizer: bpe",
        "task=risk-adjusted",
    ],
)
def test_other_text_is_unchanged(text):
    assert redact(text) == text


def test_values_are_masked_if_their_name_is_that_of_a_credential():
    assert redact("abc", "db_password") == "******"
    assert redact("abc", "n_tokens") == "abc"


def test_credentials_after_options_are_masked():
    arguments = ["train.py", "--lr", "0.1", "--api-key", "abc", "--token=xyz", "--password"]
    assert redact_arguments(arguments) == [
        "train.py",
        "--lr",
        "0.1",
        "--api-key",
        "******",
        "--token=******",
        "--password",
    ]


def test_files_of_credentials_are_recognized_by_name():
    assert all(is_secret_file(name) for name in (".env", ".env.local", "id_rsa", "server.pem", "credentials.json"))
    assert not any(is_secret_file(name) for name in ("train.py", "environment.yml", "keys.py", "secretary.py"))
