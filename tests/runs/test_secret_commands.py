"""Credentials in options of one letter are masked behind the programs that take them so, and only there."""

from __future__ import annotations

import pytest

from rosenblatt.runs.redaction import redact, redact_arguments

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "mysql -u root -phunter2 shop",
        "/usr/bin/mysqldump -p'hunter2' shop > a.sql",
        "['mysql', '-u', 'root', '-phunter2']",
        "sudo docker login -u ana \\\n -p hunter2 registry.example",
        "sshpass -p hunter2 ssh ana@h; redis-cli -ahunter2 ping",
        "curl -u 'ana:two hunter2' http://h",
        "lftp -u ana,hunter2 sftp://h",
        "smbclient //h/share -U ana%hunter2",
        "openssl enc -pass pass:hunter2 -in a",
        "ssh-keygen -t rsa -N hunter2 -f id",
        "docker login \\\n -u ana \\\n -p hunter2",
        "sqlplus ana/hunter2@db",
        "wandb login hunter2",
    ],
)
def test_command_lines_are_masked_by_the_conventions_of_their_programs(text):
    assert SECRET not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "mysql -u root -p shop1",
        "mkdir -p data/raw1",
        "serve.py -p 8080 -a all -u 3",
        "docker run -u 1000:1000 -p 80:80 image1",
        "mysql -u root && mkdir -pdata1",
        "redis-cli -h host1 -p 6379 ping",
        "7z x data1.7z",
        "wandb login",
        "the mysql server of docker login pages",
    ],
)
def test_the_same_options_of_other_programs_are_kept(text):
    assert redact(text) == text
    assert redact_arguments(text.split()) == text.split()


def test_words_belong_to_the_last_programs_before_them():
    text = "mysql net ab security curl -phunter2"
    assert redact(text) == text  # mysql is too far
    assert SECRET not in redact("sudo sshpass -p x ssh h mysql -phunter2")
    assert redact_arguments(text.split()) == text.split()
