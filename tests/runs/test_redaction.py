from __future__ import annotations

import argparse
import base64
import json
import random
import re
import time

import numpy as np
import pytest

from rosenblatt.runs.redaction import (
    MASK,
    StreamRedactor,
    find_masked,
    redact,
    redact_arguments,
    redact_value,
)
from rosenblatt.runs.secret_formats import FORMATS

SECRET = "hunter2"  # in every text below that assigns a credential
LETTERS = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4fGh7jKl0nOp"
BASIC = base64.b64encode(b"ana:hunter2").decode()
# a text for each row of the table, made of parts so that no scanner takes it for real, and the credential in it
EXAMPLES = {
    "private key": ("a\n-----BEGIN RSA " + f"PRIVATE KEY-----\n{LETTERS}\n-----END RSA PRIVATE KEY-----\nb", LETTERS),
    "JSON web token": (f"t ey{'J'}{LETTERS}.{LETTERS}.{LETTERS[:9]} x", LETTERS),
    "Amazon access key": ("key AK" + "IAIOSFODNN7EXAMPLE here", "IOSFODNN7EXAMPLE"),
    "GitHub token": (f"gh{'p'}_{LETTERS}", LETTERS),
    "GitLab token": (f"gl{'pat'}-{LETTERS}", LETTERS),
    "Slack token": (f"xox{'b'}-123-{LETTERS}", LETTERS),
    "webhook": (f"post https://hooks.slack{'.com'}/services/T0/B0/{LETTERS}", LETTERS),
    "Google key": (f"AI{'za'}{LETTERS[:35]}", LETTERS[:35]),
    "secret of Stripe": (f"sk{'_live_'}{LETTERS[:24]}", LETTERS[:24]),
    "key that begins with sk-": (f"use s{'k-'}proj-{LETTERS}", LETTERS),
    "PyPI token": (f"pyp{'i-'}AgEI{LETTERS}", LETTERS),
    "token with the prefix of its vendor": (f"np{'m_'}{LETTERS[:36]} and h{'f_'}{LETTERS[:34]}", LETTERS[:34]),
    "SendGrid key": (f"key S{'G.'}{LETTERS[:22]}.{LETTERS[:40]}", LETTERS[:40]),
    "Telegram bot": (f"https://api.telegram.org/bot123456789:A{'A'}{LETTERS}", LETTERS),
    "bearer token": ("sent bearer hunter2.abc to", "hunter2"),
    "token of an HTTP header": ("header Token 9944b09199c62bcf9418", "9944b09199c62bcf9418"),
    "basic authentication": (f"header Basic {BASIC}", BASIC),
    "user and password of an option": ("curl -u ana:hunter2 http://x", "hunter2"),
    "user and password before a host": ("connect ana:hunter2@db:5432/x", "hunter2"),
    "signature of a URL": ("https://b.example/x?sv=1&sig=hunter2%3D&se=2", "hunter2"),
    "password of .netrc": ("machine x login ana password hunter2", "hunter2"),
    "password of a user of a database": ("create user ana identified by 'hunter2 x'", "hunter2 x"),
    "user and password of Oracle": ("jdbc:oracle:thin:ana/hunter2@host", "hunter2"),
    "credential on standard input": ("echo hunter2 | docker login -u ana --password-stdin", "hunter2"),
    "argument of a login": ("x: wandb.login(key=hunter2)", "hunter2"),
}


def test_every_format_has_an_example():
    assert EXAMPLES.keys() == FORMATS.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_masked(name):
    text, secret = EXAMPLES[name]
    assert re.search(FORMATS[name].pattern, text)
    assert secret not in redact(text)
    assert redact(text)[0] == text[0] or text.startswith(("gh", "gl", "xo", "AI", "sk", "py", "np"))


def test_an_answer_printed_after_its_prompt_is_masked():
    redactor = StreamRedactor()
    parts = ["Password:\n", f"{SECRET}\n", "- name: API_KEY\n", f"  value: {SECRET}\n", "done\n"]
    assert "".join(map(redactor.redact, parts)) == f"Password:\n{MASK}\n- name: API_KEY\n  value: {MASK}\ndone\n"


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512",
        "the author: ana",
        "learning rate 0.1",
        "https://example.org/a@b",
        "https://host:8080/a@b",
        "ssh://git@host/x",
        "git@github.com:ana/x",
        "mailto:ana@example.org",
        "tokenizer: bpe",
        "task=risk-adjusted",
        "pad_token='[PAD]' eos_token=</s> token: <eos>",
        "--pad-token x",
        "usage: t.py [--password PASSWORD] [--api-key API_KEY]",
        "password=None, use_auth_token=True",
        "basic training of the token ring",
        "image repo:tag@sha256:1234",
        "key=value sort_key=a",
        "next token: the, loss per token: 2.345",
        "pass: 3 of 5, token: 17/100",
    ],
)
def test_other_text_is_unchanged(text):
    assert redact(text) == text


