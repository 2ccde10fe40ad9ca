"""The command `generate`: write text with a language model."""

from __future__ import annotations

import time

import click

from rosenblatt.workflows.generate import generate_text


@click.command()
@click.argument("model")
@click.option("--prompt", default="", help="How the text begins.")
@click.option("--length", type=click.IntRange(1, 1_000_000), default=400, show_default=True, help="Tokens to write.")
@click.option("--temperature", type=click.FloatRange(0, 10), default=0.8, show_default=True,
              help="0 always takes the likeliest token; the higher, the more daring.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(1), help="Draw only from so many of the likeliest tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Draw only from the likeliest tokens that together are so likely.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draws.")
@click.option("--pause", type=click.FloatRange(0), default=0.0, help="Seconds to wait after each token.")
def generate(
    model: str, prompt: str, length: int, temperature: float, top_k: int | None, top_p: float, seed: int, pause: float
) -> None:
    """Write a text with a model that learnt one.

    \b
    rosenblatt fit book.txt --kind rnn --task language
    rosenblatt generate book.rosenblatt --prompt "It was"
    """
    from rosenblatt.models.model_file import load_model

    click.echo(prompt, nl=False)
    for piece in generate_text(load_model(model), prompt, length, temperature, top_k, top_p, seed):
        click.echo(piece, nl=False)
        time.sleep(pause)
    click.echo()
