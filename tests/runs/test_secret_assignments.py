"""Values beside secret names are masked to their end: assigned, in pairs, after prompts, and in sentences."""

from __future__ import annotations

import pytest

from rosenblatt.runs.redaction import MASK, redact, redact_value

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        "authorization=Basic hunter2",
        '{"Authorization": "Token hunter2"}',
        "curl -H 'Authorization: token hunter2' https://x",
        'Proxy-Authorization: Digest username="a", response="hunter2"',
        "Cookie: session=hunter2; a=b",
        "password='two words hunter2 ,;&)'",
        'password="a,b;c&d)hunter2"',
        'connect(password="it\\"s hunter2")',
        "password='it''s hunter2'",
        'connect("host=x password=hunter2")',
        "password='''a\nhunter2'''",
        "password: |\n  a\n  hunter2\nb: 1",
        "passphrase: correct hunter2 battery",
        "x password=abc,def)hunter2 y",
        "postgresql://ana:p/w@hunter2@db/h",
        "postgresql://ana:p#hunter2%40@db",
        "https://hunter2@git.example/x",
        "redis://:hunter2@h:6379/0",
        "s3://KEY:hunter2/+x@bucket/a",
        "https://h/x?password=hunter2&a=1",
        "postgresql://h/d?user=u&password=hunter2",
        "https://h/x?a=1&token=hunter2",
        "https://s3/x?X-Amz-Signature=hunter2",
        "redirect?to=password%3Dhunter2%26x",
        "AccountName=x;AccountKey=hunter2==;EndpointSuffix=core",
        "SharedAccessKeyName=a;SharedAccessKey=hunter2=",
        "Uid=u;Pwd=hunter2;",
        "PGPASSWORD=hunter2 psql",
        "export WANDB_API_KEY=hunter2",
        "os.environ['API_KEY'] = 'hunter2'",
        '"password":"hunter2"',
        '{"config": "{\\"password\\": \\"hunter2\\"}"}',
        "Namespace(lr=1, token=hunter2)",
        "{'password': b'hunter2', 'lr': 1}",
        "credentials={'user': 'a', 'value': 'hunter2'}",
        "passwords = ['a', 'hunter2']",
        "['--password', 'hunter2']",
        "train.py --api-key hunter2 --lr 1",
        "+db.password='hunter2 x'",
        "<password>hunter2</password>",
        "alter user x password 'hunter2'",
        "the API key: hunter2",
        "\x1b[32mapiKey\x1b[0m: hunter2",
        "token=\x1b[31mhunter2\x1b[0m",
        "https://h/x.git?private_token=hunter2",
    ],
)
def test_assigned_credentials_are_masked_to_their_end(text):
    assert SECRET not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "DB_PASSWORD", "value": "hunter2"}',
        '{"Key": "client_secret", "Value": "hunter2"}',
        '{"value": "hunter2", "name": "API_TOKEN"}',
        "- name: API_KEY\n  value: hunter2 x",
        '<property name="db.password" value="hunter2"/>',
        '<entry key="apiKey">hunter2</entry>',
        '<wsse:Password Type="x"><![CDATA[hunter2]]></wsse:Password>',
        "(('password', 'hunter2'), ('lr', 0.1))",
        "[(b'x-api-key', b'hunter2')]",
        "| password | hunter2 |",
        "DB_PASSWORD\thunter2",
        "set SECRET_KEY hunter2",
        "git config --global github.token hunter2",
        'user.set_password("hunter2")',
        "HTTPBasicAuth('ana', 'hunter2')",
        "password\\u003dhunter2",
        "&quot;password&quot;: &quot;hunter2&quot;",
        "%22password%22%3A%22hunter2%22",
        '"private_key_id": "hunter2"',
        "recovery_code=hunter2",
    ],
)
def test_values_beside_secret_names_are_masked(text):
    assert SECRET not in redact(text)


@pytest.mark.parametrize("secret", ["hunter2", "swordfish"])
@pytest.mark.parametrize(
    "text",
    [
        "the password is {}",
        "The password of the admin account is {}.",
        "Password for user ana: {}",
        "Password for 'https://ana@h.example': {}",
        "Password:\n{}",
        "Enter passphrase for key '/home/ana/.ssh/id_rsa': {}",
    ],
)
def test_answers_to_prompts_and_sentences_are_masked(text, secret):
    assert secret not in redact(text.format(secret))


@pytest.mark.parametrize(
    "text",
    [
        "the password is required",
        "password is incorrect",
        "The password for this demo is optional.",
        "password authentication failed for user ana",
        "no password was given",
        'getpass("Password: ")',
        "Password:\nLogged in as ana2",
        "the secret is patience, the token is expired",
        "('key', 'value') and ('token', 'label') and ('user', 'password')",
        '{"name": "pad_token", "value": "[PAD]"}',
        "- name: max_tokens\n  value: 512",
        "user\tpassword\temail",
        "PASSWORD   0.98  0.97  120",
        "token -> embedding",
        "set the token embeddings to zero",
        "state_dict key: layers.0.key.weight",
        "http://ana@b.example",
        "pinned=True, pin_memory=True, led_pin=13, pincode=560001",
        "password_strength_model=bert",
        "def login(self, key, token): client.login(user, password)",
        'os.getenv("DB_PASSWORD"); get_secret("db/prod1")',
    ],
)
def test_other_words_beside_secret_names_are_kept(text):
    assert redact(text) == text


def test_values_of_pairs_are_masked_in_data():
    assert redact_value([("password", SECRET), ("lr", 1)]) == [["password", MASK], ["lr", 1]]
    assert redact_value({"name": "DB_PASSWORD", "value": SECRET, "n": 1}) == {
        "name": "DB_PASSWORD",
        "value": MASK,
        "n": 1,
    }
    assert redact_value([("key", "value"), {"name": "num_keys", "value": 8}]) == [
        ["key", "value"],
        {"name": "num_keys", "value": 8},
    ]


def test_pins_are_masked_but_not_pins_of_a_device():
    assert redact("pin=4711") == f"pin={MASK}"
    assert redact("pin=13") == "pin=13"


@pytest.mark.parametrize("text", ["usage: login USER <password>\nnext\n", "<password>, [options]\nnext\n"])
def test_a_tag_without_an_end_hides_no_other_line(text):
    assert redact(text).endswith("\nnext\n")


def test_brackets_without_an_end_hide_one_line():
    assert redact("tokens = ['a', 'b'\nloss 0.1\n" * 2) == "tokens = ['a', 'b'\nloss 0.1\n" * 2
    assert redact("api_keys=['a', 'b'\nloss 0.1\n") == f"api_keys={MASK}\nloss 0.1\n"