def test_what_surrounds_a_credential_is_kept():
    assert redact("Uid=u;Pwd=x;Host=h") == f"Uid=u;Pwd={MASK};Host=h"
    assert redact("f(password=x, lr=0.1)") == f"f(password={MASK}, lr=0.1)"
    assert redact("password: |\n  a\n  b\nlr: 1") == f"password: {MASK}\nlr: 1"
    assert redact("a://u:p@h/x?token=t&n=1") == f"a://u:{MASK}@h/x?token={MASK}&n=1"


def test_credentials_after_options_are_masked():
    arguments = ["train.py", "--lr", "0.1", "--api-key", "abc", "--token=x,y z", "--pad-token", "[PAD]", "--password"]
    masked = [*arguments]
    masked[4], masked[5] = MASK, f"--token={MASK}"
    assert redact_arguments(arguments) == masked
    assert find_masked(arguments) == (4, 5)


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        (["--password", "-abc4"], (1,)),
        (["--token", "--verbose"], ()),
        (["--api-keys", "a", "b", "--lr", "1"], (1, 2)),
        (["--user", "ana:x"], (1,)),
        (["--user", "1000:100"], ()),
        (["sshpass", "-p", "x1", "ssh", "-p", "22"], (2,)),
        (["docker", "run", "-p", "80:80"], ()),
        (["/usr/bin/docker", "login", "-p", "x"], (3,)),
        (["--user", "ana"], ()),
        (["--use-auth-token", "true"], ()),
        (["db.password=a b", "lr=1"], (0,)),
        (["--header", "Authorization: Bearer x"], (1,)),
        (["--config", '{"password": 1}'], (1,)),
        (["--password", MASK], ()),
    ],
)
def test_masked_arguments_are_known_by_position(arguments, masked):
    assert find_masked(arguments) == masked


@pytest.mark.parametrize("value", ["x", 12345678, 1.5, [1, "x"], {"a": {"b": 1}}, b"x", (1,), np.arange(3), object()])
def test_values_of_any_type_are_masked_under_a_secret_name(value):
    assert redact_value(value, "password") == MASK
    assert redact_value({"db": [{"password": value, "lr": 1}]}) == {"db": [{"password": MASK, "lr": 1}]}


@pytest.mark.parametrize("value", [None, True, ""])
def test_empty_values_and_flags_are_kept_under_a_secret_name(value):
    assert redact_value(value, "use_auth_token") == value


def test_other_objects_are_masked_as_text():
    assert SECRET not in str(redact_value([argparse.Namespace(password=SECRET), {"x": b"token=hunter2"}]))
    assert redact_value({"argv": ["--password", SECRET]}) == {"argv": ["--password", MASK]}
    assert redact_value(np.float32(0.5)) == 0.5


def test_deeply_nested_values_are_recorded_as_text():
    value: list = []
    for _ in range(100_000):
        value = [value]
    text = json.dumps(redact_value(value))
    assert "nested too deeply" in text
    assert json.dumps(redact_value(value)) != text  # no two of them are equal


def test_private_keys_that_are_printed_slowly_are_masked():
    redactor, lines = StreamRedactor(), [*EXAMPLES["private key"][0].splitlines(), "MIIE", "-----END X-----"]
    text = "".join(redactor.redact(f"{line}\n") for line in lines[:5])
    assert text == f"a\n{MASK}\nb\n"


def test_a_private_key_without_an_end_masks_no_more_than_a_key():
    redactor = StreamRedactor()
    redactor.redact("-----BEGIN PRIVATE KEY-----\n")
    texts = [redactor.redact("x" * 999 + "\n") for _ in range(100)]
    assert not any(texts[:45])
    assert all(texts[60:])


PARTS = (
    *"\"'\\=:([{<>@,;& \n\t-",
    "password",
    "token=",
    "eyJaaaaaa",
    "://",
    "-----BEGIN PRIVATE KEY-----",
    "x",
    "sk-",
    "?sig=",
    "mysql -p",
    "name: ",
    "password is ",
    "\\u003d",
    "login(",
)


@pytest.mark.parametrize("seed", range(12))
def test_time_is_proportional_to_the_length(seed):
    choose = random.Random(seed)
    part = "".join(choose.choices(PARTS, k=choose.randint(1, 6)))
    text = part * (200_000 // len(part))
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 5.0
